"""Contact sheets: pictures in rows, each with two lines of text below it, under a title and a legend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose_topo.pictures.drawing import BLACK, Entry, entry_width, put_entry, put_text, text_width

CELL = 256  # side of a square picture in pixels; a cell may hold several in a row
GAP, MARGIN = 10, 14
WIDEST = 6 * CELL + 5 * GAP  # pixels of a row
LETTER, LINE = 10, 17  # height of capitals, and of a line, below a picture
GREY = (95, 95, 95)


@dataclass(frozen=True)
class Cell:
    """A picture and what is written below it."""

    picture: NDArray[np.uint8]  # (CELL, w, 3) RGB, w the same for all cells of a sheet
    lines: tuple[str, str]


def draw_sheet(cells: list[Cell], title: str, entries: list[Entry]) -> NDArray[np.uint8]:
    """All of it, (H, W, 3) RGB on white. A legend too wide for the sheet goes on in further rows."""
    across = cells[0].picture.shape[1]
    columns = min((WIDEST + GAP) // (across + GAP), len(cells))
    rows = -(-len(cells) // columns)
    width = 2 * MARGIN + columns * across + (columns - 1) * GAP
    title_lines = wrapped(title, width - 2 * MARGIN, LETTER + 2)
    legend_rows = _legend_rows(entries, width - 2 * MARGIN)
    head = MARGIN + (len(title_lines) + len(legend_rows)) * 24
    sheet = np.full((head + rows * (CELL + 2 * LINE + GAP) + MARGIN, width, 3), 255, np.uint8)
    for number, line in enumerate(title_lines):
        put_text(sheet, line, MARGIN, MARGIN + 24 * number + 8, LETTER + 2, BLACK)
    for number, row in enumerate(legend_rows):
        left = MARGIN
        for entry in row:
            put_entry(sheet, entry, left, MARGIN + 24 * (len(title_lines) + number) + 8, LETTER, BLACK)
            left += entry_width(entry, LETTER) + 2 * LETTER
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _put_cell(sheet, cell, MARGIN + column * (across + GAP), head + row * (CELL + 2 * LINE + GAP))
    return sheet


def _put_cell(sheet: NDArray[np.uint8], cell: Cell, left: int, top: int) -> None:
    width = cell.picture.shape[1]
    sheet[top : top + CELL, left : left + width] = cell.picture
    for number, (text, colour) in enumerate(zip(cell.lines, (BLACK, GREY), strict=True)):
        put_text(sheet, fitted(text, width, LETTER), left, top + CELL + LINE * number + LINE // 2 + 2, LETTER, colour)


def _legend_rows(entries: list[Entry], width: int) -> list[list[Entry]]:
    rows: list[list[Entry]] = [[]]
    used = 0
    for entry in entries:
        needed = entry_width(entry, LETTER) + 2 * LETTER
        if rows[-1] and used + needed > width:
            rows.append([])
            used = 0
        rows[-1].append(entry)
        used += needed
    return rows


def wrapped(text: str, width: int, height: int) -> list[str]:
    """Lines of whole words, each at most `width` pixels wide unless a single word is wider."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, height) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitted(text: str, width: int, height: int) -> str:
    """`text`, its middle left out where it is wider than `width` pixels: of a long name both ends tell."""
    keep = len(text)
    short = text
    while text_width(short, height) > width and keep > 2:
        keep -= 1
        short = text[: (keep + 1) // 2] + ".." + text[len(text) - keep // 2 :]
    return short
