"""OKS AP against values by hand, and against the formula of the similarity for random people."""

import numpy as np
import pytest

from pose_topo.scoring.other_metrics import SCORES, SHARED, oks_report
from pose_topo.study import joints as J

# k of each joint is twice the deviation that cocodataset.org/#keypoints-eval publishes
K = {"shoulder": 0.158, "elbow": 0.144, "wrist": 0.124, "hip": 0.214, "knee": 0.174, "ankle": 0.178}
ORDER = [f"{side} {part}" for part in K for side in ("left", "right")]  # COCO's joints 5 to 16


def similarity(predicted: np.ndarray, truth: np.ndarray, labelled: np.ndarray, area: float) -> float:
    """OKS of one person from joints (16, 2), by the formula."""
    each = [
        np.exp(-((predicted[k] - truth[k]) ** 2).sum() / (2 * area * K[name.split()[1]] ** 2))
        for k, name in enumerate(J.NAMES)
        if name in ORDER and labelled[k]
    ]
    return float(np.mean(each))


def moved(area: float, part: str, wanted: float) -> float:
    """The distance at which a single joint has the similarity `wanted`."""
    return float(np.sqrt(-2 * area * K[part] ** 2 * np.log(wanted)))


def people(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(seed).uniform(0, 300, (count, 16, 2)), np.ones((count, 16), bool)


def test_the_shared_joints_are_those_of_coco_in_its_order():
    assert [J.NAMES[k] for k in SHARED] == ORDER


def test_perfect_predictions():
    truth, labelled = people(6)
    confidence = np.linspace(0.1, 1, 96).reshape(6, 16)
    found = oks_report(truth, confidence, truth, labelled, np.full(6, 900.0), np.array([0, 0, 1, 2, 2, 2]))
    assert {name: found[name] for name in SCORES} == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1, "AR": 1})
    assert found["reason"] is None and found["joints"] == ORDER and found["people"] == 6


def two_people(confidence: tuple[float, float], image: tuple[int, int]) -> dict:
    """The report on two people with one labelled joint each, whose OKS are 0.82 and 0.62."""
    truth, labelled = people(2)
    truth[1] += 5000.0  # the people of one photograph are far from each other
    labelled[:] = False
    labelled[0, J.L_ANKLE] = labelled[1, J.R_HIP] = True
    predicted = truth + 1000.0  # joints that are not labelled do not count
    area = np.array([4000.0, 900.0])
    predicted[0, J.L_ANKLE] = truth[0, J.L_ANKLE] + (moved(4000.0, "ankle", 0.82), 0)
    predicted[1, J.R_HIP] = truth[1, J.R_HIP] - (0, moved(900.0, "hip", 0.62))
    return oks_report(predicted, np.outer(confidence, np.ones(16)), truth, labelled, area, np.array(image))


@pytest.mark.parametrize("image", [(3, 3), (3, 8)])
def test_two_people_by_hand(image):
    """Ten thresholds .5, .55, ..., .95. Both are right at three of them, the first alone at four (.65 to .8).

    Precision is averaged over 101 recalls 0, .01, ..., 1, of which 51 are at most one half.
    """
    found = two_people((0.9, 0.4), image)  # the first comes first: precision 1 up to recall one half
    assert found["AP50"] == pytest.approx(1) and found["AP75"] == pytest.approx(51 / 101)
    assert found["AP"] == pytest.approx((3 * 1 + 4 * 51 / 101) / 10)
    assert found["AR"] == pytest.approx((3 * 1 + 4 / 2) / 10)
    swapped = two_people((0.4, 0.9), image)  # the wrong one comes first: precision one half
    assert swapped["AP50"] == pytest.approx(1) and swapped["AP75"] == pytest.approx(51 / 101 / 2)
    assert swapped["AR"] == pytest.approx(found["AR"])


def test_recall_by_the_formula_for_random_people():
    """With one person per photograph, recall at a threshold is the share of people whose OKS reaches it."""
    rng = np.random.default_rng(4)
    truth, labelled = people(300, seed=5)
    labelled &= rng.random(labelled.shape) < 0.6
    labelled[:, J.L_KNEE] = True
    area = rng.uniform(500, 9000, 300)
    predicted = truth + rng.normal(0, 1, truth.shape) * rng.uniform(0, 15, (300, 1, 1))
    found = oks_report(predicted, rng.random((300, 16)), truth, labelled, area, np.arange(300))
    each = np.array([similarity(*one) for one in zip(predicted, truth, labelled, area, strict=True)])
    expected = np.mean([(each >= threshold).mean() for threshold in np.arange(50, 100, 5) / 100])
    assert 0.2 < expected < 0.9 and found["AR"] == pytest.approx(expected, abs=1e-12)


def test_confidence_is_the_mean_over_the_joints_that_count():
    """A confident neck does not move a person forward."""
    low, high = np.full(16, 0.1), np.full(16, 0.2)
    low[[J.UPPER_NECK, J.HEAD_TOP, J.PELVIS, J.THORAX]] = 1.0
    truth, labelled = people(2)
    predicted = truth.copy()
    predicted[0] += 1e4
    args = truth, labelled, np.full(2, 900.0), np.arange(2)
    assert oks_report(predicted, np.stack([low, high]), *args)["AP"] == pytest.approx(51 / 101)  # right one first
    assert oks_report(predicted, np.stack([high, low]), *args)["AP"] == pytest.approx(51 / 101 / 2)


def test_without_areas_there_is_no_score():
    truth, labelled = people(3)
    found = oks_report(truth, truth[..., 0], truth, labelled, np.array([5, np.nan, np.nan]), np.arange(3))
    assert found["AP"] is None and found["AR"] is None
    assert found["reason"] == "2 of 3 people have no area in the annotation file"
    given = oks_report(truth, truth[..., 0], truth, labelled, np.ones(3), np.arange(3), reason="other joints")
    assert given["AP50"] is None and given["reason"] == "other joints"


def test_nothing_is_printed(capsys):
    two_people((0.9, 0.4), (0, 1))
    assert capsys.readouterr() == ("", "")


def test_every_person_of_a_crowded_photograph_counts():
    truth, labelled = people(25)
    confidence = np.linspace(0.1, 1, 400).reshape(25, 16)
    found = oks_report(truth, confidence, truth, labelled, np.full(25, 900.0), np.zeros(25, int))
    assert (found["AP"], found["AR"]) == pytest.approx((1, 1))
