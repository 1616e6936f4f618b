"""One table, three files: CSV with every seed's unrounded values, Markdown and LaTeX with means, rounded once."""

from __future__ import annotations

import csv
import io
import re
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paper_figures.lib.captions import NO_VALUE, fixed
from pose_topo.core.files import write_text

Cell = float | str | None
HEAD = 13  # letters to a line of a column's title in LaTeX, where columns do not wrap by themselves

_TEX = {
    "\\": r"\textbackslash{}",
    "−": "$-$",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "±": r"$\pm$",
    "–": "--",
    "λ": r"$\lambda$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "|": r"$|$",
}


@dataclass(frozen=True)
class Column:
    """A measure: its key in the CSV, its title for readers, its decimals."""

    key: str
    title: str
    digits: int | None  # None: a setting or a word, shown as it is
    largest: bool = False  # show the largest of the seeds: a mean of p values says nothing


@dataclass(frozen=True)
class Row:
    """An arm, or a published system: per column one value a seed (None: there is none; words only in settings)."""

    label: str
    values: dict[str, tuple[Cell, ...]]
    seeds: tuple[int | None, ...] = (None,)
    extra: dict[str, str] = field(default_factory=dict)  # texts for the CSV alone, such as a source


@dataclass(frozen=True)
class Table:
    """Rows and columns; `transposed` shows measures downwards, where there are more of them than of arms."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    transposed: bool = False


def shown(values: Sequence[Cell], column: Column) -> str:
    """A cell as readers see it: mean ± sample standard deviation over seeds (none where they are equal)."""
    if column.digits is None:
        words = (value if isinstance(value, str) else f"{value:g}" for value in values if value is not None)
        return " / ".join(dict.fromkeys(words)) or NO_VALUE
    known = [float(value) for value in values if value is not None]
    if not known:
        return NO_VALUE
    if column.largest or len(set(known)) == 1:
        return fixed(max(known), column.digits)
    return f"{fixed(statistics.fmean(known), column.digits)} ± {fixed(statistics.stdev(known), column.digits)}"


def grid(table: Table) -> list[list[str]]:
    """The table as readers see it, its header first."""
    cells = [["", *(column.title for column in table.columns)]]
    for row in table.rows:
        cells.append([row.label, *(shown(row.values.get(c.key, ()), c) for c in table.columns)])
    return [list(line) for line in zip(*cells, strict=True)] if table.transposed else cells


def to_csv(table: Table) -> str:
    """One line a row and seed, unrounded; empty where there is no value."""
    extras = list(dict.fromkeys(key for row in table.rows for key in row.extra))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arm", "seed", *(column.key for column in table.columns), *extras])
    for row in table.rows:
        for place, seed in enumerate(row.seeds):
            values = [row.values[c.key][place] if c.key in row.values else None for c in table.columns]
            writer.writerow([row.label, seed, *values, *(row.extra.get(key) for key in extras)])
    return text.getvalue()


def to_markdown(cells: Sequence[Sequence[str]], words: int = 1) -> str:
    """Lines of cells, the header first, as a pipe table; the first `words` columns are no numbers."""
    head, *body = cells
    rule = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in (head, rule, *body)
    )


def to_latex(cells: Sequence[Sequence[str]], words: int = 1) -> str:
    """The same as a booktabs tabular; long titles of columns stand on several lines, blocks of lines (all but the first
    without a label) between rules."""
    head, *body = ([_escape(cell) for cell in line] for line in cells)
    head = [head[0], *(_stacked(title) for title in cells[0][1:])]
    lines = [
        rf"\begin{{tabular}}{{{'l' * words}{'r' * (len(head) - words)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for before, line in zip([head, *body], body, strict=False):
        if line[0] and not before[0] and before is not head:
            lines.append(r"\midrule")
        lines.append(" & ".join(line) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _stacked(title: str) -> str:
    """A title broken into short lines, the last at the height of its row."""
    lines = textwrap.wrap(title, HEAD, break_long_words=False, break_on_hyphens=False)
    text = r" \\ ".join(_escape(line) for line in lines)
    return rf"\shortstack[r]{{{text}}}" if len(lines) > 1 else text


def _escape(text: str) -> str:
    text = re.sub(r"(?<![\w-])-(?=\d)", "−", text)  # a minus, not a hyphen
    return "".join(_TEX.get(letter, letter) for letter in text)


def write_table(table: Table, out: Path, name: str) -> None:
    """Write `<out>/<name>.csv`, `.md` and `.tex`."""
    write_cells(to_csv(table), grid(table), out, name)


def write_cells(values: str, cells: Sequence[Sequence[str]], out: Path, name: str, words: int = 1) -> None:
    """Write a table's unrounded values (CSV) and what readers see of them (Markdown, LaTeX)."""
    write_text(out / f"{name}.csv", values)
    write_text(out / f"{name}.md", to_markdown(cells, words))
    write_text(out / f"{name}.tex", to_latex(cells, words))
