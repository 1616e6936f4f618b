"""Draw people, legends and the grid on RGB pictures with OpenCV. The figures of the study are in paper_figures/.

Limbs are tubes and joints are dots. The sides of the body have the colours of `study.joints`, which colour-blind
readers can tell apart. The left side has a white rim and the right side a black rim, so that they also differ in a grey
print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path
from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography import parcellation

RGB = tuple[int, ...]  # red, green, blue
Picture = NDArray[np.uint8]  # (H, W, 3), RGB
Point = Sequence[float] | NDArray  # x, y

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
SHIFT = 4  # fractional bits of OpenCV's coordinates, so that lines are not rounded to whole pixels
FARTHEST = 30_000.0  # pixels; OpenCV's 32-bit coordinates end a little further out
THICK = 1 / 75  # the width of a limb as a share of the person's size
# JPEG halves the resolution of colours by default, which spoils thin lines
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture as PNG or JPEG, according to the suffix of `path`.

    Raises:
        PoseTopoError: The suffix is another, or OpenCV cannot encode the picture.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise PoseTopoError(f"cannot write {path}: give a name that ends in .png or .jpg")
    jpeg = path.suffix.lower() != ".png"
    good, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), JPEG if jpeg else [])
    if not good:
        raise PoseTopoError(f"cannot write {path}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_overlays(path: Path, crops: Sequence[Picture], points: NDArray) -> None:
    """Write crops side by side, each with its joints (n, 16, 2)."""
    write_picture(path, np.concatenate([draw_person(crop, p) for crop, p in zip(crops, points, strict=True)], axis=1))


def write_parcellation(path: Path, head: NDArray, lattice: Lattice, cell: int = 24) -> None:
    """Write a map of the joint that each channel serves, argmax |head weight| (K, C), with `cell` pixels per channel.

    A channel that serves no joint is white.
    """
    labels = parcellation.labels(head).reshape(lattice.height, lattice.width)
    colours = np.array([*(joints.colour(k) for k in range(joints.K)), (1.0, 1.0, 1.0)])
    write_picture(path, np.kron(np.round(255 * colours[labels]).astype(np.uint8), np.ones((cell, cell, 1), np.uint8)))


# ---- People


@dataclass(frozen=True)
class Look:
    """The colours of a limb or joint."""

    body: RGB
    rim: RGB


RIMS: dict[joints.Side, RGB] = {"left": WHITE, "right": BLACK, "middle": BLACK}
SIDES = {side: Look(tuple(bytes.fromhex(joints.SIDE_COLOURS[side][1:])), rim) for side, rim in RIMS.items()}
REFERENCE = Look(WHITE, BLACK)


@dataclass(frozen=True)
class Pen:
    """Widths in pixels."""

    body: int  # of a limb between two solid joints
    rim: int  # on either side of a limb
    dot: int  # radius of a joint

    @staticmethod
    def for_size(size: float) -> Pen:
        """The widths for a person of `size` pixels."""
        body = max(1, round(size * THICK))
        return Pen(body, max(1, round(body / 3)), max(3, round(body * 1.1)))


THIN = Pen(1, 1, 2)


def extent(points: NDArray, shown: NDArray[np.bool_]) -> float:
    """The size of a person in pixels: the larger side of the box around the joints (16, 2) that are shown (16,)."""
    return float(np.ptp(points[shown], axis=0).max()) if shown.any() else 0.0


def draw_person(
    picture: Picture,
    points: NDArray,
    solid: NDArray[np.bool_] | None = None,
    shown: NDArray[np.bool_] | None = None,
    size: float | None = None,
    *,
    reference: bool = False,
) -> Picture:
    """A copy of a picture with the joints (16, 2) and limbs of a person.

    Args:
        solid: (16,), the joints that are drawn as full dots. The others are rings, and their limbs are thin. The
            default is all joints.
        shown: (16,), the joints that are drawn at all. The default is all joints.
        size: The size of the person in pixels, which determines the widths. The default is the extent of the shown
            joints, at most the size of the picture.
        reference: Draw thin white lines in a black rim: true joints, for comparison.
    """
    everything = np.ones(joints.K, bool)
    solid, shown = (everything if mask is None else mask for mask in (solid, shown))
    size = min(extent(points, shown), *picture.shape[:2]) if size is None else size
    pen = THIN if reference else Pen.for_size(size)
    thin = Pen(max(1, pen.body // 3), 1, pen.dot)
    canvas: Picture = np.array(picture, order="C")
    limbs = [(a, b) for a, b in joints.LIMBS if shown[a] and shown[b]]
    for a, b in sorted(limbs, key=lambda limb: bool(solid[list(limb)].all())):  # thin limbs below the others
        look = REFERENCE if reference else SIDES[joints.limb_side(a, b)]
        tube(canvas, points[a], points[b], look, pen if solid[a] and solid[b] else thin)
    for k in np.flatnonzero(shown).tolist():
        dot(canvas, points[k], REFERENCE if reference else SIDES[joints.side(k)], pen, hollow=not solid[k])
    return canvas


def draw_box(picture: Picture, box: Sequence[float]) -> Picture:
    """A copy of a picture with a box (x, y, width, height) as a thin white line in a black rim."""
    canvas: Picture = np.array(picture, order="C")
    x, y, width, height = box
    for colour, line in ((BLACK, 3), (WHITE, 1)):
        cv2.rectangle(canvas, _fixed((x, y)), _fixed((x + width, y + height)), colour, line, cv2.LINE_AA, SHIFT)
    return canvas


def tube(canvas: Picture, start: Point, end: Point, look: Look, pen: Pen) -> None:
    """Draw a limb into `canvas`."""
    for colour, width in ((look.rim, pen.body + 2 * pen.rim), (look.body, pen.body)):
        cv2.line(canvas, _fixed(start), _fixed(end), colour, width, cv2.LINE_AA, SHIFT)


def dot(canvas: Picture, point: Point, look: Look, pen: Pen, *, hollow: bool) -> None:
    """Draw a joint into `canvas`: a full dot, or a ring that is filled with the colour of its rim."""
    radius, rim = (pen.dot + hollow) << SHIFT, pen.rim << SHIFT
    discs = [(look.rim, radius + rim), (look.body, radius)] + [(look.rim, radius * 5 // 8)] * hollow
    for colour, size in discs:
        cv2.circle(canvas, _fixed(point), size, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _fixed(point: Point) -> tuple[int, int]:
    """A point in OpenCV's fixed-point coordinates."""
    x, y = (round(min(max(float(v), -FARTHEST), FARTHEST) * (1 << SHIFT)) for v in point)
    return x, y


