"""The command line that all scripts share: `python -m paper_figures.<name> --results DIR [DIR ...] --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from paper_figures.lib import captions, style
from paper_figures.lib.arms import REFERENCE
from paper_figures.lib.results import FILES, WITHIN, Run, load, main_arms, one_study
from paper_figures.lib.tables import Table, write_table
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import write_text

CAPTION = ".caption.md"  # every script writes it, and writes it last
FIGURE_FILES, TABLE_FILES = (".pdf", ".png"), (".csv", ".md", ".tex")


class NothingToShowError(PoseTopoError):
    """No results folder holds what a figure or table needs: `reason`, and where it was looked for."""

    def __init__(self, reason: str, folders: Sequence[Path]) -> None:
        more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
        super().__init__(f"{reason} (looked in {', '.join(map(str, folders[:3]))}{more})")
        self.reason = reason  # without paths: captions are the same wherever the results lie


def parser(name: str, description: str | None, *, needed: bool = True) -> argparse.ArgumentParser:
    """The options every script has; results may be missing where they are not `needed`."""
    made = argparse.ArgumentParser(
        prog=f"python -m paper_figures.{name}",
        description=description,
        fromfile_prefix_chars="@",  # --results @FILE: the folders that it lists, one a line
    )
    add_results(made, needed=needed)
    return made


def add_results(options: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """Where from and where to."""
    options.add_argument(
        "--results",
        type=Path,
        nargs="+" if needed else "*",
        required=needed,
        default=[],
        metavar="DIR",
        help="results folders, one a run; @FILE lists them",
    )
    options.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the output goes")


def add_reference(options: argparse.ArgumentParser) -> None:
    """The option of tables for runs of the project's own."""
    options.add_argument(
        "--reference",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="DIR",
        help="results folders of reference runs",
    )


def add_if_there(options: argparse.ArgumentParser) -> None:
    """The option of figures and tables for results that may hold too little."""
    options.add_argument(
        "--if-there",
        action="store_true",
        help="where the results hold nothing to show, write only a caption that says so, and exit with 0",
    )


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


def deliver(name: str, options: argparse.Namespace, action: Callable[[], str]) -> int:
    """Run `action`, which draws or writes, and write the caption that it gives. The exit code.

    With `--if-there`, having nothing to show is no error: the caption says why, and what an earlier run left beside
    it goes.
    """

    def write() -> int:
        try:
            text = action()
        except NothingToShowError as error:
            if not options.if_there:
                raise
            text = f"Not shown: {error.reason}."
            for suffix in (*FIGURE_FILES, *TABLE_FILES):
                (options.out / f"{name}{suffix}").unlink(missing_ok=True)
        write_text(options.out / f"{name}{CAPTION}", text + "\n")
        return 0

    return guarded(name, write)


def usable(folders: Sequence[Path], needs: Sequence[str]) -> list[Run]:
    """The runs that hold all that a figure needs, if they can stand in one figure.

    Raises:
        NothingToShowError: none is left.
        PoseTopoError: they are not comparable.
    """
    runs = [run for run in load(folders) if run.has(*needs)]
    if not runs:
        wanted = " and ".join((FILES | WITHIN)[part] for part in needs)
        if not {"evaluation", "analysis", *WITHIN} & set(needs):
            wanted += ", with evaluation.json or analysis.json to say whose they are"
        raise NothingToShowError(f"no results folder holds {wanted}", folders)
    one_study(runs)
    return runs


def figure(
    name: str,
    description: str | None,
    needs: Sequence[str],
    draw: Callable[[list[Run]], Figure],
    caption: Callable[[list[Run]], str],
    argv: Sequence[str] | None,
    *,
    every_arm: bool = False,
) -> int:
    """Draw a figure: `<name>.pdf`, `.png` and `.caption.md`. The exit code.

    Of many arms it gets the main ones (`arms.chosen`), and the caption says so, unless it shows `every_arm`.
    """
    options_of = parser(name, description)
    add_if_there(options_of)
    options = options_of.parse_args(argv)

    def action() -> str:
        found = usable(options.results, needs)
        runs = found if every_arm else main_arms(found)
        with style.applied():
            style.save(draw(runs), options.out, name)
        return caption(runs) + captions.arms_note(runs, found)

    return deliver(name, options, action)


def table(
    name: str,
    description: str | None,
    needs: Sequence[str],
    build: Callable[[list[Run]], Table],
    caption: Callable[[list[Run]], str],
    argv: Sequence[str] | None,
    *,
    every_arm: bool = True,
) -> int:
    """Write a table: `<name>.csv`, `.md`, `.tex` and `.caption.md`. The exit code.

    `--reference` adds runs that were not made here (the project's own, committed), marked as such in the table.
    A table with a column an arm takes the main arms alone: `every_arm` False.
    """
    options_of = parser(name, description)
    add_if_there(options_of)
    add_reference(options_of)
    options = options_of.parse_args(argv)

    def action() -> str:
        found = usable(options.results, needs)
        reference = [replace(run, arm=run.arm + REFERENCE) for run in load(options.reference) if run.has(*needs)]
        runs, beside = (found, reference) if every_arm else (main_arms(found), main_arms(reference))
        write_table(build(runs + beside), options.out, name)
        note = f" Marked{REFERENCE}: the project's own run, not made with the others." if beside else ""
        return caption(runs) + note + captions.arms_note(runs, found)

    return deliver(name, options, action)
