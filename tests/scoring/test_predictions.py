"""Prediction files: all layouts give the same scores, and other files are refused in one line."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from pose_topo.core.errors import PoseTopoError, one_line
from pose_topo.scoring.predictions import read_ground_truth, read_predictions, write_predictions
from pose_topo.stages.evaluate import evaluate_predictions
from pose_topo.study import joints as J

P = 7


def people(seed: int = 0) -> dict[str, np.ndarray]:
    """The annotation of 7 people in 1-based pixels, and predictions that differ by about a pixel."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(1, [800, 400], (P, J.K, 2))
    corner = rng.uniform(1, 300, (P, 2))
    return {
        "joints": joints,
        "labelled": rng.random((P, J.K)) < 0.8,
        "head_box": np.concatenate([corner, np.add(corner, [30, 40])], 1),  # head size 30
        "preds": joints + rng.normal(0, 1, joints.shape),
    }


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """A ground truth file in the form of detections_our_format.mat."""
    known, path = people(), tmp_path / "detections.mat"
    boxes = known["head_box"].reshape(P, 2, 2).transpose(1, 2, 0)
    content = {"pos_gt_src": known["joints"].transpose(1, 2, 0), "headboxes_src": boxes}
    savemat(path, {**content, "jnt_missing": (~known["labelled"]).T.astype(float)})
    return path


def write_h5(path: Path, **fields) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return path


def write_mat(path: Path, **fields) -> Path:
    savemat(path, fields)
    return path


def test_every_layout_is_the_same_prediction(tmp_path, truth):
    found = people()["preds"]
    turned = found.transpose(2, 1, 0)
    files = [
        write_h5(tmp_path / "a.h5", preds=found),
        write_h5(tmp_path / "b.h5", preds=turned),
        write_h5(tmp_path / "c.mat", preds=turned),  # MATLAB 7.3 is HDF5
        write_mat(tmp_path / "d.mat", preds=found),
        write_mat(tmp_path / "e.mat", preds=turned),
    ]
    write_predictions(tmp_path / "f.h5", found - 1.0, confidence=np.ones((P, J.K)))
    for path in [*files, tmp_path / "f.h5"]:
        assert np.allclose(read_predictions(path), found - 1.0, rtol=0, atol=1e-12), path
    assert evaluate_predictions(files[0], truth)["pckh"]["0.5"]["mean"] == 100.0


def test_whole_numbers_are_numbers(tmp_path):
    found = people()["preds"].astype(np.uint16)
    assert (read_predictions(write_h5(tmp_path / "a.h5", preds=found)) == found.astype(float) - 1).all()


def test_our_own_file_is_read_as_ground_truth_and_as_predictions(tmp_path, truth):
    known, path = people(), tmp_path / "predictions.h5"
    extra = {key: known[key] for key in ("joints", "labelled", "head_box")}
    who = {"annolist_index": np.arange(P), "person": np.zeros(P, int)}
    write_predictions(path, known["preds"] - 1.0, **extra, **who)
    assert evaluate_predictions(path, path)["pckh"] == evaluate_predictions(path, truth)["pckh"]
    other = tmp_path / "other.h5"
    write_predictions(other, known["preds"] - 1.0, **extra, annolist_index=np.arange(P)[::-1], person=who["person"])
    with pytest.raises(PoseTopoError, match="different people"):
        evaluate_predictions(other, path)


def with_nan(found: np.ndarray) -> np.ndarray:
    found = found.copy()
    found[3, 2, 1] = np.nan
    return found


