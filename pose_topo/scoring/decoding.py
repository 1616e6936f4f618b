"""Decode heatmaps into joints, in pixels of the network's input."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from pose_topo.core.errors import UsageError
from pose_topo.study import joints
from pose_topo.study.backbones import HEATMAP_STRIDE
from pose_topo.study.config import Decode

DECODES: tuple[str, ...] = get_args(Decode)


def decode(heatmaps: Tensor, how: str, sigma: float = 2.0) -> tuple[Tensor, Tensor]:
    """Decode heatmaps into joints and confidences.

    Args:
        heatmaps: (B, K, H, W).
        how: The method. "argmax": the highest cell. "quarter": the highest cell, moved by a quarter cell towards its
            higher neighbour on each axis (Xiao et al. 2018). "dark": a Newton step on the logarithm of the smoothed map
            (Zhang et al. 2020); within two cells of the border its differences do not fit, and the quarter cell is
            used. "cell-centre": the centre of the highest cell, for targets whose cells tile the input (the study's
            squeezed framing).
        sigma: The sigma of the targets in cells, for "dark".

    Returns:
        Joints (B, K, 2) in pixels of the input (0-based pixel centres), and confidences (B, K), the maximum of each
        map. A map without a positive value puts its joint at (0, 0).

    Raises:
        UsageError: The method is unknown.
    """
    if how not in DECODES:
        raise UsageError(f"--decode {how}: give one of {', '.join(DECODES)}")
    heatmaps = heatmaps.float()
    cells, confidence = argmax_cells(heatmaps)
    where = cells.to(heatmaps.dtype)
    if how == "quarter":
        where = where + _quarter_offset(heatmaps, cells)
    elif how == "dark":
        where = where + _dark_offset(heatmaps, cells, sigma)
    pixels = where * HEATMAP_STRIDE
    if how == "cell-centre":
        pixels = pixels + (HEATMAP_STRIDE / 2 - 0.5)
    return torch.where(confidence[..., None] > 0, pixels, torch.zeros_like(pixels)), confidence


def argmax_cells(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The highest cell of each map (B, K, 2) as x, y, and its value (B, K)."""
    value, flat = heatmaps.flatten(2).max(-1)
    width = heatmaps.shape[-1]
    return torch.stack([flat % width, flat // width], dim=-1), value


def _at(heatmaps: Tensor, cells: Tensor, dx: int, dy: int) -> Tensor:
    """The values (B, K) at an offset from the cells. The offset cells are clamped to the map."""
    height, width = heatmaps.shape[-2:]
    x, y = (cells[..., 0] + dx).clamp(0, width - 1), (cells[..., 1] + dy).clamp(0, height - 1)
    return heatmaps.flatten(2).gather(-1, (y * width + x)[..., None])[..., 0]


def _inner(heatmaps: Tensor, cells: Tensor, first: int, last: int) -> Tensor:
    """Whether a cell has at least `first` cells before it and `last` cells after it on both axes, (B, K, 1)."""
    height, width = heatmaps.shape[-2:]
    x, y = cells.unbind(-1)
    return ((x >= first) & (x < width - last) & (y >= first) & (y < height - last))[..., None]


def _quarter_offset(heatmaps: Tensor, cells: Tensor) -> Tensor:
    right = _at(heatmaps, cells, 1, 0) - _at(heatmaps, cells, -1, 0)
    down = _at(heatmaps, cells, 0, 1) - _at(heatmaps, cells, 0, -1)
    quarter = 0.25 * torch.stack([right, down], dim=-1).sign()
    # the condition of the standard code, 1 < p < size - 1, which is not symmetric
    return torch.where(_inner(heatmaps, cells, 2, 1), quarter, torch.zeros_like(quarter))


def _dark_offset(heatmaps: Tensor, cells: Tensor, sigma: float) -> Tensor:
    log = _smooth(heatmaps, sigma).clamp_min(1e-10).log()

    def at(dx: int, dy: int) -> Tensor:
        return _at(log, cells, dx, dy)

    gx, gy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    hxx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    hyy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    hxy = 0.25 * (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1))
    determinant = hxx * hyy - hxy * hxy
    peak = (determinant > 1e-12) & (hxx < 0)  # without a maximum there, the joint stays on the cell
    safe = torch.where(peak, determinant, torch.ones_like(determinant))
    step = torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], dim=-1) / safe[..., None]
    step = torch.where(peak[..., None], step.clamp(-1, 1), torch.zeros_like(step))
    return torch.where(_inner(heatmaps, cells, 2, 2), step, _quarter_offset(heatmaps, cells))


def _smooth(heatmaps: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of `sigma` with zero padding. Each map is rescaled to its maximum before the blur."""
    height, width = heatmaps.shape[-2:]
    # two banded matrices are many times as fast as convolutions of one channel
    blurred = _blur_matrix(height, sigma, heatmaps) @ heatmaps @ _blur_matrix(width, sigma, heatmaps)
    peak, before = blurred.amax((2, 3), keepdim=True), heatmaps.amax((2, 3), keepdim=True)
    return blurred * (before / peak.clamp_min(1e-12))


def _blur_matrix(size: int, sigma: float, like: Tensor) -> Tensor:
    """A symmetric matrix (size, size): row i holds the kernel of `sigma` around cell i, cut off at 2.5 sigma."""
    radius = max(1, round(2.5 * sigma))
    cells = torch.arange(size, device=like.device, dtype=like.dtype)
    offset = cells[:, None] - cells
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2) * (offset.abs() <= radius)
    whole = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype) / sigma) ** 2)
    return kernel / whole.sum()


def flip_back(heatmaps: Tensor) -> Tensor:
    """Heatmaps (B, K, H, W) of a mirrored input as heatmaps of the input: mirrored, left and right joints swapped."""
    mirrored = heatmaps.flip(-1)
    # indexing by a list would copy the list to the GPU, and the host would wait for it
    return torch.stack([mirrored[:, k] for k in joints.FLIP_INDEX], dim=1)


def shift_right(heatmaps: Tensor) -> Tensor:
    """Move heatmaps right by one column. The first column stays.

    This is the correction of `flip_back` in the standard recipe. There, cell c stands for pixel 4c, so mirrored pixels
    and mirrored cells are 3/4 of a cell apart. Where cells tile the input (the study's targets), no shift is needed.
    """
    return torch.cat([heatmaps[..., :1], heatmaps[..., :-1]], dim=-1)
