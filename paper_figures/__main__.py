"""Every figure and table of some results, in one go: `python -m paper_figures --results DIR [DIR ...] --out DIR`.

What the results do not hold gets a caption that says so; the figures that Make draws one by one are the same.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from paper_figures import FIGURES, GROUP_TABLES, TABLES
from paper_figures.lib import command


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The results, and what tables take beside them."""
    parser = argparse.ArgumentParser(prog="python -m paper_figures", description=__doc__)
    command.add_results(parser)
    command.add_reference(parser)
    parser.add_argument("--group", type=Path, metavar="FILE", help="group.json of these results")
    return parser.parse_args(argv)


def module(name: str) -> str:
    """The script of a figure or table."""
    part = f"tables.{name.removeprefix('table_')}" if name.startswith("table_") else f"figures.{name}"
    return f"paper_figures.{part}"


def main(argv: Sequence[str] | None = None) -> int:
    """Draw everything. The worst exit code."""
    given = options(argv)
    where = ["--out", str(given.out), "--if-there"]
    results = ["--results", *map(str, given.results)]
    reference = ["--reference", *map(str, given.reference)] if given.reference else []
    calls = [(name, results) for name in FIGURES]
    calls += [(name, [*results, *reference]) for name in TABLES]
    calls += [(name, ["--group", str(given.group)]) for name in GROUP_TABLES if given.group]
    return max(importlib.import_module(module(name)).main([*what, *where]) for name, what in calls)


if __name__ == "__main__":
    raise SystemExit(main())
