"""A grid made smaller and large again, as one fixed matrix.

The backward pass of `torch.nn.functional.interpolate` adds up in no fixed order on CUDA; a matrix product does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_topo.lattice import Lattice

Array = NDArray[np.float64]


def bilinear(inputs: int, outputs: int, scale: float, wrap: bool) -> Array:
    """Linear interpolation along one axis, (outputs, inputs): row o says how much output cell o takes of each input.

    Cell centres lie at half cells, as in `interpolate(mode="bilinear", align_corners=False)`.

    Args:
        scale: input cells an output cell.
        wrap: what lies beyond the last cell is the first one; else the last one goes on.
    """
    at = (np.arange(outputs) + 0.5) * scale - 0.5
    if not wrap:
        at = at.clip(0, inputs - 1)
    below = np.floor(at)
    share = at - below
    matrix = np.zeros((outputs, inputs))
    for cell, part in ((below, 1 - share), (below + 1, share)):
        # without `wrap` only a share of 0 ever falls beyond the last cell
        np.add.at(matrix, (np.arange(outputs), cell.astype(int) % inputs), part)
    return matrix


def down_and_up(side: int, factor: float, wrap: bool) -> Array:
    """One axis of `side` cells read at every `factor`-th place, then enlarged to `side` again: (side, side).

    The small axis has floor(side / factor) cells; a side below the factor shrinks to one cell. A torus is divided into
    equal steps (side / small cells), so that the seam is like any other place; a bounded axis steps by the factor.
    """
    factor = min(factor, side)
    small = int(side / factor)
    step = side / small if wrap else factor
    return bilinear(small, side, small / side, wrap) @ bilinear(side, small, step, wrap)


def smoothing_matrix(lattice: Lattice, factor: float) -> Array:
    """Up(Down(.)) of maps on the grid, (C, C): it turns one vector a channel, (C, D), into the smoothed vectors."""
    rows = down_and_up(lattice.height, factor, lattice.torus)
    columns = down_and_up(lattice.width, factor, lattice.torus)
    return np.asarray(np.kron(rows, columns), np.float64)
