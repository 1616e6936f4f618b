"""Find near-duplicates among photographs: print one group of file names per line.

    .venv/bin/python tools/near_duplicates.py FOLDER [--sheet FILE.png]

Two photographs are near-duplicates if their difference hashes (16 x 16 bits: is a cell brighter than its left
neighbour) differ in at most 64 of 256 bits, and their thumbnails (32 x 32, grey) correlate by at least 0.8. These are
copies, other crops, and other moments of the same scene. `--sheet` draws the pairs side by side.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS, CORRELATION = 64, 0.8


def features(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The difference hash as +-1 (256,), and the thumbnail with mean 0 and length 1 (1024,)."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cells = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(int)
    thumbnail = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    thumbnail -= thumbnail.mean()
    bits = np.where(cells[:, 1:] > cells[:, :-1], 1, -1).astype(np.float32).ravel()
    return bits, thumbnail / max(1e-6, float(np.linalg.norm(thumbnail)))


def pairs(bits: NDArray[np.float32], thumbnails: NDArray[np.float32]) -> NDArray[np.int64]:
    """The near-duplicate pairs (M, 2) of N photographs, from bits (N, 256) and thumbnails (N, 1024)."""
    found = []
    for start in range(0, len(bits), 1000):
        rows = slice(start, start + 1000)
        close = ((bits.shape[1] - bits[rows] @ bits.T) / 2 <= BITS) & (thumbnails[rows] @ thumbnails.T >= CORRELATION)
        a, b = np.nonzero(close)
        found.append(np.stack([a + start, b], 1)[a + start < b])
    return np.concatenate(found)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    files = sorted(asked.folder.glob("*.jpg"))
    cv2.setNumThreads(1)
    with ThreadPoolExecutor() as pool:
        bits, thumbnails = (np.stack(part) for part in zip(*pool.map(features, files), strict=True))
    found = pairs(bits, thumbnails)
    graph = coo_array((np.ones(len(found)), (found[:, 0], found[:, 1])), shape=(len(files), len(files)))
    labels = connected_components(graph, directed=False)[1]
    for label in np.flatnonzero(np.bincount(labels) > 1):
        print(*(files[i].name for i in np.flatnonzero(labels == label)))
    if asked.sheet:
        tiles = [np.hstack([cv2.resize(cv2.imread(str(files[i])), (120, 120)) for i in pair]) for pair in found]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 6)
        cv2.imwrite(str(asked.sheet), np.vstack([np.hstack(tiles[i : i + 6]) for i in range(0, len(tiles), 6)]))


if __name__ == "__main__":
    main()
