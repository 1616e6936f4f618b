"""Quick pictures: joints over photographs, and the joints' areas on the grid. The figures of the study are in
paper_figures/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo import joints
from pose_topo.analysis import parcellation
from pose_topo.errors import PoseTopoError
from pose_topo.files import atomic_path
from pose_topo.lattice import Lattice
from pose_topo.skeletons import draw_person

# colours of thin lines at full resolution, which JPEG halves otherwise
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
CELL = 24  # pixels of a grid cell


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture as PNG or JPEG, by its suffix, atomically.

    Raises:
        PoseTopoError: another suffix, or OpenCV cannot.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise PoseTopoError(f"cannot write {path}: give a name that ends in .png or .jpg")
    jpeg = path.suffix.lower() != ".png"
    good, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), JPEG if jpeg else [])
    if not good:
        raise PoseTopoError(f"cannot write {path}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_overlays(path: Path, crops: Sequence[NDArray[np.uint8]], points: NDArray) -> None:
    """Crops side by side, each with its joints (n, 16, 2)."""
    write_picture(path, np.concatenate([draw_person(crop, p) for crop, p in zip(crops, points, strict=True)], axis=1))


def write_parcellation(path: Path, head: NDArray, lattice: Lattice) -> None:
    """The joint of each channel, argmax |head weight| (K, C), as a colour on the grid."""
    label = parcellation.labels(np.abs(head)).reshape(lattice.height, lattice.width)
    hue = (label.clip(0) * 180 / joints.K).astype(np.uint8)
    value = np.where(label >= 0, 230, 0).astype(np.uint8)
    colours = cv2.cvtColor(np.stack([hue, np.full_like(hue, 160), value], axis=-1), cv2.COLOR_HSV2RGB)
    write_picture(path, np.repeat(np.repeat(colours, CELL, 0), CELL, 1))  # type: ignore[arg-type]
