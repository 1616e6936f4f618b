"""The size of a photograph, from its header: a JPEG is not decoded for it."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import UsageError
from pose_topo.data import geometry
from pose_topo.study.config import Recipe

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


# ---- Memory that threads keep from one photograph to the next.
#
# A page that a process has not used, or has given back, costs a fault when it is first written: for the megabytes of a
# photograph, together about half as long as decoding it.

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_KEPT = 32 << 20  # bytes; glibc takes no more, and maps what is larger each time
KEPT_FREE = 256 << 20  # bytes at the end of a heap


class KeptArrays(threading.local):
    """Arrays by name, each thread's own."""

    def __init__(self) -> None:
        self._flat: dict[str, NDArray[np.uint8]] = {}

    def get(self, name: str, *shape: int) -> NDArray[np.uint8]:
        """The array `name` of the calling thread, in this shape; what it held is lost."""
        size = math.prod(shape)
        if name not in self._flat or self._flat[name].size < size:
            self._flat[name] = np.empty(size, np.uint8)
        return self._flat[name][:size].reshape(shape)


def keep_freed_memory() -> None:
    """Have the C library keep the blocks that this process frees, for the decoder, whose pictures are fresh each time.

    By itself glibc gives them back to the system or not, as what was freed before happens to have moved its limits.
    Another C library is left as it is. Cannot be undone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE)


# ---- One photograph -> the crops of its people: decoding, the warp, and the study's squeeze.


@dataclass(frozen=True)
class CropSettings:
    """What a crop's pixels depend on, besides the person and the photograph."""

    framing: str  # "person" or "squeeze"
    input_size: int
    antialias: bool = False  # halve the photograph by area averages until the warp shrinks it less than 2 x

    @property
    def side(self) -> int:
        """Side of the stored crop in pixels."""
        return self.input_size if self.framing == "squeeze" else geometry.stored_size(self.input_size)


