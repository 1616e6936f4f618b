"""Parts of captions, filled in from the result files, and the rounding of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from paper_figures.lib.results import Measure, Run, by_arm, known, measure

NO_VALUE = "–"


def about(runs: Sequence[Run]) -> str:
    """Return the sentences that end every caption: protocol, backbone, data, seeds and deviations."""
    first = runs[0]
    data = next((run.data for run in runs if run.data), None)
    text = f"Protocol {first.protocol}, {first.arch}{f', data {data}' if data else ''}. Seeds: {seeds_by_arm(runs)}."
    deviations = dict.fromkeys(d for run in runs for d in run.deviations)
    return text + (f" Deviations: {'; '.join(deviations)}." if deviations else " No deviations.")


NAMED = 6  # a caption lists up to so many arms; of more it gives the number


def seeds_by_arm(runs: Iterable[Run]) -> str:
    """Return the seeds of each arm, as in "0 to 5 (baseline, control, topo); 0 (topo-m1)"."""
    groups: dict[str, list[str]] = {}
    for arm, group in by_arm(runs).items():
        groups.setdefault(listed([run.seed for run in group]), []).append(arm)
    return "; ".join(
        f"{seeds} ({', '.join(arms) if len(arms) <= NAMED else f'each of {len(arms)} arms'})"
        for seeds, arms in groups.items()
    )


def listed(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers as a short text: "0, 1", "0 to 5" or "0, 2, 5"."""
    if len(numbers) > 2 and list(numbers) == [*range(numbers[0], numbers[-1] + 1)]:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def arms_note(shown: Sequence[Run], found: Sequence[Run]) -> str:
    """Return a note on permuted arms and on arms that are not shown; empty where there are neither."""
    permuted = by_arm(run for run in shown if run.json.get("analysis", {}).get("permuted"))
    text = f" In {', '.join(permuted)} the loss saw the channels at permuted places of the grid." if permuted else ""
    some, every = len(by_arm(shown)), len(by_arm(found))
    return text + (f" {some} of {every} arms are shown; table_losses has all." if some < every else "")


def count(runs: Iterable[Run], file: str, key: str) -> str:
    """Return a whole number in which runs may differ (splits depend on the seed): "617", or "598 to 617"."""
    values = [int(value) for value in known((run for run in runs if file in run.json), measure(file, key))]
    if not values:
        return "an unknown number of"
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def fixed(value: float, digits: int) -> str:
    """Return a number rounded to so many decimals; zero has no sign. All rounding of results happens here."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def spread(values: Iterable[float | None], digits: int) -> str:
    """Return a mean over seeds with its range: "0.424", or "0.424 (0.410 to 0.438)". None and NaN are left out."""
    found = [value for value in values if value is not None and not math.isnan(value)]
    if not found:
        return NO_VALUE
    mean, low, high = (fixed(v, digits) for v in (sum(found) / len(found), min(found), max(found)))
    return mean if low == high else f"{mean} ({low} to {high})"


def seeds_of(shown: Sequence[Run]) -> str:
    """Return the seeds of a figure with one run per arm: "seed 1", or "seeds control 1, topo 2"."""
    if len({run.seed for run in shown}) == 1:
        return f"seed {shown[0].seed}"
    return "seeds " + ", ".join(f"{run.arm} {run.seed}" for run in shown)


def each_arm(runs: Iterable[Run], text: Callable[[list[Run]], str], between: str = ", ") -> str:
    """Return what `text` says about the seeds of each arm, as in "control 0.001, topo 0.424"."""
    return between.join(f"{arm} {text(group)}" for arm, group in by_arm(runs).items())


def per_arm(runs: Iterable[Run], file: str, key: str, digits: int) -> str:
    """Return a number of each arm, as in "control -0.003, topo 0.424 (0.410 to 0.438)"."""
    return each_arm(runs, lambda group: spread(map(measure(file, key), group), digits))


def means(runs: Iterable[Run], value: Measure, digits: int) -> str:
    """Return the mean over seeds of each arm, without a range: "control -0.004, topo 0.470". NaN is left out."""
    return each_arm(runs, lambda group: spread(map(value, group), digits).partition(" (")[0])


def validation_score(runs: Iterable[Run]) -> str:
    """Return the name of the score that training reports: PCKh@0.5, or PCK@0.2 where nobody's head size is known."""
    lengths = [run.json.get("evaluation", {}).get("reference_lengths") for run in runs]
    return "PCK@0.2" if any(length and not length["pckh"]["people"] for length in lengths) else "PCKh@0.5"


def same(runs: Iterable[Run], file: str, key: str) -> str:
    """Return a setting of the runs; where they differ, all its values."""
    return " / ".join(dict.fromkeys(str(run.value(file, key)) for run in runs))


SEED_NOTE = "Lines are means over seeds and bands their range; points where a seed has no value are left out."


def baseline_note(runs: Iterable[Run]) -> str:
    """Return what the grid of a baseline is where one is shown, else an empty text."""
    if all(run.json.get("analysis", {}).get("model") != "baseline" for run in runs):
        return ""
    return " The grid of the baseline is arbitrary: its channels are laid out row by row, for comparison only."
