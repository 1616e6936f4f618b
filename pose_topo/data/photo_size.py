"""The size of a photograph, from its header: a JPEG is not decoded for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pose_topo.data.crops import read_photograph

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15; the other three are tables
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


def photo_sizes(folder: Path, names: Iterable[str]) -> NDArray[np.float64] | None:
    """(P, 2) width and height of the photographs `names`, each read once; None if one of them is unreadable."""
    names = list(names)
    known = {name: photo_size(folder / name) for name in dict.fromkeys(names)}
    if any(size is None for size in known.values()):
        return None
    return np.array([known[name] for name in names], float).reshape(-1, 2)


def photo_size(path: Path) -> tuple[int, int] | None:
    """Width and height as stored (annotations know no EXIF rotation); None if the file is missing or no picture."""
    try:
        with path.open("rb") as stream:
            size = _jpeg_size(stream)
    except OSError:
        return None
    if size is None:  # another format, or a header that leaves the height to the data
        photo = read_photograph(path)
        size = None if photo is None else (photo.shape[1], photo.shape[0])
    return size


def _jpeg_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Walk the segments to the frame header (ITU-T T.81, annex B); None if there is none."""
    if stream.read(2) != b"\xff\xd8":
        return None
    while True:
        if stream.read(1) != b"\xff":
            return None
        marker = stream.read(1)
        while marker == b"\xff":  # fill bytes
            marker = stream.read(1)
        if not marker or marker[0] in (0xD9, 0xDA):  # end, or pixels before a frame header
            return None
        if marker[0] in _BARE:
            continue
        length = int.from_bytes(stream.read(2), "big")
        if marker[0] in _FRAMES:
            sides = stream.read(5)[1:]  # behind the precision
            height, width = int.from_bytes(sides[:2], "big"), int.from_bytes(sides[2:], "big")
            return (width, height) if len(sides) == 4 and width and height else None
        if length < 2:
            return None
        stream.seek(length - 2, 1)
