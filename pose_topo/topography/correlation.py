"""Are neighbouring channels active together, and does that fade with their distance on the grid?

A correlation matrix here is (C, C), Pearson's over images. A channel without variance (dead) has NaN in its
row and column, the diagonal included; every function leaves such pairs out. Channels are in row-major grid
order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pose_topo.study.lattice import Lattice
from pose_topo.topography.inference import p_values, permutation_blocks

Array = NDArray[np.float64]
Measure = Callable[[NDArray[np.int64]], tuple[Array, float]]

BINS: Array = np.linspace(-1.0, 1.0, 41)

_CONSTANT = 1e-12  # a range below this share of the largest value is rounding, not variance


@dataclass(frozen=True)
class Decay:
    """Correlation over grid distance.

    `bins` (d,) are the whole distances r, each holding the pairs in [r - 1/2, r + 1/2); `correlation` (d,)
    their mean, NaN without a live pair; `low`, `high` (d,) the pointwise middle 95% with the channels
    permuted on the grid. `spearman` is the rank correlation of (correlation, distance) over pairs, `mantel_p`
    its one-sided p (Mantel 1967) that correlation falls with distance; both None where correlations or
    distances do not differ.

    `smoothness` is 1 - x / chance, where x is the mean of 1 - correlation at distance 1 and chance the same over
    all pairs: 0 on a random grid, 1 where neighbours are alike. This is the first point of the profile of pairwise
    difference over distance, divided by chance, of Margalit et al. 2024 (Neuron 112, 2435-2451), with 1 -
    correlation as the difference. An offset that all channels share shrinks numerator and denominator alike.
    `smoothness_p` is one-sided, with the channels permuted; both None without live pairs at distance 1 or where no
    correlation is below 1.
    """

    bins: Array
    correlation: Array
    low: Array
    high: Array
    spearman: float | None
    mantel_p: float | None
    smoothness: float | None = None
    smoothness_p: float | None = None


def unit_columns(values: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The columns of (N, M) centred and scaled to length 1, as (N, M), and which have variance, (M,).

    A column that is constant up to rounding, or holds a value that is not finite, is marked False and zero
    throughout.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return np.zeros(values.shape), np.zeros(values.shape[1], bool)
    finite = np.isfinite(values).all(axis=0)
    values = np.where(finite, values, 0.0)
    largest = np.abs(values).max(axis=0)
    values = values / np.where(largest > 0, largest, 1.0)  # else squares of huge values overflow
    known = finite & (np.ptp(values, axis=0) > _CONSTANT)
    centred = np.where(known, values - values.mean(axis=0), 0.0)
    return centred / np.where(known, np.linalg.norm(centred, axis=0), 1.0), known


def pearson(activations: Array) -> Array:
    """Pearson correlation (C, C) between channels over images, from spatial-mean activations (N, C).

    Raises:
        ValueError: `activations` is not two-dimensional.
    """
    if np.ndim(activations) != 2:
        raise ValueError(f"activations {np.shape(activations)}: give (images, channels)")
    unit, known = unit_columns(activations)
    matrix = np.clip(unit.T @ unit, -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    matrix[~known] = np.nan
    matrix[:, ~known] = np.nan
    return matrix


def pair_values(matrix: Array, lattice: Lattice) -> tuple[Array, Array]:
    """Correlations of all live neighbour pairs, and of all live pairs (neighbours among them), each once.

    Raises:
        ValueError: the matrix is not of the lattice's channels.
    """
    check_matrix(matrix, lattice)
    first, second = lattice.edges().T
    near, every = matrix[first, second], matrix[np.triu_indices(len(matrix), 1)]
    return near[~np.isnan(near)], every[~np.isnan(every)]


def pair_means(matrix: Array, lattice: Lattice) -> tuple[float | None, float | None]:
    """Mean correlation of neighbour pairs and of all pairs; None where no live pair is left."""
    near, every = (float(values.mean()) if values.size else None for values in pair_values(matrix, lattice))
    return near, every


def neighbour_map(matrix: Array, lattice: Lattice) -> Array:
    """Each channel's mean correlation with its live neighbours, (h, w); NaN where it is dead or has none."""
    check_matrix(matrix, lattice)
    counted = (lattice.adjacency() > 0) & ~np.isnan(matrix)
    number = counted.sum(axis=1)
    total = np.where(counted, matrix, 0.0).sum(axis=1)
    means = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return means.reshape(lattice.height, lattice.width)


def histograms(matrix: Array, lattice: Lattice) -> tuple[Array, Array, Array]:
    """Bin edges (41,), and densities (40,) of neighbour pairs and of all pairs; zeros without a live pair."""
    near, every = (
        np.histogram(values, BINS)[0] / (max(1, values.size) * np.diff(BINS)) for values in pair_values(matrix, lattice)
    )
    return BINS.copy(), near, every


