"""Did a topographic loss organise the weights, or only shrink, smooth or collapse them?

The loss on weight similarity falls to zero when the weights shrink, and when all rows become one. Row norm,
neighbour cosine beside the cosine of all pairs, and participation ratio tell these apart from a map; report
all of them.

Weights are (C, ...): one row a channel, everything behind the first axis is its incoming weight vector. Where
a number does not exist (no pairs, only zero rows, a weight that is not finite) the result is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.study.lattice import Lattice

Array = NDArray[np.float64]


def _rows(weights: Array) -> Array | None:
    """The weights as (C, D), or None where they are empty or not finite."""
    rows = np.asarray(weights, np.float64)
    rows = rows.reshape(len(rows), -1) if rows.size else rows
    return rows if rows.size and np.isfinite(rows).all() else None


def _pairs(weights: Array, lattice: Lattice) -> NDArray[np.int64]:
    if len(weights) != lattice.channels:
        raise ValueError(f"{len(weights)} weight rows: the grid has {lattice.channels} channels")
    return lattice.edges()


def _directions(rows: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Rows of length 1, and which rows have a direction at all (a zero row has none)."""
    norms = np.linalg.norm(rows, axis=1)
    return rows / np.where(norms > 0, norms, 1.0)[:, None], norms > 0


def mean_row_norm(weights: Array) -> float | None:
    """Mean Euclidean length of the rows; zero rows count."""
    rows = _rows(weights)
    return None if rows is None else float(np.linalg.norm(rows, axis=1).mean())


def weight_similarity(weights: Array, lattice: Lattice) -> float | None:
    """Mean squared distance of the rows of neighbouring channels: the study's loss.

    Exactly 4 for orthogonal rows of length sqrt(2), and 0 for equal rows as for no weights at all.

    Raises:
        ValueError: there is not one row a channel.
    """
    pairs, rows = _pairs(weights, lattice), _rows(weights)
    if rows is None or len(pairs) == 0:
        return None
    return float(((rows[pairs[:, 0]] - rows[pairs[:, 1]]) ** 2).sum(axis=1).mean())


def neighbour_cosine(weights: Array, lattice: Lattice) -> float | None:
    """Mean cosine of the rows of neighbouring channels; pairs with a zero row are left out.

    Raises:
        ValueError: there is not one row a channel.
    """
    pairs, rows = _pairs(weights, lattice), _rows(weights)
    if rows is None:
        return None
    unit, directed = _directions(rows)
    first, second = pairs[directed[pairs].all(axis=1)].T
    return float((unit[first] * unit[second]).sum(axis=1).mean()) if len(first) else None


def all_pairs_cosine(weights: Array) -> float | None:
    """Mean cosine over all pairs of rows, zero rows left out: what `neighbour_cosine` would be by chance."""
    rows = _rows(weights)
    if rows is None:
        return None
    unit, directed = _directions(rows)
    count = int(directed.sum())
    # |sum of unit rows|^2 holds every ordered pair, and each row with itself once
    return float(((unit.sum(axis=0) ** 2).sum() - count) / (count * (count - 1))) if count > 1 else None


def cosine_excess(weights: Array, lattice: Lattice) -> float | None:
    """`neighbour_cosine` less `all_pairs_cosine`: how much more alike neighbours are than any two channels.

    0 for rows in no order, however alike they all are.

    Raises:
        ValueError: there is not one row a channel.
    """
    near, every = neighbour_cosine(weights, lattice), all_pairs_cosine(weights)
    return None if near is None or every is None else near - every


def _spread(rows: Array) -> float | None:
    """(sum l)^2 / sum l^2 over the squared singular values l of the rows; None where all are zero."""
    largest = np.abs(rows).max()
    if largest == 0:
        return None
    rows = rows / largest
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    # the sums are the trace and the squared Frobenius norm of the Gram matrix: no eigenvalue is needed
    return float(np.trace(gram) ** 2 / (gram**2).sum())


def participation_ratio(weights: Array) -> float | None:
    """How many directions the rows use, from 1 to the smaller side: squared singular values, not centred."""
    rows = _rows(weights)
    return None if rows is None else _spread(rows)


def effective_dimensionality(activations: Array) -> float | None:
    """(sum l)^2 / sum l^2 over the eigenvalues l of the covariance of activations (N images, C channels).

    Raises:
        ValueError: `activations` is not two-dimensional.
    """
    if np.ndim(activations) != 2:
        raise ValueError(f"activations {np.shape(activations)}: give (images, channels)")
    values = _rows(activations)
    if values is None:
        return None
    # a constant channel must become exactly zero, which subtracting a rounded mean does not promise
    centred = np.where(np.ptp(values, axis=0) > 0, values - values.mean(axis=0), 0.0)
    return _spread(centred)


def summary(weights: Array, lattice: Lattice) -> dict[str, float | None]:
    """All of the above that concern weights, named as in `analysis.json`.

    Raises:
        ValueError: there is not one row a channel.
    """
    return {
        "mean_row_norm": mean_row_norm(weights),
        "neighbour_cosine": neighbour_cosine(weights, lattice),
        "all_pairs_cosine": all_pairs_cosine(weights),
        "participation_ratio": participation_ratio(weights),
        "weight_similarity": weight_similarity(weights, lattice),
    }


# ---- What of a channel is mapped: how strongly each joint reads it, in three ways that answer different questions.
#
# |w| mixes a channel's tuning (which joints read it) with its gain (how large its weights are): a smooth gain over
# independent tuning gives Moran's I of 0.25. Hence the column-normalised |w|, which holds tuning alone; and |w| times
# the standard deviation of the channel's activation, what the joint in fact receives, since a large weight on a silent
# channel moves nothing.


@dataclass(frozen=True)
class Strength:
    """Maps (K, L) of the L channels `live` (indices, ascending) for which the measure exists."""

    name: str
    maps: Array
    live: NDArray[np.int64]


def measures(head: Array, activations: Array) -> dict[str, Strength]:
    """The three measures by key.

    Args:
        head: (K, C) weights of the 1x1 head.
        activations: (N, C) spatial means over pictures.

    Returns:
        "strength": |w|, all channels; "normalised": |w| over its length over joints, the channels that any joint
        reads; "activity": |w| x sd(activation), all channels.

    Raises:
        ValueError: the channels of `head` and `activations` are not as many.
    """
    if activations.ndim != 2 or head.shape[1] != activations.shape[1]:
        raise ValueError(f"head {head.shape}, activations {activations.shape}: give (K, C) and (images, C)")
    size = np.abs(head)
    every = np.arange(size.shape[1])
    largest = size.max(axis=0)
    read = np.flatnonzero(largest > 0) if np.isfinite(size).all() else every
    scaled = size[:, read] / largest[read]  # else the squares of tiny weights vanish
    received = size * _strength_spread(activations)
    return {
        "strength": Strength("|w|", size, every),
        "normalised": Strength("|w| / its length over joints", scaled / np.linalg.norm(scaled, axis=0), read),
        "activity": Strength("|w| x sd(activation)", received, every),
    }


def _strength_spread(activations: Array) -> Array:
    """Standard deviation over pictures, (C,); NaN without pictures or where one is not finite."""
    if len(activations) == 0:
        return np.full(activations.shape[1], np.nan)
    finite = np.isfinite(activations).all(axis=0)
    return np.where(finite, np.where(finite, activations, 0.0).std(axis=0), np.nan)
