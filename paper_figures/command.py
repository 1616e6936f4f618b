"""The command line that all scripts share: `python -m paper_figures.<name> --results DIR [DIR ...] --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.results import FILES, Run, load, one_study
from paper_figures.tables import Table, write_table
from pose_topo.errors import PoseTopoError
from pose_topo.files import write_text

REFERENCE = " (reference)"  # after the arm of a run that was not made with the others


def parser(name: str, description: str | None, *, needed: bool = True) -> argparse.ArgumentParser:
    """The options every script has; results may be missing where they are not `needed`."""
    made = argparse.ArgumentParser(prog=f"python -m paper_figures.{name}", description=description)
    made.add_argument(
        "--results",
        type=Path,
        nargs="+" if needed else "*",
        required=needed,
        default=[],
        metavar="DIR",
        help="results folders, one a run",
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the output goes")
    return made


def guarded(name: str, action: Callable[[], int]) -> int:
    """Run `action`; an error that the user can mend becomes one line and an exit code."""
    try:
        return action()
    except PoseTopoError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{name}: cannot write the output ({error})", file=sys.stderr)
        return 1


def usable(folders: Sequence[Path], needs: Sequence[str]) -> list[Run]:
    """The runs that hold every file a figure needs, if they can stand in one figure.

    Raises:
        PoseTopoError: none is left, or they are not comparable.
    """
    runs = [run for run in load(folders) if run.has(*needs)]
    if not runs:
        wanted = " and ".join(FILES[part] for part in needs)
        if "evaluation" not in needs and "analysis" not in needs:
            wanted += ", with evaluation.json or analysis.json to say whose they are"
        raise PoseTopoError(f"no results folder holds {wanted} (looked in {', '.join(map(str, folders))})")
    one_study(runs)
    return runs


def figure(
    name: str,
    description: str | None,
    needs: Sequence[str],
    draw: Callable[[list[Run]], Figure],
    caption: Callable[[list[Run]], str],
    argv: Sequence[str] | None,
) -> int:
    """Draw a figure: `<name>.pdf`, `.png` and `.caption.md`. The exit code."""
    options = parser(name, description).parse_args(argv)

    def action() -> int:
        runs = usable(options.results, needs)
        with style.applied():
            style.save(draw(runs), options.out, name)
        write_text(options.out / f"{name}.caption.md", caption(runs) + "\n")
        return 0

    return guarded(name, action)


def table(
    name: str,
    description: str | None,
    needs: Sequence[str],
    build: Callable[[list[Run]], Table],
    caption: Callable[[list[Run]], str],
    argv: Sequence[str] | None,
) -> int:
    """Write a table: `<name>.csv`, `.md`, `.tex` and `.caption.md`. The exit code.

    `--reference` adds runs that were not made here (the project's own, committed), marked as such in the table.
    """
    options_of = parser(name, description)
    options_of.add_argument(
        "--reference",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="DIR",
        help="results folders of reference runs",
    )
    options = options_of.parse_args(argv)

    def action() -> int:
        runs = usable(options.results, needs)
        reference = [replace(run, arm=run.arm + REFERENCE) for run in load(options.reference) if run.has(*needs)]
        write_table(build(runs + reference), options.out, name)
        note = f" Marked{REFERENCE}: the project's own run, not made with the others." if reference else ""
        write_text(options.out / f"{name}.caption.md", caption(runs) + note + "\n")
        return 0

    return guarded(name, action)
