"""Losses that make grid neighbours alike: pure functions of the topographic layer's weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from pose_topo.lattice import Lattice


def neighbour_differences(sheet: Tensor, lattice: Lattice) -> list[Tensor]:
    """Differences (n, D) along the edges of the grid, one tensor a direction; together every edge once.

    Args:
        sheet: (h, w, D), one vector a channel.
    """
    h, w = lattice.height, lattice.width
    if lattice.torus:
        flat = sheet.reshape(h * w, -1)
        first, second = _edges(lattice, sheet.device)
        return [flat[first] - flat[second]]
    pairs = [(sheet[:, 1:], sheet[:, :-1]), (sheet[1:], sheet[:-1])]
    if lattice.neighbours == 8:
        pairs += [(sheet[1:, 1:], sheet[:-1, :-1]), (sheet[1:, :-1], sheet[:-1, 1:])]
    return [(a - b).reshape(-1, sheet.shape[-1]) for a, b in pairs if a.numel()]


@lru_cache(maxsize=8)
def _edges(lattice: Lattice, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both ends of every edge, (E,) each, on the device once: a copy in every step would wait for the step before."""
    first, second = torch.from_numpy(lattice.edges()).to(device).T
    return first, second


def weight_similarity(weight: Tensor, lattice: Lattice) -> Tensor:
    """Mean over neighbour pairs of the squared distance of their incoming weight vectors (the study's loss; cf. the
    "weight similarity" arm of Truong & Hasson, arXiv 2508.00043).

    Not invariant to scale: a layer can lower it by shrinking, so row norms are logged beside it.

    Args:
        weight: (C, ...) with channel c at row c // w, column c % w of the lattice.

    Returns:
        A scalar; 0 for a grid without neighbours. Exactly 4 for orthogonal rows of norm sqrt(2).
    """
    sheet = weight.float().reshape(lattice.height, lattice.width, -1)
    differences = neighbour_differences(sheet, lattice)
    if not differences:
        return weight.sum() * 0.0
    total = torch.stack([d.square().sum() for d in differences]).sum()
    return total / sum(len(d) for d in differences)


REGULARIZERS: dict[str, Callable[[Tensor, Lattice], Tensor]] = {"weight-similarity": weight_similarity}
