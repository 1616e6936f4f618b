"""Build a data set that is ready for training and scoring from an annotation file and a folder of photographs.

`prepare` runs all steps: read the annotations (`READERS`, kept in the cache), remove the people whose photograph is
missing and those that the recipe excludes, split the people, and cut their crops.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import atomic_path, cache_folder, sha256_file
from pose_topo.core.log import log
from pose_topo.data import coco, lsp, mpii
from pose_topo.data.crop_store import open_or_build
from pose_topo.data.people import AnnotationCounts, CropSettings, CropStore, Dataset, People, Split
from pose_topo.data.splits import is_official, make_split
from pose_topo.study.config import Data, Recipe

# The annotation formats: the end of the file's name -> the reader function. The first end that matches is used.
READERS: dict[str, Callable[[Path], tuple[People, AnnotationCounts]]] = {
    lsp.MAT_NAME: lsp.load_people,
    ".mat": mpii.load_people,
    ".json": coco.load_people,
}
READERS_VERSION = 1  # increase it when a reader returns other people for the same file: the cache is then ignored
_ARRAYS = tuple(f.name for f in dataclasses.fields(People) if f.name != "images")


def prepare(
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Return the data set of a recipe, with its split and its crops.

    Args:
        seed: seed of a random split.
        cache: folder of parsed annotations and crops (default: the user's cache folder).
        workers: threads that cut crops (default: the processors of this process).
        progress: show a progress bar while crops are cut.

    Raises:
        PoseTopoError: the data are missing, broken, or too few.
    """
    cache = cache or cache_folder()
    people, split = select_and_split(data, recipe, seed=seed, cache=cache)
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    store = open_or_build(people, Path(data.img_dir), settings, cache, workers=workers, progress=progress)
    for name in store.manifest["unreadable"]:
        log.warning(f"{Path(data.img_dir) / name} is unreadable: its people are skipped")
    if not store.ok.all():
        log.info(f"{int((~store.ok).sum()):,} people left out: photograph unreadable")
        split = _without_unreadable(split, store.ok, data)
    return _identified(people, split, store)


def _identified(people: People, split: Split, store: CropStore) -> Dataset:
    """Return the data set, with a hash of all of it, and one of the photographs and numbers of the people per side."""
    data = hashlib.sha256((store.manifest["people_sha256"] + store.manifest["crops_sha256"]).encode())
    train, val = (np.ascontiguousarray(index, "<i8").tobytes() for index in (split.train, split.val))
    data.update(train + b"|" + val)
    names, sides = people.names, hashlib.sha256()
    for side, index in (("train", split.train), ("val", split.val)):
        lines = [f"{names[row]} {people.person[row]}\n" for row in index]
        sides.update("".join([side, *lines]).encode())
    return Dataset(people, split, store, data.hexdigest(), sides.hexdigest())


def prepare_test_set(
    data: Data, recipe: Recipe, *, cache: Path | None = None, progress: bool = True
) -> tuple[mpii.TestSet, Dataset]:
    """Return the test images of MPII, and the people in them as a data set, all of whom are held out.

    People whose photograph is missing or unreadable are not held out, and a message counts them.

    Raises:
        PoseTopoError: the data are missing or broken, or no photograph is there.
        UsageError: the annotation file is not MPII's.
    """
    if _reader(Path(data.mat_path)) is not mpii.load_people:
        raise UsageError(f"{data.mat_path} is not MPII's annotation file, which alone has a test set: give --data")
    check_layout(data)
    test = mpii.load_test_set(data.mat_path)
    here = np.flatnonzero(_on_disk(test.people, Path(data.img_dir)))
    people = test.people.take(here)
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    store = open_or_build(people, Path(data.img_dir), settings, cache or cache_folder(), progress=progress)
    if lost := len(test.people) - int(store.ok.sum()):
        log.warning(
            f"{lost:,} of {len(test.people):,} people of the test set get no prediction: no readable photograph"
        )
    split = Split("test", np.empty(0, np.int64), np.flatnonzero(store.ok))
    test = dataclasses.replace(test, people=people, single=test.single[here])
    return test, _identified(people, split, store)


def select_and_split(data: Data, recipe: Recipe, *, seed: int, cache: Path | None = None) -> tuple[People, Split]:
    """Return the people whom a recipe admits, and their split. No photograph is opened.

    Raises:
        PoseTopoError: the data are missing, broken, or too few.
    """
    annotated, counts = present_people(data, cache)
    people = select(annotated, recipe)
    counts = counts.leave_out(f"not admitted by the {recipe.protocol} protocol", len(annotated) - len(people))
    for line in counts.lines():
        log.info(line)
    split = make_split(people, recipe, data, seed=seed, annotated=annotated)
    if split.mismatch:
        log.warning(f"not the published {split.rule} split: {split.mismatch}")
    return people, split


def select(people: People, recipe: Recipe) -> People:
    """Return the people whom a recipe admits.

    The recipe `paper` keeps people who are alone in their photograph and have at least 12 labelled joints.

    Raises:
        PoseTopoError: nobody is left.
    """
    keep = people.labelled.sum(1) >= recipe.min_labelled
    if recipe.single_person:
        keep &= people.rects_in_image == 1
    if not keep.any():
        raise PoseTopoError(f"the {recipe.protocol} protocol admits none of the {len(people):,} annotated people")
    return people.take(keep)


