"""Correlations between channels against loops and SciPy, and their decay over the grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from pose_topo.study.lattice import Lattice
from pose_topo.topography import correlation

GRID = Lattice(3, 4)


def noise(images: int = 50, channels: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 3.0, (images, channels))


def rho_of(one: np.ndarray | list[float], two: np.ndarray | list[float]) -> float:
    """Spearman's rho by its definition: Pearson over average ranks."""
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(two))[0, 1])


def smooth(images: int = 80, seed: int = 0, side: int = 6) -> np.ndarray:
    fields = np.random.default_rng(seed).normal(size=(images, side, side))
    return ndimage.gaussian_filter(fields, (0, 1, 1)).reshape(images, side * side)


def test_pearson_by_hand() -> None:
    # (1,2,3) with (2,4,6): 1; with (3,2,1): -1; with (1,0,1): covariance 0
    activations = np.array([[1.0, 2.0, 3.0, 1.0], [2.0, 4.0, 2.0, 0.0], [3.0, 6.0, 1.0, 1.0]])
    expected = [[1, 1, -1, 0], [1, 1, -1, 0], [-1, -1, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(correlation.pearson(activations), expected, atol=1e-14)


def test_pearson_against_numpy_and_within_bounds() -> None:
    activations = noise()
    actual = correlation.pearson(activations)
    np.testing.assert_allclose(actual, np.corrcoef(activations.T), atol=1e-12)
    assert np.array_equal(actual, actual.T) and actual.max() <= 1 and actual.min() >= -1


@pytest.mark.parametrize("dead", [0.0, 0.1, np.nan])
def test_a_dead_channel_is_nan_and_does_not_affect_the_others(dead: float) -> None:
    activations = noise()
    activations[:, 5] = dead
    actual, others = correlation.pearson(activations), np.delete(np.arange(12), 5)
    assert np.isnan(actual[5]).all() and np.isnan(actual[:, 5]).all()
    np.testing.assert_allclose(actual[np.ix_(others, others)], np.corrcoef(activations[:, others].T), atol=1e-12)


def test_one_image_has_no_correlation() -> None:
    assert np.isnan(correlation.pearson(noise(images=1))).all()


@pytest.mark.parametrize("dead", [None, 5])
def test_means_and_map_against_loops(dead: int | None) -> None:
    activations = noise()
    if dead is not None:
        activations[:, dead] = 1.0
    matrix, adjacency = correlation.pearson(activations), GRID.adjacency()
    alive = [c for c in range(12) if c != dead]
    near = [matrix[i, j] for i in alive for j in alive if i < j and adjacency[i, j]]
    every = [matrix[i, j] for i in alive for j in alive if i < j]
    assert correlation.pair_means(matrix, GRID) == pytest.approx((np.mean(near), np.mean(every)), abs=1e-13)
    actual = correlation.neighbour_map(matrix, GRID)
    assert actual.shape == (3, 4)
    for c in range(12):
        around = [matrix[c, j] for j in alive if adjacency[c, j]]
        assert actual.flat[c] == pytest.approx(np.nan if c == dead else np.mean(around), nan_ok=True)


def test_histograms_are_densities_over_common_bins() -> None:
    matrix = correlation.pearson(noise())
    bins, near, every = correlation.histograms(matrix, GRID)
    assert bins.shape == (41,) and bins[0] == -1 and bins[-1] == 1
    np.testing.assert_allclose([(near * 0.05).sum(), (every * 0.05).sum()], 1.0)
    upper = matrix[np.triu_indices(12, 1)]
    np.testing.assert_allclose(every, np.histogram(upper, bins, density=True)[0])
    first, second = GRID.edges().T
    np.testing.assert_allclose(near, np.histogram(matrix[first, second], bins, density=True)[0])


def test_dead_channels_alone_give_none_nan_and_empty_histograms() -> None:
    matrix = np.full((12, 12), np.nan)
    assert correlation.pair_means(matrix, GRID) == (None, None)
    assert np.isnan(correlation.neighbour_map(matrix, GRID)).all()
    assert not any(density.any() for density in correlation.histograms(matrix, GRID)[1:])
    decay = correlation.over_distance(matrix, GRID, 19, 0)
    assert decay.spearman is None and decay.mantel_p is None
    assert np.isnan(np.stack([decay.correlation, decay.low, decay.high])).all()


def test_a_single_channel_has_no_pairs() -> None:
    one = Lattice(1, 1)
    assert correlation.pair_means(np.ones((1, 1)), one) == (None, None)
    assert np.isnan(correlation.neighbour_map(np.ones((1, 1)), one)).all()
    assert correlation.over_distance(np.ones((1, 1)), one, 9, 0).bins.shape == (0,)


@pytest.mark.parametrize("dead", [None, 3])
@pytest.mark.parametrize("torus", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (4, 9)])
def test_decay_against_loops_and_scipy(shape: tuple[int, int], torus: bool, dead: int | None) -> None:
    lattice = Lattice(*shape, 8, torus)
    activations = noise(channels=lattice.channels)
    if dead is not None:
        activations[:, dead] = 0.0
    matrix, distance = correlation.pearson(activations), lattice.distances()
    decay = correlation.over_distance(matrix, lattice, 99, 0)
    pairs = [(i, j) for i in range(lattice.channels) for j in range(i) if dead not in (i, j)]
    for centre, mean in zip(decay.bins, decay.correlation, strict=True):
        inside = [matrix[p] for p in pairs if centre - 0.5 <= distance[p] < centre + 0.5]
        assert mean == pytest.approx(np.mean(inside) if inside else np.nan, nan_ok=True)
    exact = rho_of([matrix[p] for p in pairs], [distance[p] for p in pairs])
    assert decay.spearman == pytest.approx(exact, abs=1e-12)


def test_band_and_mantel_against_loops() -> None:
    matrix, distance = correlation.pearson(noise()), GRID.distances()
    decay = correlation.over_distance(matrix, GRID, 60, 5)
    first, second = np.triu_indices(12, 1)
    place = np.floor(distance[first, second] + 0.5)
    curves, rhos = [], []
    for order in np.random.default_rng(5).permuted(np.tile(np.arange(12), (60, 1)), axis=1):
        shuffled = matrix[np.ix_(order, order)][first, second]
        curves.append([shuffled[place == b].mean() for b in decay.bins])
        rhos.append(rho_of(shuffled, distance[first, second]))
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(decay.low, low, atol=1e-12)
    np.testing.assert_allclose(decay.high, high, atol=1e-12)
    # one-sided: does correlation fall with distance?
    count = sum(rho <= (decay.spearman or 0) + 1e-12 for rho in rhos)
    assert decay.mantel_p == (1 + count) / 61


def test_smooth_fields_decay_and_noise_does_not() -> None:
    lattice = Lattice(6, 6)
    decay = correlation.over_distance(correlation.pearson(smooth()), lattice, 199, 0)
    assert decay.mantel_p == 1 / 200 and decay.spearman is not None and decay.spearman < -0.3
    assert decay.correlation[0] > decay.high[0] and decay.correlation[3] < decay.low[3]
    flat = correlation.over_distance(correlation.pearson(noise(80, 36)), lattice, 199, 0)
    assert flat.mantel_p is not None and flat.mantel_p > 0.05


def test_a_shared_offset_does_not_hide_the_decay() -> None:
    lattice, activations = Lattice(6, 6), smooth()
    shared = activations + np.random.default_rng(1).normal(0, 3, (80, 1))
    decay = correlation.over_distance(correlation.pearson(shared), lattice, 199, 0)
    assert decay.correlation.min() > 0.9 and decay.mantel_p == 1 / 200


def test_equal_correlations_have_no_rank_correlation() -> None:
    decay = correlation.over_distance(np.ones((12, 12)), GRID, 19, 0)
    assert decay.spearman is None and decay.mantel_p is None
    np.testing.assert_allclose(decay.correlation, 1.0)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="activations"):
        correlation.pearson(np.ones(4))
    with pytest.raises(ValueError, match=r"\(12, 12\)"):
        correlation.pair_means(np.ones((4, 4)), GRID)


