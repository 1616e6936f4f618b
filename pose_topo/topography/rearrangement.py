"""How topographic could this network be made by moving its channels alone?

A grid on which 256 channels of independent weights were laid out with care has Moran's I of about 0.43: a loss that
reaches less than the best arrangement of an untopographic network has organised less than a sort would. So I is
also reported as a share of the best I that the control's channels allow. One arrangement serves all joints, since
the joints share their channels.

Finding it is a quadratic assignment problem: with unit-length centred maps Z (K, C), G = Z'Z and order[s] the channel
at place s,

    mean I = C / (K S0) * sum_st w_st G[order[s], order[t]].

`rearrange` anneals it (Kirkpatrick, Gelatt & Vecchi 1983). Each step pairs all places at random and asks of every
pair what a swap would gain, from the places around it alone (Burkard & Rendl 1984). Swaps that pass and do not touch
one another (no place of one beside a place of another) gain exactly the sum of their gains, so they are made at once:
one step is a handful of array operations whatever the size of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.topography.correlation import unit_columns

Array = NDArray[np.float64]
Order = NDArray[np.int64]

_STEPS_A_CHANNEL = 120  # steps of annealing; twice as many gain about 0.01
_HOT, _COLD = 0.5, 0.04  # first and last temperature, in standard deviations of the gain of a random swap


@dataclass(frozen=True)
class Rearrangement:
    """`order` (C,), the channel at each place; mean I of the maps as they were and in that order, and the steps."""

    order: Order
    before: float
    best: float
    steps: int


def rearrange(maps: Array, weights: Array, steps: int | None = None, seed: int = 0) -> Rearrangement | None:
    """An arrangement of the channels with mean Moran's I as large as annealing finds it. It need not be the largest.

    Args:
        maps: (K, C), one value a channel; maps without variance are left out, as everywhere in I.
        weights: (C, C) symmetric, of zeros and ones, zero on the diagonal.
        steps: of annealing, each with C / 2 proposed swaps; default 120 a channel.
        seed: of the swaps; the same seed gives the same arrangement.

    Returns:
        None where no map has an I. Never worse than the order that is given.

    Raises:
        ValueError: the shapes do not belong together, or the weights are others than said.
    """
    if weights.shape != (maps.shape[1],) * 2:
        raise ValueError(f"weights {weights.shape}: {maps.shape[1]} channels need a square of them")
    if not (np.array_equal(weights, weights.T) and np.isin(weights, (0, 1)).all()) or np.diagonal(weights).any():
        raise ValueError("weights: give a symmetric matrix of zeros and ones with a zero diagonal")
    unit, known = unit_columns(maps.T)
    if not known.any() or not weights.any():
        return None
    gram = unit[:, known] @ unit[:, known].T * (len(unit) / (known.sum() * weights.sum()))  # so that sum w G is mean I
    steps = _STEPS_A_CHANNEL * len(unit) if steps is None else steps
    start = np.arange(len(unit))
    order = _anneal(gram, weights, steps, np.random.default_rng(seed))
    before, best = (float((weights * gram[np.ix_(o, o)]).sum()) for o in (start, order))
    return Rearrangement(*((order, before, best) if best > before else (start, before, before)), steps)


def _anneal(gram: Array, weights: Array, steps: int, rng: np.random.Generator) -> Order:
    count, half = len(gram), len(gram) // 2
    around, beside = _neighbours(weights), weights > 0
    # row and column `count` stand for "no neighbour": they add nothing
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
        # of swaps that touch, the first is made
        alone = pair_at[around[passed]].min(axis=(0, 2)) >= number
        first, second = passed[:, alone]
        order[first], order[second] = order[second], order[first]
    return order[:count]


def swap_gains(padded: Array, order: Order, around: Order, beside: NDArray[np.bool_], places: Order) -> Array:
    """What swapping the channels at `places` (2, n) would add to the sum of G over ordered neighbour pairs, (n,).

    Args:
        padded: (C + 1, C + 1) G with zeros on the diagonal and in the last row and column.
        order: (C + 1,), the channel at each place, and C itself.
        around: (C, D) the neighbours of each place, filled up with C.
        beside: (C, C) whether two places are neighbours.
        places: both ends of each swap.
    """
    here, there = order[places] * len(padded)  # where the rows of the channels start
    near, far = order[around[places]]  # (n, D) channels around either place
    flat, here_each, there_each = padded.ravel(), here[:, None], there[:, None]
    change = flat.take(there_each + near) - flat.take(here_each + near)
    change += flat.take(here_each + far) - flat.take(there_each + far)
    # two places beside each other keep what they gave each other
    kept = flat.take(here + order[places[1]]) * beside[places[0], places[1]]
    return 2 * change.sum(axis=1) + 4 * kept


def _neighbours(weights: Array) -> Order:
    """The neighbours (C, D) of each place, filled up with C."""
    widest = int(weights.sum(axis=1).max())
    around = np.full((len(weights), widest), len(weights))
    for place, row in enumerate(weights):
        found = np.flatnonzero(row)
        around[place, : len(found)] = found
    return around
