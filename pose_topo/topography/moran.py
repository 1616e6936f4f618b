"""Moran's I (Moran 1950; Cliff & Ord 1981): do neighbouring channels have similar values?

I = (C / S0) * sum_ij w_ij z_i z_j / sum_i z_i^2 with z the centred map and S0 the sum of the weights. Its
expectation under permutation is -1 / (C - 1), not 0, and its size depends on the weights: always report
`weights_name` beside it.

I of a map without variance does not exist. It is NaN here, as are all its permutations, whatever the other
maps hold; callers write it as null. The same goes for a map with a value that is not finite and for weights
that sum to zero.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference
from pose_topo.topography.correlation import unit_columns

Array = NDArray[np.float64]

_CACHE_VALUES = 1 << 17  # numbers a task works on: 1 MiB, so that all its steps stay in the L2 cache
_SPARSE_SHARE = 1 / 16  # up to this share of non-zero weights a sparse product is faster than a dense one


def weights(lattice: Lattice, row_standardised: bool = False) -> Array:
    """The weights (C, C) of a lattice: 1 between neighbours, or row-standardised.

    Rows then sum to 1, that of a channel without neighbours to 0.
    """
    matrix = lattice.adjacency()
    if row_standardised:
        matrix /= np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    return matrix


def weights_name(lattice: Lattice, row_standardised: bool = False) -> str:
    """As results name the weights, e.g. "queen, bounded, binary"."""
    return f"{lattice.name}, {'row-standardised' if row_standardised else 'binary'}"


def primary(lattice: Lattice) -> Lattice:
    """The grid under which I is reported first, whatever graph the loss used: queen, bounded."""
    return Lattice(lattice.height, lattice.width)


def weight_sets(lattice: Lattice) -> dict[str, tuple[str, Array]]:
    """The weights under which I is reported, as key -> (name, weights (C, C)); the primary ones first.

    I of one map differs by a third between them (0.41 to 0.55 for smooth fields), so a number without its weights
    says little. "torus" is there only where the loss itself joins opposite borders, with the loss's neighbours.
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
        weights: (C, C), any finite neighbour weights (symmetry is not needed), or a lattice, which stands for its
            binary adjacency.

    Returns:
        (K,), NaN where I does not exist; never infinite.

    Raises:
        ValueError: the shapes do not belong together.
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

    I: Array  # noqa: E741 (the field's name for it)
    expected: float  # E[I] under permutation, -1 / (C - 1)
    z: Array  # (I - mean) / standard deviation of the permuted I
    p: Array  # one-sided
    q: Array  # false discovery rate over the K maps (Benjamini & Hochberg 1995)
    p_max: Array  # family-wise p over the K maps (max-T, Westfall & Young 1993)
    mean_i: float | None  # over the maps that have an I
    p_mean: float | None  # of the mean I
    null_band: tuple[float, float] | tuple[None, None]  # the middle 95% of the permuted I of single maps


def moran_test(maps: Array, weights: Array | Lattice, permutations: int = 9999, seed: int = 0) -> MoranTest:
    """Test whether neighbouring channels have similar values, with the same permutations for all maps.

    Args:
        maps: (K, C), one value per channel, in row-major grid order.
        weights: (C, C) neighbour weights, or a lattice, which stands for its binary adjacency.
        permutations: how many random arrangements of the channels give the null distribution.
        seed: of the permutations.

    Raises:
        ValueError: the shapes do not belong together, or `permutations` is below 1.
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
    """I of every map with its channels permuted; each permutation is used for all maps.

    Args:
        maps: (K, C), one value a channel.
        weights: (C, C), any finite weights.
        permutations: P, how many.
        seed: of the permutations; the same seed gives the same ones, on any number of cores.

    Returns:
        (P, K), a column of NaN where a map has no I.

    Raises:
        ValueError: the shapes do not belong together, or `permutations` is below 1.
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
    """z' W z of every column (C, V) in every order (B, C), as (B, V)."""
    # channels first: each weight then adds one long run of numbers to another
    permuted = columns.take(orders.T, axis=0).reshape(len(columns), -1)
    return np.einsum("cn,cn->n", permuted, product(permuted)).reshape(len(orders), -1)


def _half_product(weights: Array) -> Callable[[Array], Array]:
    """A function x -> U x with x' U x = x' W x, where U is the upper half of W + W'.

    The quadratic form sees only W + W', and half a symmetric matrix holds all of it: half the work.
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