def test_smoothness_by_hand() -> None:
    # a line of three: correlations .8 and .6 at distance 1, .1 at distance 2
    matrix = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.6], [0.1, 0.6, 1.0]])
    decay = correlation.over_distance(matrix, Lattice(1, 3), 5, 0)
    # difference at distance 1: (.2 + .4) / 2 = .3; over all pairs: (.2 + .4 + .9) / 3 = .5
    assert decay.smoothness == pytest.approx(1 - 0.3 / 0.5)


def test_smoothness_survives_a_shared_offset_and_is_zero_for_noise() -> None:
    lattice, activations = Lattice(6, 6), smooth()
    plain = correlation.over_distance(correlation.pearson(activations), lattice, 199, 0)
    shift = np.random.default_rng(1).normal(0, 1, (80, 1))
    shared = correlation.over_distance(correlation.pearson(activations + shift), lattice, 199, 0)
    assert plain.smoothness is not None and plain.smoothness_p == 1 / 200
    assert shared.smoothness == pytest.approx(plain.smoothness, abs=0.1) and shared.smoothness_p == 1 / 200
    noisy = correlation.over_distance(correlation.pearson(noise(400, 36)), lattice, 199, 0)
    assert abs(noisy.smoothness or 1.0) < 0.02 and (noisy.smoothness_p or 0.0) > 0.01


