"""The best arrangement of the channels: how topographic does a network become by moving its channels alone?

If 256 channels with independent weights are arranged well on a grid, Moran's I reaches about 0.43. A spatial loss that
reaches less than the best arrangement of an untopographic network has organised less than sorting would. Therefore I is
also reported as a share of the best I that the channels of the control allow. One arrangement serves all joints,
because the joints share their channels.

Finding the arrangement is a quadratic assignment problem. With unit-length centred maps Z (K, C), G = Z'Z, and order[s]
the channel at place s,

    mean I = C / (K S0) * sum_st w_st G[order[s], order[t]].

`rearrange` solves it by simulated annealing (Kirkpatrick, Gelatt & Vecchi 1983). Each step pairs all places at random
and computes the gain of each swap from the surrounding places (Burkard & Rendl 1984). Accepted swaps that do not touch
one another (no place of one beside a place of the other) gain exactly the sum of their gains, so they are made at once.
One step is a few array operations, whatever the size of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.topography.moran import unit_columns

Array = NDArray[np.float64]
Order = NDArray[np.int64]

_STEPS_PER_CHANNEL = 120  # twice as many gain about 0.01
_HOT, _COLD = 0.5, 0.04  # first and last temperature, in standard deviations of the gain of a random swap


@dataclass(frozen=True)
class Rearrangement:
    """`order` (C,), the channel at each place; the mean I of the maps before and in that order; the number of steps."""

    order: Order
    before: float
    best: float
    steps: int


def rearrange(maps: Array, weights: Array, steps: int | None = None, seed: int = 0) -> Rearrangement | None:
    """The arrangement of the channels with the largest mean Moran's I that annealing finds.

    It need not be the global maximum. It is never worse than the given order.

    Args:
        maps: (K, C), one value per channel. Maps without variance are left out.
        weights: (C, C) neighbour weights: symmetric, zeros and ones, zero on the diagonal.
        steps: Steps of annealing, each with C / 2 proposed swaps. The default is 120 per channel.
        seed: Seed of the proposed swaps.

    Returns:
        None if no map has an I.

    Raises:
        ValueError: The shapes do not match, or the weights are not of this kind.
    """
    if weights.shape != (maps.shape[1],) * 2:
        raise ValueError(f"weights {weights.shape}: {maps.shape[1]} channels need a square of them")
    if not (np.array_equal(weights, weights.T) and np.isin(weights, (0, 1)).all()) or np.diagonal(weights).any():
        raise ValueError("weights: give a symmetric matrix of zeros and ones with a zero diagonal")
    unit, known = unit_columns(maps.T)
    if not known.any() or not weights.any():
        return None
    gram = unit[:, known] @ unit[:, known].T * (len(unit) / (known.sum() * weights.sum()))  # so that sum w G is mean I
    steps = _STEPS_PER_CHANNEL * len(unit) if steps is None else steps
    start = np.arange(len(unit))
    order = _anneal(gram, weights, steps, np.random.default_rng(seed))
    before, best = (float((weights * gram[np.ix_(o, o)]).sum()) for o in (start, order))
    return Rearrangement(order, before, best, steps) if best > before else Rearrangement(start, before, before, steps)


def _anneal(gram: Array, weights: Array, steps: int, rng: np.random.Generator) -> Order:
    count, half = len(gram), len(gram) // 2
    around, beside = _neighbours(weights), weights > 0
    # row and column `count` stand for "no neighbour" and add nothing
    padded = np.zeros((count + 1, count + 1))
    padded[:count, :count] = gram
    np.fill_diagonal(padded, 0.0)
    spread = 4 * np.sqrt(weights.sum(axis=1).mean()) * padded[:count, :count][np.triu_indices(count, 1)].std()
    order, pair_at = np.append(np.arange(count), count), np.full(count + 1, half)
    for temperature in np.geomspace(_HOT, _COLD, steps) * spread:
        places = rng.permutation(count)[: 2 * half].reshape(2, half)
        gain = swap_gains(padded, order, around, beside, places)
        passed = places[:, gain > temperature * np.log(rng.random(half))]
        number = np.arange(passed.shape[1])
        pair_at[:] = half
        pair_at[passed] = number
        # of swaps that touch, only the first is made
        alone = pair_at[around[passed]].min(axis=(0, 2)) >= number
        first, second = passed[:, alone]
        order[first], order[second] = order[second], order[first]
    return order[:count]


def swap_gains(padded: Array, order: Order, around: Order, beside: NDArray[np.bool_], places: Order) -> Array:
    """The change (n,) of the sum of G over ordered neighbour pairs when the channels at `places` (2, n) are swapped.

    Args:
        padded: (C + 1, C + 1), G with zeros on the diagonal and in the last row and column.
        order: (C + 1,), the channel at each place, followed by C.
        around: (C, D), the neighbours of each place, padded with C.
        beside: (C, C), whether two places are neighbours.
        places: The two places of each swap.
    """
    here, there = order[places] * len(padded)  # where the rows of the channels start
    near, far = order[around[places]]  # (n, D) channels around either place
    flat, here_each, there_each = padded.ravel(), here[:, None], there[:, None]
    change = flat.take(there_each + near) - flat.take(here_each + near)
    change += flat.take(here_each + far) - flat.take(there_each + far)
    # neighbouring places keep the value between them
    kept = flat.take(here + order[places[1]]) * beside[places[0], places[1]]
    return 2 * change.sum(axis=1) + 4 * kept


def _neighbours(weights: Array) -> Order:
    """The neighbours (C, D) of each place, padded with C."""
    widest = int(weights.sum(axis=1).max())
    first = np.argsort(-weights, axis=1, kind="stable")[:, :widest]  # neighbours come first, in ascending order
    return np.where(np.take_along_axis(weights, first, axis=1) > 0, first, len(weights))
