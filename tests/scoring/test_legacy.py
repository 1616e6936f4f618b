"""The metric of the original study: by hand, against its heatmaps, and on published predictions."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_topo.data import geometry
from pose_topo.data.batches import generate_heatmaps
from pose_topo.scoring.decoding import argmax_cells, decode
from pose_topo.scoring.other_metrics import _within, head_ratio, legacy_hits, legacy_report
from pose_topo.scoring.predictions import read_ground_truth, read_predictions
from pose_topo.study import joints as J

REAL = os.environ.get("POSE_TOPO_REAL_DATA")


def compute_pckh_from_heatmaps(predicted: torch.Tensor, target: torch.Tensor) -> float:
    """The study's function: PCKh in 0..1 from the highest cells of two sets of heatmaps (B, 16, H, W)."""
    size = torch.tensor([predicted.shape[-1], predicted.shape[-2]], dtype=torch.float64)
    cells = [(argmax_cells(maps)[0].double() / size).numpy() for maps in (predicted, target)]
    return float(_within(*cells).mean())


def legacy_pckh(*arrays: np.ndarray) -> float:
    return 100.0 * float(legacy_hits(*arrays).mean())


def test_by_hand():
    # photograph 640 x 640: a cell is 10 px. Right wrist and left shoulder 4 cells apart: "head" 4/64, 2 cells allowed
    truth = np.full((1, J.K, 2), 305.0)
    truth[0, J.R_WRIST] = [345.0, 305.0]
    labelled = np.ones((1, J.K), bool)
    labelled[0, J.R_KNEE] = False  # then the truth is the cell (0, 0), and it counts
    found = truth.copy()
    found[0, J.L_KNEE] += [20, 0]  # 2 cells: correct
    found[0, J.L_HIP] += [30, 0]  # 3 cells: wrong
    size = np.array([[640.0, 640.0]])
    assert legacy_pckh(found, truth, labelled, size) == pytest.approx(100 * 14 / 16)
    found[0, J.R_KNEE] = 3.0  # cell (0, 0)
    assert legacy_pckh(found, truth, labelled, size) == pytest.approx(100 * 15 / 16)


def test_the_picture_is_squeezed():
    # 1280 x 640: a cell is 20 px wide and 10 px high; "head" 4 cells along y, so 2 cells are allowed: 40 px or 20 px
    truth = np.full((1, J.K, 2), 305.0)
    truth[0, J.R_WRIST] = [305.0, 345.0]
    found = truth.copy()
    found[0, J.L_KNEE] += [40, 0]
    found[0, J.R_KNEE] += [0, 40]
    right = legacy_hits(found, truth, np.ones((1, J.K), bool), np.array([[1280.0, 640.0]]))
    assert right[0, J.L_KNEE] and not right[0, J.R_KNEE] and right.sum() == 15


def test_legacy_hits_agree_with_the_study_on_heatmaps():
    """Both agree for cells of squeezed photographs, with unlabelled joints and joints outside."""
    rng = np.random.default_rng(0)
    people = 60
    sizes = rng.integers(200, 2000, (people, 2)).astype(float)
    truth = (rng.uniform(-0.05, 1.05, (people, J.K, 2))) * sizes[:, None]
    labelled = rng.random((people, J.K)) < 0.9
    affine = geometry.squeeze_to_photo(sizes, 256)
    cells = (geometry.apply(geometry.invert(affine), truth) + 0.5) / 4
    targets, _ = generate_heatmaps(torch.from_numpy(cells), torch.from_numpy(labelled), 64, 2.0, "truncated")
    found = torch.from_numpy(rng.uniform(0, 64, (people, J.K, 2)))
    found[: people // 2] = torch.from_numpy(cells)[: people // 2].clamp(0, 63.9)  # half of the people are found
    predicted, _ = generate_heatmaps(found, torch.ones(people, J.K, dtype=torch.bool), 64, 2.0, "truncated")
    pixels, _ = decode(predicted, "cell-centre")
    photo = geometry.apply(affine, pixels.double().numpy())
    wanted = compute_pckh_from_heatmaps(predicted, targets)
    assert 0.4 < wanted < 0.9
    assert legacy_pckh(photo, truth, labelled, sizes) == pytest.approx(100 * wanted, abs=1e-9)


def test_a_prediction_outside_the_photograph_is_moved_to_its_border():
    truth = np.full((1, J.K, 2), 635.0)  # the last cell of 64
    truth[0, J.R_WRIST] = 5.0
    found = truth + 500.0
    assert legacy_hits(found, truth, np.ones((1, J.K), bool), np.array([[640.0, 640.0]])).sum() == 15


def test_head_ratio_by_hand():
    truth, labelled = np.zeros((3, J.K, 2)), np.ones((3, J.K), bool)
    truth[:, J.R_WRIST] = [[30, 40], [60, 80], [1e6, 0]]
    labelled[2, J.L_SHOULDER] = False  # no length
    assert head_ratio(truth, labelled, np.full(3, 25.0)) == {"mean": 3.0, "median": 3.0, "people": 2}
    assert head_ratio(truth, labelled & False, np.full(3, 25.0)) == {"mean": None, "median": None, "people": 0}


def test_the_report_says_why_numbers_are_missing():
    rng = np.random.default_rng(0)
    truth, labelled = rng.uniform(0, 400, (9, J.K, 2)), rng.random((9, J.K)) < 0.9
    labelled[0] = True
    kept = truth.copy(), labelled.copy()
    without = legacy_report(truth, truth, labelled, np.full(9, 30.0), None)
    assert without["pckh"] is None and "sizes" in without["reason"] and without["head_ratio"]["median"] > 1
    sizes = np.full((9, 2), 400.0)
    known = legacy_report(truth, truth, labelled, np.full(9, 30.0), sizes)
    assert known["reason"] is None and known["pckh"] == legacy_pckh(truth, truth, labelled, sizes)
    # a perfect prediction of what is labelled: only unlabelled joints can be wrong
    assert known["pckh_labelled"] == 100.0 > known["pckh"]
    assert known["unlabelled"] == (~labelled).sum()
    assert all(np.array_equal(a, b) for a, b in zip(kept, (truth, labelled), strict=True))


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="POSE_TOPO_REAL_DATA is not set")
def test_newells_predictions_under_the_studys_metric():
    """The files have no photograph sizes. Most are 1280 x 720, and the score hardly depends on it."""
    folder = Path(str(REAL)) / "mpii-val"
    truth = read_ground_truth(folder / "detections_our_format.mat")
    found = read_predictions(folder / "newell.h5")
    ratio = head_ratio(truth.joints, truth.labelled, truth.head_size)
    assert ratio["people"] == 2914 and ratio["median"] == pytest.approx(2.42, abs=0.005)
    reach = np.where(truth.labelled[..., None], truth.joints, 0).max(1)
    for width, height in ((1280, 720), (1920, 1080), (640, 480)):
        sizes = np.maximum([width, height], np.where((reach >= [width, height]).any(1)[:, None], [1920, 1080], 0))
        report = legacy_report(found, truth.joints, truth.labelled, truth.head_size, sizes.astype(float))
        assert report["pckh_labelled"] == pytest.approx(94.6, abs=0.3)
        assert report["pckh"] == pytest.approx(88.5, abs=0.2)  # 6.5% of the joints are unlabelled and count as wrong
        if width == 1280:  # as docs/metrics.md says
            assert report["pckh"] == pytest.approx(88.66, abs=0.005)
