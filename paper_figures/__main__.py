"""Draw figures and tables of the paper from result files.

`python -m paper_figures --results DIR [DIR ...] --out DIR` draws all of them, and `python -m paper_figures NAME ...`
those that are named. Nothing is trained, scored or measured.
"""

from __future__ import annotations

import argparse
import ast
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent


def scripts() -> dict[str, Path]:
    """Return the script of each figure and table by its name, in the order of the paper.

    They are read from the source of the scripts, because importing the scripts imports matplotlib, which is slow.
    """
    found = []
    for path in (*HERE.glob("figures/*.py"), *HERE.glob("tables/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                given = {k.arg: k.value.value for k in node.value.keywords if isinstance(k.value, ast.Constant)}
                if {"name", "place"} <= given.keys():
                    found.append((given["place"], given["name"], path))
    return {name: path for _, name, path in sorted(found)}


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    from paper_figures.lib import command

    parser = argparse.ArgumentParser(prog="python -m paper_figures", description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures and tables to draw [default: all]")
    command.add_results(parser)
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
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for. Returns the worst exit code."""
    if list(sys.argv[1:] if argv is None else argv) == ["--list"]:
        print(*scripts(), sep="\n")
        return 0
    from paper_figures.lib import command
    from pose_topo.core.errors import UsageError

    given = options(argv)
    inputs = command.Inputs(given.results, given.reference, given.group)

    def draw() -> int:
        exhibits = command.selected(given.names) if given.names else list(command.exhibits().values())
        if not given.names and given.group is None:
            exhibits = [exhibit for exhibit in exhibits if not isinstance(exhibit, command.GroupTable)]
        if any(isinstance(exhibit, command.RunsExhibit) for exhibit in exhibits):
            if not given.results:
                raise UsageError("--results: give at least one results folder")
            _ = inputs.runs  # report results that cannot be read once, not for each figure
        if given.group is None and any(isinstance(exhibit, command.GroupTable) for exhibit in exhibits):
            raise UsageError("--group: give the group.json that `pose-topo analyze --group` wrote")
        return max(one(exhibit) for exhibit in exhibits)

    def one(exhibit: command.Exhibit) -> int:
        try:
            return exhibit.write(inputs, given.out, if_there=given.if_there or not given.names)
        except Exception:  # a bug in one script must not cost the other figures
            traceback.print_exc()
            return 1

    return command.guarded("paper_figures", draw)


if __name__ == "__main__":
    raise SystemExit(main())
