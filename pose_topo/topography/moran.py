"""Moran's I (Moran 1950; Cliff & Ord 1981): do neighbouring channels have similar values?

I = (C / S0) * sum_ij w_ij z_i z_j / sum_i z_i^2, where z is the centred map and S0 is the sum of the neighbour
weights. The expectation of I under permutation is -1 / (C - 1), not 0. The size of I depends on the neighbour weights,
so report `weights_name` with every I.

A map without variance has no I. Its I is NaN, and so are all its permutations, whatever the other maps contain. The
callers write NaN as null. The same holds for a map with a value that is not finite, and for neighbour weights that sum
to zero.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference

Array = NDArray[np.float64]

_CONSTANT = 1e-12  # a range below this share of the largest value is rounding, not variance
_CACHE_VALUES = 1 << 17  # numbers per task: 1 MiB, so that all steps of a task stay in the L2 cache
_SPARSE_SHARE = 1 / 16  # up to this share of non-zero weights, a sparse product is faster than a dense one


def unit_columns(values: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Centre the columns of a matrix (N, M) and scale them to length 1.

    Returns:
        The scaled matrix (N, M), and which columns have variance (M,). A column that is constant up to rounding, or
        that contains a value that is not finite, is marked False and is zero throughout.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return np.zeros(values.shape), np.zeros(values.shape[1], bool)
    finite = np.isfinite(values).all(axis=0)
    values = np.where(finite, values, 0.0)
    largest = np.abs(values).max(axis=0)
    values = values / np.where(largest > 0, largest, 1.0)  # the squares of huge values would overflow
    known = finite & (np.ptp(values, axis=0) > _CONSTANT)
    centred = np.where(known, values - values.mean(axis=0), 0.0)
    return centred / np.where(known, np.linalg.norm(centred, axis=0), 1.0), known


def weights(lattice: Lattice, row_standardised: bool = False) -> Array:
    """The neighbour weights (C, C) of a lattice: 1 between neighbours and 0 elsewhere.

    With `row_standardised` each row is divided by its sum. The row of a channel without neighbours stays 0.
    """
    matrix = lattice.adjacency()
    if row_standardised:
        matrix /= np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    return matrix


def weights_name(lattice: Lattice, row_standardised: bool = False) -> str:
    """The name of the neighbour weights in result files, for example "queen, bounded, binary"."""
    return f"{lattice.name}, {'row-standardised' if row_standardised else 'binary'}"


def primary(lattice: Lattice) -> Lattice:
    """The lattice under which I is reported first: queen neighbours, bounded, whatever lattice the loss used."""
    return Lattice(lattice.height, lattice.width)


def weight_sets(lattice: Lattice) -> dict[str, tuple[str, Array]]:
    """The neighbour weights under which I is reported: key -> (name, weights (C, C)), the primary weights first.

    The I of one map differs between them (docs/topography.md has an example). "torus" is included only where
    the loss itself joins opposite borders. It then has the neighbours of the loss.
    """
    queen, rook = primary(lattice), Lattice(lattice.height, lattice.width, neighbours=4)
    chosen = {"queen": (queen, False), "queen_row": (queen, True), "rook": (rook, False), "rook_row": (rook, True)}
    if lattice.torus:
        chosen["torus"] = (lattice, False)
    return {key: (weights_name(*which), weights(*which)) for key, which in chosen.items()}


def expected_i(channels: int) -> float:
    """E[I] = -1 / (C - 1) under permutation; NaN for fewer than two channels."""
    return -1.0 / (channels - 1) if channels > 1 else float("nan")


def morans_i(maps: Array, weights: Array | Lattice) -> Array:
    """Moran's I of each map.

    Args:
        maps: (K, C), one value per channel, in row-major grid order.
        weights: (C, C), any finite neighbour weights (they need not be symmetric), or a lattice, which stands for
            its binary adjacency.

    Returns:
        (K,). NaN where I does not exist; never infinite.

    Raises:
        ValueError: The shapes do not match.
    """
    maps, weights = _checked(maps, weights)
    unit, known = unit_columns(maps.T)
    result, total = np.full(len(maps), np.nan), float(weights.sum())
    if total != 0 and known.any():
        columns = unit[:, known]
        result[known] = len(unit) / total * np.einsum("ck,ck->k", columns, _half_product(weights)(columns))
    return result


@dataclass(frozen=True)
class MoranTest:
    """Moran's I of K maps on one lattice, tested by permutation. Arrays are (K,); NaN where a map has no I."""

    I: Array  # noqa: E741 (its name in the literature)
    expected: float  # E[I] under permutation, -1 / (C - 1)
    z: Array  # (I - mean) / standard deviation of the permuted I
    p: Array  # one-sided
    q: Array  # false discovery rate over the K maps (Benjamini & Hochberg 1995)
    p_max: Array  # family-wise p over the K maps (max-T, Westfall & Young 1993)
    mean_i: float | None  # over the maps that have an I
    p_mean: float | None  # of the mean I
    null_band: tuple[float, float] | tuple[None, None]  # the middle 95% of the permuted I of single maps

    def columns(self) -> dict[str, Array]:
        """The numbers (K,) of the maps, with the keys of the result files."""
        return {"I": self.I, "z": self.z, "p": self.p, "q": self.q, "p_max": self.p_max}

    def rows(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """`columns` by map: the name of each map -> its numbers."""
        columns = self.columns()
        return {name: {key: float(values[k]) for key, values in columns.items()} for k, name in enumerate(names)}

    def overall(self) -> dict[str, float | None]:
        """The numbers of all maps together, with the keys of the result files."""
        low, high = self.null_band
        return {"mean_I": self.mean_i, "p_mean": self.p_mean, "null_low": low, "null_high": high}


def moran_test(maps: Array, weights: Array | Lattice, permutations: int = 9999, seed: int = 0) -> MoranTest:
    """Test whether neighbouring channels have similar values, with the same permutations for all maps.

    Args:
        maps, weights: As for `morans_i`.
        permutations: The number of random arrangements of the channels in the null distribution.
        seed: Seed of the permutations.

    Raises:
        ValueError: The shapes do not match, or `permutations` is below 1.
    """
    maps, weights = _checked(maps, weights)
    observed, null = morans_i(maps, weights), permutation_null(maps, weights, permutations, seed)
    p = inference.p_values(observed, null)
    return MoranTest(
        I=observed,
        expected=expected_i(maps.shape[1]),
        z=inference.z_scores(observed, null),
        p=p,
        q=inference.benjamini_hochberg(p),
        p_max=inference.max_t(observed, null),
        mean_i=inference.mean_of_defined(observed),
        p_mean=inference.p_of_mean(observed, null),
        null_band=inference.null_band(null),
    )


def permutation_null(maps: Array, weights: Array | Lattice, permutations: int = 9999, seed: int = 0) -> Array:
    """Moran's I of each map under P random permutations of the channels. Each permutation is used for all maps.

    The arguments are those of `moran_test`. The result does not depend on the number of cores.

    Returns:
        (P, K). The column of a map without I is NaN.

    Raises:
        ValueError: The shapes do not match, or `permutations` is below 1.
    """
    maps, weights = _checked(maps, weights)
    unit, known = unit_columns(maps.T)
    null, done = np.full((max(0, permutations), len(maps)), np.nan), 0
    columns, product, total = np.ascontiguousarray(unit[:, known]), _half_product(weights), weights.sum()
    step = max(1, _CACHE_VALUES // max(1, columns.size))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for orders in inference.permutation_blocks(maps.shape[1], permutations, seed):
            if total == 0 or not known.any():
                break
            parts = [orders[start : start + step] for start in range(0, len(orders), step)]
            values = np.concatenate(list(pool.map(lambda part: _quadratic(columns, part, product), parts)))
            null[done : done + len(orders), known] = len(unit) / total * values
            done += len(orders)
    return null


def _quadratic(columns: Array, orders: NDArray[np.int64], product: Callable[[Array], Array]) -> Array:
    """z' W z of each column (C, V) in each order (B, C), as (B, V)."""
    # with the channels first, each weight adds one long contiguous row to another
    permuted = columns.take(orders.T, axis=0).reshape(len(columns), -1)
    return np.einsum("cn,cn->n", permuted, product(permuted)).reshape(len(orders), -1)


def _half_product(weights: Array) -> Callable[[Array], Array]:
    """A function x -> U x with x' U x = x' W x, where U is the upper triangle of W + W'.

    The quadratic form depends only on W + W'. One triangle of this symmetric matrix is enough, which halves the work.
    """
    upper = np.triu(weights + weights.T)
    np.fill_diagonal(upper, np.diagonal(weights))
    if np.count_nonzero(upper) > _SPARSE_SHARE * upper.size:
        return lambda columns: upper @ columns
    compact = sparse.csr_array(upper)
    return lambda columns: compact @ columns


def _checked(maps: Array, weights: Array | Lattice) -> tuple[Array, Array]:
    if isinstance(weights, Lattice):
        weights = weights.adjacency()
    maps, weights = np.asarray(maps, np.float64), np.asarray(weights, np.float64)
    if maps.ndim != 2:
        raise ValueError(f"maps {maps.shape}: give (maps, channels)")
    channels = maps.shape[1]
    if weights.shape != (channels, channels):
        raise ValueError(f"weights {weights.shape}: {channels} channels need ({channels}, {channels})")
    return maps, weights
