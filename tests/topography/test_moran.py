"""Moran's I against hand arithmetic, double loops, closed-form moments and the laws it must obey."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference, moran

QUEEN = Lattice(16, 16)
ROOK = Lattice(16, 16, neighbours=4)


def neighbours_by_walking(lattice: Lattice) -> np.ndarray:
    """An independent implementation of the binary weights: loops over cells and eight steps."""
    weights = np.zeros((lattice.channels, lattice.channels))
    for row in range(lattice.height):
        for column in range(lattice.width):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if lattice.neighbours == 4 and abs(down) + abs(right) != 1:
                        continue
                    r, c = row + down, column + right
                    if lattice.torus:
                        r, c = r % lattice.height, c % lattice.width
                    if 0 <= r < lattice.height and 0 <= c < lattice.width and (r, c) != (row, column):
                        weights[row * lattice.width + column, r * lattice.width + c] = 1.0
    return weights


def moran_by_loops(values: np.ndarray, weights: np.ndarray) -> float:
    n, mean = len(values), sum(values) / len(values)
    top = total = 0.0
    for i in range(n):
        for j in range(n):
            top += weights[i, j] * (values[i] - mean) * (values[j] - mean)
            total += weights[i, j]
    return n / total * top / sum((v - mean) ** 2 for v in values)


def test_three_by_three_by_hand() -> None:
    # 1..9 row by row; z = -4 .. 4, sum z^2 = 60.
    # side by side: 12+6 + 0+0 + 6+12 = 36; one above the other: 4-2 + 0+0 - 2+4 = 4; rook 40 over 12 pairs.
    # diagonals: down-right 0-3-3+0 = -6, down-left 3+0+0+3 = 6; queen 40 over 20 pairs.
    # I = (9 / (2 * pairs)) * (2 * sum / 60): rook 9/24 * 80/60 = 0.5, queen 9/40 * 80/60 = 0.3
    ramp = np.arange(1.0, 10.0)[None]
    rook, queen = moran.weights(Lattice(3, 3, 4)), moran.weights(Lattice(3, 3, 8))
    assert moran.morans_i(ramp, rook)[0] == pytest.approx(0.5, abs=1e-14)
    assert moran.morans_i(ramp, queen)[0] == pytest.approx(0.3, abs=1e-14)


def test_checkerboard_by_hand() -> None:
    # 4 x 4, half +1 and half -1: all 24 side pairs differ, all 18 diagonal pairs agree
    board = (np.indices((4, 4)).sum(axis=0) % 2 * 2.0 - 1.0).reshape(1, 16)
    assert moran.morans_i(board, moran.weights(Lattice(4, 4, 4)))[0] == pytest.approx(-1.0, abs=1e-14)
    assert moran.morans_i(board, moran.weights(Lattice(4, 4, 8)))[0] == pytest.approx(-6 / 42, abs=1e-14)


@pytest.mark.parametrize("torus", [False, True])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("shape", [(3, 7), (1, 16), (16, 16)])
@pytest.mark.parametrize("row_standardised", [False, True])
def test_against_double_loops(shape: tuple[int, int], neighbours: int, torus: bool, row_standardised: bool) -> None:
    lattice = Lattice(*shape, neighbours, torus)
    expected = neighbours_by_walking(lattice)
    if row_standardised:
        expected = expected / expected.sum(axis=1, keepdims=True)
    actual = moran.weights(lattice, row_standardised)
    np.testing.assert_allclose(actual, expected, atol=1e-15)
    maps = np.random.default_rng(3).normal(3.0, 2.0, (2, lattice.channels))
    loops = [moran_by_loops(values, expected) for values in maps]
    np.testing.assert_allclose(moran.morans_i(maps, actual), loops, atol=1e-10, rtol=0)


@pytest.mark.parametrize("density", [0.02, 1.0])
def test_asymmetric_weights_with_a_diagonal_against_loops(density: float) -> None:
    rng = np.random.default_rng(5)
    weights = rng.random((40, 40)) * (rng.random((40, 40)) < density)
    maps = rng.normal(size=(3, 40))
    loops = [moran_by_loops(values, weights) for values in maps]
    np.testing.assert_allclose(moran.morans_i(maps, weights), loops, atol=1e-12)


@pytest.mark.parametrize("dense", [False, True])
def test_the_null_is_i_of_permuted_maps_with_shared_permutations(dense: bool) -> None:
    lattice = Lattice(3, 7)
    weights = 1.0 / (1.0 + lattice.distances()) if dense else moran.weights(lattice)
    maps = np.random.default_rng(0).normal(size=(2, 21))
    null = moran.permutation_null(maps, weights, permutations=50, seed=9)
    order = np.concatenate(list(inference.permutation_blocks(21, 50, 9)))
    again = [[moran_by_loops(values[p], weights) for values in maps] for p in order]
    np.testing.assert_allclose(null, again, atol=1e-10)
    twins = moran.permutation_null(np.stack([maps[0], maps[0] * -3 + 1]), weights, 50, 9)
    np.testing.assert_allclose(twins[:, 0], twins[:, 1], atol=1e-12)


def test_the_null_depends_on_the_seed_only() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 256))
    weights = moran.weights(QUEEN)
    first = moran.permutation_null(maps, weights, 300, 1)
    assert np.array_equal(first, moran.permutation_null(maps, weights, 300, 1))
    assert not np.array_equal(first, moran.permutation_null(maps, weights, 300, 2))


def closed_form_variance(values: np.ndarray, weights: np.ndarray) -> float:
    """Variance of I under randomisation (Cliff & Ord 1981, p. 46)."""
    n = len(values)
    z = values - values.mean()
    kurtosis = np.mean(z**4) / np.mean(z**2) ** 2
    s0 = weights.sum()
    s1 = ((weights + weights.T) ** 2).sum() / 2
    s2 = ((weights.sum(0) + weights.sum(1)) ** 2).sum()
    top = n * ((n * n - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    top -= kurtosis * ((n * n - n) * s1 - 2 * n * s2 + 6 * s0**2)
    return float(top / ((n - 1) * (n - 2) * (n - 3) * s0**2) - 1 / (n - 1) ** 2)


@pytest.mark.parametrize(("lattice", "sd"), [(QUEEN, 0.0323), (ROOK, 0.0453)])
def test_null_moments_match_the_closed_form(lattice: Lattice, sd: float) -> None:
    rng = np.random.default_rng(2)
    maps = np.stack([rng.normal(size=256), rng.exponential(size=256), rng.normal(size=256) ** 3])
    null = moran.permutation_null(maps, moran.weights(lattice), 9999, 0)
    exact = np.sqrt([closed_form_variance(values, moran.weights(lattice)) for values in maps])
    assert exact[0] == pytest.approx(sd, abs=2e-4)
    # standard errors over 9,999 draws: sd / 100 of the mean, about sd / 140 (heavier tails: more) of the sd
    np.testing.assert_allclose(null.mean(axis=0), moran.expected_i(256), atol=5 * sd / 100)
    np.testing.assert_allclose(null.std(axis=0), exact, rtol=0.04)


def test_every_permutation_of_four_gives_the_exact_mean() -> None:
    weights = moran.weights(Lattice(2, 2, 4))
    maps = np.array(list(permutations([0.0, 1.0, 5.0, 7.0])))
    assert moran.morans_i(maps, weights).mean() == pytest.approx(moran.expected_i(4), abs=1e-14)


def test_numbers_of_a_16_by_16_grid() -> None:
    weights = moran.weights(QUEEN)
    assert moran.expected_i(256) == -1 / 255
    assert (np.count_nonzero(weights) / 2, np.count_nonzero(moran.weights(ROOK)) / 2) == (930, 480)
    centre = np.eye(256) - 1 / 256
    values, vectors = np.linalg.eigh(centre @ weights @ centre)
    assert moran.morans_i(vectors[:, -1:].T, weights)[0] == pytest.approx(256 / 1860 * values[-1], abs=1e-12)
    assert 256 / 1860 * values[-1] == pytest.approx(1.03, abs=0.005)


def test_normalisation_removes_the_i_of_a_gain_map() -> None:
    # tuning is independent noise; only how strong a channel is varies smoothly over the grid
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(16, 16)), 2.0, mode="wrap").ravel()
    gain = np.exp(0.6 * field / field.std())
    strength = np.abs(rng.normal(size=(16, 256))) * gain
    weights = moran.weights(QUEEN)
    assert moran.morans_i(strength, weights).mean() == pytest.approx(0.245, abs=0.03)
    assert abs(moran.morans_i(strength / np.linalg.norm(strength, axis=0), weights).mean()) < 0.025


def test_a_planted_smooth_field_is_found() -> None:
    field = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(16, 16)), 1.5).reshape(1, 256)
    weights = moran.weights(QUEEN)
    p = inference.p_values(moran.morans_i(field, weights), moran.permutation_null(field, weights, 9999, 0))
    assert p[0] == 1e-4


@pytest.mark.parametrize(
    "dead", [np.zeros(9), np.full(9, 0.1), np.full(9, 1e300), np.full(9, np.nan), np.r_[np.inf, np.ones(8)]]
)
def test_a_map_without_variance_is_nan_and_does_not_affect_the_others(dead: np.ndarray) -> None:
    weights = moran.weights(Lattice(3, 3))
    maps = np.stack([dead, np.arange(9.0)])
    observed, null = moran.morans_i(maps, weights), moran.permutation_null(maps, weights, 20, 0)
    assert np.isnan(observed[0]) and observed[1] == pytest.approx(0.3)
    assert np.isnan(null[:, 0]).all() and np.isfinite(null[:, 1]).all()


def test_grids_without_pairs_have_no_i() -> None:
    weights = moran.weights(Lattice(1, 1), row_standardised=True)
    assert np.isnan(moran.morans_i(np.ones((2, 1)), weights)).all()
    assert np.isnan(moran.permutation_null(np.ones((2, 1)), weights, 5, 0)).all()
    assert np.isnan(moran.expected_i(1))
    assert np.isnan(moran.morans_i(np.arange(4.0)[None], np.zeros((4, 4)))).all()
    assert moran.permutation_null(np.empty((0, 4)), np.ones((4, 4)), 5, 0).shape == (5, 0)


def test_huge_and_tiny_values_do_not_overflow() -> None:
    ramp, weights = np.arange(9.0)[None], moran.weights(Lattice(3, 3))
    for scale in (1e300, 1e-300):
        assert moran.morans_i(ramp * scale, weights)[0] == pytest.approx(0.3, abs=1e-12)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(9, 9\)"):
        moran.morans_i(np.ones((1, 9)), np.ones((4, 4)))
    with pytest.raises(ValueError, match="maps"):
        moran.morans_i(np.ones(9), np.ones((9, 9)))
    with pytest.raises(ValueError, match="permutations"):
        moran.permutation_null(np.ones((1, 9)), np.ones((9, 9)), 0, 0)


VALUES = st.lists(st.integers(-50, 50), min_size=12, max_size=12)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.floats(0.01, 100), st.sampled_from([-1.0, 1.0]), st.floats(-100, 100))
def test_law_shift_and_scale_change_nothing(values: list[int], scale: float, sign: float, shift: float) -> None:
    weights = moran.weights(Lattice(3, 4))
    base = np.array([values], dtype=float)
    moved = moran.morans_i(base * scale * sign + shift, weights)
    if np.ptp(base) > 0:
        np.testing.assert_allclose(moved, moran.morans_i(base, weights), atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.sampled_from([4, 8]), st.booleans())
def test_law_mirroring_the_grid_changes_nothing(values: list[int], neighbours: int, torus: bool) -> None:
    weights = moran.weights(Lattice(3, 4, neighbours, torus))
    grid = np.array(values, dtype=float).reshape(3, 4)
    views = np.stack([grid, grid[::-1], grid[:, ::-1]]).reshape(3, 12)
    result = moran.morans_i(views, weights)
    np.testing.assert_allclose(result, result[0], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(VALUES, st.integers(0, 1000))
def test_law_p_is_a_probability_and_never_zero(values: list[int], seed: int) -> None:
    maps, weights = np.array([values], dtype=float), moran.weights(Lattice(3, 4))
    p = inference.p_values(moran.morans_i(maps, weights), moran.permutation_null(maps, weights, 19, seed))
    assert np.isnan(p[0]) if np.ptp(maps) == 0 else 1 / 20 <= p[0] <= 1
