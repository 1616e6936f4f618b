"""Affines between photograph, stored crop, network input and heatmap.

All matrices are (..., 2, 3) and act on 0-based pixel centres, (x, y).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# OpenCV's warp computes source positions in 32-bit floats (version 5) or in steps of 2^-10 (version 4). If affines are
# multiples of 2^-12, both versions give a crop the same pixels as the slice of a larger crop, as long as no position
# needs more than the 24 bits of such a float. Beyond 4,096 px the step is larger, so that positions fit 24 bits.
SNAP_BITS, FLOAT_BITS = 12, 24
STORE_MARGIN = 1.75  # side of the stored crop / side of the test crop: room for rotation and scale (see docs/design.md)


def stored_size(input_size: int) -> int:
    """Return the side of the stored crop in pixels: 448 for an input of 256."""
    return int(input_size * STORE_MARGIN)


def person_to_photo(center: NDArray, scale: NDArray, input_size: int) -> NDArray[np.float64]:
    """Return affines (P, 2, 3) from the *stored* crop to the photograph.

    The box is that of the standard recipe (Xiao et al. 2018): its centre is the annotated centre moved down by
    15*scale, its side 200*1.25*scale. Its centre lies at input_size / 2 of the test crop, and the stored crop continues
    the same pixel grid on every side. The numbers are rounded to multiples of 2^-12, coarser where a crop reaches
    beyond 4,096 px of the photograph.
    """
    center, scale = np.asarray(center, float), np.asarray(scale, float)
    half = stored_size(input_size) / 2
    per_pixel = 200 * 1.25 * scale / input_size  # photograph pixels per crop pixel
    middle = np.stack([center[:, 0], center[:, 1] + 15 * scale], axis=1)
    reach = np.maximum(np.abs(middle).max(axis=1), half * per_pixel) + half * per_pixel
    bits = FLOAT_BITS - np.ceil(np.log2(np.maximum(reach, 1.0)))
    snap = 2.0 ** np.minimum(SNAP_BITS, bits)  # steps per pixel
    matrix = np.zeros((len(scale), 2, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = np.round(per_pixel * snap) / snap
    shift = middle - matrix[:, :1, 0] * half
    matrix[:, :, 2] = np.round(shift * snap[:, None]) / snap[:, None]
    return matrix


def squeeze_to_photo(sizes: NDArray, input_size: int) -> NDArray[np.float64]:
    """Return affines (P, 2, 3) from a square of `input_size` to the photographs, (P, 2) widths and heights."""
    ratio = np.asarray(sizes, float) / input_size
    matrix = np.zeros((len(ratio), 2, 3))
    matrix[:, 0, 0], matrix[:, 1, 1] = ratio[:, 0], ratio[:, 1]
    matrix[:, :, 2] = 0.5 * ratio - 0.5  # pixel centres: edges map to edges
    return matrix


def invert(matrix: NDArray) -> NDArray[np.float64]:
    """Return the inverse affines."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def apply(matrix: NDArray, points: NDArray) -> NDArray[np.float64]:
    """Return points (P, N, 2) mapped by affines (P, 2, 3)."""
    return points @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]


def translate_input(matrix: NDArray, offset: float) -> NDArray[np.float64]:
    """Return the affines of a slice that starts at (offset, offset) of the crop that `matrix` maps."""
    moved = matrix.copy()
    moved[..., 2] += matrix[..., :2].sum(-1) * offset
    return moved
