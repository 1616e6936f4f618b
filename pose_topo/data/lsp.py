"""Read `joints.mat` of Leeds Sports Pose Extended (LSPET; Johnson & Everingham, CVPR 2011) into `People`.

The file holds one person per photograph: `joints` is (14, 3, N), with x, y and a flag for each joint. Person i belongs
to the photograph `images/im0000i.jpg`, counted from 1. The flag says whether a joint is labelled. Where it is 0, the
coordinates mean nothing. Coordinates are 0-based. LSPET has no pelvis, thorax, head boxes, centres or scales.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.data.matlab import read_array
from pose_topo.data.mpii import FARTHEST
from pose_topo.data.people import AnnotationCounts, People
from pose_topo.study import joints

MAT_NAME = "joints.mat"
MPII_IDS = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9)  # MPII's joint for each of LSPET's
# The side of the square that a network sees is MARGIN times the longer side of the box around the labelled joints, but
# not below that of SMALLEST_SCALE (188 px).
MARGIN = 250 / 212.5
SMALLEST_SCALE = 0.75


def load_people(path: str | Path) -> tuple[People, AnnotationCounts]:
    """Return the usable people of a `joints.mat`, and the counts of all.

    Raises:
        PoseTopoError: the file is missing, not a MATLAB 5 file, not LSPET's, or holds no usable person.
    """
    path = Path(path)
    values = _read(path)
    number = values.shape[2]
    xy, flags = values[:, :2].transpose(2, 0, 1), values[:, 2].T > 0  # (N, 14, 2), (N, 14)
    broken = (flags & ~(np.abs(xy) <= FARTHEST).all(-1)).any(1)
    few = ~broken & (flags.sum(1) < 2)  # a single point has no extent
    keep = np.flatnonzero(~broken & ~few)
    reasons = {"coordinates not finite or too large": int(broken.sum()), "fewer than 2 joints": int(few.sum())}
    counts = AnnotationCounts(number, number, len(keep), {reason: n for reason, n in reasons.items() if n})
    if not len(keep):
        raise PoseTopoError(f"{path}: no usable person of {number:,} ({counts.left_out})")
    points, labelled = np.full((number, joints.K, 2), np.nan), np.zeros((number, joints.K), bool)
    labelled[:, MPII_IDS] = flags
    points[:, MPII_IDS] = np.where(flags[..., None], xy, np.nan)
    center, scale = boxes(points[keep])
    return People(
        images=tuple(f"im{i + 1:05d}.jpg" for i in range(number)),
        image=keep,
        annolist_index=keep,
        person=np.zeros(len(keep), np.int64),
        rects_in_image=np.ones(len(keep), np.int64),
        joints=points[keep],
        labelled=labelled[keep],
        visible=labelled[keep],
        center=center,
        scale=scale,
        head_box=np.full((len(keep), 4), np.nan),
    ), counts


def _read(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise PoseTopoError(
            f"{path} not found: give --data or --annotations, or fetch it with `pose-topo download lspet`"
        )
    try:
        values = read_array(path, "joints").astype(float)
    except KeyError:
        raise PoseTopoError(f"{path}: a MATLAB file without the variable joints, not LSPET's annotation") from None
    except (ValueError, TypeError, OSError) as error:
        what = in_short(error)
        raise PoseTopoError(f"{path}: not readable as a MATLAB 5 file (truncated?): {what}; fetch it again") from None
    if values.ndim != 3 or values.shape[:2] != (len(MPII_IDS), 3):
        other = "; this is the layout of LSP, whose flag has another meaning" if values.shape[:2] == (3, 14) else ""
        raise PoseTopoError(f"{path}: joints has the shape {values.shape}, not (14, 3, N) as LSPET's{other}")
    return values


def boxes(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre (P, 2) and scale (P,) in MPII's sense from the joints (P, 16, 2), NaN where not labelled.

    The standard recipe moves a centre down by 15 times the scale and enlarges the box by 1.25, which suits MPII's
    annotation. The centre is moved up here, so that the box lies around the joints.
    """
    low, high = np.nanmin(points, axis=1), np.nanmax(points, axis=1)
    scale = np.maximum(SMALLEST_SCALE, (high - low).max(1) * MARGIN / 250)
    center = (low + high) / 2
    center[:, 1] -= 15 * scale
    return center, scale


# ---- photographs that nearly repeat each other: `python -m pose_topo.data.lsp FOLDER` prints a group of names per line

BITS, CORRELATION = 64, 0.8  # the most bits of a hash that differ, and the least correlation of the thumbnails


def features(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The difference hash as +-1 (256,), and the thumbnail with mean 0 and length 1 (1024,)."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise PoseTopoError(f"{path}: not a photograph that OpenCV can read")
    cells = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(int)
    thumbnail = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    thumbnail -= thumbnail.mean()
    bits = np.where(cells[:, 1:] > cells[:, :-1], 1, -1).astype(np.float32).ravel()
    return bits, thumbnail / max(1e-6, float(np.linalg.norm(thumbnail)))


def near_duplicates(folder: Path) -> list[list[str]]:
    """The groups of photographs of a folder that nearly repeat each other: copies, other crops, other moments.

    Two are near-duplicates if their difference hashes (16 x 16 bits: is a cell brighter than its left neighbour) differ
    in at most 64 bits and their thumbnails (32 x 32, grey) correlate by at least 0.8.
    """
    files = sorted(folder.glob("*.jpg"))
    with ThreadPoolExecutor() as pool:
        bits, thumbnails = (np.stack(part) for part in zip(*pool.map(features, files), strict=True))
    close = []  # sparse, a thousand rows at a time
    for start in range(0, len(files), 1000):
        rows = slice(start, start + 1000)
        different = (bits.shape[1] - bits[rows] @ bits.T) / 2
        alike = (different <= BITS) & (thumbnails[rows] @ thumbnails.T >= CORRELATION)
        close.append(csr_array(np.triu(alike, start)))
    labels = connected_components(vstack(close), directed=False)[1]
    several = np.flatnonzero(np.bincount(labels) > 1)
    return [[files[i].name for i in np.flatnonzero(labels == label)] for label in several]


if __name__ == "__main__":
    for group in near_duplicates(Path(sys.argv[1])):
        print(*group)
