"""PCKh by hand on three people, its laws, and a published system's scores."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_topo.core.errors import PoseTopoError
from pose_topo.data.people import head_size
from pose_topo.scoring.pckh import auc, curve, normalised_errors, pck, score, scores_at
from pose_topo.stages.evaluate import evaluate_predictions
from pose_topo.study import joints as J

REAL = os.environ.get("POSE_TOPO_REAL_DATA")


def three_people():
    """All joints at (100, 100), head box 30 x 40 (diagonal 50, head size 30): at 0.5 a joint may be 15 px off."""
    truth = np.full((3, J.K, 2), 100.0)
    labelled = np.ones((3, J.K), bool)
    box = np.tile([10.0, 10.0, 40.0, 50.0], (3, 1))
    return truth, labelled, head_size(box)


def test_head_size_is_six_tenths_of_the_diagonal():
    assert head_size(np.array([[10.0, 10.0, 40.0, 50.0]])).tolist() == [30.0]


def test_by_hand_on_three_people():
    truth, labelled, size = three_people()
    found = truth.copy()
    found[0, J.HEAD_TOP] += [9, 12]  # 15 px: on the threshold, correct
    found[1, J.HEAD_TOP] += [9, 12.1]  # beyond
    labelled[2, J.HEAD_TOP] = False  # does not count: head 1 of 2
    found[0, J.R_WRIST] += [16, 0]  # right wrist 2 of 3, left wrist 3 of 3 -> group 83.3
    found[:, J.PELVIS] += 500  # never scored
    result = scores_at(normalised_errors(found, truth, labelled, size), 0.5)
    assert result["groups"]["Head"] == 50.0
    assert result["groups"]["Wrist"] == pytest.approx(100 * 5 / 6)
    assert result["groups"]["Knee"] == 100.0
    assert result["joints"]["pelvis"] == 0.0
    # 14 joints x 3 people less one unlabelled = 41, two of them wrong
    assert result["mean"] == pytest.approx(100 * 39 / 41)


def test_a_joint_labelled_nowhere_has_no_score():
    truth, labelled, size = three_people()
    labelled[:, [J.R_ANKLE, J.L_ANKLE]] = False
    result = scores_at(normalised_errors(truth, truth, labelled, size), 0.5)
    assert result["joints"]["left ankle"] is None
    assert result["groups"]["Ankle"] is None
    assert result["mean"] == 100.0


def test_the_curve_and_its_area_by_hand():
    truth, labelled, size = three_people()
    labelled[:] = False
    labelled[0, [J.R_KNEE, J.L_KNEE]] = True
    found = truth.copy()
    found[0, J.R_KNEE] += [7.5, 0]  # error 0.25
    errors = normalised_errors(found, truth, labelled, size)
    values = curve(errors)
    assert values[0] == values[24] == 50.0 and values[25] == values[50] == 100.0
    # trapezoids: 24 of height 50, one of 75, 25 of 100
    assert auc(values) == pytest.approx((24 * 50 + 75 + 25 * 100) / 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, size: (found[:2], size), "not of the same people"),
        (lambda found, size: (found * np.nan, size), "not finite"),
        (lambda found, size: (found, size * 0), "not positive"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    truth, labelled, size = three_people()
    found, size = change(truth.copy(), size)
    with pytest.raises(PoseTopoError, match=message):
        normalised_errors(found, truth, labelled, size)


def flat(scores: dict) -> list:
    return [scores["mean"], *scores["groups"].values(), *scores["joints"].values()]


people_strategy = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=30)
@given(seed=people_strategy)
def test_laws(seed):
    rng = np.random.default_rng(seed)
    truth, labelled = rng.uniform(0, 500, (5, J.K, 2)), rng.random((5, J.K)) < 0.8
    found, size = truth + rng.normal(0, 20, truth.shape), rng.uniform(10, 60, 5)
    kept = found.copy(), truth.copy(), labelled.copy(), size.copy()
    result = score(found, truth, labelled, size, resamples=20)
    # no caller array is changed
    assert all((a == b).all() for a, b in zip(kept, (found, truth, labelled, size), strict=True))
    # monotone in the threshold
    errors = normalised_errors(found, truth, labelled, size)
    assert (np.diff(curve(errors)) >= 0).all()
    loose, strict = (flat(scores_at(errors, t)) for t in sorted(rng.uniform(0, 1, 2), reverse=True))
    assert all(a >= b for a, b in zip(loose, strict, strict=True) if a is not None)
    # independent of the order of people, and of the batches they came in
    order = rng.permutation(5)
    assert score(found[order], truth[order], labelled[order], size[order], resamples=20)["pckh"] == result["pckh"]
    halves = [normalised_errors(found[s], truth[s], labelled[s], size[s]) for s in (slice(0, 2), slice(2, 5))]
    assert scores_at(np.concatenate(halves), 0.5) == result["pckh"]["0.5"]
    # invariant to the size of a person together with its head
    factor = rng.choice([0.25, 0.5, 2.0, 4.0], 5)
    scaled = score(found * factor[:, None, None], truth * factor[:, None, None], labelled, size * factor, resamples=20)
    assert scaled["pckh"] == result["pckh"]


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="POSE_TOPO_REAL_DATA is not set")
def test_published_predictions_give_their_published_scores():
    folder = Path(str(REAL)) / "mpii-val"
    result = evaluate_predictions(folder / "newell.h5", folder / "detections_our_format.mat")
    groups = result["pckh"]["0.5"]["groups"]
    assert [round(v, 2) for v in groups.values()] == [95.94, 95.19, 89.14, 84.17, 86.97, 83.20, 80.37]
    means = [round(result["pckh"][t]["mean"], 2) for t in ("0.5", "0.1", "0.11")]
    assert means == [88.43, 21.59, 25.44]
    assert round(result["auc"], 2) == 56.49


def test_pck_by_hand():
    """Torsos of 10 and 20 px: 0.2 of them are 2 and 4 px. A person without a torso is not scored."""
    truth = np.zeros((3, J.K, 2))
    labelled = np.zeros((3, J.K), bool)
    labelled[:, [J.R_KNEE, J.L_WRIST]] = True
    found = truth.copy()
    found[0, J.R_KNEE], found[0, J.L_WRIST] = (2, 0), (0, 2.01)
    found[1, J.R_KNEE], found[1, J.L_WRIST] = (0, 4), (2, 2)
    found[2] = 100
    result = pck(found, truth, labelled, np.array([10.0, 20.0, np.nan]), resamples=20)
    assert result["threshold"] == 0.2 and result["mean"] == 75.0
    assert result["joints"]["right knee"] == 100.0 and result["joints"]["left wrist"] == 50.0
    low, high = result["interval"]["mean"]
    assert 50.0 <= low <= 75.0 <= high <= 100.0


def test_people_without_a_head_size_are_not_scored():
    truth, labelled, size = three_people()
    found = truth + 0.3
    alone = normalised_errors(found[:2], truth[:2], labelled[:2], size[:2])
    together = normalised_errors(found, truth, labelled, np.array([*size[:2], np.nan]))
    np.testing.assert_array_equal(together[:2], alone)
    assert np.isnan(together[2]).all()
    nobody = score(found, truth, labelled, np.full(3, np.nan), resamples=5)
    assert nobody["pckh"]["0.5"]["mean"] is None and nobody["auc"] is None and nobody["joints"] == 0
