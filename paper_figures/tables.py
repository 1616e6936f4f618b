"""One table, three files: CSV with every seed's unrounded values, Markdown and LaTeX with means, rounded once."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paper_figures.captions import NO_VALUE, fixed
from pose_topo.files import write_text

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
}


@dataclass(frozen=True)
class Column:
    """A measure: its key in the CSV, its title for readers, its decimals."""

    key: str
    title: str
    digits: int | None  # None: a setting, shown as it is
    largest: bool = False  # show the largest of the seeds: a mean of p values says nothing


@dataclass(frozen=True)
class Row:
    """An arm, or a published system: per column one value a seed (None: there is none)."""

    label: str
    values: dict[str, tuple[float | None, ...]]
    seeds: tuple[int | None, ...] = (None,)
    extra: dict[str, str] = field(default_factory=dict)  # texts for the CSV alone, such as a source


@dataclass(frozen=True)
class Table:
    """Rows and columns; `transposed` shows measures downwards, where there are more of them than of arms."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    transposed: bool = False


def shown(values: Sequence[float | None], column: Column) -> str:
    """A cell as readers see it: mean ± sample standard deviation over seeds (none where they are equal)."""
    known = [value for value in values if value is not None]
    if not known:
        return NO_VALUE
    if column.digits is None:
        return " / ".join(dict.fromkeys(f"{value:g}" for value in known))
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


def to_markdown(table: Table) -> str:
    """A pipe table."""
    head, *body = grid(table)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in (head, rule, *body)
    )


def to_latex(table: Table) -> str:
    """A booktabs tabular."""
    head, *body = ([_escape(cell) for cell in line] for line in grid(table))
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join(line) + r" \\" for line in body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escape(text: str) -> str:
    text = re.sub(r"(?<![\w-])-(?=\d)", "−", text)  # a minus, not a hyphen
    return "".join(_TEX.get(letter, letter) for letter in text)


def write_table(table: Table, out: Path, name: str) -> None:
    """Write `<out>/<name>.csv`, `.md` and `.tex`."""
    write_text(out / f"{name}.csv", to_csv(table))
    write_text(out / f"{name}.md", to_markdown(table))
    write_text(out / f"{name}.tex", to_latex(table))
