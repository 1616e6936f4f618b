"""Discs, permuted discs and specificity by hand; a planted map is found, a random one is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pose_topo.study.lattice import Lattice
from pose_topo.topography import lesions

GRID = Lattice(16, 16)


def test_discs_by_hand() -> None:
    np.testing.assert_array_equal(lesions.centres(Lattice(4, 4), 2), [5, 7, 13, 15])
    assert lesions.centres(GRID).tolist()[:5] == [34, 38, 42, 46, 98]  # rows and columns 2, 6, 10, 14
    assert lesions.centres(Lattice(1, 1)).tolist() == [0]
    sizes = [lesions.discs(GRID, radius)[0].sum() for radius in (0.0, 1.0, 2.0)]
    assert sizes == [1, 5, 13]
    corner = lesions.discs(Lattice(3, 3), 1.0, 1)[0].reshape(3, 3)
    np.testing.assert_array_equal(corner, [[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def test_silenced_channels_are_those_that_lie_in_the_disc() -> None:
    orders = lesions.arrangements(256, 3, 7)
    assert np.array_equal(orders[0], np.arange(256)) and orders.shape == (4, 256)
    masks = lesions.silenced(GRID, orders)
    assert masks.shape == (4, 4, 16, 256)
    for r, radius in enumerate(lesions.RADII):
        for a in range(4):
            for d, disc in enumerate(lesions.discs(GRID, radius)):
                assert set(np.flatnonzero(masks[r, a, d])) == set(orders[a][disc])


def test_the_owner_is_the_joint_of_most_channels() -> None:
    labels = np.array([2, 2, 0, -1, -1])
    masks = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]], bool)
    assert lesions.owners(labels, masks).tolist() == [2, 0, -1]  # 0 and 2 once each: the first
    assert lesions.owners(np.full(5, -1), masks).tolist() == [-1, -1, -1]


def test_specificity_by_hand() -> None:
    # one true and one permuted grid, two discs, three joints
    damage = np.array([[[9.0, 0.0, 3.0], [0.0, 6.0, 3.0]], [[3.0, 2.0, 3.0], [0.0, 4.0, 3.0]]])
    owner = np.array([[0, 1], [1, 0]])
    found = lesions.specificity(damage, owner)
    assert found is not None
    # joint means 3, 3, 3. True grid: disc 0 owner 6, others (-3 + 0) / 2; disc 1 owner 3, others (-3 + 0) / 2
    assert found.value == pytest.approx((7.5 + 4.5) / 2)
    # permuted: disc 0 owner -1, others (0 + 0) / 2; disc 1 owner -3, others (1 + 0) / 2
    assert found.null == pytest.approx([(-1 - 3.5) / 2])
    assert found.p == 0.5
    assert found.own == pytest.approx([7.5, 1.0]) and found.other == pytest.approx([1.5, (3 + 3.5) / 2])


def test_a_joint_that_always_loses_more_adds_no_specificity() -> None:
    """The discs of the test above, with joints that lose 0, 2 and 4 points more whatever is silenced."""
    damage = np.array([[[9.0, 0.0, 3.0], [0.0, 6.0, 3.0]], [[3.0, 2.0, 3.0], [0.0, 4.0, 3.0]]]) + np.array(
        [0.0, 2.0, 4.0]
    )
    found = lesions.specificity(damage, np.array([[0, 1], [1, 0]]))
    assert found is not None
    assert found.value == pytest.approx(6) and found.null == pytest.approx([-2.25])
    assert found.own == pytest.approx([(9 + 8) / 2, (4 + 0) / 2])
    assert found.other == pytest.approx([(4.5 + 3.5) / 2, (5 + 6.5) / 2])


def test_joints_that_cannot_be_scored_are_left_out() -> None:
    rng = np.random.default_rng(0)
    damage, owner = rng.random((3, 4, 5)), rng.integers(0, 4, (3, 4))
    with_unscored = np.insert(damage, 2, np.nan, axis=2)
    moved = np.where(owner >= 2, owner + 1, owner)
    one, two = lesions.specificity(damage, owner), lesions.specificity(with_unscored, moved)
    assert one is not None and two is not None and two.value == pytest.approx(one.value)
    owner[1, 3] = -1
    assert lesions.specificity(damage, owner) is not None
    owner[1] = -1
    assert lesions.specificity(damage, owner) is None
    assert lesions.specificity(np.full((3, 4, 5), np.nan), np.zeros((3, 4), int)) is None


def study(labels: np.ndarray, seed: int) -> lesions.Specificity:
    """Damage that grows with the share of a joint's channels that are silenced, and noise."""
    masks = lesions.silenced(GRID, lesions.arrangements(256, 99, seed))[1]  # radius 2
    share = np.stack([masks[..., labels == k].mean(axis=-1) for k in range(16)], axis=-1)
    # some joints suffer more whatever is silenced
    damage = 50 * share + np.arange(16) + np.random.default_rng(seed).normal(size=share.shape)
    found = lesions.specificity(damage, lesions.owners(labels, masks))
    assert found is not None
    return found


def test_a_map_is_specific_and_a_random_grid_is_not() -> None:
    rows, columns = np.divmod(np.arange(256), 16)
    blocks = rows // 4 * 4 + columns // 4
    assert study(blocks, 0).p == 0.01 and study(blocks, 0).value > 10
    p = np.array([study(np.random.default_rng(n).permutation(blocks), n).p for n in range(20)])
    # p steps by 1/100: spread the steps so that the continuous test applies
    assert stats.kstest(p - np.random.default_rng(0).random(20) / 100, "uniform").pvalue > 0.01
