"""From a folder on the disk to people, split and crops, the messages, and the cache of parsed annotations."""

import dataclasses
import re
import resource
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_people import IDS, picture, points, rect

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.data import dataset as dataset_module
from pose_topo.data import splits
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import READERS, cached_people, prepare, present_people, select
from pose_topo.data.people import AnnotationCounts, Dataset, People
from pose_topo.rendering.annotation import ImageEntry, RectEntry, write_mpii_mat
from pose_topo.study.config import Data, Recipe
from pose_topo.study.protocols import PAPER, STANDARD

RECIPE = replace(STANDARD, input_size=32, split="random", val_split=0.25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images with one person (the last with 11 joints), one with two, and one whose photograph is missing."""
    import cv2

    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    images = [ImageEntry(f"{k}.jpg", [rect()]) for k in range(7)]
    images += [ImageEntry("7.jpg", [rect(points=points()[:11])])]
    images += [ImageEntry("two.jpg", [rect(), rect(scale=0)]), ImageEntry("gone.jpg", [rect()])]
    write_mpii_mat(data / "mpii_human_pose_v1_u12_1.mat", images)
    for number, entry in enumerate(images[:-1]):
        cv2.imwrite(str(data / "images" / entry.name), picture(number))
    return data


def ready(folder: Path, recipe: Recipe = RECIPE, **changes) -> Dataset:
    data = replace(Data.at(folder), **changes)
    cache = folder.parent / "cache"
    return prepare(data, recipe, seed=0, cache=cache, workers=1, progress=False)


def test_all_annotated_people_are_counted_in_one_table(folder: Path, said: list[str]) -> None:
    dataset = ready(folder)
    assert said[0].startswith("warning: 1 annotated photographs are missing")
    assert said[0].endswith("and skipped: gone.jpg")
    assert said[1:6] == [
        "      10  images in the annotation file",
        "      11  annorects",
        "       1  left out: photograph missing",
        "       1  left out: scale not positive",
        "       9  annotated people kept",
    ]
    assert len(dataset.people) == 9
    assert sorted([*dataset.split.train, *dataset.split.val]) == list(range(9))
    assert len(dataset.split.val) == 2
    assert dataset.split.rule == "random"


def test_paper_admits_people_alone_with_twelve_joints(folder: Path, said: list[str]) -> None:
    dataset = ready(folder, replace(PAPER, input_size=32))
    assert dataset.people.names == [f"{k}.jpg" for k in range(7)]
    assert "       2  left out: not admitted by the paper protocol" in said
    assert "       7  annotated people kept" in said
    assert dataset.store.crops.shape == (7, 32, 32, 3)
    with pytest.raises(PoseTopoError, match="the paper protocol admits none of the 2 annotated people"):
        select(dataset.people.take(np.array([0, 1])), replace(PAPER, min_labelled=17))


def test_a_second_call_gives_the_same_from_the_cache(folder: Path) -> None:
    first, again = ready(folder), ready(folder)
    assert first.sha256 == again.sha256
    assert re.fullmatch("[0-9a-f]{64}", first.sha256)
    assert len(list((folder.parent / "cache").rglob("people.npz"))) == 1
    assert first.sha256 != ready(folder, replace(RECIPE, val_split=0.5)).sha256
    assert first.sha256 != ready(folder, replace(RECIPE, input_size=64)).sha256


def test_nothing_is_written_in_the_data_folder(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    ready(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_unreadable_people_are_on_neither_side(folder: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr("pose_topo.data.crop_store.MAX_UNREADABLE", 0.2)
    (folder / "images" / "3.jpg").write_bytes(b"\xff\xd8 cut")
    dataset = ready(folder)
    assert any("3.jpg is unreadable: its people are skipped" in line for line in said)
    assert not dataset.store.ok[3]
    assert 3 not in [*dataset.split.train, *dataset.split.val]
    assert len(dataset.split.train) + len(dataset.split.val) == 8
    served = Batches(dataset.store, dataset.people, dataset.split.train, RECIPE, torch.device("cpu"))
    for batch in [*served.epoch(0, 0, 3), *served.in_order(3)]:
        assert torch.isfinite(batch.images).all() and torch.isfinite(batch.targets).all()
        assert 3 not in batch.index


def published(folder: Path, monkeypatch: pytest.MonkeyPatch, val: list[int], train: int) -> Recipe:
    """Make the folder's annotations pass for the official ones.

    The published split then holds out the first person of the images `val` and trains on `train` others.
    """
    import h5py

    with h5py.File(folder / "valid.h5", "w") as file:
        file["index"], file["person"] = np.array(val, float), np.zeros(len(val))
    mat = folder / "mpii_human_pose_v1_u12_1.mat"
    monkeypatch.setattr(splits, "OFFICIAL_MAT_BLOB", splits.git_blob_sha1_file(mat))
    monkeypatch.setattr(splits, "TOMPSON_SIZES", {"train": (train, train), "val": (len(val), len(val))})
    return replace(RECIPE, split="auto")


def test_a_split_with_unreadable_photographs_is_not_the_published_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr("pose_topo.data.crop_store.MAX_UNREADABLE", 0.5)
    recipe = published(folder, monkeypatch, [0, 1], 7)
    assert ready(folder, recipe).split.mismatch is None
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (folder / "images" / name).write_bytes(b"\xff\xd8 cut")
    what = "the photographs of 2 train and 1 val people are unreadable"
    with pytest.raises(PoseTopoError, match=f"not the published one: {what}; fetch the named ones again"):
        ready(folder, recipe)
    dataset = ready(folder, recipe, accept_split_mismatch=True)
    assert dataset.split.mismatch == what and f"warning: not the published tompson split: {what}" in said
    assert (len(dataset.split.train), dataset.split.val.tolist()) == (5, [0])


def test_a_broken_link_is_a_missing_photograph(folder: Path, said: list[str]) -> None:
    (folder / "images" / "3.jpg").unlink()
    (folder / "images" / "3.jpg").symlink_to(folder / "nowhere.jpg")
    assert len(ready(folder).people) == 8
    assert said[0].endswith("and skipped: 3.jpg, gone.jpg")


def test_an_accepted_mismatch_is_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    recipe = published(folder, monkeypatch, [0, 9], 8)
    with pytest.raises(PoseTopoError, match="1 val people in 1 images instead of 2 in 2; complete the data"):
        ready(folder, recipe)
    assert not (folder.parent / "cache" / "crops").exists()  # stops before crops are cut
    dataset = ready(folder, recipe, accept_split_mismatch=True)
    assert dataset.split.mismatch == "1 val people in 1 images instead of 2 in 2"
    assert any(line.startswith("warning: not the published tompson split: 1 val people") for line in said)
    assert dataset.split.val.tolist() == [0]


def test_errors_for_missing_files_say_what_to_do(folder: Path) -> None:
    with pytest.raises(PoseTopoError, match="pose-topo download mpii"):
        present_people(Data.at(folder / "nowhere"))
    shutil.move(folder / "images", folder / "elsewhere")
    with pytest.raises(PoseTopoError, match=r"image folder .* not found: give --img-dir"):
        present_people(Data.at(folder))
    (folder / "images").mkdir()
    with pytest.raises(PoseTopoError, match=r"none of the 10 annotated photographs is in .*: give --img-dir"):
        present_people(Data.at(folder))
    people, counts = present_people(Data.at(folder, img_dir=folder / "elsewhere"))
    assert len(people) == counts.kept == 9


# ---- The cache of parsed annotations.


def equal(a: People, b: People) -> bool:
    arrays = [f.name for f in dataclasses.fields(People) if f.name != "images"]
    return a.images == b.images and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=getattr(a, name).dtype.kind == "f")
        for name in arrays
    )


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "a.mat"
    path.parent.mkdir()
    partly = rect(points=[(3, 4, 7, "0")])
    write_mpii_mat(path, [ImageEntry("ä.jpg", [rect(), rect(scale=0)]), ImageEntry("b.jpg", [partly])])
    return path


def parse_is_not_called(*_: object) -> None:
    raise AssertionError("parsed again")


def test_cached_people_are_read_without_parsing(mat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(mat.parent.iterdir())
    people, counts = cached_people(mat, tmp_path / "cache")
    monkeypatch.setitem(READERS, ".mat", parse_is_not_called)
    again, counts_again = cached_people(mat, tmp_path / "cache")
    assert equal(people, again)
    assert again.sha256() == people.sha256()
    assert counts == counts_again == AnnotationCounts(images=2, rects=3, kept=2, left_out={"scale not positive": 1})
    assert sorted(mat.parent.iterdir()) == before  # nothing is written beside the data


def test_cached_people_belong_to_the_content_of_the_file(mat: Path, tmp_path: Path) -> None:
    cached_people(mat, tmp_path / "cache")
    write_mpii_mat(mat, [ImageEntry("c.jpg", [rect()])])
    assert cached_people(mat, tmp_path / "cache")[0].names == ["c.jpg"]


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "text", "version"])
def test_a_damaged_cache_is_made_again(mat: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    people, _ = cached_people(mat, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("people.npz")
    whole = file.read_bytes()
    if damage == "version":
        monkeypatch.setattr(dataset_module, "READERS_VERSION", dataset_module.READERS_VERSION + 1)
    elif damage == "bit":
        at = whole.index(people.center.tobytes()) + 3
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        file.write_bytes({"empty": b"", "cut": whole[:-500], "text": b"hello"}[damage])
    assert equal(cached_people(mat, tmp_path / "cache")[0], people)
    if damage != "version":
        assert file.read_bytes() == whole
    monkeypatch.setitem(READERS, ".mat", parse_is_not_called)
    assert equal(cached_people(mat, tmp_path / "cache")[0], people)  # the new one is valid


def test_a_cache_that_cannot_be_written_is_no_error(mat: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(cached_people(mat, tmp_path / "cache")[0]) == 2


def test_a_missing_annotation_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PoseTopoError, match="pose-topo download annotations"):
        cached_people(tmp_path / "no.mat", tmp_path)


def test_the_reader_is_chosen_by_the_name_of_the_file(
    mat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, counts = cached_people(mat, tmp_path / "cache")
    monkeypatch.setitem(READERS, ".json", lambda _: (people.take(np.array([1])), counts))
    (tmp_path / "a.JSON").write_text("{}")
    assert cached_people(tmp_path / "a.JSON", tmp_path / "cache")[0].names == ["b.jpg"]
    with pytest.raises(UsageError, match=r"a\.txt: no reader .* end in joints\.mat or \.mat or \.json"):
        cached_people(tmp_path / "a.txt", tmp_path / "cache")


@pytest.mark.slow
def test_a_file_of_the_official_size_is_read_fast(tmp_path: Path) -> None:
    """24,987 images, 40,593 rects, 28,883 annotated people: parsed within 45 s and 3 GB, reopened within 0.3 s."""
    write_mpii_mat(tmp_path / "a.mat", official_size(np.random.default_rng(0)))
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    people, counts = cached_people(tmp_path / "a.mat", tmp_path)
    parsing, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (counts.images, counts.rects, counts.kept, len(people)) == (24_987, 40_593, 28_883, 28_883)
    opening = []
    for _ in range(3):
        started = time.perf_counter()
        assert equal(cached_people(tmp_path / "a.mat", tmp_path)[0], people)
        opening.append(time.perf_counter() - started)
    print(f"parsed in {parsing:.1f} s, peak {peak / 2**20:.2f} GB (before {peak_before / 2**20:.2f}), {opening}")
    assert parsing < 45  # about 20 s, and 12 s for the check of its elements
    assert peak < 3 * 2**20
    assert min(opening) < 0.3


def official_size(rng: np.random.Generator) -> list[ImageEntry]:
    """960 images without a rect, 15,715 with one, 8,312 with more; 28,883 annotated people among 40,593 rects."""
    counts = np.concatenate([np.zeros(960, int), np.ones(15_715, int), np.full(8_312, 2)])
    spare = 40_593 - counts.sum()
    counts[-8_312:] += np.bincount(rng.integers(0, 8_312, spare), minlength=8_312)
    annotated = rng.permutation(np.arange(40_593) < 28_883)
    rects = iter(annotated)
    return [
        ImageEntry(f"{k:09d}.jpg", [a_rect(rng, next(rects)) for _ in range(count)]) for k, count in enumerate(counts)
    ]


def a_rect(rng: np.random.Generator, annotated: bool) -> RectEntry:
    x, y = (int(v) for v in rng.integers(200, 900, 2))
    if not annotated:
        return RectEntry(scale=float(rng.uniform(1, 6)), objpos=(x, y))
    xy = rng.integers(1, 1900, (16, 2)).tolist()
    flags = rng.integers(0, 2, 16).tolist()
    return rect(x, y, points=[(a, b, k, str(v)) for (a, b), v, k in zip(xy, flags, IDS, strict=True)], scale=2.5)
