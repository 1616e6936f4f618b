"""Every quirk of the annotation file, one by one."""

from pathlib import Path

import numpy as np
import pytest
from made_up_people import IDS, points, rect
from scipy.io import savemat

from pose_topo.core.errors import PoseTopoError
from pose_topo.data.mpii import Census, load_people
from pose_topo.data.people import People
from pose_topo.rendering.annotation import ImageEntry, write_mpii_mat


def load(folder: Path, *images: ImageEntry | list) -> tuple[People, Census]:
    """Parse a file of these images (or lists of rects), after one good person who is always there."""
    entries = [ImageEntry("good.jpg", [rect()])]
    entries += [i if isinstance(i, ImageEntry) else ImageEntry(f"{k:03d}.jpg", i) for k, i in enumerate(images)]
    write_mpii_mat(folder / "a.mat", entries)
    return load_people(folder / "a.mat")


def left_out(folder: Path, person, reason: str) -> None:
    """The person is counted under `reason`; nobody else is touched."""
    people, census = load(folder, [person])
    assert len(people) == 1
    assert people.names == ["good.jpg"]
    assert census == Census(images=2, rects=2, kept=1, left_out={reason: 1})


def test_values_of_a_person(tmp_path: Path) -> None:
    people, census = load(tmp_path)
    k = np.arange(16)
    assert np.array_equal(people.joints[0], np.stack([299 + 10 * k, 199 + 5 * k], 1))  # 1-based -> 0-based, by id
    assert people.labelled.all()
    assert people.visible.all()
    assert people.center.tolist() == [[369, 249]]
    assert people.scale.tolist() == [2.5]
    assert people.head_box.tolist() == [[299, 199, 329, 239]]
    assert (people.annolist_index[0], people.person[0], people.rects_in_image[0]) == (0, 0, 1)
    assert census == Census(images=1, rects=1, kept=1, left_out={})


def test_small_integers_do_not_wrap(tmp_path: Path) -> None:
    # all fit a uint8, in which 0 - 1 is 255
    small = rect(0, 0, points=[(k, k, k, 1) for k in IDS], objpos=(0, 0), head_box=(0, 0, 3, 4), scale=1)
    people, _ = load(tmp_path, [small])
    assert people.joints[1, 0].tolist() == [-1, -1]
    assert people.center[1].tolist() == [-1, -1]
    assert people.head_box[1].tolist() == [-1, -1, 2, 3]


def test_is_visible_number_char_empty_absent(tmp_path: Path) -> None:
    flags = ["1", "0", 1, 0, None, 1.0, 0.0, "1"]
    mixed = [(10 * k, 10 * k, k, flag) for k, flag in enumerate(flags)]
    absent = [(10 * k, 10 * k, k, None) for k in range(8)]  # all None: the file has no such field at all
    people, _ = load(tmp_path, [rect(points=mixed)], [rect(points=absent)])
    assert people.visible[1, :8].tolist() == [True, False, True, False, True, True, False, True]
    assert people.visible[2, :8].all()
    for row in (1, 2):
        assert people.labelled[row].tolist() == [True] * 8 + [False] * 8
        assert np.isnan(people.joints[row, 8:]).all()
        assert not people.visible[row, 8:].any()


def test_rects_none_one_several(tmp_path: Path) -> None:
    test_rect = rect(points=None, head_box=None)
    people, census = load(tmp_path, [], [rect(50)], [test_rect, rect(60), rect(70)], [test_rect])
    assert people.annolist_index.tolist() == [0, 2, 3, 3]
    assert people.person.tolist() == [0, 0, 1, 2]
    assert people.rects_in_image.tolist() == [1, 1, 3, 3]
    assert people.names == ["good.jpg", "001.jpg", "002.jpg", "002.jpg"]
    assert people.center[:, 0].tolist() == [369, 119, 129, 139]
    assert census == Census(images=5, rects=6, kept=4, left_out={"no annopoints": 2})


