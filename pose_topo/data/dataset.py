"""`people.npz`: the parsed annotation, kept so that the `.mat` (half a minute of parsing) is read once.

It lies in the cache folder, under the `.mat`'s sha256, since the data folder may be read-only. A cache that is damaged,
or was written by another version, is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path, cache_folder, sha256_file
from pose_topo.core.log import log
from pose_topo.data.crop_store import CropStore, open_or_build
from pose_topo.data.crops import CropSettings
from pose_topo.data.mpii import Census, load_people
from pose_topo.data.people import People
from pose_topo.data.splits import Split, is_official, make_split
from pose_topo.study.config import Data, Recipe

VERSION = 1  # raised whenever the parser's answer to the same file changes
_ARRAYS = tuple(f.name for f in dataclasses.fields(People) if f.name != "images")


def cached_people(mat_path: str | Path, cache: str | Path) -> tuple[People, Census]:
    """`load_people`, through `<cache>/people/<sha256 of the file>/people.npz`.

    Raises:
        PoseTopoError: as `load_people` does.
    """
    mat_path = Path(mat_path)
    if not mat_path.is_file():
        return load_people(mat_path)  # which says what to do
    try:
        sha256 = sha256_file(mat_path)
    except OSError as error:
        raise PoseTopoError(f"{mat_path}: {error.strerror or error}") from None
    path = Path(cache) / "people" / sha256 / "people.npz"
    if (found := _read(path)) is not None:
        return found
    people, census = load_people(mat_path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        _write(path, people, census)
    return people, census


def _write(path: Path, people: People, census: Census) -> None:
    about = {
        "version": VERSION,
        "sha256": people.sha256(),
        "images": people.images,
        "census": dataclasses.asdict(census),
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    arrays: dict[str, Any] = {name: getattr(people, name) for name in _ARRAYS}
    with atomic_path(path) as temporary:
        np.savez(temporary, about=text, **arrays)


def _read(path: Path) -> tuple[People, Census] | None:
    """What `_write` wrote; None if it is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(saved["about"].tobytes())
            people = People(images=tuple(about["images"]), **{name: saved[name] for name in _ARRAYS})
        whole = about["version"] == VERSION and about["sha256"] == people.sha256()
        return (people, Census(**about["census"])) if whole else None
    except Exception:  # broken bytes raise whatever their readers meet first
        return None


# ---- A data set made ready for a recipe: people, split and crops.


@dataclass(frozen=True)
class Dataset:
    """People whose crops are there, divided into train and val. Row i of every array is the same person."""

    people: People
    split: Split
    store: CropStore
    sha256: str  # over the annotations, the photographs' crops and the split
    split_sha256: str  # over who is trained on and who is held out; the same wherever the photographs are decoded


