"""The little Markdown that captions and tables hold, as HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

_CELL_BORDER = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class PipeTable:
    """A pipe table's cells, as written; `right` says which columns hold numbers."""

    head: tuple[str, ...]
    right: tuple[bool, ...]
    body: tuple[tuple[str, ...], ...]


def inline(text: str) -> Markup:
    """One paragraph: everything is text but `code` and **bold**."""
    safe = str(escape(" ".join(text.split())))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe))


def pipe_tables(text: str) -> list[PipeTable]:
    """The pipe tables of a Markdown text, in order; what stands between them is left out.

    Raises:
        ValueError: a table has no rule under its head, or a row of another width.
    """
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [_table([_cells(line) for line in block]) for block in blocks if block]


def _cells(line: str) -> tuple[str, ...]:
    parts = _CELL_BORDER.split(line.strip())[1:-1]
    return tuple(part.strip().replace("\\|", "|") for part in parts)


def _table(rows: list[tuple[str, ...]]) -> PipeTable:
    if len(rows) < 2 or not all(re.fullmatch(":?-+:?", cell) for cell in rows[1]):
        raise ValueError("a table without a rule under its head")
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("a table whose rows differ in width")
    return PipeTable(rows[0], tuple(cell.endswith(":") for cell in rows[1]), tuple(rows[2:]))