# ---- Legends

FONT, CAPITAL = cv2.FONT_HERSHEY_SIMPLEX, 22  # the height of its capitals in pixels, at scale 1
LEAST_SIDE = 160  # pixels; a smaller picture has no room for a legend
BOARD = 40  # the grey level behind a legend on a photograph


@dataclass(frozen=True)
class Entry:
    """An entry of a legend: a sample and its text."""

    text: str
    look: Look
    kind: Literal["limb", "ring", "thin"] = "limb"


BODY = tuple(Entry(side, look) for side, look in SIDES.items())
TRUE = Entry("true", REFERENCE, "thin")


def hollow(text: str) -> Entry:
    """The entry that explains hollow joints."""
    return Entry(text, SIDES["right"], "ring")


def text_width(text: str, height: int) -> int:
    """The width of a text in pixels if its capitals are `height` pixels high."""
    return cv2.getTextSize(text, FONT, height / CAPITAL, max(1, height // 14))[0][0]


def put_text(canvas: Picture, text: str, left: int, middle: int, height: int, colour: RGB) -> None:
    """Write a text into `canvas`, vertically centred on the row `middle`."""
    at = (left, middle + height // 2)
    cv2.putText(canvas, text, at, FONT, height / CAPITAL, colour, max(1, height // 14), cv2.LINE_AA)


def entry_width(entry: Entry, height: int) -> int:
    """The width of an entry in pixels."""
    return 5 * height + text_width(entry.text, height)


def put_entry(canvas: Picture, entry: Entry, left: int, middle: int, height: int, colour: RGB) -> None:
    """Draw an entry into `canvas`, vertically centred on the row `middle`."""
    pen = THIN if entry.kind == "thin" else Pen.for_size(25 * height)
    start, end = left + height // 2, left + 7 * height // 2
    if entry.kind != "ring":
        tube(canvas, (start, middle), (end, middle), entry.look, pen)
    if entry.kind != "thin":
        dot(canvas, ((start + end) // 2, middle), entry.look, pen, hollow=entry.kind == "ring")
    put_text(canvas, entry.text, left + 4 * height + height // 2, middle, height, colour)


def stamp(picture: Picture, entries: Sequence[Entry], points: NDArray) -> Picture:
    """A copy of a picture with a legend in the corner that contains the fewest of the points (n, 2).

    A picture that is too small for a legend gets none.
    """
    canvas: Picture = np.array(picture, order="C")
    rows, columns = canvas.shape[:2]
    letter = max(7, round(min(rows, columns) / 60))
    line = round(letter * 2.4)
    width, height = max(entry_width(e, letter) for e in entries) + letter, line * len(entries) + letter
    if min(rows, columns) < LEAST_SIDE or width > columns // 2 or height > rows // 2:
        return canvas

    def crowd(corner: tuple[int, int]) -> int:
        inside = (points - corner + height / 2) / (width + height, 2 * height)  # with half its height around it
        return int(((inside >= 0) & (inside < 1)).all(axis=-1).sum())

    left, top = min([(x, y) for y in (rows - height, 0) for x in (0, columns - width)], key=crowd)
    board = canvas[top : top + height, left : left + width]
    board[:] = board // 4 + np.uint8(BOARD * 3 // 4)
    for number, entry in enumerate(entries):
        middle = top + letter // 2 + line * number + line // 2
        put_entry(canvas, entry, left + letter // 2, middle, letter, WHITE)
    return canvas


# ---- Contact sheets: pictures in rows, each with two lines of text below it, under a title and a legend

CELL = 256  # the side of a square picture in pixels; a cell may hold several pictures side by side
GAP, MARGIN = 10, 14
WIDEST = 6 * CELL + 5 * GAP  # pixels per row
LETTER, LINE = 10, 17  # the height of capitals, and of a line, below a picture
HEADING, HEAD_LINE = 12, 24  # the same in the title and the legend
GREY = (95, 95, 95)

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """A picture and the text below it. All pictures of a sheet have the same width."""

    picture: Picture  # (CELL, w, 3)
    lines: tuple[str, str]


def draw_sheet(cells: Sequence[Cell], title: str, entries: Sequence[Entry]) -> Picture:
    """The whole sheet, (H, W, 3), on white. A title or legend that is too wide continues in further rows."""
    across = cells[0].picture.shape[1]
    columns = min((WIDEST + GAP) // (across + GAP), len(cells))
    rows = -(-len(cells) // columns)
    inner = columns * across + (columns - 1) * GAP
    words = packed(title.split(), lambda word: text_width(f"{word} ", HEADING), inner)
    legend = packed(entries, _legend_width, inner)
    head = MARGIN + (len(words) + len(legend)) * HEAD_LINE
    sheet = np.full((head + rows * (CELL + 2 * LINE + GAP) + MARGIN, inner + 2 * MARGIN, 3), WHITE, np.uint8)
    for number, row in enumerate(words):
        put_text(sheet, " ".join(row), MARGIN, MARGIN + HEAD_LINE * number + 8, HEADING, BLACK)
    for number, row in enumerate(legend, start=len(words)):
        left = MARGIN
        for entry in row:
            put_entry(sheet, entry, left, MARGIN + HEAD_LINE * number + 8, LETTER, BLACK)
            left += _legend_width(entry)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (across + GAP), head + row * (CELL + 2 * LINE + GAP)
        sheet[top : top + CELL, left : left + across] = cell.picture
        for line, (text, colour) in enumerate(zip(cell.lines, (BLACK, GREY), strict=True)):
            middle = top + CELL + LINE * line + LINE // 2 + 2
            put_text(sheet, fitted(text, across, LETTER), left, middle, LETTER, colour)
    return sheet


def _legend_width(entry: Entry) -> int:
    return entry_width(entry, LETTER) + 2 * LETTER


def packed(items: Iterable[T], width_of: Callable[[T], int], width: int) -> list[list[T]]:
    """Distribute items over rows, each at most `width` pixels wide unless a single item is wider."""
    rows: list[list[T]] = [[]]
    for item in items:
        if rows[-1] and sum(map(width_of, [*rows[-1], item])) > width:
            rows.append([])
        rows[-1].append(item)
    return rows


def fitted(text: str, width: int, height: int) -> str:
    """The text; if it is wider than `width` pixels, without its middle. Both ends of a long file name matter."""
    keep, short = len(text), text
    while text_width(short, height) > width and keep > 2:
        keep -= 1
        short = text[: (keep + 1) // 2] + ".." + text[len(text) - keep // 2 :]
    return short
