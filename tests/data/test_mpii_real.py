"""The parser on real annotations: five people of the validation set, and the identities of its published files."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from pose_topo.data.dataset import prepare
from pose_topo.data.mpii import load_people
from pose_topo.data.people import head_size
from pose_topo.study.config import MAT_NAME, Data
from pose_topo.study.protocols import STANDARD

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def valid(real_data: Path) -> dict[str, np.ndarray]:
    """`valid.h5` with its adjustment of centre and scale undone."""
    with h5py.File(real_data / "mpii-val" / "valid.h5") as file:
        found = {name: np.asarray(file[name]) for name in file}
    found["scale"] = found["scale"] / 1.25
    found["center"] = found["center"] - np.stack([0 * found["scale"], 15 * found["scale"]], 1)
    return found


@pytest.fixture(scope="module")
def truth(real_data: Path) -> dict[str, np.ndarray]:
    return loadmat(real_data / "mpii-val" / "detections_our_format.mat")


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
    assert people.person.tolist() == [0, 0, 0, 1, 0]  # in the fourth a rect without points stands before
    labelled = truth["jnt_missing"][:, :5].T == 0
    assert np.array_equal(people.labelled, labelled)
    real = truth["pos_gt_src"][:, :, :5].transpose(2, 0, 1)
    assert np.abs((people.joints + 1 - real)[labelled]).max() < 1e-4  # that file's own noise
    boxes = truth["headboxes_src"][:, :, :5].transpose(2, 0, 1).reshape(5, 4)
    assert np.abs(people.head_box + 1 - boxes).max() < 1e-9
    assert people.names == [name.decode() for name in valid["imgname"][:5]]
    assert np.abs(people.center + 1 - valid["center"][:5]).max() < 1e-6
    assert np.abs(people.scale - valid["scale"][:5]).max() < 1e-6
    apart = (people.joints + 1 - valid["part"][:5])[labelled]
    assert np.abs(apart).max() < 1  # valid.h5 rounds the joints that were derived from the head box
    assert (apart[~np.isin(np.nonzero(labelled)[1], [8, 9])] == 0).all()


def test_the_missing_photograph_is_annotated_all_the_same(real_data: Path) -> None:
    people, census = load_people(real_data / "mini-mpii" / MAT_NAME)
    assert (census.images, census.kept, len(people)) == (12, 6, 6)
    assert "099999999.jpg" in people.names


def test_head_size_is_25_scales_on_the_validation_set(truth: dict, valid: dict[str, np.ndarray]) -> None:
    """Why PCKh@0.5 is a constant number of pixels in the crop."""
    boxes = truth["headboxes_src"].transpose(2, 0, 1).reshape(-1, 4)
    assert len(boxes) == len(valid["scale"]) == 2958
    # the files carry a noise of 1e-4 px
    assert np.abs(head_size(boxes) - 25 * valid["scale"]).max() < 1e-3
    assert np.abs(head_size(boxes) - valid["normalize"]).max() < 1e-3
    assert np.abs(valid["center"] - np.round(valid["center"])).max() < 1e-6
