"""The bootstrap against a loop over the same draws, and against the binomial spread."""

import os
from pathlib import Path

import numpy as np
import pytest

from pose_topo.scoring import intervals
from pose_topo.scoring.pckh import hits, score, scores_at
from pose_topo.stages.evaluate import evaluate_predictions
from pose_topo.study import joints as J

REAL = os.environ.get("POSE_TOPO_REAL_DATA")


def made_up_errors(people: int, seed: int = 0) -> np.ndarray:
    """(P, 16) normalised errors, a fifth of the joints unlabelled."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((people, J.K)) < 0.8, rng.exponential(0.3, (people, J.K)), np.nan)


def flat(scores: dict) -> list:
    return [scores["mean"], *scores["groups"].values()]


def test_counts_aggregate_as_pckh_does():
    errors = made_up_errors(40)
    errors[:, J.R_KNEE] = np.nan  # a group of one side alone
    errors[:, [J.R_ANKLE, J.L_ANKLE]] = np.nan  # a group without a label
    found = intervals.aggregate(hits(errors, 0.3).sum(0), (~np.isnan(errors)).sum(0))
    wanted = [np.nan if v is None else v for v in flat(scores_at(errors, 0.3))]
    assert found == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    assert np.isnan(found[-1]) and not np.isnan(found[:-1]).any()


def test_a_resample_is_the_score_of_the_people_drawn():
    errors = made_up_errors(7)
    found = intervals.bootstrap([hits(errors, 0.5), hits(errors, 0.1)], ~np.isnan(errors), resamples=300, seed=3)
    assert found.shape == (2, 300, 1 + len(J.GROUPS))
    rng = np.random.default_rng(3)
    drawn = np.concatenate([rng.integers(0, 7, (rows, 7)) for rows in (250, 50)])  # in chunks of 250
    for k, threshold in enumerate((0.5, 0.1)):
        for resample, people in enumerate(drawn):
            wanted = [np.nan if v is None else v for v in flat(scores_at(errors[people], threshold))]
            assert found[k, resample] == pytest.approx(wanted, abs=1e-9, nan_ok=True)


def test_the_spread_is_binomial():
    # one joint a person, half of them right: sd 50 / sqrt(400) = 2.5 points, 1.96 of it on either side
    errors = np.full((400, J.K), np.nan)
    errors[:, J.HEAD_TOP] = np.arange(400) % 2
    found = intervals.bootstrap([hits(errors, 0.5)], ~np.isnan(errors))[0]
    low, high = intervals.named(found)["mean"]
    assert (low, high) == (pytest.approx(45.1, abs=0.3), pytest.approx(54.9, abs=0.3))
    assert intervals.named(found)["groups"]["Head"] == [low, high]
    assert intervals.named(found)["groups"]["Knee"] is None


def test_intervals_depend_on_the_seed_only():
    errors = made_up_errors(30)
    first, again, other = (
        intervals.bootstrap([hits(errors, 0.5)], ~np.isnan(errors), 50, seed).tobytes() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_people_are_resampled_and_not_joints():
    # 14 joints of a person all right or all wrong: as wide as one joint a person, not sqrt(14) narrower
    whole, single = np.full((100, J.K), np.nan), np.full((100, J.K), np.nan)
    whole[:, list(J.SCORED)] = (np.arange(100) % 2)[:, None]
    single[:, J.HEAD_TOP] = np.arange(100) % 2
    drawn = [intervals.bootstrap([hits(e, 0.5)], ~np.isnan(e), 200)[0][:, 0] for e in (whole, single)]
    assert np.array_equal(*drawn)


def test_the_evaluation_says_how_the_intervals_were_made():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 300, (50, J.K, 2))
    result = score(truth + rng.normal(0, 8, truth.shape), truth, np.ones((50, J.K), bool), np.full(50, 30.0))
    bands = result["intervals"]
    assert (bands["resamples"], bands["seed"], bands["level"]) == (4000, 0, 95.0) and "people" in bands["method"]
    for threshold in ("0.5", "0.1"):
        low, high = bands[threshold]["mean"]
        assert low < result["pckh"][threshold]["mean"] < high
        assert set(bands[threshold]["groups"]) == set(J.GROUPS)
    assert "0.1" in result["pckh"]["0.11"]["note"] and "note" not in result["pckh"]["0.1"]
    assert len(result["curve"]["thresholds"]) == len(result["curve"]["mean"]) == 51
    assert result["curve"]["mean"][50] == result["pckh"]["0.5"]["mean"]


def test_no_people_give_no_interval():
    none = np.zeros((0, J.K, 2))
    result = score(none, none, np.zeros((0, J.K), bool), np.zeros(0), resamples=5)
    assert result["intervals"]["0.5"]["mean"] is None and result["curve"] is None and result["auc"] is None


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="POSE_TOPO_REAL_DATA is not set")
def test_a_published_score_has_a_standard_error_of_three_tenths():
    folder = Path(str(REAL)) / "mpii-val"
    bands = evaluate_predictions(folder / "newell.h5", folder / "detections_our_format.mat")["intervals"]
    low, high = bands["0.5"]["mean"]
    assert (high - low) / (2 * 1.96) == pytest.approx(0.30, abs=0.02)
    assert low < 88.43 < high and bands["0.1"]["mean"][0] < 21.59 < bands["0.1"]["mean"][1]
