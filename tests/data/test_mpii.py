"""MPII's annotation file: its values, its irregularities, and the real annotations."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from made_up_people import IDS, points, rect
from scipy.io import loadmat, savemat

from pose_topo.core.errors import PoseTopoError
from pose_topo.data.dataset import prepare
from pose_topo.data.mpii import load_people
from pose_topo.data.people import AnnotationCounts, People, head_size
from pose_topo.rendering.annotation import ImageEntry, write_mpii_mat
from pose_topo.study.config import MAT_NAME, Data
from pose_topo.study.protocols import STANDARD


def load(folder: Path, *images: ImageEntry | list) -> tuple[People, AnnotationCounts]:
    """Parse a file of one good person and these images (or lists of rects)."""
    entries = [ImageEntry("good.jpg", [rect()])]
    entries += [i if isinstance(i, ImageEntry) else ImageEntry(f"{k:03d}.jpg", i) for k, i in enumerate(images)]
    write_mpii_mat(folder / "a.mat", entries)
    return load_people(folder / "a.mat")


def left_out(folder: Path, person, reason: str) -> None:
    """Check that the person is counted under `reason` and the good one is kept."""
    people, counts = load(folder, [person])
    assert len(people) == 1
    assert people.names == ["good.jpg"]
    assert counts == AnnotationCounts(images=2, rects=2, kept=1, left_out={reason: 1})


def test_values_of_a_person(tmp_path: Path) -> None:
    people, counts = load(tmp_path)
    k = np.arange(16)
    assert np.array_equal(people.joints[0], np.stack([299 + 10 * k, 199 + 5 * k], 1))  # 1-based -> 0-based, by id
    assert people.labelled.all()
    assert people.visible.all()
    assert people.center.tolist() == [[369, 249]]
    assert people.scale.tolist() == [2.5]
    assert people.head_box.tolist() == [[299, 199, 329, 239]]
    assert (people.annolist_index[0], people.person[0], people.rects_in_image[0]) == (0, 0, 1)
    assert counts == AnnotationCounts(images=1, rects=1, kept=1, left_out={})


def test_small_integers_do_not_overflow(tmp_path: Path) -> None:
    # all fit a uint8, in which 0 - 1 is 255
    small = rect(0, 0, points=[(k, k, k, 1) for k in IDS], objpos=(0, 0), head_box=(0, 0, 3, 4), scale=1)
    people, _ = load(tmp_path, [small])
    assert people.joints[1, 0].tolist() == [-1, -1]
    assert people.center[1].tolist() == [-1, -1]
    assert people.head_box[1].tolist() == [-1, -1, 2, 3]


def test_is_visible_as_number_text_empty_or_absent(tmp_path: Path) -> None:
    flags = ["1", "0", 1, 0, None, 1.0, 0.0, "1"]
    mixed = [(10 * k, 10 * k, k, flag) for k, flag in enumerate(flags)]
    absent = [(10 * k, 10 * k, k, None) for k in range(8)]  # all None: the file does not have the field
    people, _ = load(tmp_path, [rect(points=mixed)], [rect(points=absent)])
    assert people.visible[1, :8].tolist() == [True, False, True, False, True, True, False, True]
    assert people.visible[2, :8].all()
    for row in (1, 2):
        assert people.labelled[row].tolist() == [True] * 8 + [False] * 8
        assert np.isnan(people.joints[row, 8:]).all()
        assert not people.visible[row, 8:].any()


def test_no_one_or_several_rects(tmp_path: Path) -> None:
    test_rect = rect(points=None, head_box=None)
    people, counts = load(tmp_path, [], [rect(50)], [test_rect, rect(60), rect(70)], [test_rect])
    assert people.annolist_index.tolist() == [0, 2, 3, 3]
    assert people.person.tolist() == [0, 0, 1, 2]
    assert people.rects_in_image.tolist() == [1, 1, 3, 3]
    assert people.names == ["good.jpg", "001.jpg", "002.jpg", "002.jpg"]
    assert people.center[:, 0].tolist() == [369, 119, 129, 139]
    assert counts == AnnotationCounts(images=5, rects=6, kept=4, left_out={"no annopoints": 2})


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


def test_coordinates_outside_the_image_are_kept(tmp_path: Path) -> None:
    people, _ = load(tmp_path, [rect(points=[(-40, 5000, 0, 1)])])
    assert people.joints[1, 0].tolist() == [-41, 4999]


@pytest.mark.parametrize("name", ["", "../up.jpg", "a/b.jpg", "..", "two\nlines.jpg"])
def test_unusable_image_names(tmp_path: Path, name: str) -> None:
    people, counts = load(tmp_path, ImageEntry(name, [rect(), rect()]))
    assert people.names == ["good.jpg"]
    assert counts == AnnotationCounts(images=2, rects=3, kept=1, left_out={"no usable image name": 2})


def test_counts_as_a_table(tmp_path: Path) -> None:
    _, counts = load(tmp_path, [rect(points=None), rect(scale=0)], [])
    assert counts.lines() == [
        "       3  images in the annotation file",
        "       3  annorects",
        "       1  left out: no annopoints",
        "       1  left out: scale not positive",
        "       1  annotated people kept",
    ]
    assert counts.leave_out("photograph missing", 1).kept == 0
    assert counts.leave_out("photograph missing", 0) is counts


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not readable"), (b"not a matlab file" * 20, "not readable"), (None, "not found")],
)
def test_an_unreadable_file_is_reported_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PoseTopoError, match=message) as caught:
        load_people(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off_or_another_one(tmp_path: Path) -> None:
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


# ---- Real annotations: five people of the validation set, and the published files about it.


@pytest.fixture(scope="module")
def valid(real_data: Path) -> dict[str, np.ndarray]:
    """`valid.h5`, with the original centre and scale."""
    with h5py.File(real_data / "mpii-val" / "valid.h5") as file:
        found = {name: np.asarray(file[name]) for name in file}
    found["scale"] = found["scale"] / 1.25
    found["center"] = found["center"] - np.stack([0 * found["scale"], 15 * found["scale"]], 1)
    return found


@pytest.fixture(scope="module")
def truth(real_data: Path) -> dict[str, np.ndarray]:
    return loadmat(real_data / "mpii-val" / "detections_our_format.mat")


@pytest.mark.data
def test_five_people_and_a_missing_photograph(
    real_data: Path, truth: dict, valid: dict[str, np.ndarray], tmp_path: Path, said: list[str]
) -> None:
    data = Data.at(real_data / "mini-mpii")
    dataset = prepare(data, STANDARD, seed=0, cache=tmp_path, workers=1, progress=False)
    people = dataset.people
    assert len(people) == 5
    assert any("099999999.jpg" in line for line in said)
    assert any(line.split() == ["1", "left", "out:", "photograph", "missing"] for line in said)
    assert dataset.store.ok.all()
    assert people.person.tolist() == [0, 0, 0, 1, 0]  # in the fourth entry a rect without points comes first
    labelled = truth["jnt_missing"][:, :5].T == 0
    assert np.array_equal(people.labelled, labelled)
    real = truth["pos_gt_src"][:, :, :5].transpose(2, 0, 1)
    assert np.abs((people.joints + 1 - real)[labelled]).max() < 1e-4  # the noise of that file
    boxes = truth["headboxes_src"][:, :, :5].transpose(2, 0, 1).reshape(5, 4)
    assert np.abs(people.head_box + 1 - boxes).max() < 1e-9
    assert people.names == [name.decode() for name in valid["imgname"][:5]]
    assert np.abs(people.center + 1 - valid["center"][:5]).max() < 1e-6
    assert np.abs(people.scale - valid["scale"][:5]).max() < 1e-6
    apart = (people.joints + 1 - valid["part"][:5])[labelled]
    assert np.abs(apart).max() < 1  # valid.h5 rounds the joints that were derived from the head box
    assert (apart[~np.isin(np.nonzero(labelled)[1], [8, 9])] == 0).all()


@pytest.mark.data
def test_the_annotation_of_a_missing_photograph_is_read(real_data: Path) -> None:
    people, counts = load_people(real_data / "mini-mpii" / MAT_NAME)
    assert (counts.images, counts.kept, len(people)) == (12, 6, 6)
    assert "099999999.jpg" in people.names


@pytest.mark.data
def test_head_size_is_25_scales_on_the_validation_set(truth: dict, valid: dict[str, np.ndarray]) -> None:
    """So PCKh@0.5 is a constant number of pixels in the crop."""
    boxes = truth["headboxes_src"].transpose(2, 0, 1).reshape(-1, 4)
    assert len(boxes) == len(valid["scale"]) == 2958
    # the files carry a noise of 1e-4 px
    assert np.abs(head_size(boxes) - 25 * valid["scale"]).max() < 1e-3
    assert np.abs(head_size(boxes) - valid["normalize"]).max() < 1e-3
    assert np.abs(valid["center"] - np.round(valid["center"])).max() < 1e-6
