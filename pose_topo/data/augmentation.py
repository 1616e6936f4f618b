"""Draw the standard recipe's random rotation, scale and flip (Xiao et al. 2018), for a whole epoch at once.

What is drawn depends on seed, epoch and person only, not on the batch size or the number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AugmentationRange:
    """How far people are scaled and rotated."""

    scale_sd: float  # of the factor on the box side, about 1
    scale_limit: float
    rotation_sd: float  # degrees
    rotation_limit: float
    rotation_share: float = 0.6  # of the people
    flip_share: float = 0.5


AUGMENTATION_RANGES = {
    "standard": AugmentationRange(0.25, 0.25, 30.0, 60.0),
    "mild": AugmentationRange(0.08, 0.16, 8.0, 16.0),  # the demo: enough to avoid overfitting to few people
}


@dataclass(frozen=True)
class EpochAugmentation:
    """The order of P people in an epoch, and the transformation of each."""

    order: NDArray[np.int64]  # (P,) a permutation
    scale: NDArray[np.float64]  # (P,) factor on the box side
    rotation: NDArray[np.float64]  # (P,) degrees
    flip: NDArray[np.bool_]  # (P,)


def draw_epoch(people: int, seed: int, epoch: int, augment: str) -> EpochAugmentation:
    """Draw one epoch for `people` people. `augment`: of `AUGMENTATION_RANGES`; "none" draws only the order."""
    rng = np.random.default_rng([seed, epoch, 0xA06])
    order = rng.permutation(people)
    if augment == "none":
        return EpochAugmentation(order, np.ones(people), np.zeros(people), np.zeros(people, bool))
    limits = AUGMENTATION_RANGES[augment]
    scale = np.clip(1 + limits.scale_sd * rng.standard_normal(people), 1 - limits.scale_limit, 1 + limits.scale_limit)
    rotation = np.clip(limits.rotation_sd * rng.standard_normal(people), -limits.rotation_limit, limits.rotation_limit)
    rotation[rng.random(people) >= limits.rotation_share] = 0.0
    return EpochAugmentation(order, scale, rotation, rng.random(people) < limits.flip_share)


def to_stored(drawn: EpochAugmentation, index: NDArray[np.int64], side: int, input_size: int) -> NDArray[np.float64]:
    """Return affines (B, 2, 3) from the augmented input to the stored crop.

    They rotate, scale, and then mirror left and right about the centre of the box (side / 2 of the crop, input_size / 2
    of the input). The standard code mirrors the photograph and the centre instead, which is equivalent.
    """
    angle, scale = np.deg2rad(drawn.rotation[index]), drawn.scale[index]
    mirror = np.where(drawn.flip[index], -1.0, 1.0)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack([np.stack([cos * mirror, -sin * mirror], -1), np.stack([sin, cos], -1)], axis=1)  # (B, 2, 2)
    shift = side / 2 - linear.sum(-1) * (input_size / 2)
    return np.concatenate([linear, shift[..., None]], axis=-1)
