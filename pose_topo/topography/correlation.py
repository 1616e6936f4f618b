"""Correlation and distance: are neighbouring channels active together, and how does this decay over the grid?

A correlation matrix is (C, C): Pearson's correlation of the channels over people, in row-major grid order. A channel
without variance (a dead channel) is NaN in its row and column, including the diagonal. All functions leave out pairs
with a dead channel, and raise ValueError if the matrix does not match the lattice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pose_topo.study.lattice import Lattice
from pose_topo.topography.inference import p_value, permutation_blocks
from pose_topo.topography.moran import unit_columns

Array = NDArray[np.float64]

BINS: Array = np.linspace(-1.0, 1.0, 41, dtype=np.float64)
ALPHAS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def pearson(activations: Array) -> Array:
    """The Pearson correlation (C, C) of the channels over people.

    Args:
        activations: (N, C), spatial means.

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
    """The correlations of all neighbour pairs and of all pairs, each pair once, without dead channels."""
    check_matrix(matrix, lattice)
    first, second = lattice.edges().T
    near, every = matrix[first, second], matrix[np.triu_indices(len(matrix), 1)]
    return near[~np.isnan(near)], every[~np.isnan(every)]


def pair_means(matrix: Array, lattice: Lattice) -> tuple[float | None, float | None]:
    """The mean correlation of neighbour pairs and of all pairs. None where no pair is left."""
    near, every = (float(values.mean()) if values.size else None for values in pair_values(matrix, lattice))
    return near, every


def neighbour_map(matrix: Array, lattice: Lattice) -> Array:
    """The mean correlation (h, w) of each channel with its live neighbours. NaN where it is dead or has none."""
    check_matrix(matrix, lattice)
    counted = (lattice.adjacency() > 0) & ~np.isnan(matrix)
    number = counted.sum(axis=1)
    total = np.where(counted, matrix, 0.0).sum(axis=1)
    means = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return means.reshape(lattice.height, lattice.width)


def histograms(matrix: Array, lattice: Lattice) -> tuple[Array, Array, Array]:
    """Bin edges (41,), and the densities (40,) of neighbour pairs and of all pairs. Zeros if there is no pair."""
    near, every = (
        np.histogram(values, BINS)[0] / (max(1, values.size) * np.diff(BINS)) for values in pair_values(matrix, lattice)
    )
    return BINS.copy(), near, every


def check_matrix(matrix: Array, lattice: Lattice) -> None:
    """Raise ValueError unless the matrix is (C, C) for the C channels of the lattice."""
    shape = (lattice.channels, lattice.channels)
    if np.shape(matrix) != shape:
        raise ValueError(f"correlations {np.shape(matrix)}: a {lattice.height} x {lattice.width} grid needs {shape}")


# ---- Correlation over grid distance


@dataclass(frozen=True)
class Decay:
    """Correlation over grid distance.

    `smoothness` is 1 - x / chance, where x is the mean of 1 - correlation at distance 1 and chance is the same mean
    over all pairs. It is 0 on a random grid and 1 if neighbours are alike. This is the first point of the profile of
    pairwise difference over distance of Margalit et al. 2024 (Neuron 112, 2435-2451), divided by chance, with 1 -
    correlation as the difference. An offset that all channels share shrinks numerator and denominator alike.
    """

    bins: Array  # (d,), the whole distances r; a bin holds the pairs with a distance in [r - 1/2, r + 1/2)
    correlation: Array  # (d,), the mean correlation per bin; NaN for a bin without live pairs
    low: Array  # (d,), from here to `high` lie the middle 95% of `correlation` under permuted channels, pointwise
    high: Array  # (d,)
    spearman: float | None = None  # the rank correlation of (correlation, distance); None if either does not vary
    mantel_p: float | None = None  # one-sided (Mantel 1967): correlation falls with distance; None with `spearman`
    smoothness: float | None = None  # None without live pairs at distance 1, or if no correlation is below 1
    smoothness_p: float | None = None  # one-sided, under permuted channels; None with `smoothness`


