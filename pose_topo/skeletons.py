"""A person drawn over a picture: limbs as tubes, joints as dots.

Left and right differ in colour (blue, orange: told apart by colour-blind readers) and in tone (dark in a white rim,
light in a black one: told apart in a grey print).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo import joints

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
