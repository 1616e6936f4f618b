"""Arms against the control over seeds: paired differences, intervals and sign-flip tests (group.json).

`python -m paper_figures.tables.seeds --group FILE --out DIR`; the file is what `pose-topo analyze --group` wrote.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_figures.lib import captions, command
from paper_figures.lib.arms import arm_order, chosen
from paper_figures.lib.captions import NO_VALUE, fixed
from paper_figures.lib.tables import write_cells
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json
from pose_topo.core.schemas import GROUP

NAME = "table_seeds"
MEASURES = {  # as group.json names them -> for readers, decimals
    "I": ("Moran's I of |w|", 3),
    "I_normalised": ("Moran's I, normalised", 3),
    "I_activity": ("Moran's I, activity", 3),
    "I_rearranged": ("I, best rearrangement", 3),
    "contiguity": ("Contiguity", 3),
    "regions": ("Connected parcels", 1),
    "neighbour_correlation": ("Correlation, neighbours", 3),
    "smoothness": ("Smoothness", 3),
    "wiring": ("Wiring length (cells)", 2),
    "effective_dimensionality": ("Effective dimensionality", 1),
    "participation_ratio": ("Participation ratio", 1),
    "mean_row_norm": ("Mean row norm", 3),
    "PCKh@0.5": ("PCKh@0.5", 1),
    "PCKh@0.1": ("PCKh@0.1", 1),
    "AUC": ("AUC", 1),
}
HEADER = ["Less the control", "Measure", "n", "Difference", "95% interval", "p", "smallest p"]
NUMBERS = ("n", "mean", "sd", "low", "high", "p", "smallest_p")


def load(path: Path) -> dict[str, Any]:
    """group.json.

    Raises:
        NothingToShowError: there is none.
        PoseTopoError: it is another file.
    """
    if not path.is_file():
        raise command.NothingToShowError(
            "there is no comparison of arms over seeds (pose-topo analyze --group)", [path]
        )
    content = read_json(path)
    if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != ("group", GROUP):
        raise PoseTopoError(f"{path} is not a schema {GROUP} group file: make it anew")
    return content


def compared(group: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The comparisons by arm, in the order of the study."""
    found = {name.removesuffix(" - control"): content for name, content in group["comparisons"].items()}
    return {arm: found[arm] for arm in sorted(found, key=arm_order)}


def cells(group: dict[str, Any]) -> list[list[str]]:
    """What readers see: the main arms, a line a measure."""
    lines, comparisons = [HEADER], compared(group)
    for arm in chosen([*comparisons, "control"]):
        if arm not in comparisons:
            continue
        block = [_line(comparisons[arm]["metrics"][key], *look) for key, look in MEASURES.items()]
        share = comparisons[arm]["I_over_best"]
        block = [line for line in block if line] + [["I / best I of the control", *_share(share)]]
        lines += [[arm if place == 0 else "", *line] for place, line in enumerate(block)]
    return lines


def _line(found: dict[str, Any], title: str, digits: int) -> list[str] | None:
    """A measure's cells; None where no pair has it."""
    if not found["n"]:
        return None
    low, high = found["low"], found["high"]
    interval = NO_VALUE if low is None else f"{fixed(low, digits)} to {fixed(high, digits)}"
    tests = [NO_VALUE if found[key] is None else fixed(found[key], 3) for key in ("p", "smallest_p")]
    return [title, str(found["n"]), fixed(found["mean"], digits), interval, *tests]


def _share(share: float | None) -> list[str]:
    return [NO_VALUE, f"ratio {fixed(share, 2)}" if share is not None else NO_VALUE, *[NO_VALUE] * 3]


def to_csv(group: dict[str, Any]) -> str:
    """Every arm and measure, unrounded; the differences of the seeds in one field each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arm", "measure", *NUMBERS, "seeds", "differences", "I_over_best"])
    for arm, comparison in compared(group).items():
        for key in MEASURES:
            found = comparison["metrics"][key]
            several = (" ".join(map(str, found[name])) for name in ("seeds", "differences"))
            share = comparison["I_over_best"] if key == "I" else None
            writer.writerow([arm, key, *(found[name] for name in NUMBERS), *several, share])
    return text.getvalue()


def caption(group: dict[str, Any]) -> str:
    """How the numbers were made, and over which seeds."""
    arms = compared(group)
    pairs = "; ".join(f"{arm} {captions.listed(found['seeds']) or 'none'}" for arm, found in arms.items())
    if len({tuple(found["seeds"]) for found in arms.values()}) == 1:
        pairs = captions.listed(next(iter(arms.values()))["seeds"]) or "none"
    shown = chosen([*arms, "control"])
    return (
        "Differences to the control of the same seed (same split, same start where layers are shared): mean, interval "
        f"({group['interval']}) and p ({group['test']}); the smallest p is what so few pairs can give at best. "
        "The training run is the unit. I / best I of the control: I as a share of what rearranging the control's "
        "channels reaches; below 1 the loss organised less than a sort would. Percentages in points. "
        f"{'Of a baseline the grid is arbitrary. ' if 'baseline' in arms else ''}"
        f"Protocol {group['protocol']}, {group['arch']}. Seeds: {pairs}."
        f"{' Settings depart from the protocol.' if group['as_protocol'] is not True else ''}"
        f"{' The CSV has all arms.' if set(arms) - set(shown) else ''}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m paper_figures.{NAME}", description=__doc__)
    parser.add_argument("--group", type=Path, required=True, metavar="FILE", help="group.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the output goes")
    command.add_if_there(parser)
    options = parser.parse_args(argv)

    def action() -> str:
        group = load(options.group)
        write_cells(to_csv(group), cells(group), options.out, NAME, words=2)
        return caption(group)

    return command.deliver(NAME, options, action)


if __name__ == "__main__":
    raise SystemExit(main())
