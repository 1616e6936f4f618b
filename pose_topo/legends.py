"""What the colours of a drawn person mean, written on the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.skeletons import BLACK, RGB, SIDES, WHITE, Look, Pen, dot, tube

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
