"""Split rules on people whose sides are known by hand."""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_up_people import make_people, rect

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.data import splits
from pose_topo.data.mpii import load_people
from pose_topo.data.people import People, Split
from pose_topo.data.splits import make_split, paper, random_by_image
from pose_topo.rendering.annotation import ImageEntry, write_mpii_mat
from pose_topo.study.config import Data
from pose_topo.study.protocols import STANDARD


def write_valid(path: Path, pairs: list[tuple[int, int]], names: list[str] | None = None, codes: bool = False) -> None:
    with h5py.File(path, "w") as file:
        file["index"] = np.array([index for index, _ in pairs], float)
        file["person"] = np.array([person for _, person in pairs], float)
        if names is not None and codes:
            file["imgname"] = np.array([list(name.encode().ljust(16, b"\0")) for name in names], float)
        elif names is not None:
            file["imgname"] = np.array([name.encode() for name in names])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Entries: 0 test, 1 one person, 2 two people and a rect without points between, 3 two people, 4 one."""
    write_mpii_mat(
        tmp_path / "a.mat",
        [
            ImageEntry("0.jpg", [rect(points=None)]),
            ImageEntry("1.jpg", [rect()]),
            ImageEntry("2.jpg", [rect(), rect(points=None), rect()]),
            ImageEntry("3.jpg", [rect(), rect()]),
            ImageEntry("4.jpg", [rect()]),
        ],
    )
    write_valid(tmp_path / "valid.h5", [(2, 2), (4, 0)], ["2.jpg", "4.jpg"])
    return tmp_path


def split_of(folder: Path, people: People, rule: str, annotated: People | None = None, **changes) -> Split:
    data = Data(str(folder / "a.mat"), str(folder / "images"), **changes)
    return make_split(people, replace(STANDARD, split=rule, val_split=0.5), data, seed=0, annotated=annotated)


def pretend_official(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make the file of `folder` pass for MPII's own."""
    monkeypatch.setattr(splits, "OFFICIAL_MAT_BLOB", splits.git_blob_sha1_file(folder / "a.mat"))
    monkeypatch.setattr(splits, "TOMPSON_SIZES", {"train": (3, 2), "val": (2, 2)})


def test_tompson_rule(folder: Path) -> None:
    people, _ = load_people(folder / "a.mat")
    assert people.annolist_index.tolist() == [1, 2, 2, 3, 3, 4]
    split = split_of(folder, people, "tompson")
    assert split.val.tolist() == [2, 5]  # rect 2 of entry 2 (not the person before it), and entry 4
    assert split.train.tolist() == [0, 3, 4]  # not person 1, who is in an image with a val person
    assert (split.rule, split.mismatch) == ("tompson", None)


def test_tompson_excludes_images_of_val_people_who_were_left_out(folder: Path) -> None:
    people, _ = load_people(folder / "a.mat")
    split = split_of(folder, people.take(np.array([0, 1, 3, 5])), "tompson")  # without the val person of entry 2
    assert split.val.tolist() == [3]
    assert split.train.tolist() == [0, 2]  # row 1 is in the image of the val person who is absent


@pytest.mark.parametrize("codes", [False, True])
def test_files_that_do_not_belong_together(folder: Path, codes: bool) -> None:
    people, _ = load_people(folder / "a.mat")
    write_valid(folder / "valid.h5", [(2, 2), (4, 0)], ["2.jpg", "4.jpg"], codes)
    assert split_of(folder, people, "tompson").val.tolist() == [2, 5]
    write_valid(folder / "valid.h5", [(2, 2), (4, 0)], ["2.jpg", "other.jpg"], codes)
    with pytest.raises(PoseTopoError, match=r"calls image 4 other\.jpg, the annotation 4\.jpg"):
        split_of(folder, people, "tompson")


def test_sizes_must_be_the_published_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, _ = load_people(folder / "a.mat")
    pretend_official(monkeypatch, folder)
    assert split_of(folder, people, "tompson").mismatch is None
    fewer = people.take(np.array([0, 2, 3, 5]))
    with pytest.raises(PoseTopoError, match=r"2 train people in 2 images instead of 3 in 2; .*accept-split-mismatch"):
        split_of(folder, fewer, "tompson")
    accepted = split_of(folder, fewer, "tompson", accept_split_mismatch=True)
    assert accepted.mismatch == "2 train people in 2 images instead of 3 in 2"
    assert (accepted.train.tolist(), accepted.val.tolist()) == ([0, 2], [1, 3])
    # a protocol that admits fewer people is no mismatch
    assert split_of(folder, fewer, "tompson", annotated=people).mismatch is None


def test_published_sizes_and_official_file() -> None:
    assert splits.TOMPSON_SIZES == {"train": (22_246, 14_679), "val": (2_958, 2_729)}
    assert splits.OFFICIAL_MAT_BLOB == "114563d045f8b537e978b3f63e03bc2b0f719e0b"


