"""Pieces of captions: which runs, how many, under what; all read from the result files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paper_figures.results import Run, by_arm

NO_VALUE = "–"


def about(runs: Sequence[Run]) -> str:
    """The sentence every caption ends with: protocol, backbone, data, seeds, deviations."""
    first = runs[0]
    data = next((run.data for run in runs if run.data), None)
    seeds = "; ".join(f"{arm} {', '.join(str(run.seed) for run in group)}" for arm, group in by_arm(runs).items())
    text = f"Protocol {first.protocol}, {first.arch}{f', data {data}' if data else ''}. Seeds: {seeds}."
    deviations = dict.fromkeys(d for run in runs for d in run.deviations)
    return text + (f" Deviations: {'; '.join(deviations)}." if deviations else " No deviations.")


def count(runs: Iterable[Run], file: str, key: str) -> str:
    """A whole number that runs may differ in (splits depend on the seed): "617", or "598 to 617"."""
    values = [int(value) for run in runs if file in run.json and (value := run.number(file, key)) is not None]
    if not values:
        return "an unknown number of"
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def spread(values: Iterable[float | None], digits: int) -> str:
    """A mean over seeds with its range: "0.424", or "0.424 (0.410 to 0.438)"."""
    known = [value for value in values if value is not None]
    if not known:
        return NO_VALUE
    mean = f"{sum(known) / len(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def per_arm(runs: Iterable[Run], file: str, key: str, digits: int) -> str:
    """A measure of every arm: "control -0.003, topo 0.424 (0.410 to 0.438)"."""
    return ", ".join(
        f"{arm} {spread((run.number(file, key) for run in group), digits)}" for arm, group in by_arm(runs).items()
    )


def same(runs: Iterable[Run], file: str, key: str) -> str:
    """A setting of all runs; where they differ, all its values."""
    return " / ".join(dict.fromkeys(str(run.value(file, key)) for run in runs))


SEED_NOTE = "Lines are means over seeds, bands their range; a point stands where every seed has a value."
BASELINE_NOTE = "The baseline's grid is arbitrary (its channels laid out row by row): a reference, not a map."


def baseline_note(runs: Iterable[Run]) -> str:
    """`BASELINE_NOTE` where a baseline is shown, else nothing."""
    return f" {BASELINE_NOTE}" if any(run.json.get("analysis", {}).get("model") == "baseline" for run in runs) else ""