def _without_unreadable(split: Split, ok: NDArray[np.bool_], data: Data) -> Split:
    """Return the split without the people whose photographs are unreadable.

    A published split from which people were removed is no longer the published split.

    Raises:
        PoseTopoError: nobody is left on one side, or the split was a published one and `accept_split_mismatch` is not
            set.
    """
    left = replace(split, train=split.train[ok[split.train]], val=split.val[ok[split.val]])
    if not (len(left.train) and len(left.val)):
        raise PoseTopoError(
            "one side of the split has no readable photograph: download those that are named above again"
        )
    train, val = len(split.train) - len(left.train), len(split.val) - len(left.val)
    if not (train or val) or split.rule != "tompson" or not is_official(data.mat_path):
        return left
    lost = f"the photographs of {train:,} train and {val:,} val people are unreadable"
    if not data.accept_split_mismatch:
        raise PoseTopoError(
            f"the tompson split is not the published one: {lost}; fetch the named ones again or give "
            "--accept-split-mismatch"
        )
    log.warning(f"not the published tompson split: {lost}")
    return replace(left, mismatch="; ".join(filter(None, (split.mismatch, lost))))


# ---- The annotated people whose photographs are on the disk.


def check_layout(data: Data) -> None:
    """Check that the files are where they should be, without reading them.

    Raises:
        PoseTopoError: the folder, the annotation file or the image folder is missing.
        UsageError: no reader for the annotation file.
    """
    folder, annotations = Path(data.img_dir), Path(data.mat_path)
    place = annotations.parent
    known = "lspet" if annotations.name == lsp.MAT_NAME or place.name == "lspet" else "mpii"
    fetch = "" if annotations.suffix == ".json" else f", or fetch it: `pose-topo download {known} --data {place}`"
    if not place.is_dir():
        raise PoseTopoError(f"data folder {place} not found: give --data{fetch}")
    if not annotations.is_file():
        raise PoseTopoError(f"annotation file {annotations} not found: give --data or --annotations{fetch}")
    if not folder.is_dir():
        raise PoseTopoError(f"image folder {folder} not found: give --img-dir{fetch}")
    _reader(annotations)


def present_people(data: Data, cache: Path | None = None) -> tuple[People, AnnotationCounts]:
    """Return the annotated people whose photograph is on the disk, and the counts of all annotated people.

    Raises:
        PoseTopoError: no data folder, no annotation file, or no photograph at all.
    """
    check_layout(data)
    people, counts = cached_people(data.mat_path, cache or cache_folder())
    here = _on_disk(people, Path(data.img_dir))
    return people.take(here), counts.leave_out("photograph missing", int((~here).sum()))


def _on_disk(people: People, folder: Path) -> NDArray[np.bool_]:
    """Return whose photographs are in a folder, (P,), and name those that are missing in a message.

    Raises:
        PoseTopoError: none is there.
    """
    with os.scandir(folder) as entries:
        on_disk = {entry.name for entry in entries if entry.is_file()}  # skips broken links
    here = np.array([name in on_disk for name in people.names])
    if not here.any():
        raise PoseTopoError(
            f"none of the {len(set(people.names)):,} annotated photographs is in {folder}: give --img-dir"
        )
    missing = sorted(set(people.take(~here).names))
    if missing:
        named = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        log.warning(f"{len(missing)} annotated photographs are missing from {folder} and skipped: {named}")
    return here


# ---- Annotations are parsed once per file, because MPII's file takes half a minute.


def cached_people(path: str | Path, cache: str | Path) -> tuple[People, AnnotationCounts]:
    """Read an annotation file, or its parsed copy in `<cache>/people/<sha256 of the file>/people.npz`.

    The cache is not beside the annotation file, because the data folder may be read-only. A cached file that is
    damaged, or was written by another version of the readers, is written again.

    Raises:
        PoseTopoError: the file is missing, unreadable, or holds no annotated person.
        UsageError: no reader for a file of this name.
    """
    path = Path(path)
    read = _reader(path)
    if not path.is_file():
        return read(path)  # the reader's error says where to get the file
    try:
        sha256 = sha256_file(path)
    except OSError as error:
        raise PoseTopoError(f"{path}: {error.strerror or error}") from None
    cached = Path(cache) / "people" / sha256 / "people.npz"
    if (known := _load(cached)) is not None:
        return known
    people, counts = read(path)
    about = {
        "version": READERS_VERSION,
        "sha256": people.sha256(),
        "images": people.images,
        "census": dataclasses.asdict(counts),
    }
    arrays: dict[str, Any] = {name: getattr(people, name) for name in _ARRAYS}
    # without a cache the next run only takes longer
    with contextlib.suppress(OSError), atomic_path(cached) as temporary:
        np.savez(temporary, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return people, counts


def _reader(path: Path) -> Callable[[Path], tuple[People, AnnotationCounts]]:
    for ending, reader in READERS.items():
        if path.name.lower().endswith(ending):
            return reader
    raise UsageError(f"annotation file {path}: no reader supports this name; it must end in {' or '.join(READERS)}")


def _load(path: Path) -> tuple[People, AnnotationCounts] | None:
    """Return the people and counts of a cached file, or None if it is missing, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(saved["about"].tobytes())
            people = People(images=tuple(about["images"]), **{name: saved[name] for name in _ARRAYS})
        valid = about["version"] == READERS_VERSION and about["sha256"] == people.sha256()
        return (people, AnnotationCounts(**about["census"])) if valid else None
    except Exception:  # broken bytes raise many kinds of errors in NumPy and JSON
        return None