def test_smoothness_is_none_without_variation_or_live_neighbours() -> None:
    assert correlation.over_distance(np.ones((12, 12)), GRID, 9, 0).smoothness is None
    matrix = correlation.pearson(noise(channels=3))
    matrix[1], matrix[:, 1] = np.nan, np.nan
    assert correlation.over_distance(matrix, Lattice(1, 3), 9, 0).smoothness is None


def chance(lattice: Lattice) -> float | None:
    return correlation.coactivation(np.eye(lattice.channels), lattice)["chance"]


def test_chance_distance_of_a_16_by_16_grid() -> None:
    assert chance(Lattice(16, 16)) == pytest.approx(8.3587265160, abs=1e-9)
    assert chance(Lattice(16, 16, torus=True)) == pytest.approx(6.1631055834, abs=1e-9)


def test_chance_distance_by_hand() -> None:
    # 2 x 2: four sides of 1 and two diagonals of sqrt 2; 1 x 3: 1, 1, 2
    assert chance(Lattice(2, 2)) == pytest.approx((4 + 2 * np.sqrt(2)) / 6)
    assert chance(Lattice(1, 3)) == pytest.approx(4 / 3)
    assert chance(Lattice(1, 1)) is None


def test_coactivation_of_a_line_of_three_by_hand() -> None:
    # pairs (0,1) .95 at distance 1, (1,2) .35 at 1, (0,2) .5 at 2
    matrix = np.array([[1.0, 0.95, 0.5], [0.95, 1.0, 0.35], [0.5, 0.35, 1.0]])
    result = correlation.coactivation(matrix, Lattice(1, 3))
    assert result["alphas"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert result["pairs"] == [3, 3, 3, 2, 2, 1, 1, 1, 1]
    assert result["distance"] == pytest.approx([4 / 3] * 3 + [1.5] * 2 + [1.0] * 4)
    assert result["chance"] == pytest.approx(4 / 3)


def test_coactivation_without_pairs_is_none_with_count_zero() -> None:
    result = correlation.coactivation(np.eye(9), Lattice(3, 3))
    assert result["distance"] == [None] * 9 and result["pairs"] == [0] * 9
    assert correlation.coactivation(np.full((9, 9), np.nan), Lattice(3, 3))["pairs"] == [0] * 9
    assert correlation.coactivation(np.ones((1, 1)), Lattice(1, 1))["chance"] is None


def test_coactivation_is_at_chance_if_everything_is_correlated() -> None:
    lattice = Lattice(4, 5)
    result = correlation.coactivation(np.ones((20, 20)), lattice, (0.5, 1.0))
    assert result["distance"] == pytest.approx([chance(lattice)] * 2) and result["pairs"] == [190, 190]


@pytest.mark.parametrize("torus", [False, True])
def test_coactivation_against_loops_with_a_dead_channel(torus: bool) -> None:
    lattice = Lattice(3, 5, 8, torus)
    matrix = np.array(np.corrcoef(np.random.default_rng(0).normal(size=(15, 6))))
    matrix[4] = matrix[:, 4] = np.nan
    result, apart = correlation.coactivation(matrix, lattice), lattice.distances()
    for alpha, distance, count in zip(result["alphas"], result["distance"], result["pairs"], strict=True):
        found = [apart[i, j] for i in range(15) for j in range(i) if matrix[i, j] >= alpha]
        assert count == len(found)
        assert distance == (pytest.approx(np.mean(found)) if found else None)


def test_coactivation_refuses_a_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"\(9, 9\)"):
        correlation.coactivation(np.eye(4), Lattice(3, 3))
