"""Comparison of arms with the control over seeds: paired differences, intervals and sign-flip tests (group.json)."""

from __future__ import annotations

import csv
import io
from typing import Any

from paper_figures.lib import captions
from paper_figures.lib.arms import arm_order, chosen
from paper_figures.lib.captions import NO_VALUE, fixed
from paper_figures.lib.command import GroupTable
from paper_figures.lib.tables import TextTable

MEASURES = {  # key in group.json -> title and decimals
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
HEADER = ("Less the control", "Measure", "n", "Difference", "95% interval", "p", "smallest p")
NUMBERS = ("n", "mean", "sd", "low", "high", "p", "smallest_p")


def compared(group: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the comparisons by arm, in the order of the study."""
    found = {name.removesuffix(" - control"): content for name, content in group["comparisons"].items()}
    return {arm: found[arm] for arm in sorted(found, key=arm_order)}


def as_text(group: dict[str, Any]) -> TextTable:
    """Return the table as readers see it: a block of rows for each main arm, one row per measure."""
    rows, comparisons = [], compared(group)
    for arm in chosen([*comparisons, "control"]):
        if arm not in comparisons:
            continue
        block = [_line(comparisons[arm]["metrics"][key], *look) for key, look in MEASURES.items()]
        share = comparisons[arm]["I_over_best"]
        block = [line for line in block if line] + [["I / best I of the control", *_share(share)]]
        rows += [(arm if place == 0 else "", *line) for place, line in enumerate(block)]
    return TextTable(HEADER, tuple(rows), words=2)


def _line(found: dict[str, Any], title: str, digits: int) -> list[str] | None:
    """Return the cells of a measure, or None where no pair of runs has it."""
    if not found["n"]:
        return None
    low, high = found["low"], found["high"]
    interval = NO_VALUE if low is None else f"{fixed(low, digits)} to {fixed(high, digits)}"
    tests = [NO_VALUE if found[key] is None else fixed(found[key], 3) for key in ("p", "smallest_p")]
    return [title, str(found["n"]), fixed(found["mean"], digits), interval, *tests]


def _share(share: float | None) -> list[str]:
    return [NO_VALUE, f"ratio {fixed(share, 2)}" if share is not None else NO_VALUE, *[NO_VALUE] * 3]


def to_csv(group: dict[str, Any]) -> str:
    """Return every arm and measure, unrounded. The differences of all seeds are in one field."""
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
    """Say how the numbers were computed and over which seeds."""
    arms = compared(group)
    pairs = "; ".join(f"{arm} {captions.listed(found['seeds']) or 'none'}" for arm, found in arms.items())
    if len({tuple(found["seeds"]) for found in arms.values()}) == 1:
        pairs = captions.listed(next(iter(arms.values()))["seeds"]) or "none"
    shown = chosen([*arms, "control"])
    return (
        "Differences to the control of the same seed, which has the same split and, in the layers that both have, the "
        f"same initial weights: mean, interval ({group['interval']}) and p ({group['test']}). The smallest p is the "
        "smallest that so few pairs can give. One training run is one observation. I / best I of the control: I as a "
        "share of what sorting the channels of the control reaches; below 1 the loss organised the grid less than "
        "sorting would. Differences of percentages are in points. "
        f"{'The grid of a baseline is arbitrary. ' if 'baseline' in arms else ''}"
        f"Protocol {group['protocol']}, {group['arch']}. Seeds: {pairs}."
        f"{' Some settings deviate from the protocol.' if group['as_protocol'] is not True else ''}"
        f"{' The CSV file has all arms.' if set(arms) - set(shown) else ''}"
    )


TABLE_SEEDS = GroupTable(
    name="table_seeds",
    place=160,
    title="Every seed",
    about="differences to the control over seeds",
    to_csv=to_csv,
    as_text=as_text,
    caption=caption,
)
