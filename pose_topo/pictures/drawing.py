"""A person drawn over a picture: limbs as tubes, joints as dots.

Left and right differ in colour (blue, orange: told apart by colour-blind readers) and in tone (dark in a white rim,
light in a black one: told apart in a grey print).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path
from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography import parcellation

RGB = tuple[int, int, int]
Spot = Sequence[float] | NDArray  # x, y
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
SHIFT = 4  # bits behind the point of OpenCV's coordinates: lines lie where joints do, not on the next whole pixel
FARTHEST = 30_000.0  # pixels; OpenCV's 32-bit coordinates end a little further
THICK = 1 / 75  # width of a limb, of the person's size


@dataclass(frozen=True)
class Look:
    """Of a side of the body."""

    body: RGB
    rim: RGB


SIDES: dict[str, Look] = {
    "left": Look((0, 114, 178), WHITE),
    "right": Look((245, 150, 20), BLACK),
    "middle": Look((240, 228, 66), BLACK),
}


@dataclass(frozen=True)
class Pen:
    """Widths in pixels that fit a person of some size."""

    body: int  # of a limb between two solid joints
    rim: int  # on either side
    dot: int  # radius of a joint

    @staticmethod
    def for_size(size: float) -> Pen:
        """Args:
        size: the person's, in pixels."""
        body = max(1, round(size * THICK))
        return Pen(body, max(1, round(body / 3)), max(3, round(body * 1.1)))


def extent(points: NDArray, shown: NDArray[np.bool_]) -> float:
    """Size in pixels of a person whose joints (16, 2) are shown (16,): the larger side of the box around them."""
    return float(np.ptp(points[shown], axis=0).max()) if shown.any() else 0.0


