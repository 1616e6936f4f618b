"""How far apart on the grid do channels lie that are active together?

At each threshold alpha, the mean grid distance of the pairs whose correlation over images is at least alpha.
On a topographic grid it falls with alpha; on any other it stays at chance. An offset that all channels share
lifts every correlation over every alpha and returns chance throughout, so read it beside
`correlation.over_distance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.analysis.correlation import check_matrix
from pose_topo.lattice import Lattice

ALPHAS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class CoActivation:
    """For each of `alphas` the mean `distance` in cells (None without pairs) and the number of `pairs`.

    `chance` is the mean distance of all pairs, None for a single channel.
    """

    chance: float | None
    alphas: list[float]
    distance: list[float | None]
    pairs: list[int]


def chance(lattice: Lattice) -> float | None:
    """Mean distance of all pairs of different channels, in cells; None for a single channel."""
    apart = lattice.distances()[np.triu_indices(lattice.channels, 1)]
    return float(apart.mean()) if apart.size else None


def distances(matrix: NDArray[np.float64], lattice: Lattice, alphas: Sequence[float] = ALPHAS) -> CoActivation:
    """Mean distance of co-active pairs of the correlations (C, C); pairs with a dead channel never count.

    Raises:
        ValueError: the matrix is not of the lattice's channels.
    """
    check_matrix(matrix, lattice)
    upper = np.triu_indices(lattice.channels, 1)
    together, apart = matrix[upper], lattice.distances()[upper]
    chosen = [apart[together >= alpha] for alpha in alphas]
    return CoActivation(
        chance=chance(lattice),
        alphas=list(alphas),
        distance=[float(found.mean()) if found.size else None for found in chosen],
        pairs=[int(found.size) for found in chosen],
    )
