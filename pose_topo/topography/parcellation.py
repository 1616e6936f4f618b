"""Territories: which joint does each channel serve, do the channels of one joint lie together, and as on the body?

A label is the index of a joint, or -1 for a channel that serves no joint. The parcellation always uses rook neighbours,
whatever lattice the loss used: with queen neighbours, a checkerboard of two joints would count as two connected
regions.

All functions raise ValueError if labels (C,) or weights (K, C) do not have the C channels of the lattice, if a label is
not below the number of joints, or if `permutations` is below 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.sparse import csgraph

from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography.inference import p_value, p_values, permutation_blocks

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class LabelNull:
    """A measure under permuted labels: mean, sd, and the one-sided p of the observed value. All None without pairs."""

    mean: float | None = None
    sd: float | None = None
    p: float | None = None


def labels(strength: Array) -> Labels:
    """The joint with the largest |head weight| of each channel, (K, C) -> (C,). The first joint wins a tie.

    -1 if all weights of a channel are zero or one is not finite.

    Raises:
        ValueError: `strength` is not (K, C) with K at least 1.
    """
    size = np.abs(np.asarray(strength, np.float64))
    if size.ndim != 2 or len(size) == 0:
        raise ValueError(f"strength {size.shape}: give (joints, channels)")
    known = np.isfinite(size).all(axis=0) & (size > 0).any(axis=0)
    return np.where(known, size.argmax(axis=0), -1).astype(np.int64)


def units(labels: Labels, count: int = joints.K) -> Labels:
    """The number of channels that serve each joint, (count,).

    Raises:
        ValueError: A label is not below `count`.
    """
    if labels.size and labels.max() >= count:
        raise ValueError(f"label {labels.max()}: there are only {count} joints")
    return np.bincount(labels[labels >= 0], minlength=count).astype(np.int64)


def _labelled_pairs(labels: Labels, lattice: Lattice) -> NDArray[np.int64]:
    """The rook pairs (E, 2) in which both channels have a label."""
    if labels.shape != (lattice.channels,):
        raise ValueError(f"labels {labels.shape}: the grid has {lattice.channels} channels")
    pairs = replace(lattice, neighbours=4).edges()
    return pairs[(labels[pairs] >= 0).all(axis=1)]


# ---- Contiguity


def contiguity(labels: Labels, lattice: Lattice) -> float | None:
    """The share of rook pairs with equal labels, without pairs with an unlabelled channel. None if none is left."""
    pairs = _labelled_pairs(labels, lattice)
    return float(np.mean(labels[pairs[:, 0]] == labels[pairs[:, 1]])) if len(pairs) else None


def contiguity_null(labels: Labels, lattice: Lattice, permutations: int = 9999, seed: int = 0) -> LabelNull:
    """Contiguity when the labels are permuted over the labelled channels.

    This null is the chance level, not 1/16: joints that own many channels meet themselves more often.
    """
    pairs, observed = _labelled_pairs(labels, lattice), contiguity(labels, lattice)
    if observed is None:
        return LabelNull()
    owned = np.flatnonzero(labels >= 0)
    first, second = np.searchsorted(owned, pairs).T  # indices among the labelled channels
    grids = (labels[owned][orders].T for orders in permutation_blocks(len(owned), permutations, seed, 256))
    null = np.concatenate([(grid[first] == grid[second]).mean(axis=0) for grid in grids])
    return LabelNull(float(null.mean()), float(null.std()), p_value(observed, null))


def join_count_z(labels: Labels, lattice: Lattice, count: int = joints.K) -> list[float | None]:
    """The z of the number of rook pairs within each label: do the channels of one joint meet more often than chance?

    This is the BB join count with its exact moments when the labels are permuted over the labelled channels (non-free
    sampling; Cliff & Ord 1981, ch. 2). With J pairs, of which M pairs of pairs share a channel, with n of N channels
    labelled k, and with p_m = n(n-1)...(n-m+1) / (N(N-1)...(N-m+1)), the mean is J p_2 and the second moment is
    J p_2 + 2 M p_3 + (J^2 - J - 2 M) p_4.

    Returns:
        `count` values. None where the count cannot vary (a label with fewer than two channels, or with all of them).
    """
    pairs, owned = _labelled_pairs(labels, lattice), units(labels, count)
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    observed = np.bincount(labels[pairs[same, 0]], minlength=count)
    degree = np.bincount(pairs.ravel(), minlength=len(labels)).astype(float)
    joined, sharing, total = len(pairs), float((degree * (degree - 1)).sum()), int(owned.sum())
    result: list[float | None] = []
    for here, size in zip(observed.tolist(), owned.tolist(), strict=True):
        p2, p3, p4 = (_share_of_tuples(size, total, length) for length in (2, 3, 4))
        mean = joined * p2
        variance = mean + sharing * p3 + (joined**2 - joined - sharing) * p4 - mean**2
        result.append((here - mean) / variance**0.5 if variance > 1e-9 * max(1.0, mean) else None)
    return result


def _share_of_tuples(size: int, total: int, length: int) -> float:
    """The probability that `length` different channels, drawn from `total`, are all among the `size` of one label."""
    if size < length:
        return 0.0
    return float(np.prod([(size - i) / (total - i) for i in range(length)]))


# ---- Connected regions


def components(labels: Labels, lattice: Lattice) -> dict[int, list[int]]:
    """The sizes of the rook-connected regions of each label that occurs, largest first.

    Unlabelled channels form no region.
    """
    pairs = _labelled_pairs(labels, lattice)
    first, second = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]].T
    graph = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(labels), len(labels)))
    count, region = csgraph.connected_components(graph, directed=False)
    sizes, owner = np.bincount(region, minlength=count), np.empty(count, np.int64)
    owner[region] = labels
    return {
        int(label): sorted(sizes[owner == label].tolist(), reverse=True) for label in np.unique(owner) if label >= 0
    }


def component_count(labels: Labels, lattice: Lattice) -> int:
    """The number of connected regions of all labels together."""
    return sum(len(sizes) for sizes in components(labels, lattice).values())


def component_null(labels: Labels, lattice: Lattice, permutations: int = 999, seed: int = 0) -> LabelNull:
    """The number of connected regions when the labels are permuted over the labelled channels.

    p is one-sided: few regions are evidence.
    """
    pairs, owned = _labelled_pairs(labels, lattice), np.flatnonzero(labels >= 0)
    if len(pairs) == 0:
        return LabelNull()
    first, second = np.searchsorted(owned, pairs).T
    counts = []
    for orders in permutation_blocks(len(owned), permutations, seed, 256):
        shuffled = labels[owned][orders]  # (B, L)
        grid, edge = np.nonzero(shuffled[:, first] == shuffled[:, second])
        ends = grid * len(owned) + first[edge], grid * len(owned) + second[edge]
        # all permuted grids form one graph of separate parts, so that SciPy is called once per block
        graph = sparse.coo_array((np.ones(len(grid)), ends), shape=(shuffled.size, shuffled.size))
        _, region = csgraph.connected_components(graph, directed=False)
        counts += [len(np.unique(regions)) for regions in region.reshape(shuffled.shape)]
    null = np.array(counts, float)
    return LabelNull(float(null.mean()), float(null.std()), p_value(-component_count(labels, lattice), -null))


# ---- The body on the grid

_PAIRS = np.triu_indices(joints.K, 1)  # each pair of joints once
_TWINS = np.isin(_PAIRS[0] * joints.K + _PAIRS[1], [min(two) * joints.K + max(two) for two in joints.FLIP_PAIRS])


@cache
def body_hops() -> Array:
    """The number of limbs between each two joints, (16, 16)."""
    first, second = np.array(joints.LIMBS).T
    graph = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(joints.K, joints.K))
    return csgraph.shortest_path(graph, directed=False, unweighted=True)


def territory_distances(labels: Labels, lattice: Lattice) -> Array:
    """The mean grid distance between the channels of two joints, in cells: labels (..., C) -> (..., 16, 16).

    NaN for a joint without channels.
    """
    if labels.shape[-1] != lattice.channels:
        raise ValueError(f"labels {labels.shape}: the grid has {lattice.channels} channels")
    member = (labels[..., None, :] == np.arange(joints.K)[:, None]).astype(float)  # (..., 16, C)
    size = member.sum(axis=-1)
    pairs = size[..., :, None] * size[..., None, :]
    total = member @ lattice.distances() @ member.swapaxes(-1, -2)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)


def body_map(size: Array, lattice: Lattice, permutations: int = 999, seed: int = 0) -> dict[str, Any]:
    """Do the territories lie on the grid as the joints lie on the body?

    Two statistics of the distances between territories (`territory_distances`) of pairs of joints. "twins": the mean
    distance of left and right twins, divided by that of all other pairs; 1 means that twins lie no nearer. "hops":
    Spearman's correlation of the distance with the number of limbs between the joints.

    Each is tested against two nulls (one-sided: twins near, correlation high). "p_joints" permutes the joints that own
    channels over their territories (Mantel 1967), which keeps every territory. "p_shifted" gives the map of each joint
    a random shift around the borders, and possibly a mirror image, before the territories are found again. This keeps
    the autocorrelation of each map, and removes what the maps have to do with each other.

    Args:
        size: (K, C), |head weights|.

    Returns:
        {"permutations", "twins": {"ratio", "p_joints", "p_shifted", "reason"}, "hops": {"spearman", ...}}. The numbers
        are NaN where no pair of twins owns channels, or too few other pairs do.
    """
    rng = np.random.default_rng(seed)
    apart = territory_distances(labels(size), lattice)
    observed = _twins_and_hops(apart[_PAIRS])
    owners = np.flatnonzero(~np.isnan(np.diagonal(apart)))
    orders = np.tile(np.arange(joints.K), (permutations, 1))
    orders[:, owners] = rng.permuted(orders[:, owners], axis=1)
    moved = np.stack([labels(_shifted(size, lattice, rng)) for _ in range(permutations)])
    nulls = {
        "p_joints": apart[orders[:, _PAIRS[0]], orders[:, _PAIRS[1]]],
        "p_shifted": territory_distances(moved, lattice)[:, _PAIRS[0], _PAIRS[1]],
    }
    sign = np.array([-1.0, 1.0])  # a small ratio and a large correlation are evidence
    tests = {}
    for name, distances in nulls.items():
        null = sign * np.array([_twins_and_hops(row) for row in distances])
        # a grid without the statistic counts as one that reaches the observation
        tests[name] = p_values(sign * observed, np.where(np.isnan(null), np.inf, null))
    numbers: dict[str, Any] = {"permutations": permutations}
    for k, (name, number) in enumerate((("twins", "ratio"), ("hops", "spearman"))):
        reason = "too few joints own channels" if np.isnan(observed[k]) else None
        p = {key: float(values[k]) for key, values in tests.items()}
        numbers[name] = {number: float(observed[k]), **p, "reason": reason}
    return numbers


def twin_ratio(apart: Array) -> float:
    """The mean distance of left and right twins divided by that of all other pairs; NaN where one is not defined.

    Args:
        apart: (16, 16), from `territory_distances`, or the distances (120,) of the pairs.
    """
    distance = apart[_PAIRS] if apart.ndim == 2 else apart
    known = ~np.isnan(distance)
    near, rest = distance[known & _TWINS], distance[known & ~_TWINS]
    return float(near.mean() / rest.mean()) if len(near) and len(rest) and rest.mean() > 0 else float("nan")


def _twins_and_hops(distance: Array) -> Array:
    """The two statistics (2,) of `body_map`, from the distances (120,) of the pairs of joints. NaN: not defined."""
    known = ~np.isnan(distance)
    # rounded, because equal means that are summed in another order differ in their last bits
    ranks = stats.rankdata(distance[known].round(9)), stats.rankdata(body_hops()[_PAIRS][known])
    varies = known.any() and min(map(np.ptp, ranks)) > 0
    return np.array([twin_ratio(distance), np.corrcoef(*ranks)[0, 1] if varies else np.nan])


def _shifted(size: Array, lattice: Lattice, rng: np.random.Generator) -> Array:
    """The map of each joint (K, C) at another place of the grid, around the borders, and possibly mirrored."""
    moved = []
    for one in size.reshape(-1, lattice.height, lattice.width):
        mirrored = one[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        moved.append(np.roll(mirrored, (rng.integers(lattice.height), rng.integers(lattice.width)), (0, 1)))
    return np.stack(moved).reshape(size.shape)


# ---- Wiring length


def wiring_lengths(strength: Array, lattice: Lattice) -> Array:
    """The wiring length of each joint in cells, (K, C) -> (K,).

    If each channel is wired to its joint and a wire costs length times weight, a map that keeps the channels of a joint
    together is cheap (wiring economy: Jacobs & Jordan 1992, J. Cogn. Neurosci. 4, 323-336; for whole maps Koulakov &
    Chklovskii 2001, Neuron 29, 519-527). The length of joint k is

        min over places j of sum_c |w_kc| d(c, j) / sum_c |w_kc|

    with the grid distance d: the mean distance, weighted by |w|, to the place where the joint is cheapest to read. It
    does not depend on the size of the weights.

    Returns:
        (K,). NaN where all weights of a joint are zero or one is not finite.
    """
    return (_shares(strength, lattice) @ lattice.distances()).min(axis=-1)


def wiring_null(strength: Array, lattice: Lattice, permutations: int = 999, seed: int = 0) -> Array:
    """`wiring_lengths` when the channels are permuted on the grid, (P, K). All joints share each permutation."""
    shares, apart = _shares(strength, lattice), lattice.distances()
    blocks = permutation_blocks(lattice.channels, permutations, seed, 64)
    return np.concatenate([(shares[:, orders].transpose(1, 0, 2) @ apart).min(axis=-1) for orders in blocks])


def _shares(strength: Array, lattice: Lattice) -> Array:
    """The weights of each joint as shares that sum to 1, (K, C). A row of NaN where a joint has no length."""
    size = np.abs(np.asarray(strength, np.float64))
    if size.ndim != 2 or size.shape[1] != lattice.channels:
        raise ValueError(f"strength {size.shape}: give (joints, {lattice.channels})")
    known = np.isfinite(size).all(axis=1, keepdims=True) & (size > 0).any(axis=1, keepdims=True)
    safe = np.where(known, size, 1.0)
    safe = safe / safe.max(axis=1, keepdims=True)
    return np.where(known, safe / safe.sum(axis=1, keepdims=True), np.nan)
