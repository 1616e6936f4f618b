"""The standard recipe's random rotation, scale and flip (Xiao et al. 2018), drawn for a whole epoch at once.

A draw belongs to (seed, epoch, person): it does not change with the batch size or the number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """How far people are moved."""

    scale_sd: float  # of the factor on the box side, about 1
    scale_limit: float
    rotation_sd: float  # degrees
    rotation_limit: float
    rotation_share: float = 0.6  # of the people
    flip_share: float = 0.5


SPREADS = {
    "standard": Spread(0.25, 0.25, 30.0, 60.0),
    "mild": Spread(0.08, 0.16, 8.0, 16.0),  # the demo: enough that few people seen often are not learnt by heart
}
AUGMENTATIONS = ("none", *SPREADS)


@dataclass(frozen=True)
class Draws:
    """One epoch: the order of the people, and each person's transformation."""

    order: NDArray[np.int64]  # (P,) a permutation
    scale: NDArray[np.float64]  # (P,) factor on the box side
    rotation: NDArray[np.float64]  # (P,) degrees
    flip: NDArray[np.bool_]  # (P,)


def draw_epoch(people: int, seed: int, epoch: int, augment: str) -> Draws:
    """The draws of one epoch for `people` people, by a name of `AUGMENTATIONS`; "none" draws only the order."""
    rng = np.random.default_rng([seed, epoch, 0xA06])
    order = rng.permutation(people)
    if augment == "none":
        return Draws(order, np.ones(people), np.zeros(people), np.zeros(people, bool))
    spread = SPREADS[augment]
    scale = np.clip(1 + spread.scale_sd * rng.standard_normal(people), 1 - spread.scale_limit, 1 + spread.scale_limit)
    rotation = np.clip(spread.rotation_sd * rng.standard_normal(people), -spread.rotation_limit, spread.rotation_limit)
    rotation[rng.random(people) >= spread.rotation_share] = 0.0
    return Draws(order, scale, rotation, rng.random(people) < spread.flip_share)


def to_stored(draws: Draws, index: NDArray[np.int64], side: int, input_size: int) -> NDArray[np.float64]:
    """Affines (B, 2, 3) from the augmented input to the stored crop.

    About the box centre (side / 2 of the crop, input_size / 2 of the input): rotate, scale, then mirror left and
    right, which is what the standard code's mirrored photograph and mirrored centre come to.
    """
    angle, scale = np.deg2rad(draws.rotation[index]), draws.scale[index]
    mirror = np.where(draws.flip[index], -1.0, 1.0)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack([np.stack([cos * mirror, -sin * mirror], -1), np.stack([sin, cos], -1)], axis=1)  # (B, 2, 2)
    shift = side / 2 - linear.sum(-1) * (input_size / 2)
    return np.concatenate([linear, shift[..., None]], axis=-1)
