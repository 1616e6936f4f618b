"""Permutation inference over several maps that share one grid: p values, their corrections, the null band.

The conventions everywhere: `observed` is (K,), one statistic a map; `null` is (P, K), the same statistics
under P permutations of the channels, row by row the same permutation for all maps. The maps share their
channels, hence are dependent, and only a shared permutation keeps that dependence. All tests are one-sided
(large is evidence), so the tail is chosen before the data are seen. A map without a statistic is NaN in both,
stays NaN in the result and is no member of any family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# equal statistics summed in another order differ in their last bits, and must still count as ties
_TIE = 1e-10


def permutation_blocks(size: int, permutations: int, seed: int, block: int = 2048) -> Iterator[NDArray[np.int64]]:
    """`permutations` random orders of range(size), in arrays of at most (block, size).

    Memory is bounded by `block`, which changes none of the orders.

    Raises:
        ValueError: fewer than one permutation is asked for.
    """
    if permutations < 1:
        raise ValueError(f"{permutations} permutations: at least 1 is needed")
    generator = np.random.default_rng(seed)
    for start in range(0, permutations, block):
        rows = np.tile(np.arange(size, dtype=np.int64), (min(block, permutations - start), 1))
        yield generator.permuted(rows, axis=1)


def _checked(observed: Array, null: Array) -> tuple[Array, Array]:
    observed, null = np.asarray(observed, np.float64), np.asarray(null, np.float64)
    if observed.ndim != 1 or null.ndim != 2 or null.shape[1] != observed.shape[0]:
        raise ValueError(f"observed {observed.shape}, null {null.shape}: give (maps,) and (permutations, maps)")
    if len(null) == 0:
        raise ValueError("a null of 0 permutations: at least 1 is needed")
    return observed, null


def _upper_tail(observed: Array, null: Array) -> Array:
    reached = null >= observed - _TIE * np.maximum(1.0, np.abs(observed))
    # the observation is itself one of the arrangements, so that p is never 0 (Phipson & Smyth 2010)
    return (1.0 + reached.sum(axis=0)) / (1.0 + len(null))


def p_values(observed: Array, null: Array) -> Array:
    """One-sided p = (1 + #{I* >= I}) / (P + 1) of every map, (K,); NaN where a map has no statistic.

    Raises:
        ValueError: the shapes do not belong together, or the null is empty.
    """
    observed, null = _checked(observed, null)
    return np.where(np.isnan(observed), np.nan, _upper_tail(observed, null))


def z_scores(observed: Array, null: Array) -> Array:
    """(I - mean I*) / sd I* of every map, (K,); NaN where a map has no statistic or its null no spread.

    Raises:
        ValueError: the shapes do not belong together, or the null is empty.
    """
    observed, null = _checked(observed, null)
    spread = null.std(axis=0)
    safe = np.where(spread > _TIE, spread, np.nan)
    return (observed - null.mean(axis=0)) / safe


def benjamini_hochberg(p: Sequence[float | None] | Array) -> Array:
    """q values (K,) of the p values (K,): step-up false discovery rate (Benjamini & Hochberg 1995).

    None or NaN is no test: it stays NaN and is not counted among the tests.
    """
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    if tested.size == 0:
        return q
    falling = tested[np.argsort(-values[tested], kind="stable")]
    ranks = np.arange(len(falling), 0, -1)
    q[falling] = np.minimum(np.minimum.accumulate(values[falling] * len(falling) / ranks), 1.0)
    return q


def max_t(observed: Array, null: Array) -> Array:
    """Family-wise p (K,) of every map: its z against the largest z of each permutation.

    Single-step max-T (Westfall & Young 1993). Maps are standardised first, since heavy-tailed maps have a
    narrower null and would count for less; mean and sd are taken over the P permutations *and* the
    observation, which treats all P + 1 arrangements alike and keeps the test exact. A null without spread
    gives z = 0.

    Raises:
        ValueError: the shapes do not belong together, or the null is empty.
    """
    observed, null = _checked(observed, null)
    result, known = np.full(observed.shape, np.nan), ~np.isnan(observed)
    if not known.any():
        return result
    everything = np.vstack([observed[known], null[:, known]])
    everything -= everything.mean(axis=0)
    spread = everything.std(axis=0)
    z = np.where(spread > _TIE, everything / np.maximum(spread, _TIE), 0.0)
    largest = z[1:].max(axis=1, keepdims=True)
    result[known] = _upper_tail(z[0], largest)
    return result


def mean_of_defined(values: Array) -> float | None:
    """The mean over the maps that have a statistic; None where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def p_of_mean(observed: Array, null: Array) -> float | None:
    """One-sided p of the mean over the maps that have a statistic; None where none has.

    Raises:
        ValueError: the shapes do not belong together, or the null is empty.
    """
    observed, null = _checked(observed, null)
    known = ~np.isnan(observed)
    if not known.any():
        return None
    mean, null_means = observed[known].mean(keepdims=True), null[:, known].mean(axis=1, keepdims=True)
    return float(_upper_tail(mean, null_means)[0])


def null_band(null: Array, level: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """The middle `level` of single-map statistics under permutation, pooled over maps, or (None, None)."""
    known = null[~np.isnan(null)]
    if known.size == 0:
        return None, None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
