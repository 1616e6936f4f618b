"""P values, their corrections and the null band against direct loops; the size of the test on null maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference, moran


def test_p_counts_the_observation_and_keeps_ties() -> None:
    null = np.array([[0.1, 0.5], [0.3, 0.5], [0.2, 0.1]])
    # column 0: only .3 reaches .25, so (1 + 1) / 4; column 1: two ties with .5, so (1 + 2) / 4
    np.testing.assert_array_equal(inference.p_values(np.array([0.25, 0.5]), null), [0.5, 0.75])
    # .1 + .2 is .30000000000000004: a tie but for rounding
    assert inference.p_values(np.array([0.1 + 0.2]), null[:, :1])[0] == 0.5


def test_a_map_without_i_does_not_affect_the_others() -> None:
    observed = np.array([np.nan, 0.9])
    null = np.array([[np.nan, 0.1], [np.nan, 0.3], [np.nan, 0.5]])
    np.testing.assert_array_equal(inference.p_values(observed, null), [np.nan, 0.25])
    np.testing.assert_array_equal(inference.max_t(observed, null), [np.nan, 0.25])
    np.testing.assert_array_equal(inference.benjamini_hochberg([None, 0.25]), [np.nan, 0.25])
    assert inference.p_of_mean(observed, null) == 0.25
    assert inference.mean_of_defined(observed) == 0.9
    assert np.isnan(inference.z_scores(observed, null)[0])
    assert inference.null_band(null) == inference.null_band(null[:, 1:])


def test_maps_without_i_alone_give_none() -> None:
    observed, null = np.full(3, np.nan), np.full((5, 3), np.nan)
    assert inference.p_of_mean(observed, null) is None
    assert inference.mean_of_defined(observed) is None
    assert inference.null_band(null) == (None, None)
    for values in (inference.p_values(observed, null), inference.max_t(observed, null)):
        assert np.isnan(values).all()
    assert np.isnan(inference.benjamini_hochberg([None, None])).all()
    assert inference.benjamini_hochberg([]).shape == (0,)


def bh_by_loops(p: list[float]) -> list[float]:
    """q_i: the smallest over all p_j >= p_i of m * p_j / #{p <= p_j}."""
    m = len(p)
    return [min(1.0, min(m * pj / sum(x <= pj for x in p) for pj in p if pj >= pi)) for pi in p]


def test_benjamini_hochberg_by_hand() -> None:
    # sorted .01 .02 .03 .5 of 4: .04, .04, .04, .5
    np.testing.assert_allclose(inference.benjamini_hochberg([0.03, 0.5, 0.01, 0.02]), [0.04, 0.5, 0.04, 0.04])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40).map(lambda n: n / 40), min_size=1, max_size=16))
def test_benjamini_hochberg_against_loops(p: list[float]) -> None:
    q = inference.benjamini_hochberg(p)
    np.testing.assert_allclose(q, bh_by_loops(p), atol=1e-12)
    assert (q >= np.array(p) - 1e-12).all() and (q <= 1).all()


def test_benjamini_hochberg_against_scipy() -> None:
    p = np.random.default_rng(0).random(16) ** 3
    np.testing.assert_allclose(inference.benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-14)


def test_max_t_against_loops() -> None:
    rng = np.random.default_rng(4)
    null = rng.normal(size=(99, 5)) * [1, 2, 3, 4, 5]
    observed = np.array([2.5, 1.0, 9.0, 0.0, 8.0])
    everything = np.vstack([observed, null])
    z = np.array([[(v - c.mean()) / c.std() for v, c in zip(r, everything.T, strict=True)] for r in everything])
    loops = [(1 + sum(max(row) >= z[0, k] for row in z[1:])) / 100 for k in range(5)]
    np.testing.assert_array_equal(inference.max_t(observed, null), loops)
    assert (inference.max_t(observed, null) >= inference.p_values(observed, null) - 0.02).all()


def test_a_null_without_spread_is_never_significant() -> None:
    observed, null = np.array([0.4, 0.1]), np.full((9, 2), [0.4, 0.1])
    np.testing.assert_array_equal(inference.p_values(observed, null), [1.0, 1.0])
    np.testing.assert_array_equal(inference.max_t(observed, null), [1.0, 1.0])
    assert np.isnan(inference.z_scores(observed, null)).all()


def test_z_band_and_mean_against_numpy() -> None:
    rng = np.random.default_rng(1)
    observed, null = rng.normal(size=3), rng.normal(size=(200, 3))
    z = inference.z_scores(observed, null)
    np.testing.assert_allclose(z, (observed - null.mean(0)) / null.std(0), atol=1e-12)
    assert inference.null_band(null, 0.9) == pytest.approx(tuple(np.quantile(null, [0.05, 0.95])))
    loops = sum(row.mean() >= observed.mean() for row in null)
    assert inference.p_of_mean(observed, null) == (1 + loops) / 201


def test_permutations_do_not_depend_on_the_block_size() -> None:
    small = np.concatenate(list(inference.permutation_blocks(7, 50, 3, block=8)))
    whole = np.concatenate(list(inference.permutation_blocks(7, 50, 3, block=64)))
    assert np.array_equal(small, whole)
    assert np.array_equal(np.sort(small, axis=1), np.tile(np.arange(7), (50, 1)))
    # each place holds each channel about equally often: 3,000 draws of 7, 5 standard errors
    many = np.concatenate(list(inference.permutation_blocks(7, 3000, 0)))
    counts = np.stack([np.bincount(column, minlength=7) for column in many.T])
    assert np.abs(counts - 3000 / 7).max() < 5 * np.sqrt(3000 * 6 / 49)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        inference.p_values(np.zeros(3), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="permutations"):
        inference.p_values(np.zeros(3), np.zeros((0, 3)))


def null_p_values(maps: int, permutations: int, seed: int) -> np.ndarray:
    values = np.abs(np.random.default_rng(seed).normal(size=(maps, 64)))
    weights = moran.weights(Lattice(8, 8))
    null = moran.permutation_null(values, weights, permutations, seed + 1)
    return inference.p_values(moran.morans_i(values, weights), null)


def test_p_of_null_maps_is_uniform() -> None:
    p = null_p_values(2000, 1999, 10)
    # spread the steps of 1/2000 so that the continuous test applies
    smooth = p - np.random.default_rng(0).random(p.shape) / 2000
    assert stats.kstest(smooth, "uniform").pvalue > 0.01
    assert 0.04 <= (p <= 0.05).mean() <= 0.06
