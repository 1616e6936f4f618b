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

# RGB, told apart by colour-blind readers too; left is blue, right is orange
SIDES = {"left": (0, 114, 178), "right": (230, 120, 0), "middle": (240, 228, 66)}
CELL = 24  # pixels of a grid cell


def draw_skeleton(
    picture: NDArray[np.uint8], points: NDArray, confidence: NDArray | None = None, least: float = 0.0
) -> NDArray[np.uint8]:
    """A copy of an RGB picture with limbs and joints (16, 2) over it; joints below `least` confidence are left out."""
    canvas = np.ascontiguousarray(picture).copy()
    thick = max(1, round(max(canvas.shape[:2]) / 250))
    sure = np.ones(len(points), bool) if confidence is None else confidence >= least
    spots = [tuple(int(v) for v in np.clip(np.round(point), -30_000, 30_000)) for point in points]
    for a, b in joints.LIMBS:
        if sure[a] and sure[b]:
            word = joints.side(a) if joints.side(a) != "middle" else joints.side(b)
            cv2.line(canvas, spots[a], spots[b], SIDES[word], thick, cv2.LINE_AA)
    for k, spot in enumerate(spots):
        if sure[k]:
            cv2.circle(canvas, spot, thick + 1, SIDES[joints.side(k)], -1, cv2.LINE_AA)
    return canvas  # type: ignore[return-value]


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture in the format of its suffix, atomically.

    Raises:
        PoseTopoError: OpenCV cannot.
    """
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise PoseTopoError(f"cannot write {path}")


def write_overlays(path: Path, crops: Sequence[NDArray[np.uint8]], points: NDArray) -> None:
    """Crops side by side, each with its joints (n, 16, 2)."""
    write_picture(path, np.concatenate([draw_skeleton(crop, p) for crop, p in zip(crops, points, strict=True)], axis=1))


def write_parcellation(path: Path, head: NDArray, lattice: Lattice) -> None:
    """The joint of each channel, argmax |head weight| (K, C), as a colour on the grid."""
    label = parcellation.labels(np.abs(head)).reshape(lattice.height, lattice.width)
    hue = (label.clip(0) * 180 / joints.K).astype(np.uint8)
    value = np.where(label >= 0, 230, 0).astype(np.uint8)
    colours = cv2.cvtColor(np.stack([hue, np.full_like(hue, 160), value], axis=-1), cv2.COLOR_HSV2RGB)
    write_picture(path, np.repeat(np.repeat(colours, CELL, 0), CELL, 1))  # type: ignore[arg-type]