def test_shared_images_are_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "TOMPSON_SIZES", {"train": (2, 2), "val": (2, 2)})
    people = make_people(4, per_image=2)
    assert splits.mismatch(people, np.array([0, 2]), np.array([1, 3])) == "2 images on both sides"


def test_auto(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, _ = load_people(folder / "a.mat")
    assert split_of(folder, people, "auto").rule == "random"  # not the official annotation
    pretend_official(monkeypatch, folder)
    assert split_of(folder, people, "auto").rule == "tompson"
    (folder / "valid.h5").unlink()
    assert split_of(folder, people, "auto").rule == "random"


def test_random_is_seeded_and_by_image() -> None:
    people = make_people(600, per_image=3)
    split = random_by_image(people, 0.15, seed=4)
    again = random_by_image(people, 0.15, seed=4)
    assert np.array_equal(split.val, again.val)
    assert not np.array_equal(split.val, random_by_image(people, 0.15, seed=5).val)
    assert sorted([*split.train, *split.val]) == list(range(600))
    assert not set(people.image[split.train]) & set(people.image[split.val])
    assert len(split.val) == 3 * 30
    assert (np.diff(split.val) > 0).all()
    assert (np.diff(split.train) > 0).all()


def test_random_is_stable_when_others_are_left_out() -> None:
    people = make_people(600, per_image=3)
    held = set(np.array(people.names)[random_by_image(people, 0.1, 0).val])
    # somebody of every image is left, so nothing changes
    fewer = people.take(people.person != 1)
    assert set(np.array(fewer.names)[random_by_image(fewer, 0.1, 0).val]) == held
    # without one image, at most one other changes sides
    for gone in (0, 77, 199):
        fewer = people.take(people.image != gone)
        now = set(np.array(fewer.names)[random_by_image(fewer, 0.1, 0).val])
        assert len((held ^ now) - {people.images[gone]}) <= 1
    # the order of the people does not matter
    other = people.take(np.arange(600)[::-1])
    assert set(np.array(other.names)[random_by_image(other, 0.1, 0).val]) == held


def test_random_holds_out_every_image_equally_often() -> None:
    """Over 400 seeds each of 20 images is held out about 0.2 x 400 times (sd 8)."""
    people = make_people(20)
    times = np.zeros(20)
    for seed in range(400):
        times[random_by_image(people, 0.2, seed).val] += 1
    assert times.sum() == 400 * 4
    assert np.abs(times - 80).max() < 5 * 8


@pytest.mark.parametrize(("images", "share", "held"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.1, 1), (10, 0.25, 2)])
def test_random_leaves_no_side_empty(images: int, share: float, held: int) -> None:
    split = random_by_image(make_people(images), share, 0)
    assert (len(split.train), len(split.val)) == (images - held, held)


def test_paper_is_a_tenth() -> None:
    people = make_people(119)
    split = paper(people, seed=1)
    assert (split.rule, len(split.val), len(split.train)) == ("paper", 11, 108)
    assert np.array_equal(split.val, paper(people, seed=1).val)
    assert not np.array_equal(split.val, paper(people, seed=2).val)
    several = make_people(60, per_image=2)
    split = paper(several, seed=0)
    assert not set(several.image[split.train]) & set(several.image[split.val])


def test_from_a_list(folder: Path) -> None:
    people, _ = load_people(folder / "a.mat")
    listed = folder / "val.txt"
    listed.write_text("3.jpg\n\n 1.jpg \n")
    split = split_of(folder, people, "file", split_file=str(listed))
    assert split.val.tolist() == [0, 3, 4]
    listed.write_text("3.jpg\nnobody.jpg\n")
    with pytest.raises(PoseTopoError, match=r"1 names are no annotated image, such as nobody\.jpg"):
        split_of(folder, people, "file", split_file=str(listed))
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PoseTopoError, match=r"val\.txt: not readable as text"):
        split_of(folder, people, "file", split_file=str(listed))
    with pytest.raises(PoseTopoError, match=r"absent\.txt: no such file"):
        split_of(folder, people, "file", split_file=str(folder / "absent.txt"))
    with pytest.raises(UsageError, match="--split-file"):
        split_of(folder, people, "file")


@pytest.mark.parametrize("rule", ["auto", "file", "tompson"])
def test_a_split_file_that_is_a_pipe_is_not_waited_for(folder: Path, rule: str) -> None:
    people, _ = load_people(folder / "a.mat")
    os.mkfifo(folder / "pipe")
    with pytest.raises(PoseTopoError, match=r"pipe: not .*regular file"):
        split_of(folder, people, rule, split_file=str(folder / "pipe"))


