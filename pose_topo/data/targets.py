"""Joints -> Gaussian heatmaps, for a whole batch on the device, from their closed form."""

from __future__ import annotations

import torch
from torch import Tensor

PATCH_RADIUS = 3  # in sigmas: the standard recipe draws a 13 x 13 patch for sigma 2


def generate_heatmaps(joints: Tensor, labelled: Tensor, size: int, sigma: float, centre: str) -> tuple[Tensor, Tensor]:
    """Gaussian targets of peak 1 and their weights.

    Args:
        joints: (B, K, 2) in heatmap cells, cell centres at integers (input pixel / 4); anything where not labelled.
        labelled: (B, K) bool.
        size: cells on a side.
        sigma: standard deviation in cells.
        centre: "nearest": at the cell int(x + .5), within a patch of 3 sigma (Xiao et al. 2018);
            "exact": at x itself; "truncated": at the cell int(x) (the original study).

    Returns:
        targets (B, K, size, size) and weights (B, K): 1 for a labelled joint whose patch ("nearest") or whose centre
        lies in the map, at least in part.
    """
    joints = torch.where(labelled[..., None], joints.float(), torch.full_like(joints, -1e4, dtype=torch.float32))
    if centre == "nearest":
        joints = torch.trunc(joints + 0.5)  # int() of the public code: towards zero, below zero too
    elif centre == "truncated":
        joints = torch.trunc(joints)
    radius = int(PATCH_RADIUS * sigma)
    # any of the patch [mu - radius, mu + radius] inside [0, size - 1]
    inside = ((joints > -radius - 1) & (joints < size + radius)).all(-1)
    if centre != "nearest":
        inside = ((joints > -0.5) & (joints < size - 0.5)).all(-1)
    weights = (labelled & inside).float()
    cells = torch.arange(size, device=joints.device, dtype=torch.float32)
    distance = cells - joints[..., None]  # (B, K, 2, size)
    bump = torch.exp(-0.5 * (distance / sigma) ** 2)
    if centre == "nearest":
        bump = bump * (distance.abs() <= radius)
    bump = bump * weights[..., None, None]
    return bump[:, :, 1, :, None] * bump[:, :, 0, None, :], weights  # rows are y
