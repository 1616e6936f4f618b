"""Contact sheets: pictures in rows, each with two lines of text below it, under a title and a legend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pose_topo.pictures.drawing import BLACK, WHITE, Entry, Picture, entry_width, put_entry, put_text, text_width

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
