"""Permutation inference for several maps that share one grid: p values, multiplicity corrections and the null band.

All functions use the same conventions. `observed` is (K,), one statistic per map. `null` is (P, K), the same statistics
under P permutations of the channels; one row uses the same permutation for all maps. The maps share their channels and
are therefore dependent, and only a shared permutation keeps this dependence. All tests are one-sided: a large statistic
is evidence. A map without a statistic is NaN in `observed` and in `null`, stays NaN in the result, and is not counted
among the tests. ValueError is raised if the shapes do not match, or the null is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# equal statistics that are summed in another order differ in their last bits, and must still count as ties
_TIE = 1e-10


def permutation_blocks(size: int, permutations: int, seed: int, block: int = 2048) -> Iterator[NDArray[np.int64]]:
    """Yield `permutations` random orders of range(size), in arrays of at most (block, size).

    `block` bounds the memory. It does not change the orders.

    Raises:
        ValueError: `permutations` is below 1.
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
    # the observation counts as one of the arrangements, so that p is never 0 (Phipson & Smyth 2010)
    return (1.0 + reached.sum(axis=0)) / (1.0 + len(null))


def p_values(observed: Array, null: Array) -> Array:
    """One-sided p = (1 + #{I* >= I}) / (P + 1) of each map, (K,). NaN where a map has no statistic."""
    observed, null = _checked(observed, null)
    return np.where(np.isnan(observed), np.nan, _upper_tail(observed, null))


def p_value(observed: float, null: Array) -> float:
    """`p_values` of a single map, from its statistic and its null (P,)."""
    return float(p_values(np.array([observed]), null[:, None])[0])


def z_scores(observed: Array, null: Array) -> Array:
    """z = (I - mean I*) / sd I* of each map, (K,). NaN where a map has no statistic or its null has no spread."""
    observed, null = _checked(observed, null)
    spread = null.std(axis=0)
    safe = np.where(spread > _TIE, spread, np.nan)
    return (observed - null.mean(axis=0)) / safe


def benjamini_hochberg(p: Sequence[float | None] | Array) -> Array:
    """q values (K,) of p values (K,): the step-up false discovery rate (Benjamini & Hochberg 1995).

    None or NaN is not a test: it stays NaN and is not counted. `scipy.stats.false_discovery_control` multiplies in
    another order and differs from the published q values in the last bit.
    """
    values = np.asarray(p, dtype=np.float64)
    falling = np.argsort(-values, kind="stable")[: np.count_nonzero(~np.isnan(values))]  # NaN is sorted to the end
    ranks = np.arange(len(falling), 0, -1)
    q = np.full(values.shape, np.nan)
    q[falling] = np.minimum(np.minimum.accumulate(values[falling] * len(falling) / ranks), 1.0)
    return q


def max_t(observed: Array, null: Array) -> Array:
    """Family-wise p (K,): the z of each map against the largest z of each permutation.

    This is the single-step max-T procedure (Westfall & Young 1993). The maps are standardised first, because
    heavy-tailed maps have a narrower null and would count for less. Mean and sd are taken over the P permutations *and*
    the observation. This treats all P + 1 arrangements alike and keeps the test exact. A null without spread gives
    z = 0.
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
    """The mean over the maps that have a statistic. None if no map has one."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def p_of_mean(observed: Array, null: Array) -> float | None:
    """One-sided p of the mean over the maps that have a statistic. None if no map has one."""
    observed, null = _checked(observed, null)
    known = ~np.isnan(observed)
    return p_value(observed[known].mean(), null[:, known].mean(axis=1)) if known.any() else None


def null_band(null: Array, level: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """The interval that holds the middle `level` of the null statistics of all maps together, or (None, None)."""
    known = null[~np.isnan(null)]
    if known.size == 0:
        return None, None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