def read_photograph(path: Path, *, upright: bool = False) -> NDArray[np.uint8] | None:
    """Decode a photograph to BGR (H, W, 3). None if it is missing, broken or cut off.

    Args:
        upright: turn it as its EXIF orientation says, as viewers do; else take it as it is stored, since the
            annotations of a data set know no EXIF.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if not data:
        return None
    if data.startswith(b"\xff\xd8") and not _whole_jpeg(data):
        return None  # OpenCV would fill the missing part with grey and say nothing
    if data.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" not in data:
        return None  # its reader would say so by itself, in the middle of our lines
    try:
        flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[return-value]
    except cv2.error:  # a header that claims an absurd size
        return None


def _whole_jpeg(data: bytes) -> bool:
    """Whether an end-of-image marker follows the picture's data (ITU T.81, annex B).

    Looked for behind the headers, whose thumbnail has one of its own, and not only at the file's end: phones append
    videos there.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # start of scan; within it a byte 0xFF is always followed by 0 or a restart marker
            return data.rfind(b"\xff\xd9", at) >= 0  # from the end, where it mostly is
        if marker == 0xFF:  # padding
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def warp_people(
    photo: NDArray[np.uint8],
    to_photo: NDArray[np.float64],
    side: int,
    antialias: bool = False,
    *,
    kept: KeptArrays | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Crops (side, side, 3), RGB, bilinear, zero outside the photograph (H, W, 3), BGR, one after another.

    Each is bit-identical to `cv2.warpAffine` of the photograph. It is made with a fourth channel, which OpenCV warps
    more than twice as fast as three.

    Args:
        to_photo: (P, 2, 3), each maps its crop's pixels into the photograph.
        kept: arrays to work in; each crop then overwrites the one before. None: new ones.
    """
    bgra, warped, crop = None, None, None
    if kept:
        bgra, warped = kept.get("bgra", *photo.shape[:2], 4), kept.get("warped", side, side, 4)
        crop = kept.get("crop", side, side, 3)
    bgra = cv2.cvtColor(photo, cv2.COLOR_BGR2BGRA, bgra)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for matrix in to_photo:
        source, onto = _halved(bgra, matrix) if antialias else (bgra, matrix)  # type: ignore[arg-type]
        four = cv2.warpAffine(source, onto, (side, side), warped, flags, cv2.BORDER_CONSTANT, 0)
        yield cv2.cvtColor(four, cv2.COLOR_BGRA2RGB, crop)  # type: ignore[misc]


def warp_person(
    photo: NDArray[np.uint8], to_photo: NDArray[np.float64], side: int, antialias: bool = False
) -> NDArray[np.uint8]:
    """`warp_people` of one, whose matrix is (2, 3)."""
    return next(warp_people(photo, to_photo[None], side, antialias))


def _halved(photo: NDArray[np.uint8], to_photo: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    while to_photo[0, 0] >= 2 and min(photo.shape[:2]) >= 2:
        height, width = photo.shape[0] // 2, photo.shape[1] // 2
        photo = cv2.resize(photo[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        to_photo = to_photo / 2
        to_photo[:, 2] -= 0.25  # pixel centre x of the photograph lies at (x + .5) / 2 - .5 of its half
    return photo, to_photo


def squeeze(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole photograph, RGB, squeezed to a square (the study's framing)."""
    return cv2.cvtColor(cv2.resize(photo, (side, side), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


# ---- A person's box in a photograph -> the network's input, and the way back.

Box = tuple[float, float, float, float]  # x, y of the top left corner, width, height; pixels
FARTHEST = 100_000  # pixels: beyond any photograph that OpenCV decodes
# Photograph pixels per input pixel from which on the photograph is area-averaged first, whatever the recipe says: a
# telephone's 12 megapixels are shrunk 20 times, far more than the photographs that `standard` is made for.
SHRINKS_MUCH = 4


def parse_box(text: str) -> Box:
    """ "x,y,w,h" in pixels.

    Raises:
        UsageError: not four numbers, an empty box, or one beyond any photograph.
    """
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--box {text}: give x,y,w,h in pixels, as 100,50,300,400") from None
    if not all(math.isfinite(value) and abs(value) <= FARTHEST for value in (x, y, w, h)):
        raise UsageError(f"--box {text}: give numbers of at most {FARTHEST:,} pixels")
    if not (w > 0 and h > 0):
        raise UsageError(f"--box {text}: width and height must be positive")
    return x, y, w, h


def whole(photo: NDArray[np.uint8]) -> Box:
    """The box of a whole photograph (H, W, 3)."""
    return 0.0, 0.0, float(photo.shape[1]), float(photo.shape[0])


def touches(box: Box, photo: NDArray[np.uint8]) -> bool:
    """Whether a part of the box lies in the photograph (H, W, 3)."""
    x, y, w, h = box
    return x < photo.shape[1] and y < photo.shape[0] and x + w > 0 and y + h > 0


def network_input(photo: NDArray[np.uint8], box: Box, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The network's input (S, S, 3), RGB, and the affine (2, 3) from its pixels to the photograph's (H, W, 3; BGR).

    Framing "person": a square of side 1.25 x max(w, h) about the box's centre, as the standard recipe takes a
    detector's box (Xiao et al. 2018). Framing "squeeze": the box's part of the photograph, squeezed to a square.
    """
    if recipe.framing == "squeeze":
        return _squeezed(photo, box, recipe.input_size)
    x, y, w, h = box
    size, scale = recipe.input_size, max(w, h) / 200
    # person_to_photo moves MPII's body centre down by 15 * scale; a box has its centre where it is
    center = np.array([[x + w / 2, y + h / 2 - 15 * scale]])
    margin = (geometry.stored_size(size) - size) / 2
    affine = geometry.translate_input(geometry.person_to_photo(center, np.array([scale]), size), margin)[0]
    antialias = recipe.antialias or affine[0, 0] >= SHRINKS_MUCH
    return warp_person(photo, affine, size, antialias), affine


def _squeezed(photo: NDArray[np.uint8], box: Box, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """As above; the box is rounded outwards to whole pixels and clipped to the photograph, which it must touch."""
    x, y, w, h = box
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    part = photo[top : math.ceil(y + h), left : math.ceil(x + w)]
    affine = geometry.squeeze_to_photo(np.array([[part.shape[1], part.shape[0]]]), size)[0]
    affine[:, 2] += left, top
    return squeeze(part, size), affine
