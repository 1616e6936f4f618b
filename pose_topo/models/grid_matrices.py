"""Fixed matrices of the lattice that losses multiply with, kept on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.errors import UsageError
from pose_topo.lattice import Lattice
from pose_topo.models.smoothing import smoothing_matrix

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