def test_one_point(tmp_path: Path) -> None:
    people, _ = load(tmp_path, [rect(points=[(12, 13, 9, "0")])])
    assert people.labelled[1].nonzero()[0].tolist() == [9]
    assert people.joints[1, 9].tolist() == [11, 12]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"points": None}, "no annopoints"),
        ({"points": []}, "no annopoints"),
        ({"scale": None}, "no scale or objpos"),
        ({"objpos": None}, "no scale or objpos"),
        ({"objpos": (None, 3)}, "no scale or objpos"),
        ({"objpos": (float("nan"), 3)}, "no scale or objpos"),
        ({"scale": float("inf")}, "no scale or objpos"),
        ({"scale": -1.5}, "scale not positive"),
        ({"scale": 0}, "scale not positive"),
        ({"scale": 1e-5}, "person less than 2 px high"),
        ({"scale": 101.0}, "coordinates beyond 20,000 px"),
        ({"objpos": (30_000, 5)}, "coordinates beyond 20,000 px"),
        ({"head_box": (1.0, 1.0, 1e9, 2.0)}, "coordinates beyond 20,000 px"),
        ({"points": [(-25_000, 5, 0, 1)]}, "coordinates beyond 20,000 px"),
        ({"head_box": None}, "no head box"),
        ({"head_box": (5, 6, 5, 6)}, "no head box"),
        ({"head_box": (5, 6, float("nan"), 6)}, "no head box"),
        ({"points": [(1, 1, 16, 1)]}, "joint id out of range"),
        ({"points": [(1, 1, -1, 1)]}, "joint id out of range"),
        ({"points": [(1, 1, 2.5, 1)]}, "joint id out of range"),
        ({"points": [(1, 1, None, 1)]}, "joint id out of range"),
        ({"points": [*points(), (1, 1, 3, 1)]}, "joint id twice"),
        ({"points": [(float("nan"), 1, 3, 1), (None, None, 4, 1)]}, "no joint with coordinates"),
    ],
)
def test_left_out_by_reason(tmp_path: Path, change: dict, reason: str) -> None:
    left_out(tmp_path, rect(**change), reason)


def test_a_joint_without_coordinates_is_not_labelled(tmp_path: Path) -> None:
    broken = [(float("nan"), 5, 0, 1), (5, None, 1, 1), (7, 8, 2, 1)]
    people, _ = load(tmp_path, [rect(points=broken)])
    assert people.labelled[1].nonzero()[0].tolist() == [2]
    assert not people.visible[1, :2].any()


def test_coordinates_outside_the_image_stay(tmp_path: Path) -> None:
    people, _ = load(tmp_path, [rect(points=[(-40, 5000, 0, 1)])])
    assert people.joints[1, 0].tolist() == [-41, 4999]


@pytest.mark.parametrize("name", ["", "../up.jpg", "a/b.jpg", "..", "two\nlines.jpg"])
def test_unusable_image_names(tmp_path: Path, name: str) -> None:
    people, census = load(tmp_path, ImageEntry(name, [rect(), rect()]))
    assert people.names == ["good.jpg"]
    assert census == Census(images=2, rects=3, kept=1, left_out={"no usable image name": 2})


def test_census_is_one_table(tmp_path: Path) -> None:
    _, census = load(tmp_path, [rect(points=None), rect(scale=0)], [])
    assert census.lines() == [
        "       3  images in the annotation file",
        "       3  annorects",
        "       1  left out: no annopoints",
        "       1  left out: scale not positive",
        "       1  annotated people kept",
    ]
    assert census.leave_out("photograph missing", 1).kept == 0
    assert census.leave_out("photograph missing", 0) is census


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not readable"), (b"not a matlab file" * 20, "not readable"), (None, "not found")],
)
def test_no_such_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PoseTopoError, match=message) as caught:
        load_people(path)
    assert "\n" not in str(caught.value)


def test_cut_off_or_another_file(tmp_path: Path) -> None:
    load(tmp_path, [rect()])
    whole = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PoseTopoError, match="not readable"):
        load_people(tmp_path / "a.mat")
    savemat(tmp_path / "b.mat", {"x": 1})
    with pytest.raises(PoseTopoError, match="without RELEASE"):
        load_people(tmp_path / "b.mat")
    savemat(tmp_path / "c.mat", {"RELEASE": 1})
    with pytest.raises(PoseTopoError, match="no annotated person"):
        load_people(tmp_path / "c.mat")
