"""Stored crops -> the network's pictures, for a whole batch on the device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.data.upload import upload

CPU_CHUNK = 4  # people at a time on a CPU, so that the float crops stay in its cache


def warp(crops: Tensor, matrix: NDArray[np.float64], size: int) -> Tensor:
    """Bilinear, zero outside: what `cv2.warpAffine` with WARP_INVERSE_MAP gives, without its rounding.

    Args:
        crops: (B, S, S, 3) uint8 on the device.
        matrix: (B, 2, 3) affines from the result's pixels to the crop's.
        size: side of the result.

    Returns:
        (B, 3, size, size) float32 in 0..255, channels_last.
    """
    chunk = CPU_CHUNK if crops.device.type == "cpu" else max(1, len(crops))
    result = torch.empty(
        (len(crops), 3, size, size), dtype=torch.float32, device=crops.device, memory_format=torch.channels_last
    )
    for start in range(0, len(crops), chunk):
        part = slice(start, start + chunk)
        pixels = crops[part].permute(0, 3, 1, 2).float()  # (b, 3, S, S)
        grid = _sampling_grid(matrix[part], crops.shape[1], size, crops.device)
        result[part] = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return result


def _sampling_grid(matrix: NDArray[np.float64], side: int, size: int, device: torch.device) -> Tensor:
    """grid_sample's grid (B, size, size, 2) for affines (B, 2, 3) from result pixels to crop pixels."""
    to_unit = matrix * (2 / (side - 1))  # grid_sample counts from -1 (first pixel's centre) to 1 (last one's)
    to_unit[..., 2] -= 1
    theta = upload(to_unit, device, torch.float32)
    pixels = torch.arange(size, device=device, dtype=torch.float32)
    x = pixels[:, None] * theta[:, None, :, 0]  # (B, size, 2)
    y = pixels[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]
    return x[:, None] + y[:, :, None]  # (B, size, size, 2)
