"""The classes with which a script declares its figure or table, and the code that draws it from results folders.

A script in `figures/` or `tables/` defines a `PaperFigure`, `PaperTable` or `GroupTable` at module level. Its name,
title and place are defined nowhere else: the report, the docs and Make read them with `exhibits`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_figures.lib import captions, tables
from paper_figures.lib.arms import REFERENCE
from paper_figures.lib.results import FILES, WITHIN, Run, check_comparable, load, main_arms
from pose_topo.core.errors import INTERRUPTED, PoseTopoError, UsageError, guarded
from pose_topo.core.files import read_lines, write_text
from pose_topo.study import results
from pose_topo.study.results import read_document

if TYPE_CHECKING:  # claims and report do not need matplotlib, which takes a second to import
    from matplotlib.figure import Figure

CAPTION = ".caption.md"  # written last, so a figure or table that has it is complete
SUFFIXES = (".pdf", ".png", *tables.SUFFIXES)


class NothingToShowError(PoseTopoError):
    """The results do not hold what a figure or table needs. `reason`, which captions give, contains no path."""

    def __init__(self, reason: str, folders: Sequence[Path]) -> None:
        more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
        super().__init__(f"{reason} (looked in {', '.join(map(str, folders[:3]))}{more})")
        self.reason = reason


@dataclass(frozen=True)
class Inputs:
    """What figures and tables are made from."""

    results: Sequence[Path] = ()  # results folders
    reference: Sequence[Path] = ()  # results folders of reference runs
    group: Path | None = None  # group.json of the results

    @cached_property
    def runs(self) -> list[Run]:
        return load(self.results)

    def usable(self, needs: Sequence[str]) -> list[Run]:
        """Return the runs that hold all of `needs`.

        Raises:
            NothingToShowError: there is no such run.
            PoseTopoError: the runs cannot be compared.
        """
        runs = [run for run in self.runs if run.has(*needs)]
        if not runs:
            wanted = " and ".join((FILES | WITHIN)[part] for part in needs)
            if not {*results.FILES, *WITHIN} & set(needs):
                wanted += ", with the evaluation.json or analysis.json that names the run"
            raise NothingToShowError(f"no results folder holds {wanted}", self.results)
        check_comparable(runs)
        return runs


@dataclass(frozen=True, kw_only=True)
class Exhibit(ABC):
    """A figure or table of the paper."""

    name: str  # name of its files, without suffix
    place: int  # position in the paper
    title: str  # heading in the report
    about: str  # description in docs/results.md

    @abstractmethod
    def make(self, inputs: Inputs, out: Path) -> str:
        """Write everything but the caption to the folder `out`, and return the caption."""

    def write(self, inputs: Inputs, out: Path, *, if_there: bool = False) -> int:
        """Write the files of this exhibit to `out`, the caption last. Returns the exit code.

        Args:
            if_there: if the results hold nothing to show, write a caption that states the reason, and remove the files
                of an earlier call. By default this is an error.
        """

        def action() -> int:
            try:
                caption = self.make(inputs, out)
            except NothingToShowError as error:
                if not if_there:
                    raise
                caption = f"Not shown: {error.reason}."
                for suffix in SUFFIXES:
                    (out / f"{self.name}{suffix}").unlink(missing_ok=True)
            write_text(out / f"{self.name}{CAPTION}", caption + "\n")
            return 0

        return guarded(self.name, action)


@dataclass(frozen=True, kw_only=True)
class RunsExhibit(Exhibit):
    """An exhibit of runs. If there are many arms, it shows only the main ones (`arms.chosen`), unless `every_arm`."""

    needs: Sequence[str]  # keys of results.FILES and results.WITHIN
    caption: Callable[[list[Run]], str]
    every_arm: bool = False


@dataclass(frozen=True, kw_only=True)
class PaperFigure(RunsExhibit):
    """A figure: `<name>.pdf` and `.png`. Its caption begins with the finding, in bold, which is also the alt text."""

    draw: Callable[[list[Run]], Figure]

    def make(self, inputs: Inputs, out: Path) -> str:
        from paper_figures.lib import style

        found = inputs.usable(self.needs)
        runs = found if self.every_arm else main_arms(found)
        with style.applied():
            style.save(self.draw(runs), out, self.name)
        return self.caption(runs) + captions.arms_note(runs, found)


@dataclass(frozen=True, kw_only=True)
class PaperTable(RunsExhibit):
    """A table: `<name>.csv`, `.md`, `.tex` and `.json`. If `takes_reference`, it also shows the reference runs."""

    build: Callable[[list[Run]], tables.Table]
    takes_reference: bool = False

    def make(self, inputs: Inputs, out: Path) -> str:
        found = inputs.usable(self.needs)
        beside = load(inputs.reference) if self.takes_reference else []
        beside = [replace(run, arm=run.arm + REFERENCE) for run in beside if run.has(*self.needs)]
        runs, beside = (found, beside) if self.every_arm else (main_arms(found), main_arms(beside))
        table = self.build(runs + beside)
        tables.write_table(tables.to_csv(table), tables.as_text(table), out, self.name)
        note = f" Marked{REFERENCE}: a reference run of the project, not made with the others." if beside else ""
        return self.caption(runs) + note + captions.arms_note(runs, found)


@dataclass(frozen=True, kw_only=True)
class GroupTable(Exhibit):
    """A table of group.json, the comparison of arms over seeds."""

    to_csv: Callable[[dict[str, Any]], str]
    as_text: Callable[[dict[str, Any]], tables.TextTable]
    caption: Callable[[dict[str, Any]], str]

    def make(self, inputs: Inputs, out: Path) -> str:
        if inputs.group is None or not inputs.group.is_file():
            folders = [] if inputs.group is None else [inputs.group]
            raise NothingToShowError("there is no comparison of arms over seeds (pose-topo analyze --group)", folders)
        group = read_document(inputs.group, "group")
        tables.write_table(self.to_csv(group), self.as_text(group), out, self.name)
        return self.caption(group)


@cache
def exhibits() -> dict[str, Exhibit]:
    """Return all figures and tables by name, in the order of the paper."""
    from paper_figures import figures
    from paper_figures import tables as table_scripts

    found: list[Exhibit] = []
    for package in (figures, table_scripts):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            values = vars(importlib.import_module(module.name)).values()
            found += [value for value in values if isinstance(value, Exhibit)]
    return {exhibit.name: exhibit for exhibit in sorted(found, key=lambda exhibit: exhibit.place)}


def selected(names: Sequence[str]) -> list[Exhibit]:
    """Return the exhibits with these names.

    Raises:
        UsageError: no figure or table has one of the names.
    """
    if unknown := [name for name in names if name not in exhibits()]:
        raise UsageError(f"no figure or table {', '.join(unknown)}: give one of {', '.join(exhibits())}")
    return [exhibits()[name] for name in names]


FOLDERS: dict[str, Any] = {"type": Path, "nargs": "*", "default": [], "metavar": "DIR"}  # an option of folders


def add_results(options: argparse.ArgumentParser) -> None:
    """Add `--results` and `--debug` to a parser of `words`."""
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    about = "results folders, one per run; @FILE is a file that lists them, one per line"
    options.add_argument("--results", help=about, **FOLDERS)


def words(argv: Sequence[str] | None) -> list[str]:
    """Return the words of the command line, with the lines of a file in the place of each @FILE.

    Raises:
        PoseTopoError: there is no such file, or it is no text.
    """
    given = sys.argv[1:] if argv is None else argv
    return [line for word in given for line in (read_lines(word[1:]) if word.startswith("@") else [word])]


# ---- the command

ABOUT = """Draw figures and tables of the paper from result files.

