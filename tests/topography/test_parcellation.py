"""Parcels of the grid by hand, and their contiguity against loops and a permutation null."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from pose_topo.study import joints as J
from pose_topo.study.lattice import Lattice
from pose_topo.topography import parcellation
from pose_topo.topography.inference import permutation_blocks

# two parcels and an unlabelled corner:
#   0 0 1
#   1 0 1
#   1 1 -
LABELS = np.array([0, 0, 1, 1, 0, 1, 1, 1, -1])
GRID = Lattice(3, 3)


def test_a_channel_belongs_to_its_strongest_weight_of_either_sign() -> None:
    head = np.array([[0.1, -3.0, 0.0, 2.0], [0.2, 2.0, 0.0, -2.0]])
    np.testing.assert_array_equal(parcellation.labels(head), [1, 0, -1, 0])  # ties go to the first joint


def test_a_channel_with_a_broken_weight_has_no_label() -> None:
    np.testing.assert_array_equal(parcellation.labels(np.array([[1.0, np.nan], [2.0, 1.0]])), [1, -1])


def test_contiguity_by_hand() -> None:
    # of 12 side pairs 2 touch the unlabelled corner. Agreeing along rows: 1 + 0 + 1, down columns: 1 + 1 + 1
    assert parcellation.contiguity(LABELS, GRID) == 0.5
    assert parcellation.contiguity(np.zeros(9, int), GRID) == 1.0
    assert parcellation.contiguity(np.indices((3, 3)).sum(axis=0).ravel() % 2, GRID) == 0.0


def test_contiguity_uses_rook_neighbours_on_every_lattice() -> None:
    board = np.indices((4, 4)).sum(axis=0).ravel() % 2  # equal along diagonals only
    assert parcellation.contiguity(board, Lattice(4, 4, 8)) == 0.0
    # bounded 2 x 3, rows 0 1 0: only the three columns agree (3 of 7); a torus joins the ends of rows
    stripes = np.array([0, 1, 0, 0, 1, 0])
    assert parcellation.contiguity(stripes, Lattice(2, 3)) == pytest.approx(3 / 7)
    assert parcellation.contiguity(stripes, Lattice(2, 3, 8, True)) == pytest.approx(5 / 9)


def test_components_by_hand() -> None:
    assert parcellation.components(LABELS, GRID) == {0: [3], 1: [3, 2]}
    assert parcellation.component_count(LABELS, GRID) == 3
    # on a torus the right column touches the left one, and everything labelled 1 hangs together
    assert parcellation.components(LABELS, Lattice(3, 3, 8, True)) == {0: [3], 1: [5]}


def test_diagonal_neighbours_are_not_connected() -> None:
    assert parcellation.components(np.array([0, 1, 1, 0]), Lattice(2, 2)) == {0: [1, 1], 1: [1, 1]}


def test_units_by_hand() -> None:
    np.testing.assert_array_equal(parcellation.units(LABELS, 4), [3, 5, 0, 0])
    assert parcellation.units(LABELS).shape == (16,)
    with pytest.raises(ValueError, match="label 1"):
        parcellation.units(LABELS, 1)


def test_null_of_16_equal_parcels() -> None:
    labels = np.repeat(np.arange(16), 16)
    null = parcellation.contiguity_null(labels, Lattice(16, 16), 9999, 0)
    # two places drawn without replacement agree with probability 16 * C(16,2) / C(256,2) = 1920 / 32640
    assert null.mean == pytest.approx(1920 / 32640, abs=5e-4)
    assert null.sd == pytest.approx(0.0108, abs=5e-4)
    assert null.p == 1e-4  # 16 rows of one joint each: half of all side pairs agree
    assert parcellation.contiguity(labels, Lattice(16, 16)) == 0.5


def test_contiguity_of_labels_drawn_independently() -> None:
    # each pair agrees with probability 1/16: mean .0625, sd sqrt(1/16 * 15/16 / 480) = .01105
    draws = np.random.default_rng(0).integers(0, 16, (1000, 256))
    shares = [parcellation.contiguity(labels, Lattice(16, 16)) or 0.0 for labels in draws]
    assert np.mean(shares) == pytest.approx(1 / 16, abs=1e-3)
    assert np.std(shares) == pytest.approx(0.01105, rel=0.07)


def test_null_against_loops_and_dead_channels_stay_where_they_are() -> None:
    null = parcellation.contiguity_null(LABELS, GRID, 500, 7)
    rng, alive, shares = np.random.default_rng(1), np.flatnonzero(LABELS >= 0), []
    for _ in range(1500):
        shuffled = LABELS.copy()
        shuffled[alive] = rng.permutation(LABELS[alive])
        shares.append(parcellation.contiguity(shuffled, GRID))
    assert null.mean == pytest.approx(np.mean(shares), abs=0.03)
    assert null.sd == pytest.approx(np.std(shares), rel=0.15)
    assert null.p == pytest.approx(np.mean(np.array(shares) >= 0.5 - 1e-12), abs=0.08)
    assert null == parcellation.contiguity_null(LABELS, GRID, 500, 7)


def test_join_count_moments_against_all_arrangements() -> None:
    # 2 x 3 grid, labels 0 0 0 1 1 -: all arrangements of the five labelled channels, counted one by one
    lattice, labels = Lattice(2, 3), np.array([0, 0, 1, 0, 1, -1])
    counts = []
    for order in permutations(labels[:5]):
        moved = np.array([*order, -1])
        rook = [(i, j) for i in range(6) for j in (i + 1, i + 3) if j < 6 and (j == i + 3 or j % 3)]
        counts.append([sum(moved[i] == moved[j] == k for i, j in rook) for k in (0, 1)])
    mean, sd = np.mean(counts, axis=0), np.std(counts, axis=0)
    # joint 0: (0,1), (0,3); joint 1: none
    expected = (np.array([2, 0]) - mean) / sd
    np.testing.assert_allclose(parcellation.join_count_z(labels, lattice, 2), expected, atol=1e-12)


def test_join_count_without_spread_is_none() -> None:
    z = parcellation.join_count_z(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1]), GRID, 3)
    assert z[0] is None and z[2] is None and z[1] is not None
    assert parcellation.join_count_z(np.zeros(9, int), GRID, 1) == [None]
    assert parcellation.join_count_z(np.full(9, -1), GRID, 2) == [None, None]


def test_component_null_against_loops() -> None:
    null = parcellation.component_null(LABELS, GRID, 300, 5)
    alive, counts = np.flatnonzero(LABELS >= 0), []
    for (order,) in zip(permutation_blocks(8, 300, 5, 1), strict=True):
        shuffled = LABELS.copy()
        shuffled[alive] = LABELS[alive][order]
        counts.append(parcellation.component_count(shuffled, GRID))
    assert null.mean == pytest.approx(np.mean(counts)) and null.sd == pytest.approx(np.std(counts))
    assert null.p == (1 + sum(count <= 3 for count in counts)) / 301
    assert parcellation.component_null(np.full(9, -1), GRID, 9) == parcellation.LabelNull()


def test_nothing_labelled_or_no_pairs_gives_none() -> None:
    dead = np.full(9, -1)
    assert parcellation.contiguity(dead, GRID) is None
    assert parcellation.contiguity_null(dead, GRID, 9, 0) == parcellation.LabelNull()
    assert parcellation.components(dead, GRID) == {}
    assert parcellation.component_count(dead, GRID) == 0
    assert parcellation.contiguity(np.array([3]), Lattice(1, 1)) is None
    assert parcellation.components(np.array([3]), Lattice(1, 1)) == {3: [1]}


def test_one_label_everywhere_has_p_one() -> None:
    null = parcellation.contiguity_null(np.zeros(9, int), GRID, 99, 0)
    assert null == parcellation.LabelNull(mean=1.0, sd=0.0, p=1.0)


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="9"):
        parcellation.contiguity(np.zeros(4, int), GRID)


def test_wiring_length_by_hand() -> None:
    # a line of three with weights 1, 1, 2: at place 0 (0 + 1 + 4) / 4, at 1 (1 + 0 + 2) / 4, at 2 (2 + 1 + 0) / 4
    lengths = parcellation.wiring_lengths(np.array([[1.0, -1.0, 2.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]), Lattice(1, 3))
    np.testing.assert_allclose(lengths, [0.75, 0.0, np.nan])


def test_wiring_is_shorter_on_a_torus() -> None:
    ends = np.array([[1.0, 0.0, 0.0, 1.0]])
    assert parcellation.wiring_lengths(ends, Lattice(1, 4))[0] == pytest.approx(1.5)
    assert parcellation.wiring_lengths(ends, Lattice(1, 4, 8, True))[0] == pytest.approx(0.5)


def test_wiring_length_against_loops_and_scale() -> None:
    lattice = Lattice(3, 5)
    strength = np.random.default_rng(0).random((4, 15))
    apart = lattice.distances()
    loops = [min(sum(row[c] * apart[c, j] for c in range(15)) for j in range(15)) / sum(row) for row in strength]
    np.testing.assert_allclose(parcellation.wiring_lengths(strength, lattice), loops, atol=1e-12)
    np.testing.assert_allclose(parcellation.wiring_lengths(strength * 1e-300, lattice), loops, atol=1e-12)


def test_the_wiring_null_permutes_channels_for_all_joints_together() -> None:
    lattice = Lattice(4, 4)
    strength = np.random.default_rng(1).random((3, 16))
    strength[2] = np.nan
    null = parcellation.wiring_null(strength, lattice, 70, 4)
    assert null.shape == (70, 3) and np.isnan(null[:, 2]).all()
    rows = np.random.default_rng(4).permuted(np.tile(np.arange(16), (70, 1)), axis=1)
    again = [parcellation.wiring_lengths(strength[:, order], lattice)[:2] for order in rows]
    np.testing.assert_allclose(null[:, :2], again, atol=1e-12)


def test_wiring_is_shorter_if_channels_lie_together() -> None:
    lattice, together, apart = Lattice(8, 8), np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    together[0, 2:4, 2:4], apart[0, ::7, ::7] = 1.0, 1.0
    assert parcellation.wiring_lengths(together.reshape(1, 64), lattice)[0] == pytest.approx((0 + 1 + 1 + 2**0.5) / 4)
    null = parcellation.wiring_null(together.reshape(1, 64), lattice, 200)
    assert parcellation.wiring_lengths(together.reshape(1, 64), lattice)[0] < null.min()
    assert parcellation.wiring_lengths(apart.reshape(1, 64), lattice)[0] > null.mean()


def test_wiring_refuses_different_channels() -> None:
    with pytest.raises(ValueError, match="9"):
        parcellation.wiring_lengths(np.ones((2, 4)), Lattice(3, 3))


# ---- The body on the grid


def laid_out(rows: int = 16, columns: int = 16) -> np.ndarray:
    """The joints of the body in vertical stripes, twins side by side: strengths (16, 256)."""
    order = [J.HEAD_TOP, J.UPPER_NECK, J.THORAX, J.PELVIS, *(joint for pair in J.FLIP_PAIRS for joint in pair)]
    strength = np.zeros((J.K, rows, columns))
    for column, joint in enumerate(order):
        strength[joint, :, column] = 1.0
    return strength.reshape(J.K, -1)


def test_hops_are_limbs() -> None:
    hops = parcellation.body_hops()
    assert hops[J.R_WRIST, J.R_ELBOW] == 1 and hops[J.R_WRIST, J.L_WRIST] == 6 and hops[J.HEAD_TOP, J.R_ANKLE] == 6
    assert (hops == hops.T).all() and (np.diag(hops) == 0).all() and np.isfinite(hops).all()


def test_distances_of_territories_by_hand() -> None:
    # a 1 x 4 grid: joint 0 owns places 0 and 1, joint 1 owns place 3; place 2 has no label
    apart = parcellation.territory_distances(np.array([0, 0, -1, 1]), Lattice(1, 4))
    assert apart[0, 1] == apart[1, 0] == 2.5 and apart[0, 0] == 0.5 and apart[1, 1] == 0
    assert np.isnan(apart[2]).all() and np.isnan(apart[:, 15]).all()
    with pytest.raises(ValueError, match="4 channels"):
        parcellation.territory_distances(np.zeros(3, int), Lattice(1, 4))


def test_the_body_map_by_loops() -> None:
    size = np.random.default_rng(0).random((J.K, 64))
    grid, label = Lattice(8, 8), parcellation.labels(size)
    where, twins, rest, hops = grid.distances(), [], [], []
    pairs = [(a, b) for a in range(J.K) for b in range(a + 1, J.K) if (label == a).any() and (label == b).any()]
    for a, b in pairs:
        mean = np.mean([where[i, j] for i in np.flatnonzero(label == a) for j in np.flatnonzero(label == b)])
        (twins if tuple(sorted((a, b))) in {tuple(sorted(pair)) for pair in J.FLIP_PAIRS} else rest).append(mean)
        hops.append((mean, parcellation.body_hops()[a, b]))
    found = parcellation.body_map(size, grid, 19)
    assert found["twins"]["ratio"] == pytest.approx(np.mean(twins) / np.mean(rest))
    assert found["hops"]["spearman"] == pytest.approx(spearmanr(*np.transpose(hops)).statistic)


def test_a_planted_body_map_is_found_and_a_random_one_is_not() -> None:
    planted = parcellation.body_map(laid_out(), Lattice(16, 16), 199)
    # twins are 1 column apart; the p value of permuted joints is the least that 199 permutations can give
    assert planted["twins"]["ratio"] < 0.7 and planted["twins"]["p_joints"] == 0.005
    arms = (J.R_WRIST, J.R_ELBOW, J.R_SHOULDER, J.THORAX, J.L_SHOULDER, J.L_ELBOW, J.L_WRIST)
    chain = np.zeros((J.K, 7, 7))
    for column, joint in enumerate(arms):  # as many columns apart as limbs
        chain[joint, :, column] = 1.0
    hops = parcellation.body_map(chain.reshape(J.K, 49), Lattice(7, 7), 199)["hops"]
    assert hops["spearman"] == pytest.approx(1.0) and hops["p_joints"] < 0.05
    found = [
        parcellation.body_map(np.random.default_rng(seed).random((J.K, 144)), Lattice(12, 12), 39) for seed in range(30)
    ]
    ratios = [one["twins"]["ratio"] for one in found]
    assert 0.97 < np.mean(ratios) < 1.03
    for null in ("p_joints", "p_shifted"):
        assert 0.3 < np.mean([one["twins"][null] for one in found]) < 0.7  # uniform: a mean of .5, 3.8 standard errors


def test_without_twins_there_is_no_ratio() -> None:
    size = np.zeros((J.K, 16))
    size[J.PELVIS, :8], size[J.THORAX, 8:] = 1, 1
    found = parcellation.body_map(size, Lattice(4, 4), 9)
    assert np.isnan([found["twins"]["ratio"], found["twins"]["p_joints"]]).all() and found["twins"]["reason"]
    assert np.isnan(parcellation.body_map(np.zeros((J.K, 16)), Lattice(4, 4), 9)["hops"]["spearman"])
