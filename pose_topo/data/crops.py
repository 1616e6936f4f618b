"""One photograph: its size, its pixels, and the crops that are cut from it.

A crop of a data set belongs to an annotated person (`warp_people`, `squeeze`). `network_input` cuts the network's input
directly from a photograph, given a box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pose_topo.core.errors import UsageError
from pose_topo.data import geometry
from pose_topo.study.config import Recipe

# Raise this number whenever `read_photograph`, `warp_people`, `squeeze` or the affines in `geometry` give other pixels
# than before. It is part of the key of a crop store, so that crops of older code are cut again.
CROPS_VERSION = 1

Box = tuple[float, float, float, float]  # x, y of the top left corner, width, height; pixels
MOST_PIXELS = 100_000_000  # of a photograph; one of this size takes 1.2 GB of memory
MOST_BYTES_PER_PIXEL = 8  # of an uncompressed picture: four channels of 16 bits
FARTHEST = 100_000  # pixels; no photograph that OpenCV decodes is larger
# From this many photograph pixels per input pixel on, `network_input` averages areas of the photograph first, whatever
# the recipe says. A telephone's 12 megapixels are shrunk 20 times, far more than the photographs of MPII.
SHRINKS_MUCH = 4


# ---- Reading a photograph.


def photo_sizes(folder: Path, names: Iterable[str]) -> NDArray[np.float64] | None:
    """Return the (P, 2) widths and heights of the photographs `names`, or None if one of them is unreadable."""
    names = list(names)
    sizes = {name: photo_size(folder / name) for name in dict.fromkeys(names)}
    if None in sizes.values():
        return None
    return np.array([sizes[name] for name in names], float).reshape(-1, 2)


def photo_size(path: Path) -> tuple[int, int] | None:
    """Return width and height from the file's header, or None if it is missing or no picture.

    The size is that of the stored pixels: the annotations of a data set do not use the EXIF orientation.
    """
    if not path.is_file():  # a pipe would be waited for, and a device read without end
        return None
    try:
        with Image.open(path) as picture:
            return picture.size
    except Exception:  # Pillow answers broken bytes with many kinds of errors
        return None


def read_photograph(path: Path, *, upright: bool = False, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8] | None:
    """Decode a photograph to BGR (H, W, 3). Return None if it is missing, broken, cut off or too large.

    Args:
        upright: turn the photograph as its EXIF orientation says, as viewers do. By default it is taken as stored,
            because the annotations of a data set do not use the EXIF orientation.
        most_pixels: do not decode a larger one. A small file may hold a picture that no memory can.
    """
    size = photo_size(path)
    if size is None or size[0] * size[1] > most_pixels:
        return None
    try:
        if path.stat().st_size > MOST_BYTES_PER_PIXEL * most_pixels:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    if data.startswith(b"\xff\xd8") and not _whole_jpeg(data):
        return None  # OpenCV would fill the missing part with grey, without an error
    if data.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" not in data:
        return None  # OpenCV would fail too, but print a message of its own
    try:
        flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[return-value]  # cv2's stubs
    except cv2.error:  # the header claims an absurd size
        return None


def _whole_jpeg(data: bytes) -> bool:
    """Return whether an end-of-image marker follows the picture's data (ITU T.81, annex B).

    The search begins behind the headers, because a thumbnail in them has an end-of-image marker too. It does not only
    look at the end of the file, because phones append videos there.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # start of scan; within it a byte 0xFF is always followed by 0 or a restart marker
            return data.rfind(b"\xff\xd9", at) >= 0  # searched from the end, where it usually is
        if marker == 0xFF:  # padding
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


# ---- Cutting the stored crop of an annotated person.


