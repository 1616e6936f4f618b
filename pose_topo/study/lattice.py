"""Channels on an h x w grid: who is whose neighbour, and how far apart they are.

Channel c sits at row c // w, column c % w. "rook" joins the 4 side neighbours, "queen" the 8 around; "bounded" grids
end at their border, a "torus" wraps round. Everything that needs the grid (losses, Moran's I, contiguity) takes it
from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import UsageError

# one offset of each opposite pair, so that every undirected edge is met once
_OFFSETS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}


@dataclass(frozen=True)
class Lattice:
    """A grid of `height` x `width` channels: who is whose neighbour, and how far apart two channels are.

    Args:
        height: rows.
        width: columns. Channel c is at row c // width and column c % width.
        neighbours: 4 (rook: the sides) or 8 (queen: the sides and the corners).
        torus: join opposite borders, so that the grid has no edge.

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
        if self.neighbours not in _OFFSETS:
            raise UsageError(f"neighbours {self.neighbours}: give 4 (rook) or 8 (queen)")

    @staticmethod
    def squarest(channels: int) -> Lattice:
        """The grid of so many channels whose sides differ least, the height the smaller."""
        height = max(side for side in range(1, math.isqrt(channels) + 1) if channels % side == 0)
        return Lattice(height, channels // height)

    @property
    def channels(self) -> int:
        return self.height * self.width

    @property
    def name(self) -> str:
        """As results name it, e.g. "queen, bounded"."""
        return f"{'queen' if self.neighbours == 8 else 'rook'}, {'torus' if self.torus else 'bounded'}"

    def edges(self) -> NDArray[np.int64]:
        """Every neighbour pair once, as (E, 2) with first < second, sorted; no self pairs."""
        rows, columns = np.divmod(np.arange(self.channels), self.width)
        found = []
        for down, right in _OFFSETS[self.neighbours]:
            row, column = rows + down, columns + right
            if self.torus:
                row, column = row % self.height, column % self.width
                inside = np.ones(self.channels, bool)
            else:
                inside = (row < self.height) & (column >= 0) & (column < self.width)
            here, there = np.flatnonzero(inside), (row * self.width + column)[inside]
            found.append(np.stack([np.minimum(here, there), np.maximum(here, there)], axis=1))
        pairs = np.unique(np.concatenate(found), axis=0)  # a torus two wide meets the same pair twice
        return pairs[pairs[:, 0] != pairs[:, 1]].astype(np.int64)

    def adjacency(self) -> NDArray[np.float64]:
        """The symmetric binary weight matrix (C, C) of the edges, zero on the diagonal."""
        matrix = np.zeros((self.channels, self.channels))
        first, second = self.edges().T
        matrix[first, second] = matrix[second, first] = 1.0
        return matrix

    def distances(self) -> NDArray[np.float64]:
        """Euclidean grid distance between every two channels, (C, C), in cells (round the torus where it is one)."""
        rows, columns = np.divmod(np.arange(self.channels), self.width)
        down = np.abs(rows[:, None] - rows[None])
        right = np.abs(columns[:, None] - columns[None])
        if self.torus:
            down, right = np.minimum(down, self.height - down), np.minimum(right, self.width - right)
        return np.hypot(down, right)
