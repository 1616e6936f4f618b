"""Selectivity of channels: d' by hand, the conditions on made-up people, and planted maps."""

from __future__ import annotations

import numpy as np
import pytest
from reasons import without_reason

from pose_topo.stages.analyze import plain
from pose_topo.study import joints as J
from pose_topo.study.lattice import Lattice
from pose_topo.topography.responses import Responses, angle, conditions, d_prime, lean, selectivity_measures

RNG = np.random.default_rng(0)


def standing(people: int) -> np.ndarray:
    """Upright people with straight limbs: joints (N, 16, 2), y downwards."""
    points = np.zeros((people, J.K, 2))
    heights = {J.HEAD_TOP: 0, J.UPPER_NECK: 20, J.THORAX: 30, J.PELVIS: 60}
    heights |= dict.fromkeys((J.R_SHOULDER, J.L_SHOULDER), 30.0)
    heights |= dict.fromkeys((J.R_ELBOW, J.L_ELBOW), 45.0) | dict.fromkeys((J.R_WRIST, J.L_WRIST), 60.0)
    heights |= dict.fromkeys((J.R_HIP, J.L_HIP), 60.0) | dict.fromkeys((J.R_KNEE, J.L_KNEE), 80.0)
    heights |= dict.fromkeys((J.R_ANKLE, J.L_ANKLE), 100.0)
    for joint, height in heights.items():
        points[:, joint] = (-10.0 if J.side(joint) == "right" else 10.0 if J.side(joint) == "left" else 0.0, height)
    return points


def random_responses(people: int, channels: int) -> Responses:
    return Responses(
        RNG.normal(size=(people, channels)),
        RNG.normal(size=(people, J.K, channels)),
        RNG.normal(size=(people, J.K, channels)),
    )


def test_d_prime_by_hand() -> None:
    # means 2 and 0, variances 1 and 3 (divided by n): 2 / sqrt(2)
    one, two = np.array([[1.0], [3.0]]), np.array([[-(3.0**0.5)], [3.0**0.5]])
    assert d_prime(one, two).tolist() == pytest.approx([2 / 2**0.5])
    assert d_prime(two, one).tolist() == pytest.approx([-2 / 2**0.5])
    assert np.isnan(d_prime(np.ones((3, 1)), np.ones((2, 1)))).all()  # nothing varies


def test_angles_by_hand() -> None:
    points = standing(3)
    elbow = (J.R_SHOULDER, J.R_ELBOW, J.R_WRIST)
    points[1, J.R_WRIST] = points[1, J.R_ELBOW] + (15, 0)  # the forearm points forward
    points[2, J.R_WRIST] = np.nan
    assert angle(points, elbow)[:2].tolist() == pytest.approx([180, 90]) and np.isnan(angle(points, elbow)[2])
    assert lean(points).tolist() == pytest.approx([0, 0, 0])
    points[1, J.UPPER_NECK] = points[1, J.PELVIS] + (40, 0)  # lying
    points[2, J.UPPER_NECK] = points[2, J.PELVIS] + (30, 30)  # head down
    points[0, J.PELVIS] = np.nan  # the middle of the hips takes its place
    assert lean(points).tolist() == pytest.approx([0, 90, 135])


def test_the_conditions_take_the_right_responses() -> None:
    people, responses = standing(4), random_responses(4, 3)
    people[1, J.R_WRIST] = people[1, J.R_ELBOW] + (15, 0)  # 90 degrees
    people[2, J.L_WRIST] = people[2, J.L_ELBOW] + (10, 7)  # about 125 degrees: neither flexed nor extended
    people[3, J.UPPER_NECK] = people[3, J.PELVIS] + (40, 0)
    responses.near[0, J.HEAD_TOP] = np.nan  # out of the picture
    visible = np.ones((4, J.K), bool)
    visible[2, J.R_KNEE] = False
    found = conditions(responses, people, visible)
    assert [len(one) for one in found["near head top"]] == [3, 3]
    assert np.array_equal(found["near pelvis"][0], responses.near[:, J.PELVIS])
    assert np.array_equal(found["near pelvis"][1], responses.far[:, J.PELVIS])
    assert np.array_equal(found["elbow flexed"][0], responses.near[1:2, J.R_ELBOW])
    assert len(found["elbow flexed"][1]) == 6 and len(found["knee flexed"][0]) == 0
    assert np.array_equal(found["upright"][1], responses.mean[3:])
    knee = responses.near[:, J.R_KNEE]
    assert np.allclose(found["visible"][1], knee[2] - knee.mean(axis=0)) and len(found["visible"][0]) == 4 * 16 - 2


def test_a_planted_map_is_found() -> None:
    """Channels of the left half respond near the head top; all else is noise."""
    lattice, responses, people = Lattice(8, 8), random_responses(60, 64), standing(60)
    left = np.tile(np.arange(8) < 4, 8)
    responses.near[:, J.HEAD_TOP] += 2.0 * left
    numbers, maps = selectivity_measures(responses, people, np.ones((60, J.K), bool), lattice, 199)
    found = numbers["conditions"]
    assert found["near head top"]["I"] > 0.5 and found["near head top"]["p_max"] == 0.005
    assert max(found[f"near {name}"]["I"] for name in J.NAMES if name != "head top") < 0.25
    assert maps.shape == (20, 8, 8) and maps[J.HEAD_TOP][:, :4].min() > 0.5 > abs(maps[J.HEAD_TOP][:, 4:].mean())
    assert found["upright"]["responses"] == [60, 0] and np.isnan(found["upright"]["I"])
    assert np.isnan(maps[-1]).all()  # nobody is occluded
    assert without_reason(plain(numbers)) == []
    means = [found[f"near {name}"]["I"] for name in J.NAMES]
    assert numbers["mean_I_joints"] == pytest.approx(np.mean(means))


def test_dead_channels_are_left_out_and_nobody_is_no_error() -> None:
    lattice, responses = Lattice(4, 5), random_responses(30, 20)
    for values in (responses.mean, responses.near, responses.far):
        values[..., 7] = 0.0
    numbers, maps = selectivity_measures(responses, standing(30), np.ones((30, J.K), bool), lattice, 19)
    assert numbers["channels"] == 19 and np.isnan(maps[:, 1, 2]).all() and np.isfinite(maps[0]).sum() == 19
    few = random_responses(2, 20)
    numbers, maps = selectivity_measures(few, standing(2), np.ones((2, J.K), bool), lattice, 19)
    assert numbers["mean_I_joints"] is None and np.isnan(maps).all() and without_reason(plain(numbers)) == []
