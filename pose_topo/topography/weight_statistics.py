"""Statistics of weights: did a spatial loss organise the weights, or did it only shrink, smooth or collapse them?

The weight-similarity loss falls to zero when the weights shrink, and also when all rows become equal. Mean row norm,
neighbour cosine beside the cosine of all pairs, and participation ratio tell these cases apart from a map. Report all
of them.

Weights are (C, ...): one row per channel, and everything after the first axis is its incoming weight vector. A number
that does not exist (no pairs, only zero rows, a weight that is not finite) is None. ValueError is raised if the number
of rows is not the number of channels of the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference, moran

Array = NDArray[np.float64]


def _rows(weights: Array) -> Array | None:
    """The weights as (C, D), or None if they are empty or not finite."""
    rows = np.asarray(weights, np.float64)
    rows = rows.reshape(len(rows), -1) if rows.size else rows
    return rows if rows.size and np.isfinite(rows).all() else None


def _pairs(weights: Array, lattice: Lattice) -> NDArray[np.int64]:
    if len(weights) != lattice.channels:
        raise ValueError(f"{len(weights)} weight rows: the grid has {lattice.channels} channels")
    return lattice.edges()


def mean_row_norm(weights: Array) -> float | None:
    """The mean Euclidean length of the rows, including zero rows."""
    rows = _rows(weights)
    return None if rows is None else float(np.linalg.norm(rows, axis=1).mean())


def weight_similarity(weights: Array, lattice: Lattice) -> float | None:
    """The mean squared distance of the rows of neighbouring channels: the weight-similarity loss.

    It is exactly 4 for orthogonal rows of length sqrt(2). It is 0 for equal rows, and also for zero weights.
    """
    pairs, rows = _pairs(weights, lattice), _rows(weights)
    if rows is None or len(pairs) == 0:
        return None
    return float(((rows[pairs[:, 0]] - rows[pairs[:, 1]]) ** 2).sum(axis=1).mean())


def cosines(weights: Array, lattice: Lattice) -> tuple[float | None, float | None]:
    """The mean cosine of the rows of neighbouring channels, and of all pairs of rows: its chance level.

    Pairs with a zero row are left out.
    """
    pairs, rows = _pairs(weights, lattice), _rows(weights)
    if rows is None:
        return None, None
    norms = np.linalg.norm(rows, axis=1)
    unit, directed = rows / np.where(norms > 0, norms, 1.0)[:, None], norms > 0
    first, second = pairs[directed[pairs].all(axis=1)].T
    near = float((unit[first] * unit[second]).sum(axis=1).mean()) if len(first) else None
    count = int(directed.sum())
    # |sum of unit rows|^2 holds every ordered pair, and each row with itself once
    every = float(((unit.sum(axis=0) ** 2).sum() - count) / (count * (count - 1))) if count > 1 else None
    return near, every


def excess(neighbours: float | None, all_pairs: float | None) -> float | None:
    """How much more alike neighbours are than any two channels; 0 for rows in random order. None if one is None."""
    return None if neighbours is None or all_pairs is None else neighbours - all_pairs


def participation_ratio(weights: Array) -> float | None:
    """The number of directions that the rows use, from 1 to the smaller side. The rows are not centred."""
    return _effective_number(_rows(weights))


def effective_dimensionality(activations: Array) -> float | None:
    """(sum l)^2 / sum l^2 over the eigenvalues l of the covariance of activations (N people, C channels).

    Raises:
        ValueError: `activations` is not two-dimensional.
    """
    if np.ndim(activations) != 2:
        raise ValueError(f"activations {np.shape(activations)}: give (images, channels)")
    if (values := _rows(activations)) is not None:
        # a constant channel must become exactly zero; subtracting a rounded mean does not guarantee this
        values = np.where(np.ptp(values, axis=0) > 0, values - values.mean(axis=0), 0.0)
    return _effective_number(values)


def _effective_number(rows: Array | None) -> float | None:
    """(sum l)^2 / sum l^2 over the squared singular values l of the rows. None without rows, or if all are zero."""
    if rows is None:
        return None
    scaled = rows / (np.abs(rows).max() or 1.0)  # the squares of huge weights would overflow
    return gram_ratio(scaled @ scaled.T if len(rows) <= rows.shape[1] else scaled.T @ scaled)


def summary(weights: Array, lattice: Lattice) -> dict[str, float | None]:
    """All statistics of the weights, with the keys of `health` in `analysis.json`."""
    near, every = cosines(weights, lattice)
    return {
        "mean_row_norm": mean_row_norm(weights),
        "neighbour_cosine": near,
        "all_pairs_cosine": every,
        "cosine_excess": excess(near, every),
        "participation_ratio": participation_ratio(weights),
        "weight_similarity": weight_similarity(weights, lattice),
    }


# ---- The directions of the rows: tests for the weights of any layer


def leading_directions(unit: Array, most: int) -> tuple[Array, Array]:
    """The leading directions in which rows of length 1 differ: loadings (k, C), and shares of the variance (k,).

    They are the left singular vectors of the centred rows (C, D), of length 1. The largest loading of each is positive.
    """
    if len(unit) < 2:
        return np.zeros((0, len(unit))), np.zeros(0)
    centred = unit - unit.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, loadings = values[::-1][:most], vectors[:, ::-1].T[:most]
    kept = values > 1e-9  # equal rows differ by rounding only
    largest = loadings[np.arange(len(loadings)), np.abs(loadings).argmax(axis=1)]
    total = max(float((centred**2).sum()), 1e-9)
    return (loadings * np.sign(largest)[:, None])[kept], values[kept] / total


def cosine_test(unit: Array, near: Array, permutations: int, seed: int = 0) -> dict[str, Any]:
    """The mean cosine of neighbouring rows of length 1, that of all pairs, and its one-sided p on permuted grids.

    The permutations are those of `moran_test` with the same seed.

    Args:
        unit: (C, D).
        near: (C, C), 1 between neighbours and 0 elsewhere.
    """
    first, second = np.nonzero(np.triu(near))
    if not len(first):
        return {"neighbours": None, "all_pairs": None, "excess": None, "p": None, "reason": "no neighbouring channels"}
    table = unit @ unit.T
    observed, every = table[first, second], table[np.triu_indices(len(table), 1)]
    null = [
        table[orders[:, first], orders[:, second]].mean(axis=1)
        for orders in inference.permutation_blocks(len(unit), permutations, seed, 128)
    ]
    bins = np.linspace(-1, 1, 81)
    # the cosine of equal rows may exceed 1 by rounding
    shares = [np.histogram(values.clip(-1, 1), bins)[0] / len(values) for values in (observed, every)]
    return {
        "neighbours": float(observed.mean()),
        "all_pairs": float(every.mean()),
        "excess": float(observed.mean() - every.mean()),
        "p": inference.p_value(observed.mean(), np.concatenate(null)),
        "histogram": {"neighbours": shares[0].tolist(), "all_pairs": shares[1].tolist()},
        "reason": None,
    }


# ---- Is the order more than one smooth direction?

REMOVED = (0, 1, 2, 4)  # how many leading directions are taken out
_MOST = 999  # permutations


def gram(weights: Array) -> Array:
    """The inner products (C, C) of the rows. They hold all that this section needs, whatever the length of the rows."""
    rows = np.asarray(weights, np.float64).reshape(len(weights), -1)
    return rows @ rows.T


def residual_order(inner: Array, near: Array, permutations: int, seed: int = 0) -> list[dict[str, Any]]:
    """Moran's I of weight rows after their leading directions are taken out, and its one-sided p on permuted grids.

    With centred rows r and neighbour weights w,

        I = C / S0 * sum_ij w_ij <r_i, r_j> / sum_i |r_i|^2,

    which is the mean of Moran's I over the directions of the rows (their left singular vectors), weighted by the
    variance of each direction (the diagonal case of Wartenberg 1985, Geogr. Anal. 17, 263-283). If a network has only
    one smooth direction, I falls to E[I] once that direction is removed. The permutations are those of `moran_test`.

    Args:
        inner: (C, C), from `gram`.
        near: (C, C), neighbour weights.

    Returns:
        For each number of `REMOVED` directions: "removed"; "share", the variance that is left; "I"; "p". The last two
        are None if less than 1e-9 of the variance is left, or if there are no neighbours.
    """
    count, total = len(inner), float(near.sum())
    centred = inner - inner.mean(axis=0) - inner.mean(axis=1, keepdims=True) + inner.mean()
    values, vectors = np.linalg.eigh(centred)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    first, second = np.nonzero(near)
    table = []
    for removed in REMOVED:
        kept = values[removed:]
        share = float(kept.sum() / max(values.sum(), 1e-300))
        row: dict[str, Any] = {"removed": removed, "share": share, "I": None, "p": None}
        if share > 1e-9 and total:
            rest = (vectors[:, removed:] * kept) @ vectors[:, removed:].T
            scale = count / total / kept.sum()
            observed = float(scale * (rest * near).sum())
            null = [
                scale * (rest[orders[:, first], orders[:, second]] * near[first, second]).sum(axis=1)
                for orders in inference.permutation_blocks(count, permutations, seed, 128)
            ]
            row |= {"I": observed, "p": inference.p_value(observed, np.concatenate(null))}
        table.append(row)
    return table


def gram_ratio(inner: Array) -> float | None:
    """`participation_ratio` of the rows with these inner products. None if all are zero."""
    squares = float((inner**2).sum())  # of the eigenvalues, whose sum is the trace
    return float(np.trace(inner) ** 2 / squares) if squares > 0 else None


def smoothed(inner: Array, lattice: Lattice, ratio: float) -> tuple[Array, float] | None:
    """Smooth rows over the grid until their participation ratio is `ratio`. This is order without any learning.

    Each row is replaced by the mean of the rows around it, weighted by a Gaussian of the grid distance. The width of
    the Gaussian is found by bisection.

    Returns:
        The inner products (C, C) of the smoothed rows, and the standard deviation of the Gaussian in cells. None if the
        ratio of the rows is below `ratio` already.
    """
    squared = lattice.distances() ** 2

    def at(width: float) -> Array:
        kernel = np.exp(-squared / (2 * width**2))
        kernel /= kernel.sum(axis=1, keepdims=True)
        return kernel @ inner @ kernel.T

    low, high = 0.05, float(np.sqrt(squared.max()))
    if (gram_ratio(inner) or 0.0) < ratio:
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if (gram_ratio(at(middle)) or 0.0) > ratio else (low, middle)
    return at(low), low


def collapsed(inner: Array, like: Array) -> Array:
    """Give rows the singular values of others, and keep their directions: collapse without any smoothing.

    All are given by their inner products (C, C).
    """
    _, vectors = np.linalg.eigh(inner)
    return (vectors * np.linalg.eigvalsh(like).clip(0)) @ vectors.T


def direction_measures(inner: Array, control: Array | None, lattice: Lattice, permutations: int) -> dict[str, Any]:
    """Moran's I of the layer's weights without their leading directions, beside two nulls made from a control.

    The control's weights are brought to the participation ratio of these weights in two ways: `smoothed`, which is
    order without any learning, and `collapsed`, which is collapse without any order.

    Args:
        inner, control: (C, C), the inner products of the weight rows of the channels.
    """
    near, few = moran.weights(moran.primary(lattice)), min(permutations, _MOST)
    ratio = gram_ratio(inner)

    def table(of: Array) -> list[dict[str, Any]]:
        return residual_order(of, near, few)

    numbers: dict[str, Any] = {"permutations": few, "participation_ratio": ratio, "trained": table(inner)}
    numbers |= {"smoothed": None, "collapsed": None, "reason": None}
    if control is None:
        return numbers | {"reason": "no weights of a control: --control with a run, or with results of this version"}
    found = None if ratio is None else smoothed(control, lattice, ratio)
    if found is None:
        return numbers | {"reason": "the control has no larger participation ratio than this network"}
    smooth, width = found
    return numbers | {
        "smoothed": {"width": width, "table": table(smooth)},
        "collapsed": {"table": table(collapsed(control, inner))},
    }


# ---- Channel maps: how strongly each joint reads each channel


@dataclass(frozen=True)
class ChannelMaps:
    """One measure of how strongly each joint reads each channel."""

    name: str  # in result files
    maps: Array  # (K, L), the values of the L channels for which the measure exists
    live: NDArray[np.int64]  # (L,), the indices of these channels, ascending

    def test(self, weights: Array, permutations: int) -> moran.MoranTest:
        """`moran_test` of the maps under neighbour weights (C, C), without the channels that are not live."""
        return moran.moran_test(self.maps, weights[np.ix_(self.live, self.live)], permutations)


def channel_maps(head: Array, activations: Array | None) -> dict[str, ChannelMaps]:
    """Three measures of how strongly each joint reads each channel.

    |w| mixes the tuning of a channel (which joints read it) with its gain (how large its weights are): a smooth gain
    over independent tuning gives Moran's I of 0.25. The column-normalised |w| holds the tuning alone. |w| times the
    standard deviation of the channel's activation is what the joint receives, because a large weight on a silent
    channel has no effect.

    Args:
        head: (K, C), the weights of the 1x1 head.
        activations: (N, C), spatial means over people. None: without "activity".

    Returns:
        "strength": |w|, all channels. "normalised": |w| divided by its length over joints, for the channels that any
        joint reads. "activity": |w| x sd(activation), all channels.

    Raises:
        ValueError: `head` and `activations` have different numbers of channels.
    """
    size = np.abs(head)
    every = np.arange(size.shape[1])
    largest = size.max(axis=0)
    read = np.flatnonzero(largest > 0) if np.isfinite(size).all() else every
    scaled = size[:, read] / largest[read]  # the squares of tiny weights would vanish
    found = {
        "strength": ChannelMaps("|w|", size, every),
        "normalised": ChannelMaps("|w| / its length over joints", scaled / np.linalg.norm(scaled, axis=0), read),
    }
    if activations is not None:
        if activations.ndim != 2 or head.shape[1] != activations.shape[1]:
            raise ValueError(f"head {head.shape}, activations {activations.shape}: give (K, C) and (images, C)")
        finite = np.isfinite(activations).all(axis=0)
        deviation = np.where(finite, np.where(finite, activations, 0.0).std(axis=0), np.nan)
        found["activity"] = ChannelMaps("|w| x sd(activation)", size * deviation, every)
    return found