def draw_person(
    picture: NDArray[np.uint8],
    points: NDArray,
    solid: NDArray[np.bool_] | None = None,
    shown: NDArray[np.bool_] | None = None,
    size: float | None = None,
) -> NDArray[np.uint8]:
    """A copy of an RGB picture (H, W, 3) with a person's joints (16, 2) and limbs over it.

    Args:
        solid: (16,) joints drawn as full dots; the others are rings, and limbs that end in one are thin. None: all.
        shown: (16,) joints drawn at all. None: all.
        size: the person's in pixels, which the widths follow; None: of the joints shown, as far as the
            picture goes.
    """
    solid, shown = _mask(solid), _mask(shown)
    pen = Pen.for_size(min(extent(points, shown), *picture.shape[:2]) if size is None else size)
    thin = Pen(max(1, pen.body // 3), 1, pen.dot)
    canvas: NDArray[np.uint8] = np.array(picture, order="C")
    limbs = [(a, b, bool(solid[a] and solid[b])) for a, b in joints.LIMBS if shown[a] and shown[b]]
    for a, b, full in sorted(limbs, key=lambda limb: limb[2]):  # thin ones below
        tube(canvas, points[a], points[b], SIDES[limb_side(a, b)], pen if full else thin)
    for k in np.flatnonzero(shown).tolist():
        dot(canvas, points[k], SIDES[joints.side(k)], pen, hollow=not solid[k])
    return canvas


def draw_reference(picture: NDArray[np.uint8], points: NDArray, shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A copy of an RGB picture with joints (16, 2) to compare others with: thin, white in a black rim."""
    canvas: NDArray[np.uint8] = np.array(picture, order="C")
    look, pen = Look(WHITE, BLACK), Pen(1, 1, 2)
    for a, b in joints.LIMBS:
        if shown[a] and shown[b]:
            tube(canvas, points[a], points[b], look, pen)
    for k in np.flatnonzero(shown).tolist():
        dot(canvas, points[k], look, pen, hollow=False)
    return canvas


def draw_box(picture: NDArray[np.uint8], box: Sequence[float]) -> NDArray[np.uint8]:
    """A copy of an RGB picture with a box (x, y, width, height) in a thin white line with a black rim."""
    canvas: NDArray[np.uint8] = np.array(picture, order="C")
    x, y, width, height = box
    for colour, line in ((BLACK, 3), (WHITE, 1)):
        cv2.rectangle(canvas, _fixed((x, y)), _fixed((x + width, y + height)), colour, line, cv2.LINE_AA, SHIFT)
    return canvas


def limb_side(a: int, b: int) -> str:
    """The side a limb belongs to: that of whichever of its joints has one."""
    return next((word for word in (joints.side(a), joints.side(b)) if word != "middle"), "middle")


def tube(canvas: NDArray[np.uint8], start: Spot, end: Spot, look: Look, pen: Pen) -> None:
    """A limb, drawn into `canvas`."""
    for colour, width in ((look.rim, pen.body + 2 * pen.rim), (look.body, pen.body)):
        cv2.line(canvas, _fixed(start), _fixed(end), colour, width, cv2.LINE_AA, SHIFT)


def dot(canvas: NDArray[np.uint8], spot: Spot, look: Look, pen: Pen, *, hollow: bool) -> None:
    """A joint, drawn into `canvas`: full, or a ring with a hole in the colour of its rim."""
    radius, rim = (pen.dot + hollow) << SHIFT, pen.rim << SHIFT
    discs = [(look.rim, radius + rim), (look.body, radius)] + [(look.rim, radius * 5 // 8)] * hollow
    for colour, size in discs:
        cv2.circle(canvas, _fixed(spot), size, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _fixed(spot: Spot) -> tuple[int, int]:
    """A place in OpenCV's fixed-point numbers."""
    x, y = (round(min(max(float(v), -FARTHEST), FARTHEST) * (1 << SHIFT)) for v in spot)
    return x, y


def _mask(mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.ones(joints.K, bool) if mask is None else mask


# ---- What the colours of a drawn person mean, written on the picture.

FONT, CAPITAL = cv2.FONT_HERSHEY_SIMPLEX, 22  # height in pixels of its capitals at scale 1
LEAST_SIDE = 160  # pixels; a smaller picture has no room for a legend
BOARD = 40  # grey level behind a legend on a photograph


@dataclass(frozen=True)
class Entry:
    """A sample and its word."""

    text: str
    look: Look
    kind: Literal["limb", "dot", "ring", "thin"]


LEFT = Entry("left", SIDES["left"], "limb")
RIGHT = Entry("right", SIDES["right"], "limb")
MIDDLE = Entry("middle", SIDES["middle"], "limb")
REFERENCE = Entry("true", Look(WHITE, BLACK), "thin")


def hollow(text: str) -> Entry:
    """What a hollow joint means."""
    return Entry(text, SIDES["right"], "ring")


def text_width(text: str, height: int) -> int:
    """Pixels that `text` takes when its capitals are `height` pixels high."""
    return cv2.getTextSize(text, FONT, height / CAPITAL, _weight(height))[0][0]


def put_text(canvas: NDArray[np.uint8], text: str, left: int, middle: int, height: int, colour: RGB) -> None:
    """Write over `canvas`, vertically centred on the row `middle`."""
    at = (left, middle + height // 2)
    cv2.putText(canvas, text, at, FONT, height / CAPITAL, colour, _weight(height), cv2.LINE_AA)


def _weight(height: int) -> int:
    return max(1, height // 14)


def entry_width(entry: Entry, height: int) -> int:
    """Pixels that a sample and its word take."""
    return 5 * height + text_width(entry.text, height)


def put_entry(canvas: NDArray[np.uint8], entry: Entry, left: int, middle: int, height: int, colour: RGB) -> None:
    """A sample and its word in `colour`, vertically centred on the row `middle`."""
    pen = Pen(1, 1, 2) if entry.kind == "thin" else Pen.for_size(25 * height)
    start, end = (left + height // 2, middle), (left + 7 * height // 2, middle)
    if entry.kind in ("limb", "thin"):
        tube(canvas, start, end, entry.look, pen)
    if entry.kind != "thin":
        spot = ((start[0] + end[0]) // 2, middle)
        dot(canvas, spot, entry.look, pen, hollow=entry.kind == "ring")
    put_text(canvas, entry.text, left + 4 * height + height // 2, middle, height, colour)


def stamp(picture: NDArray[np.uint8], entries: list[Entry], points: NDArray) -> NDArray[np.uint8]:
    """A copy of an RGB picture with a legend in the corner that holds the fewest of the points (n, 2).

    A picture too small for it is left as it is.
    """
    canvas: NDArray[np.uint8] = np.array(picture, order="C")
    short = min(canvas.shape[:2])
    letter = max(7, round(short / 60))
    line = round(letter * 2.4)
    width, height = max(entry_width(e, letter) for e in entries) + letter, line * len(entries) + letter
    if short < LEAST_SIDE or width > canvas.shape[1] // 2 or height > canvas.shape[0] // 2:
        return canvas
    left, top = _emptiest_corner(canvas.shape[1], canvas.shape[0], width, height, points)
    board = canvas[top : top + height, left : left + width]
    board[:] = board // 4 + np.uint8(BOARD * 3 // 4)
    for number, entry in enumerate(entries):
        middle = top + letter // 2 + line * number + line // 2
        put_entry(canvas, entry, left + letter // 2, middle, letter, WHITE)
    return canvas


def _emptiest_corner(width: int, height: int, w: int, h: int, points: NDArray) -> tuple[int, int]:
    """Left and top of a w x h board; corners are tried from the bottom left."""
    corners = [(left, top) for top in (height - h, 0) for left in (0, width - w)]

    def crowd(corner: tuple[int, int]) -> int:
        beside = (points - corner + h / 2) / (w + h, h + h)  # the board and half its height around it are 0..1
        return int(((beside >= 0) & (beside < 1)).all(axis=-1).sum())

    return min(corners, key=crowd)


# ---- Quick pictures: joints over photographs, and the joints' areas on the grid. The figures of the study are in
# paper_figures/.

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
