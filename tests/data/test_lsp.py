"""Leeds Sports Pose Extended: its joints, its boxes, and files that are not what they should be."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import geometry, lsp
from pose_topo.data.dataset import READERS, cached_people
from pose_topo.study import joints as J
from pose_topo.study.config import Data
from pose_topo.study.protocols import PHOTOGRAPHS

# LSPET's order, by name: the readme of the data set
LSPET = ("right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle", "right wrist", "right elbow",
         "right shoulder", "left shoulder", "left elbow", "left wrist", "upper neck", "head top")  # fmt: skip


def write(path: Path, values: np.ndarray, name: str = "joints") -> Path:
    savemat(path, {name: values}, do_compression=True)
    return path


def three_people() -> np.ndarray:
    """Three people, (14, 3, 3): all joints, one joint, no joint but two. Joint k of person i is at (10 i + k, 5 k)."""
    values = np.zeros((14, 3, 3))
    for i in range(3):
        values[:, 0, i], values[:, 1, i] = 10 * i + np.arange(14), 5 * np.arange(14)
    values[:, 2, 0], values[3, 2, 1], values[[8, 2], 2, 2] = 1, 1, 1
    values[0, 0, 2] = 1e9  # not labelled, so it means nothing
    return values


def test_every_joint_gets_its_name(tmp_path):
    people, counts = lsp.load_people(write(tmp_path / "joints.mat", three_people()))
    assert (counts.rects, counts.kept, counts.left_out) == (3, 2, {"fewer than 2 joints": 1})
    assert people.names == ["im00001.jpg", "im00003.jpg"] and people.annolist_index.tolist() == [0, 2]
    for k, name in enumerate(LSPET):
        assert people.joints[0, J.NAMES.index(name)].tolist() == [k, 5 * k], name
    absent = [J.NAMES.index("pelvis"), J.NAMES.index("thorax")]
    assert np.flatnonzero(~people.labelled[0]).tolist() == absent and np.isnan(people.joints[0, absent]).all()
    assert np.flatnonzero(people.labelled[1]).tolist() == [J.R_HIP, J.R_SHOULDER]
    assert np.isnan(people.head_box).all()


def test_reference_lengths_by_hand(tmp_path):
    people, _ = lsp.load_people(write(tmp_path / "joints.mat", three_people()))
    # neck (12, 60) to head top (13, 65); left shoulder (9, 45) to right hip (2, 10); the second person has neither
    np.testing.assert_allclose(people.head_size, [np.sqrt(26), np.nan])
    np.testing.assert_allclose(people.torso, [np.hypot(7, 35), np.nan])
    assert people.reference_lengths() == {
        "pckh": {"length": "head segment", "people": 1, "without": 1},
        "pck": {"length": "torso", "people": 1, "without": 1},
    }
    assert people.validation_unit()[0] == "PCKh@0.5"
    assert people.take(np.array([1])).validation_unit()[0] == "PCK@0.2"


def test_every_labelled_joint_lies_inside_the_input(tmp_path):
    """By the warp of the standard recipe, for people of many sizes and places."""
    rng = np.random.default_rng(0)
    values = np.ones((14, 3, 200))
    centre, side = rng.uniform(-50, 800, (2, 200)), rng.uniform(5, 900, 200)
    values[:, :2] = centre + rng.uniform(-0.5, 0.5, (14, 2, 200)) * side
    people, _ = lsp.load_people(write(tmp_path / "joints.mat", values))
    to_photo = geometry.person_to_photo(people.center, people.scale, 128)
    margin = (geometry.stored_size(128) - 128) / 2
    found = geometry.apply(geometry.invert(to_photo), people.joints)[people.labelled] - margin
    assert (found > 0).all() and (found < 127).all()


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (np.zeros((3, 14, 5)), "joints", "the layout of LSP, whose flag"),
        (np.zeros((14, 3)), "joints", r"shape \(14, 3\), not \(14, 3, N\)"),
        (np.zeros((14, 3, 2)), "joints", "no usable person of 2"),
        (np.zeros((14, 3, 2)), "other", "without the variable joints"),
        (np.full((14, 3, 2), np.nan), "joints", "no usable person of 2"),
    ],
)
def test_another_file_is_one_line(tmp_path, values, name, message):
    with pytest.raises(PoseTopoError, match=message):
        lsp.load_people(write(tmp_path / "joints.mat", values, name))


def test_a_damaged_file_is_one_line(tmp_path):
    path = write(tmp_path / "joints.mat", three_people())
    whole = path.read_bytes()
    for content in (b"", whole[:200], b"no matlab" * 50, whole[:150] + b"\xff" * 20 + whole[170:]):
        path.write_bytes(content)
        with pytest.raises(PoseTopoError, match=r"joints\.mat"):
            lsp.load_people(path)
    with pytest.raises(PoseTopoError, match="pose-topo download lspet"):
        lsp.load_people(tmp_path / "none.mat")


def test_coordinates_that_no_photograph_has_leave_the_person_out(tmp_path):
    values = np.ones((14, 3, 3))
    values[:, 0] = np.arange(14)[:, None]
    values[4, 0, 1], values[5, 1, 2] = np.inf, -1e6
    _, counts = lsp.load_people(write(tmp_path / "joints.mat", values))
    assert counts.left_out == {"coordinates not finite or too large": 2}


def test_a_data_folder_is_recognised_by_its_annotation_file(tmp_path):
    write(tmp_path / "joints.mat", three_people())
    data = Data.at(tmp_path)
    assert data.mat_path == str(tmp_path / "joints.mat") and data.img_dir == str(tmp_path / "images")
    assert cached_people(data.mat_path, tmp_path / "cache")[0].names == ["im00001.jpg", "im00003.jpg"]
    assert next(iter(READERS)) == "joints.mat"  # before ".mat", which is MPII's
    assert PHOTOGRAPHS.split == "hashed"


@pytest.mark.data
def test_the_real_sample(real_data, tmp_path):
    """24 of the real people: all joints lie inside their photographs, and heads are above or near the neck's side."""
    from pose_topo.data.crops import photo_sizes

    folder = real_data / "mini-lspet"
    people, counts = cached_people(folder / "joints.mat", tmp_path)
    assert counts.kept == 24
    sizes = photo_sizes(folder / "images", people.names)
    assert sizes is not None
    inside = (people.joints > -2) & (people.joints < sizes[:, None] + 2) | ~people.labelled[..., None]
    assert inside.mean() > 0.99


def test_photographs_that_nearly_repeat_each_other_are_grouped(tmp_path):
    """A copy, a paler copy and a slight crop belong to one photograph; other photographs stay alone."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (9, 9, 3), np.uint8) for _ in range(3)]
    scenes = [cv2.resize(one, (180, 180), interpolation=cv2.INTER_CUBIC) for one in noise]
    pictures = {"a": scenes[0], "b": scenes[1], "c": scenes[2], "d": scenes[0] // 2 + 60, "e": scenes[1][2:, 3:]}
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), picture)
    assert lsp.near_duplicates(tmp_path) == [["a.jpg", "d.jpg"], ["b.jpg", "e.jpg"]]
