"""The constant matrices of a lattice that the spatial losses multiply with, cached on the device of the tensors.

TopoLoss makes the grid smaller and enlarges it again. This is one matrix as well: the backward pass of
`torch.nn.functional.interpolate` adds up in no fixed order on CUDA, that of a matrix product does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.errors import UsageError
from pose_topo.study.lattice import Lattice

Array = NDArray[np.float64]

TOPOLOSS_FACTOR = 3.0  # TopoLoss reads the grid at every third place, as in its authors' example


def on(make: Callable[[Lattice], Array], lattice: Lattice, like: Tensor) -> Tensor:
    """A matrix of the lattice, made by one of the functions below, with the device and dtype of `like`."""
    return cached(make, lattice, like.device, like.dtype)


@lru_cache(maxsize=32)
def cached(make: Callable[[Lattice], NDArray], lattice: Lattice, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`make(lattice)` as a tensor. A copy to the device in every step would wait for the step before."""
    with torch.inference_mode(False):  # a tensor made in inference mode could never be trained with
        return torch.from_numpy(make(lattice)).to(device, dtype)


def pairs(lattice: Lattice) -> Array:
    """1 for two different channels, 0 on the diagonal, (C, C)."""
    return 1.0 - np.eye(lattice.channels)


def closeness_in_the_unit_square(lattice: Lattice) -> Array:
    """1 / (d_ij + 1), (C, C), where d is the distance if the longer side of the grid runs from 0 to 1."""
    return 1 / (lattice.distances() / max(lattice.height - 1, lattice.width - 1, 1) + 1)


def standard_closeness(lattice: Lattice) -> Array:
    """1 / (d_ij + 1), where d is the distance in cells, with mean 0 and length 1 over the pairs, and 0 on the diagonal,
    (C, C). Its product with the correlations of the channels is a correlation.

    Raises:
        UsageError: all channels are equally far apart.
    """
    different = pairs(lattice)
    near = different / (lattice.distances() + 1)
    centred = (near - near.sum() / different.sum()) * different
    length = np.linalg.norm(centred)
    if length < 1e-9:
        where = f"{lattice.height} x {lattice.width} {'torus' if lattice.torus else 'grid'}"
        raise UsageError(f"on a {where} all channels are equally far apart: give this loss a larger --topo-grid")
    return centred / length


def laplacian(lattice: Lattice) -> Array:
    """The number of neighbours on the diagonal, -1 for two neighbours, (C, C)."""
    near = lattice.adjacency()
    return np.diag(near.sum(0)) - near


def smoothing_matrix(lattice: Lattice, factor: float = TOPOLOSS_FACTOR) -> Array:
    """Up(Down(.)) of maps on the grid, (C, C). It turns one vector per channel, (C, D), into the smoothed vectors."""
    rows = down_and_up(lattice.height, factor, lattice.torus)
    columns = down_and_up(lattice.width, factor, lattice.torus)
    return np.asarray(np.kron(rows, columns), np.float64)


def down_and_up(side: int, factor: float, wrap: bool) -> Array:
    """Read one axis of `side` cells at every `factor`-th place, then enlarge it to `side` again: (side, side).

    The small axis has floor(side / factor) cells; a side below the factor shrinks to one cell. A bounded axis steps by
    the factor. A torus is divided into equal steps (side / small cells), so that its seam is like any other place.
    """
    factor = min(factor, side)
    small = int(side / factor)
    step = side / small if wrap else factor
    return bilinear(small, side, small / side, wrap) @ bilinear(side, small, step, wrap)


def bilinear(inputs: int, outputs: int, scale: float, wrap: bool) -> Array:
    """Linear interpolation along one axis, (outputs, inputs): row o holds the share of each input in output cell o.

    The centres of cells lie at half cells, as in `interpolate(mode="bilinear", align_corners=False)`.

    Args:
        scale: input cells per output cell.
        wrap: the first cell follows the last one; otherwise the last one is repeated.
    """
    at = (np.arange(outputs) + 0.5) * scale - 0.5
    if not wrap:
        at = at.clip(0, inputs - 1)
    below = np.floor(at)
    share = at - below
    matrix = np.zeros((outputs, inputs))
    for cell, part in ((below, 1 - share), (below + 1, share)):
        # without `wrap`, only a share of 0 falls beyond the last cell
        np.add.at(matrix, (np.arange(outputs), cell.astype(int) % inputs), part)
    return matrix