def prepare(
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Parse, leave out what cannot be used (saying so), split, and crop.

    Raises:
        PoseTopoError: the data are missing, broken, or too few.
    """
    cache = cache or cache_folder()
    people, split = divide(data, recipe, seed=seed, cache=cache)
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    store = open_or_build(people, Path(data.img_dir), settings, cache, workers=workers, progress=progress)
    for name in store.manifest["unreadable"]:
        log.warning(f"{Path(data.img_dir) / name} is unreadable: its people are skipped")
    if not store.ok.all():
        log.info(f"{int((~store.ok).sum()):,} people left out: photograph unreadable")
        split = _readable(split, store.ok, data)
    return Dataset(people, split, store, _sha256(store, split), _split_sha256(people, split))


def _readable(split: Split, ok: NDArray[np.bool_], data: Data) -> Split:
    """The split without the people whose photographs are unreadable, who are no longer a published split's."""
    left = replace(split, train=split.train[ok[split.train]], val=split.val[ok[split.val]])
    if not (len(left.train) and len(left.val)):
        raise PoseTopoError("no readable photograph is left on one side of the split: fetch the named ones again")
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


def divide(data: Data, recipe: Recipe, *, seed: int, cache: Path | None = None) -> tuple[People, Split]:
    """The people that a recipe admits, and who of them is held out; no photograph is opened.

    Raises:
        PoseTopoError: the data are missing, broken, or too few.
    """
    annotated, census = present_people(data, cache)
    people = select(annotated, recipe)
    census = census.leave_out(f"not admitted by the {recipe.protocol} protocol", len(annotated) - len(people))
    for line in census.lines():
        log.info(line)
    split = make_split(
        people,
        recipe.split,
        val_split=recipe.val_split,
        seed=seed,
        mat_path=data.mat_path,
        split_file=data.split_file,
        annotated=annotated,
        accept_mismatch=data.accept_split_mismatch,
    )
    if split.mismatch:
        log.warning(f"not the published {split.rule} split: {split.mismatch}")
    return people, split


def check_layout(data: Data) -> None:
    """Whether the files are where they should be; nothing is read.

    Raises:
        PoseTopoError: the folder, the annotation file or the image folder is missing.
    """
    folder, mat = Path(data.img_dir), Path(data.mat_path)
    if not mat.parent.is_dir():
        raise PoseTopoError(
            f"data folder {mat.parent} not found: give --data, or fetch MPII with "
            f"`pose-topo download mpii --data {mat.parent}`"
        )
    if not mat.is_file():
        raise PoseTopoError(
            f"annotation file {mat} not found: give --data or --mat-path, or fetch it with "
            "`pose-topo download annotations`"
        )
    if not folder.is_dir():
        raise PoseTopoError(
            f"image folder {folder} not found: give --img-dir, or fetch it with `pose-topo download images`"
        )


def present_people(data: Data, cache: Path | None = None) -> tuple[People, Census]:
    """The annotated people whose photograph is on the disk, and the census of everybody else.

    Raises:
        PoseTopoError: no data folder, no annotation, or no photograph at all.
    """
    check_layout(data)
    folder, mat = Path(data.img_dir), Path(data.mat_path)
    people, census = cached_people(mat, cache or cache_folder())
    with os.scandir(folder) as entries:
        on_disk = {entry.name for entry in entries if entry.is_file()}  # no link that leads nowhere, either
    here = np.array([people.images[i] in on_disk for i in people.image])
    if not here.any():
        raise PoseTopoError(
            f"none of the {len(set(people.names)):,} annotated photographs is in {folder}: give --img-dir"
        )
    missing = sorted(set(people.take(~here).names))
    if missing:
        named = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        log.warning(f"{len(missing)} annotated photographs are missing from {folder} and skipped: {named}")
    return people.take(here), census.leave_out("photograph missing", int((~here).sum()))


def select(people: People, recipe: Recipe) -> People:
    """Keep the people that a recipe admits (the `paper` protocol: alone in the annotation, at least 12 joints).

    Raises:
        PoseTopoError: nobody is left.
    """
    keep = people.labelled.sum(1) >= recipe.min_labelled
    if recipe.single_person:
        keep &= people.rects_in_image == 1
    if not keep.any():
        raise PoseTopoError(f"the {recipe.protocol} protocol admits none of the {len(people):,} annotated people")
    return people.take(keep)


def _sha256(store: CropStore, split: Split) -> str:
    digest = hashlib.sha256(store.manifest["people_sha256"].encode())
    digest.update(store.manifest["crops_sha256"].encode())
    digest.update(_bytes(split.train) + b"|" + _bytes(split.val))
    return digest.hexdigest()


def _split_sha256(people: People, split: Split) -> str:
    names = people.names
    digest = hashlib.sha256()
    for side, index in (("train", split.train), ("val", split.val)):
        digest.update(side.encode())
        for row in index:
            digest.update(f"{names[row]} {people.person[row]}\n".encode())
    return digest.hexdigest()


def _bytes(index: NDArray[np.int64]) -> bytes:
    return np.ascontiguousarray(index, "<i8").tobytes()
