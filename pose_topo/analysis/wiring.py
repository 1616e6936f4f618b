"""How long are the wires that a joint needs to gather its channels?

If each channel is joined to its joint by a wire whose cost grows with length and weight, a map that keeps the
channels of a joint together is cheap (wiring economy: Jacobs & Jordan 1992, J. Cogn. Neurosci. 4, 323-336; for whole
maps Koulakov & Chklovskii 2001, Neuron 29, 519-527). The length of joint k is

    min over places j of sum_c |w_kc| d(c, j) / sum_c |w_kc|

with d the grid distance in cells: the mean distance, weighted by |w|, to the place where the joint is cheapest to
read. Small is short. It is a length per unit of weight, hence blind to the size of the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_topo.analysis.inference import permutation_blocks
from pose_topo.lattice import Lattice

Array = NDArray[np.float64]


def lengths(strength: Array, lattice: Lattice) -> Array:
    """Wiring length in cells of every joint, (K, C) -> (K,); NaN where all its weights are zero or one is not finite.

    Raises:
        ValueError: `strength` is not (K, C) for the lattice's C channels.
    """
    return _shortest(_shares(strength, lattice), lattice.distances())


def permutation_null(strength: Array, lattice: Lattice, permutations: int = 999, seed: int = 0) -> Array:
    """`lengths` with the channels permuted on the grid, the same permutation for all joints, (P, K).

    Raises:
        ValueError: as `lengths`, or `permutations` is below 1.
    """
    shares, apart = _shares(strength, lattice), lattice.distances()
    blocks = permutation_blocks(lattice.channels, permutations, seed, 64)
    return np.concatenate([_shortest(shares[:, orders].transpose(1, 0, 2), apart) for orders in blocks])


def _shares(strength: Array, lattice: Lattice) -> Array:
    """Each joint's weights as shares that sum to 1, (K, C); a row of NaN where there are none."""
    size = np.abs(np.asarray(strength, np.float64))
    if size.ndim != 2 or size.shape[1] != lattice.channels:
        raise ValueError(f"strength {size.shape}: give (joints, {lattice.channels})")
    known = np.isfinite(size).all(axis=1, keepdims=True) & (size > 0).any(axis=1, keepdims=True)
    safe = np.where(known, size, 1.0)
    safe = safe / safe.max(axis=1, keepdims=True)
    return np.where(known, safe / safe.sum(axis=1, keepdims=True), np.nan)


def _shortest(shares: Array, apart: Array) -> Array:
    return (shares @ apart).min(axis=-1)
