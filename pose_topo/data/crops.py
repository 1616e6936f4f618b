"""One photograph -> the crops of its people: decoding, the warp, and the study's squeeze."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.data import geometry
from pose_topo.data.kept_memory import KeptArrays


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
