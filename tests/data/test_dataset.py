"""From a folder on the disk to people, split and crops, and what is said on the way."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_people import picture, points, rect

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import splits
from pose_topo.data import splits as tompson
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import Dataset, prepare, present_people, select
from pose_topo.rendering.annotation import ImageEntry, write_mpii_mat
from pose_topo.study.config import Data, Recipe
from pose_topo.study.protocols import PAPER, STANDARD

RECIPE = replace(STANDARD, input_size=32, split="random", val_split=0.25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images with a person each (the last with 11 joints), one with two, and one whose photograph is missing."""
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


def test_everything_is_counted_in_one_table(folder: Path, said: list[str]) -> None:
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


def test_second_time_reads_the_cache_and_gives_the_same(folder: Path) -> None:
    first, again = ready(folder), ready(folder)
    assert first.sha256 == again.sha256
    assert re.fullmatch("[0-9a-f]{64}", first.sha256)
    assert len(list((folder.parent / "cache").rglob("people.npz"))) == 1
    assert first.sha256 != ready(folder, replace(RECIPE, val_split=0.5)).sha256
    assert first.sha256 != ready(folder, replace(RECIPE, input_size=64)).sha256


def test_data_folder_is_only_read(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    ready(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_unreadable_people_are_in_neither_side(folder: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
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
    """As if the folder's annotations were the official ones, with the first person of the images `val` held out and
    `train` others."""
    import h5py

    with h5py.File(folder / "valid.h5", "w") as file:
        file["index"], file["person"] = np.array(val, float), np.zeros(len(val))
    mat = folder / "mpii_human_pose_v1_u12_1.mat"
    monkeypatch.setattr(splits, "OFFICIAL_MAT_BLOB", splits.git_blob_sha1_file(mat))
    monkeypatch.setattr(tompson, "SIZES", {"train": (train, train), "val": (len(val), len(val))})
    return replace(RECIPE, split="auto")


def test_a_published_split_of_which_a_photograph_is_unreadable_is_none(
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


def test_a_link_that_leads_nowhere_is_a_missing_photograph(folder: Path, said: list[str]) -> None:
    (folder / "images" / "3.jpg").unlink()
    (folder / "images" / "3.jpg").symlink_to(folder / "nowhere.jpg")
    assert len(ready(folder).people) == 8
    assert said[0].endswith("and skipped: 3.jpg, gone.jpg")


def test_accepted_mismatch_is_said_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    recipe = published(folder, monkeypatch, [0, 9], 8)
    with pytest.raises(PoseTopoError, match="1 val people in 1 images instead of 2 in 2; complete the data"):
        ready(folder, recipe)
    assert not (folder.parent / "cache" / "crops").exists()  # it stops before the long part
    dataset = ready(folder, recipe, accept_split_mismatch=True)
    assert dataset.split.mismatch == "1 val people in 1 images instead of 2 in 2"
    assert any(line.startswith("warning: not the published tompson split: 1 val people") for line in said)
    assert dataset.split.val.tolist() == [0]


def test_what_is_missing_is_said_with_the_way_out(folder: Path) -> None:
    with pytest.raises(PoseTopoError, match="pose-topo download mpii"):
        present_people(Data.at(folder / "nowhere"))
    shutil.move(folder / "images", folder / "elsewhere")
    with pytest.raises(PoseTopoError, match=r"image folder .* not found: give --img-dir"):
        present_people(Data.at(folder))
    (folder / "images").mkdir()
    with pytest.raises(PoseTopoError, match=r"none of the 10 annotated photographs is in .*: give --img-dir"):
        present_people(Data.at(folder))
    people, census = present_people(Data.at(folder, img_dir=folder / "elsewhere"))
    assert len(people) == census.kept == 9