@pytest.mark.parametrize("write", [write_h5, write_mat])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found[:-1], "6 people"),
        (lambda found: found[:0], "holds nobody"),
        (with_nan, "1 values of preds are not finite"),
        (lambda found: found[..., ::-1], "x and y are exchanged"),
        (lambda found: found[..., ::-1].transpose(2, 1, 0), "x and y are exchanged"),
        (lambda found: found.transpose(0, 2, 1), r"\(7, 2, 16\).*exchange its axes"),
        (lambda found: found.transpose(1, 2, 0), r"\(16, 2, 7\).*exchange its axes"),
        (lambda found: found.transpose(1, 0, 2), r"\(16, 7, 2\).*exchange its axes"),
        (lambda found: found.transpose(2, 0, 1), r"\(2, 7, 16\).*exchange its axes"),
        (lambda found: found[:, :14], r"\(7, 14, 2\), not"),
        (lambda found: np.concatenate([found, found[..., :1]], -1), r"\(7, 16, 3\), not"),
        (lambda found: found.reshape(P, -1), r"\(7, 32\), not"),
        (lambda found: 3.0, "shape"),
        (lambda found: found + 1j, "complex128, not numbers|no real numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(tmp_path, truth, write, change, words):
    path = write(tmp_path / ("a.h5" if write is write_h5 else "a.mat"), preds=change(people()["preds"]))
    with pytest.raises(PoseTopoError, match=words):
        evaluate_predictions(path, truth)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: write_h5(path / "a.h5", joints=np.ones((P, 16, 2))),  # another key
        lambda path: write_h5(path / "a.h5", preds=["a", "b"]),  # strings
        lambda path: write_h5(path / "a.h5", preds=np.ones((P, 16, 2), bool)),
        lambda path: write_h5(path / "a.h5", preds=h5py.Empty("f8")),
        lambda path: write_h5(path / "a.h5", **{"preds/inner": np.ones(3)}),  # a group
        lambda path: write_h5(path / "a.h5", preds=h5py.SoftLink("/nowhere")),
        lambda path: write_h5(path / "a.h5", preds=np.zeros(3, [("x", "f8"), ("y", "f8")])),
        lambda path: write_mat(path / "a.mat", preds=np.array([{"x": 1}, "b", 3.0], object)),
        lambda path: write_mat(path / "a.mat", preds={"x": 1.0}),  # a struct
        lambda path: write_mat(path / "a.mat", preds="text"),
        lambda path: write_mat(path / "a.mat", other=1.0),
    ],
)
def test_other_content_is_refused(tmp_path, truth, make):
    with pytest.raises(PoseTopoError) as refused:
        evaluate_predictions(make(tmp_path), truth)
    line, code = one_line(refused.value)
    assert code == 1 and "\n" not in line and "a." in line


def test_a_header_that_promises_terabytes_is_refused_before_reading(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("preds", (10**10, 16, 2), "f8", chunks=(1, 16, 2))
    with pytest.raises(PoseTopoError, match="more than any data set"):
        read_predictions(tmp_path / "a.h5")


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_broken_bytes_are_read_as_numbers_or_refused(tmp_path, suffix, cut, flips):
    whole = (write_h5 if suffix == ".h5" else write_mat)(tmp_path / f"whole{suffix}", preds=people()["preds"])
    content = bytearray(whole.read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(content[: int(cut * len(content))] if cut < 0.9 else content)
    try:
        found = read_predictions(broken)
    except PoseTopoError as error:
        assert "broken" in one_line(error)[0]
    else:
        assert found.shape[1:] == (J.K, 2) and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jnt_missing": np.zeros((P, J.K))}, "labelled"),
        ({"headboxes_src": np.ones((2, 2, P - 1))}, "head boxes"),
        ({"headboxes_src": np.ones((2, 2, P))}, "not positive"),
        ({"pos_gt_src": np.full((J.K, 2, P), np.nan)}, "not finite"),
        ({"pos_gt_src": np.ones((J.K, 2))}, "not a ground truth file"),
        ({"pos_gt_src": "text"}, "no real numbers"),
    ],
)
def test_a_file_without_ground_truth_is_refused(tmp_path, truth, change, words):
    from scipy.io import loadmat

    fields = {key: value for key, value in loadmat(truth).items() if not key.startswith("__")}
    savemat(truth, {**fields, **change})
    found = write_h5(tmp_path / "a.h5", preds=people()["preds"])
    with pytest.raises(PoseTopoError, match=words):
        evaluate_predictions(found, truth)


@pytest.mark.data
def test_a_published_prediction_with_exchanged_axes_is_refused(real_data, tmp_path):
    folder = real_data / "mpii-val"
    found = read_predictions(folder / "newell.h5") + 1.0
    exchanged = write_mat(tmp_path / "swapped.mat", preds=found[..., ::-1].transpose(2, 1, 0))
    with pytest.raises(PoseTopoError, match="x and y are exchanged"):
        evaluate_predictions(exchanged, folder / "detections_our_format.mat")
    turned = write_mat(tmp_path / "turned.mat", preds=found.transpose(2, 1, 0))
    result = evaluate_predictions(turned, folder / "detections_our_format.mat")
    assert round(result["pckh"]["0.5"]["mean"], 2) == 88.43
    assert len(read_ground_truth(folder / "detections_our_format.mat").joints) == len(found) == 2958