`python -m paper_figures --results DIR [DIR ...] --out DIR` draws all of them, and `python -m paper_figures NAME ...`
those that are named. Nothing is trained, scored or measured.
"""


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m paper_figures", description=ABOUT)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures and tables to draw [default: all]")
    add_results(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files are written")
    parser.add_argument("--group", type=Path, metavar="FILE", help="group.json of the results, for table_seeds")
    parser.add_argument(
        "--reference",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="DIR",
        help="results folders of reference runs that table_topography shows beside the others",
    )
    parser.add_argument(
        "--if-there",
        action="store_true",
        help="where the results hold nothing to show, write a caption that says so, and exit with 0 "
        "[always, where no NAME is given]",
    )
    parser.add_argument("--list", action="store_true", help="print the names of all figures and tables, and exit")
    return parser.parse_intermixed_args(words(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for. Returns the worst exit code."""
    if list(sys.argv[1:] if argv is None else argv) == ["--list"]:
        print(*exhibits(), sep="\n")
        return 0

    def draw() -> int:
        given = options(argv)
        inputs = Inputs(given.results, given.reference, given.group)
        chosen = selected(given.names) if given.names else list(exhibits().values())
        if not given.names and given.group is None:
            chosen = [exhibit for exhibit in chosen if not isinstance(exhibit, GroupTable)]
        if any(isinstance(exhibit, RunsExhibit) for exhibit in chosen):
            if not given.results:
                raise UsageError("--results: give at least one results folder")
            _ = inputs.runs  # report results that cannot be read once, not for each figure
        if given.group is None and any(isinstance(exhibit, GroupTable) for exhibit in chosen):
            raise UsageError("--group: give the group.json that `pose-topo analyze --group` wrote")
        if_there = given.if_there or not given.names
        worst = 0
        for exhibit in chosen:
            worst = max(worst, exhibit.write(inputs, given.out, if_there=if_there))
            if worst == INTERRUPTED:
                break
        return worst

    return guarded("paper_figures", draw)
