"""The h x w grid of channels: which channels are neighbours, and how far apart two channels are.

Spatial losses, Moran's I and contiguity all use this class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import UsageError

_REACH = {4: 1.0, 8: 1.5}  # a channel that is not farther away is a neighbour


@dataclass(frozen=True)
class Lattice:
    """A grid of `height` x `width` channels: which channels are neighbours, and how far apart two channels are.

    Args:
        height: rows.
        width: columns. Channel c is at row c // width and column c % width.
        neighbours: 4 (rook: the sides) or 8 (queen: the sides and the corners).
        torus: join opposite borders, so that the grid has no edge. Otherwise it is "bounded".

    Raises:
        UsageError: a side is below 1, or `neighbours` is neither 4 nor 8.
    """

    height: int
    width: int
    neighbours: int = 8
    torus: bool = False

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(f"grid {self.height} x {self.width}: both sides must be at least 1")
        if self.neighbours not in _REACH:
            raise UsageError(f"neighbours {self.neighbours}: give 4 (rook) or 8 (queen)")

    @staticmethod
    def squarest(channels: int) -> Lattice:
        """The most nearly square grid with this number of channels; the height is not larger than the width."""
        height = max(side for side in range(1, math.isqrt(channels) + 1) if channels % side == 0)
        return Lattice(height, channels // height)

    @property
    def channels(self) -> int:
        return self.height * self.width

    @property
    def name(self) -> str:
        """The name in results, e.g. "queen, bounded"."""
        return f"{'queen' if self.neighbours == 8 else 'rook'}, {'torus' if self.torus else 'bounded'}"

    def edges(self) -> NDArray[np.int64]:
        """Every pair of neighbours once, (E, 2), with first < second, sorted. A channel is no neighbour of itself."""
        near = self.distances() <= _REACH[self.neighbours]
        return np.argwhere(np.triu(near, k=1))

    def adjacency(self) -> NDArray[np.float64]:
        """The symmetric matrix (C, C) with 1 for two neighbours, else 0. The diagonal is 0."""
        matrix = np.zeros((self.channels, self.channels))
        first, second = self.edges().T
        matrix[first, second] = matrix[second, first] = 1.0
        return matrix

    def distances(self) -> NDArray[np.float64]:
        """The Euclidean distance of every two channels on the grid, (C, C), in cells; on a torus, the shortest one."""
        rows, columns = np.divmod(np.arange(self.channels), self.width)
        down = np.abs(rows[:, None] - rows[None])
        right = np.abs(columns[:, None] - columns[None])
        if self.torus:
            down, right = np.minimum(down, self.height - down), np.minimum(right, self.width - right)
        return np.hypot(down, right)
