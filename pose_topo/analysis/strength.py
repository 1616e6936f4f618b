"""What of a channel is mapped: how strongly each joint reads it, in three ways that answer different questions.

|w| mixes a channel's tuning (which joints read it) with its gain (how large its weights are): a smooth gain over
independent tuning gives Moran's I of 0.25. Hence the column-normalised |w|, which holds tuning alone; and |w| times
the standard deviation of the channel's activation, what the joint in fact receives, since a large weight on a silent
channel moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    received = size * _spread(activations)
    return {
        "strength": Strength("|w|", size, every),
        "normalised": Strength("|w| / its length over joints", scaled / np.linalg.norm(scaled, axis=0), read),
        "activity": Strength("|w| x sd(activation)", received, every),
    }


def _spread(activations: Array) -> Array:
    """Standard deviation over pictures, (C,); NaN without pictures or where one is not finite."""
    if len(activations) == 0:
        return np.full(activations.shape[1], np.nan)
    finite = np.isfinite(activations).all(axis=0)
    return np.where(finite, np.where(finite, activations, 0.0).std(axis=0), np.nan)