@pytest.mark.parametrize("name", ["index", "person", "imgname"])
@pytest.mark.parametrize("odd", ["huge", "group", "scalar", "nan", "empty", "text", "nowhere"])
def test_a_damaged_valid_h5_is_refused_or_read(folder: Path, name: str, odd: str) -> None:
    with h5py.File(folder / "valid.h5", "r+") as file:
        del file[name]
        if odd == "huge":  # a header that promises terabytes
            file.create_dataset(name, (10**12,), "f8", chunks=True)
        elif odd == "group":
            file.create_group(name)
        else:
            file[name] = {"scalar": 3.0, "nan": [np.nan, np.inf], "empty": h5py.Empty("f8"), "text": [b"a", b"b"],
                          "nowhere": h5py.SoftLink("/nowhere")}[odd]  # fmt: skip
    try:
        assert len(splits.read_pairs(folder / "valid.h5")) <= 2
    except PoseTopoError as error:
        assert "not Tompson's valid.h5" in str(error)
    else:
        assert (name, odd) in {("index", "nan"), ("person", "nan"), ("imgname", "nan"), ("imgname", "text")}


def test_auto_with_a_split_file(folder: Path) -> None:
    people, _ = load_people(folder / "a.mat")  # not MPII's own file, for which auto would take valid.h5 from its folder
    listed, moved = folder / "val.txt", folder / "another.h5"
    listed.write_text("3.jpg\n1.jpg\n")
    (folder / "valid.h5").rename(moved)
    assert split_of(folder, people, "auto").rule == "random"
    chosen = split_of(folder, people, "auto", split_file=str(listed))
    assert (chosen.rule, chosen.val.tolist()) == ("file", [0, 3, 4])
    chosen = split_of(folder, people, "auto", split_file=str(moved))
    assert (chosen.rule, chosen.val.tolist()) == ("tompson", [2, 5])
    for rule in ("random", "paper"):
        with pytest.raises(UsageError, match=f"--split {rule} takes no --split-file"):
            split_of(folder, people, rule, split_file=str(listed))


def test_one_line_errors(folder: Path) -> None:
    people, _ = load_people(folder / "a.mat")
    with pytest.raises(UsageError, match="auto, tompson, random, paper, hashed, tune or file"):
        split_of(folder, people, "tomson")
    (folder / "valid.h5").write_bytes(b"no hdf5")
    with pytest.raises(PoseTopoError, match="pose-topo download split"):
        split_of(folder, people, "tompson")
    write_valid(folder / "valid.h5", [(90, 0)])
    with pytest.raises(PoseTopoError, match="leaves no val people"):
        split_of(folder, people, "tompson")
    with pytest.raises(PoseTopoError, match="leaves no train people"):
        (folder / "val.txt").write_text("\n".join(people.images))
        split_of(folder, people, "file", split_file=str(folder / "val.txt"))


def named(count: int) -> People:
    """`count` people in as many photographs."""
    zeros = np.zeros(count, np.int64)
    joints = np.zeros((count, 16, 2))
    labelled = np.ones((count, 16), bool)
    names = tuple(f"{i}.jpg" for i in range(count))
    floats = np.zeros((count, 2))
    return People(names, np.arange(count), zeros, zeros, zeros + 1, joints, labelled, labelled, floats,
                  floats[:, 0] + 1, np.zeros((count, 4)))  # fmt: skip


def test_the_hashed_parts_are_disjoint_and_depend_on_names_only():
    people = named(2000)
    test, tune = splits.hashed(people, 0.1, "hashed"), splits.hashed(people, 0.1, "tune")
    assert test.train.tolist() == tune.train.tolist()
    parts = [set(test.train), set(test.val), set(tune.val)]
    assert sorted(set.union(*parts)) == list(range(2000)) and sum(map(len, parts)) == 2000
    assert 150 < len(test.val) < 250 and 150 < len(tune.val) < 250
    # by hand: the first 48 bits of sha256, read as a fraction
    fraction = int(hashlib.sha256(b"7.jpg").hexdigest()[:12], 16) / 16**12
    assert (7 in parts[1], 7 in parts[2]) == (fraction < 0.1, 0.1 <= fraction < 0.2)
    fewer = people.take(np.arange(0, 2000, 3))  # others of the data set make no difference
    names = {people.images[i] for i in test.val}
    assert {fewer.names[i] for i in splits.hashed(fewer, 0.1, "hashed").val} == names & set(fewer.names)


def test_near_duplicates_stay_together():
    people = named(300)
    groups = {f"{i}.jpg": f"{i - i % 3}.jpg" for i in range(300)}
    for rule in ("hashed", "tune"):
        split = splits.hashed(people, 0.2, rule, groups)
        assert {i - i % 3 + j for i in split.val for j in range(3)} == set(split.val)


def test_the_known_near_duplicates_are_those_of_lspet(tmp_path):
    (tmp_path / "joints.mat").write_bytes(b"another file")
    assert splits.near_duplicates(tmp_path / "joints.mat") == {}
    lines = [line.split() for line in splits.NEAR_DUPLICATES.read_text().splitlines()]
    names = [name for line in lines for name in line]
    assert min(map(len, lines)) >= 2 and len(names) == len(set(names))
    assert all(re.fullmatch(r"im\d{5}\.jpg", name) for name in names)