def over_distance(matrix: Array, lattice: Lattice, permutations: int = 999, seed: int = 0) -> Decay:
    """Correlation over grid distance, with its permutation band and the Mantel test.

    Live channels are permuted among the places of live channels. Dead channels stay where they are.

    Raises:
        ValueError: `permutations` is below 1, or the matrix does not match the lattice.
    """
    check_matrix(matrix, lattice)
    whole = lattice.distances()
    bins = np.unique(np.floor(whole[np.triu_indices(len(whole), 1)] + 0.5))
    alive = np.flatnonzero(~np.isnan(np.diagonal(matrix)))
    mean, low, high = np.full((3, len(bins)), np.nan)
    if alive.size < 2:
        return Decay(bins, mean, low, high)
    live = matrix[np.ix_(alive, alive)]
    present, profile, ranked = _profile_function(live, whole[np.ix_(alive, alive)])
    observed, rho = profile(np.arange(len(alive)))
    orders = (order for part in permutation_blocks(len(alive), permutations, seed) for order in part)
    null_curves, null_rho = zip(*map(profile, orders), strict=True)
    filled = np.isin(bins, present)
    mean[filled] = observed
    low[filled], high[filled] = np.quantile(null_curves, [0.025, 0.975], axis=0)
    chance = 1.0 - live[np.triu_indices(len(alive), 1)].mean()
    numbers = {}
    if present[0] == 1 and chance > 1e-10:
        numbers["smoothness"] = float(1.0 - (1.0 - observed[0]) / chance)
        numbers["smoothness_p"] = p_value(observed[0], np.array(null_curves)[:, 0])
    if ranked:
        numbers |= {"spearman": rho, "mantel_p": p_value(-rho, -np.array(null_rho))}
    return Decay(bins, mean, low, high, **numbers)


def _profile_function(
    live: Array, apart: Array
) -> tuple[Array, Callable[[NDArray[np.int64]], tuple[Array, float]], bool]:
    """The statistics of `over_distance`, from correlations and distances (L, L), as a function of the channels' order.

    Permuting channels only reorders the ranks of the correlations, so the ranks are computed once. Correlations and
    ranks are packed into one complex number, so that each permutation gathers and sums its pairs only once.

    Returns:
        The bins that hold pairs (b,); a function from an order (L,) to the bin means (b,) and Spearman's rho; and
        whether rho is defined.
    """
    first, second = np.triu_indices(len(live), 1)
    order = np.argsort(apart[first, second], kind="stable")  # pairs of one distance become contiguous
    first, second = first[order], second[order]
    distance = apart[first, second]
    scores = np.stack([stats.rankdata(live[first, second]), stats.rankdata(distance)], axis=1)
    unit, known = unit_columns(scores)
    packed = live.astype(np.complex128)
    packed.imag[first, second] = packed.imag[second, first] = unit[:, 0]
    packed = packed.ravel()
    apart_each, starts = np.unique(distance, return_index=True)
    present, bin_starts = np.unique(np.floor(apart_each + 0.5), return_index=True)
    counts = np.diff(np.append(starts[bin_starts], len(distance)))
    rank_of_distance = unit[starts, 1]  # pairs of one distance share one rank

    def profile(places: NDArray[np.int64]) -> tuple[Array, float]:
        sums: NDArray[np.complex128] = np.add.reduceat(packed.take(places[first] * len(live) + places[second]), starts)
        return np.add.reduceat(sums.real, bin_starts) / counts, float(sums.imag @ rank_of_distance)

    return present, profile, bool(known.all())


# ---- The distance of co-active channels


def coactivation(matrix: Array, lattice: Lattice, alphas: Sequence[float] = ALPHAS) -> dict[str, Any]:
    """The mean grid distance of co-active pairs: the pairs whose correlation is at least a threshold alpha.

    On a topographic grid the distance falls with alpha; on any other grid it stays at chance. An offset that all
    channels share lifts every correlation above every alpha, and the distance is then at chance throughout. Read it
    together with `over_distance`.

    Returns:
        The entry "coactivation" of analysis.json. "chance": the mean distance of all pairs, in cells; None for a single
        channel. Per threshold: "alphas"; "distance", in cells, None where there is no pair; "pairs", their number.
    """
    check_matrix(matrix, lattice)
    upper = np.triu_indices(lattice.channels, 1)
    values, apart = matrix[upper], lattice.distances()[upper]
    selected = [apart[values >= alpha] for alpha in alphas]
    distance = [float(pairs.mean()) if pairs.size else None for pairs in selected]
    reason = "no distance where no pair is correlated so highly" if None in distance else None
    return {
        "chance": float(apart.mean()) if apart.size else None,
        "alphas": list(alphas),
        "distance": distance,
        "pairs": [pairs.size for pairs in selected],
        "reason": reason if apart.size else "the grid is a single channel",
    }