def warp_people(
    photo: NDArray[np.uint8], to_photo: NDArray[np.float64], side: int, antialias: bool = False
) -> Iterator[NDArray[np.uint8]]:
    """Yield one crop (side, side, 3) per affine: RGB, bilinear, zero outside the photograph.

    Each crop is bit-identical to `cv2.warpAffine` of the photograph. The photograph gets a fourth channel first,
    because OpenCV warps four channels more than twice as fast as three.

    Args:
        photo: (H, W, 3) BGR.
        to_photo: (P, 2, 3) affines from a crop's pixels to the photograph's.
        antialias: as in `CropSettings`.
    """
    bgra = cv2.cvtColor(photo, cv2.COLOR_BGR2BGRA)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for matrix in to_photo:
        source, affine = _halved(bgra, matrix) if antialias else (bgra, matrix)  # type: ignore[arg-type]  # cv2's stubs
        warped = cv2.warpAffine(source, affine, (side, side), flags=flags)
        yield cv2.cvtColor(warped, cv2.COLOR_BGRA2RGB)  # type: ignore[misc]  # cv2's stubs


def warp_person(
    photo: NDArray[np.uint8], to_photo: NDArray[np.float64], side: int, antialias: bool = False
) -> NDArray[np.uint8]:
    """Return one crop: `warp_people` for a single affine (2, 3)."""
    return next(warp_people(photo, to_photo[None], side, antialias))


def _halved(photo: NDArray[np.uint8], to_photo: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Halve the photograph until the warp shrinks it less than 2 x, and return it with the affine that now holds."""
    while to_photo[0, 0] >= 2 and min(photo.shape[:2]) >= 2:
        height, width = photo.shape[0] // 2, photo.shape[1] // 2
        photo = cv2.resize(photo[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]  # cv2's stubs
        to_photo = to_photo / 2
        to_photo[:, 2] -= 0.25  # pixel centre x of the photograph lies at (x + .5) / 2 - .5 of its half
    return photo, to_photo


def squeeze(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the whole photograph, RGB, squeezed to a square (the framing of the original study)."""
    return cv2.cvtColor(cv2.resize(photo, (side, side), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]  # cv2's stubs


# ---- Cutting the network's input at a box.


def parse_box(text: str) -> Box:
    """Return the box that "x,y,w,h" (pixels) describes.

    Raises:
        UsageError: not four numbers, an empty box, or a box beyond any photograph.
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
    """Return the box of a whole photograph (H, W, 3)."""
    return 0.0, 0.0, float(photo.shape[1]), float(photo.shape[0])


def touches(box: Box, photo: NDArray[np.uint8]) -> bool:
    """Return whether a part of the box lies in the photograph (H, W, 3)."""
    x, y, w, h = box
    return x < photo.shape[1] and y < photo.shape[0] and x + w > 0 and y + h > 0


def network_input(photo: NDArray[np.uint8], box: Box, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the network's input (S, S, 3), RGB, and the affine (2, 3) from its pixels to the photograph's.

    Framing "person": a square of side 1.25 x max(w, h) about the box's centre, as the standard recipe takes a
    detector's box (Xiao et al. 2018). Framing "squeeze": the box's part of the photograph, squeezed to a square; the
    box is rounded outwards to whole pixels and clipped to the photograph, which it must touch.
    """
    (x, y, w, h), size = box, recipe.input_size
    if recipe.framing == "squeeze":
        left, top = max(0, math.floor(x)), max(0, math.floor(y))
        part = photo[top : math.ceil(y + h), left : math.ceil(x + w)]
        affine = geometry.squeeze_to_photo(np.array([[part.shape[1], part.shape[0]]]), size)[0]
        affine[:, 2] += left, top
        return squeeze(part, size), affine
    scale = max(w, h) / 200
    # person_to_photo moves MPII's body centre down by 15 * scale; the centre of a box must stay where it is
    center = np.array([[x + w / 2, y + h / 2 - 15 * scale]])
    margin = (geometry.stored_size(size) - size) / 2
    affine = geometry.translate_input(geometry.person_to_photo(center, np.array([scale]), size), margin)[0]
    return warp_person(photo, affine, size, recipe.antialias or affine[0, 0] >= SHRINKS_MUCH), affine
