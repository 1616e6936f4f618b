"""A table as data, and its files: CSV with unrounded values, and Markdown, LaTeX and JSON with rounded means."""

from __future__ import annotations

import csv
import io
import re
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from paper_figures.lib.captions import NO_VALUE, fixed
from paper_figures.lib.results import Measure, Run, by_arm
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, write_json, write_text

Cell = float | str | None
SUFFIXES = (".csv", ".md", ".tex", ".json")
TITLE_WIDTH = 13  # characters per line of a column title in LaTeX, where titles do not wrap by themselves

_TEX = {letter: f"\\{letter}" for letter in "&%_#${}"} | {
    "\\": r"\textbackslash{}",
    "−": "$-$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    "–": "--",
    "λ": r"$\lambda$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "|": r"$|$",
}


@dataclass(frozen=True)
class Column:
    """A measure: its key in the CSV file, its title for readers and its number of decimals."""

    key: str
    title: str
    digits: int | None  # None: a setting or a word, shown unrounded
    largest: bool = False  # show the largest value over seeds instead of the mean, as for p values


@dataclass(frozen=True)
class Row:
    """An arm, or a published system: for each column one value per seed, None where there is no value."""

    label: str
    values: Mapping[str, tuple[Cell, ...]]
    seeds: tuple[int | None, ...] = (None,)
    extra: dict[str, str] = field(default_factory=dict)  # texts that only the CSV file has, such as a source


@dataclass(frozen=True)
class Table:
    """Unrounded values by row and column. A `transposed` table is shown with one line per column."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    transposed: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table as readers see it. The first `words` columns hold words, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def by_measure(runs: Iterable[Run], columns: Mapping[Column, Measure], *, transposed: bool = False) -> Table:
    """Return a table with one row per arm, in which each column holds its measure of the runs."""
    rows = [
        Row(
            arm,
            {column.key: tuple(map(value, group)) for column, value in columns.items()},
            tuple(run.seed for run in group),
        )
        for arm, group in by_arm(runs).items()
    ]
    return Table(tuple(columns), tuple(rows), transposed)


def shown(values: Sequence[Cell], column: Column) -> str:
    """Return a cell as readers see it: mean ± sample standard deviation over seeds, or the one value of all seeds."""
    if column.digits is None:
        words = (value if isinstance(value, str) else f"{value:g}" for value in values if value is not None)
        return " / ".join(dict.fromkeys(words)) or NO_VALUE
    known = [float(value) for value in values if value is not None]
    if not known:
        return NO_VALUE
    if column.largest or len(set(known)) == 1:
        return fixed(max(known), column.digits)
    return f"{fixed(statistics.fmean(known), column.digits)} ± {fixed(statistics.stdev(known), column.digits)}"


def as_text(table: Table) -> TextTable:
    """Return the table as readers see it."""
    lines = [("", *(column.title for column in table.columns))]
    lines += [(row.label, *(shown(row.values.get(c.key, ()), c) for c in table.columns)) for row in table.rows]
    head, *rows = zip(*lines, strict=True) if table.transposed else lines
    return TextTable(head, tuple(rows))


def to_csv(table: Table) -> str:
    """Return the table as CSV: one line per row and seed, unrounded; empty where there is no value."""
    extras = list(dict.fromkeys(key for row in table.rows for key in row.extra))
    lines: list[Sequence[Any]] = [["arm", "seed", *(column.key for column in table.columns), *extras]]
    for row in table.rows:
        for place, seed in enumerate(row.seeds):
            values = [row.values[c.key][place] if c.key in row.values else None for c in table.columns]
            lines.append([row.label, seed, *values, *(row.extra.get(key) for key in extras)])
    return csv_text(lines)


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """Return lines of cells as the text of a CSV file; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def pipe(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the cells of a table as Markdown."""
    return to_markdown(TextTable(head, rows))


def to_markdown(table: TextTable) -> str:
    """Return the table as a Markdown pipe table."""
    rule = (*["---"] * table.words, *["---:"] * (len(table.head) - table.words))
    lines = (table.head, rule, *table.rows)
    return "".join("| " + " | ".join(map(_markdown, line)) + " |\n" for line in lines)


def _markdown(cell: str) -> str:
    """Return a cell in which nothing ends the cell or is read as an HTML tag."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", cell.replace("|", "\\|"))


def to_latex(table: TextTable) -> str:
    """Return the table as a booktabs tabular.

    Long column titles are broken into several lines. A block of rows, of which only the first has a label, is set off
    by a rule.
    """
    lines = [
        rf"\begin{{tabular}}{{{'l' * table.words}{'r' * (len(table.head) - table.words)}}}",
        r"\toprule",
        " & ".join((_escape(table.head[0]), *map(_stacked, table.head[1:]))) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        if number and row[0] and not table.rows[number - 1][0]:
            lines.append(r"\midrule")
        lines.append(" & ".join(map(_escape, row)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _stacked(title: str) -> str:
    lines = textwrap.wrap(title, TITLE_WIDTH, break_long_words=False, break_on_hyphens=False)
    text = r" \\ ".join(_escape(line) for line in lines)
    return rf"\shortstack[r]{{{text}}}" if len(lines) > 1 else text


def _escape(text: str) -> str:
    text = re.sub(r"(?<![\w-])-(?=\d)", "−", text)  # a minus sign, not a hyphen
    return "".join(_TEX.get(letter, letter) for letter in text)


def write_table(values: str, text: TextTable, out: Path, name: str) -> None:
    """Write the unrounded `values` as `<out>/<name>.csv`, and `text` as `.md`, `.tex` and `.json`."""
    write_text(out / f"{name}.csv", values)
    write_text(out / f"{name}.md", to_markdown(text))
    write_text(out / f"{name}.tex", to_latex(text))
    write_json(out / f"{name}.json", asdict(text))


def read_table(path: Path) -> TextTable:
    """Return the table of a JSON file that `write_table` wrote.

    Raises:
        PoseTopoError: the file is something else.
    """
    content = read_json(path)
    try:
        table = TextTable(tuple(content["head"]), tuple(map(tuple, content["rows"])), content["words"])
        if all(len(row) == len(table.head) for row in table.rows):
            return table
    except (KeyError, TypeError):
        pass
    raise PoseTopoError(f"{path}: not a table of these scripts")