def over_distance(matrix: Array, lattice: Lattice, permutations: int = 999, seed: int = 0) -> Decay:
    """Correlation against grid distance with its permutation band and Mantel test: see `Decay`.

    Live channels are permuted among the places of live channels, so that dead ones stay where they are.

    Raises:
        ValueError: the matrix is not of the lattice's channels, or `permutations` is below 1.
    """
    check_matrix(matrix, lattice)
    whole = lattice.distances()
    bins = np.unique(_nearest(whole[np.triu_indices(len(whole), 1)]))
    alive = np.flatnonzero(~np.isnan(np.diagonal(matrix)))
    mean, low, high = np.full((3, len(bins)), np.nan)
    if alive.size < 2:
        return Decay(bins, mean, low, high, None, None)
    present, measure, ranked = _measurement(matrix[np.ix_(alive, alive)], whole[np.ix_(alive, alive)])
    observed, rho = measure(np.arange(len(alive)))
    orders = (order for part in permutation_blocks(len(alive), permutations, seed) for order in part)
    null_curves, null_rho = zip(*map(measure, orders), strict=True)
    filled = np.isin(bins, present)
    mean[filled] = observed
    low[filled], high[filled] = np.quantile(null_curves, [0.025, 0.975], axis=0)
    chance = 1.0 - matrix[np.ix_(alive, alive)][np.triu_indices(len(alive), 1)].mean()
    smooth = smooth_p = None
    if present[0] == 1 and chance > 1e-10:
        smooth = float(1.0 - (1.0 - observed[0]) / chance)
        smooth_p = float(p_values(observed[:1], np.array(null_curves)[:, :1])[0])
    if not ranked:
        return Decay(bins, mean, low, high, None, None, smooth, smooth_p)
    p = (1.0 + np.count_nonzero(np.array(null_rho) <= rho + 1e-10)) / (1.0 + permutations)
    return Decay(bins, mean, low, high, float(rho), p, smooth, smooth_p)


def _measurement(live: Array, apart: Array) -> tuple[Array, Measure, bool]:
    """What `over_distance` measures in every order of the channels, from correlations and distances (L, L).

    Gives the bins that hold pairs, (b,); a function from an order (L,) to the bin means (b,) and Spearman's
    rho; and whether there is a rho at all.

    Permuting channels only reorders the ranks of the correlations, hence they are taken once. Correlations
    and ranks travel as one complex number, so that each permutation gathers its pairs and sums them once.
    """
    first, second = np.triu_indices(len(live), 1)
    order = np.argsort(apart[first, second], kind="stable")  # pairs of one distance side by side
    first, second = first[order], second[order]
    distance = apart[first, second]
    scores = np.stack([stats.rankdata(live[first, second]), stats.rankdata(distance)], axis=1)
    unit, known = unit_columns(scores)
    packed = live.astype(np.complex128)
    packed.imag[first, second] = packed.imag[second, first] = unit[:, 0]
    packed = packed.ravel()
    apart_each, starts = np.unique(distance, return_index=True)
    present, bin_starts = np.unique(_nearest(apart_each), return_index=True)
    counts = np.diff(np.append(starts[bin_starts], len(distance)))
    weights = unit[starts, 1]  # pairs of one distance share its rank

    def measure(places: NDArray[np.int64]) -> tuple[Array, float]:
        sums: NDArray[np.complex128] = np.add.reduceat(packed.take(places[first] * len(live) + places[second]), starts)
        return np.add.reduceat(sums.real, bin_starts) / counts, float(sums.imag @ weights)

    return present, measure, bool(known.all())


def _nearest(distance: Array) -> Array:
    return np.floor(distance + 0.5)


def check_matrix(matrix: Array, lattice: Lattice) -> None:
    """Raise ValueError unless the matrix is (C, C) for the lattice's C channels."""
    shape = (lattice.channels, lattice.channels)
    if np.shape(matrix) != shape:
        raise ValueError(f"correlations {np.shape(matrix)}: a {lattice.height} x {lattice.width} grid needs {shape}")


# ---- How far apart on the grid do channels lie that are active together?
#
# At each threshold alpha, the mean grid distance of the pairs whose correlation over images is at least alpha.
# On a topographic grid it falls with alpha; on any other it stays at chance. An offset that all channels share
# lifts every correlation over every alpha and returns chance throughout, so read it beside
# `correlation.over_distance`.

ALPHAS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class CoActivation:
    """For each of `alphas` the mean `distance` in cells (None without pairs) and the number of `pairs`.

    `chance` is the mean distance of all pairs, None for a single channel.
    """

    chance: float | None
    alphas: list[float]
    distance: list[float | None]
    pairs: list[int]


def chance(lattice: Lattice) -> float | None:
    """Mean distance of all pairs of different channels, in cells; None for a single channel."""
    apart = lattice.distances()[np.triu_indices(lattice.channels, 1)]
    return float(apart.mean()) if apart.size else None


def distances(matrix: NDArray[np.float64], lattice: Lattice, alphas: Sequence[float] = ALPHAS) -> CoActivation:
    """Mean distance of co-active pairs of the correlations (C, C); pairs with a dead channel never count.

    Raises:
        ValueError: the matrix is not of the lattice's channels.
    """
    check_matrix(matrix, lattice)
    upper = np.triu_indices(lattice.channels, 1)
    together, apart = matrix[upper], lattice.distances()[upper]
    chosen = [apart[together >= alpha] for alpha in alphas]
    return CoActivation(
        chance=chance(lattice),
        alphas=list(alphas),
        distance=[float(found.mean()) if found.size else None for found in chosen],
        pairs=[int(found.size) for found in chosen],
    )
