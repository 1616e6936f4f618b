"""A grid made smaller and large again, as one fixed matrix.

The backward pass of `torch.nn.functional.interpolate` adds up in no fixed order on CUDA; a matrix product does not.
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


# ---- Fixed matrices of the lattice that losses multiply with, kept on the device.

Matrix = Callable[[Lattice], NDArray[np.float64]]

TOPOLOSS_FACTOR = 3.0  # the grid is read at every third place: the factor of the authors' example


def pairs(lattice: Lattice) -> NDArray[np.float64]:
    """1 for two different channels, 0 on the diagonal, (C, C)."""
    return 1.0 - np.eye(lattice.channels)


def closeness(lattice: Lattice) -> NDArray[np.float64]:
    """1 / (d_ij + 1), (C, C), d in cells."""
    return 1 / (lattice.distances() + 1)


def standard_closeness(lattice: Lattice) -> NDArray[np.float64]:
    """`closeness` with mean 0 and length 1 over the pairs, 0 on the diagonal: what a correlation is taken with.

    Raises:
        UsageError: all channels are equally far apart.
    """
    different = pairs(lattice)
    near = closeness(lattice) * different
    centred = (near - near.sum() / different.sum()) * different
    length = np.linalg.norm(centred)
    if length < 1e-9:
        where = f"{lattice.height} x {lattice.width} {'torus' if lattice.torus else 'grid'}"
        raise UsageError(f"on a {where} all channels are equally far apart: give this loss a larger --topo-grid")
    return centred / length


def laplacian(lattice: Lattice) -> NDArray[np.float64]:
    """Number of neighbours on the diagonal, -1 where two are neighbours, (C, C)."""
    near = lattice.adjacency()
    return np.diag(near.sum(0)) - near


def topoloss_smoothing(lattice: Lattice) -> NDArray[np.float64]:
    """Up(Down(.)) with TopoLoss's factor, (C, C)."""
    return smoothing_matrix(lattice, TOPOLOSS_FACTOR)


def on(make: Matrix, lattice: Lattice, like: Tensor) -> Tensor:
    """A matrix of the lattice, where and as `like` is."""
    return _matrix(make, lattice, like.device, like.dtype)


@lru_cache(maxsize=32)
def _matrix(make: Matrix, lattice: Lattice, device: torch.device, dtype: torch.dtype) -> Tensor:
    """On the device once: a copy in every step would wait for the step before."""
    with torch.inference_mode(False):  # what is made inside inference mode could never be trained with
        return torch.from_numpy(make(lattice)).to(device, dtype)


@lru_cache(maxsize=8)
def edges_on(lattice: Lattice, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both ends of every edge, (E,) each, on the device once."""
    with torch.inference_mode(False):
        first, second = torch.from_numpy(lattice.edges()).to(device).T
    return first, second
