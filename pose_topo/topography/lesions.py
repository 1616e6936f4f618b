"""Lesions: when a disc of the grid is silenced, do the joints that own the disc suffer most?

In a functional map every place matters to particular joints: silencing a disc should harm the joint that owns it and
spare the others. Discs of several radii are placed at the same centres. Their damage is the loss of PCKh@0.5 per joint,
in percentage points.

The null is a permuted grid: the channels are placed on the grid at random and the same discs are silenced. Each disc
becomes a random set of channels of the same size, and the overlaps between discs stay. The unit of the test is the
whole grid, so with A permuted grids the smallest p is 1 / (A + 1).

Axes: R radii, A + 1 arrangements (the true grid first), D discs, K joints, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography.inference import p_value, permutation_blocks

Array = NDArray[np.float64]
Masks = NDArray[np.bool_]

RADII = (1.0, 2.0, 3.0, 4.0)  # in cells; 5, 13, 29 and 49 channels inside a 16 x 16 grid
PER_SIDE = 4  # centres along each side


@dataclass(frozen=True)
class Specificity:
    """Specificity at one radius: `value` on the true grid, `null` (A,) on the permuted grids, and the one-sided `p`.

    `own` and `other` (A + 1,) are the mean damage to the joint that owns a disc, and to the other joints.
    """

    value: float
    null: Array
    p: float
    own: Array
    other: Array


def centres(lattice: Lattice, per_side: int = PER_SIDE) -> NDArray[np.int64]:
    """The centres (D,) of the discs: up to `per_side` x `per_side` places, spread evenly over the grid."""
    rows, columns = (
        np.unique(((np.arange(per_side) + 0.5) * side / per_side).astype(int))
        for side in (lattice.height, lattice.width)
    )
    return (rows[:, None] * lattice.width + columns).ravel()


def discs(lattice: Lattice, radius: float, per_side: int = PER_SIDE) -> Masks:
    """The places (D, C) within `radius` cells of each centre. A bounded grid cuts the discs at its border."""
    return lattice.distances()[centres(lattice, per_side)] <= radius


def arrangements(channels: int, count: int, seed: int = 0) -> NDArray[np.int64]:
    """The channel at each place, (A + 1, C): the true grid, then `count` random permutations."""
    return np.concatenate([np.arange(channels)[None], *permutation_blocks(channels, count, seed)])


def silenced(lattice: Lattice, orders: NDArray[np.int64], radii: tuple[float, ...] = RADII) -> Masks:
    """The channels that each lesion silences, (R, A + 1, D, C)."""
    places = np.stack([discs(lattice, radius) for radius in radii])  # (R, D, C)
    site_of = np.argsort(orders, axis=1)  # (A + 1, C): the place of each channel
    return places[:, :, site_of].transpose(0, 2, 1, 3)


def owners(labels: NDArray[np.int64], masks: Masks) -> NDArray[np.int64]:
    """The joint that most channels of each lesion serve, masks (..., C) -> (...). The first joint wins a tie.

    -1 where no channel of the lesion serves a joint.
    """
    of_joint = labels[:, None] == np.arange(joints.K)  # (C, joints)
    found = masks.astype(np.int64) @ of_joint.astype(np.int64)
    return np.where(found.max(axis=-1) > 0, found.argmax(axis=-1), -1)


def specificity(damage: Array, owner: NDArray[np.int64]) -> Specificity | None:
    """How much more the joint that owns a lesion loses than the other joints do, in percentage points, at one radius.

    First, the mean of each joint over all lesions of all arrangements is subtracted from its damage: some joints lose
    more whatever is silenced, and that is not specificity. Then specificity is the mean over discs of the damage to the
    own joint minus the mean damage to the others.

    Args:
        damage: (A + 1, D, K). NaN for a joint that cannot be scored.
        owner: (A + 1, D), joint indices; -1 for a lesion without an owner.

    Returns:
        None if on some grid no lesion has an owner that can be scored.
    """
    scored: Masks = np.asarray(~np.isnan(damage).any(axis=(0, 1)))
    if scored.sum() < 2:
        return None
    place = np.cumsum(scored) - 1  # the index of a joint among the scored joints
    used = (owner >= 0) & scored[owner]
    if not used.any(axis=1).all():
        return None
    damage, own_joint = damage[..., scored], np.where(used, place[owner], 0)
    excess = damage - damage.mean(axis=(0, 1))
    gap = np.subtract(*_own_and_other(excess, own_joint))
    own, other = (_mean_where(values, used) for values in _own_and_other(damage, own_joint))
    values = _mean_where(gap, used)
    return Specificity(float(values[0]), values[1:], p_value(values[0], values[1:]), own, other)


def _own_and_other(damage: Array, owner: NDArray[np.int64]) -> tuple[Array, Array]:
    """The damage (A + 1, D) to the owner, and the mean damage to the other joints."""
    own = np.take_along_axis(damage, owner[..., None], axis=-1)[..., 0]
    return own, (damage.sum(axis=-1) - own) / (damage.shape[-1] - 1)


def _mean_where(values: Array, used: Masks) -> Array:
    return np.where(used, values, 0.0).sum(axis=1) / used.sum(axis=1)
