"""Numbers of the result files worked out again from the arrays that lie beside them, by other means than the stages'.

Whoever edits a number, or measures with another version than drew the maps, is found without any training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, Protocol

import numpy as np
from scipy.stats import t as student

from paper_figures.lib.results import Run


def mean_moran(run: Run) -> float | None:
    """Mean Moran's I of the joints' strength maps: queen neighbours, binary, bounded grid.

    I = (C / S0) * sum_ij w_ij z_i z_j / sum_i z_i^2 (Moran 1950), here by shifting the map onto its neighbours.
    """
    if not run.has("maps"):
        return None
    maps = run.maps["strength"]  # (K, h, w)
    z = maps - maps.mean((1, 2), keepdims=True)
    height, width = z.shape[1:]
    products, pairs = np.zeros(len(z)), 0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):  # each pair of neighbours once
        here = z[:, : height - down, max(0, -right) : width - max(0, right)]
        there = z[:, down:, max(0, right) : width + min(0, right)]
        products += (here * there).sum((1, 2))
        pairs += here[0].size
    squares = (z**2).sum((1, 2))
    varies = squares > 0  # a map without variance has no I
    return float((height * width / pairs * products[varies] / squares[varies]).mean()) if varies.any() else None


def curve_area(run: Run) -> float | None:
    """AUC as the mean of the PCKh curve's neighbouring points, %."""
    curve = run.value("evaluation", "curve")
    score, at = np.array(curve["mean"]), np.array(curve["thresholds"])
    return float(((score[1:] + score[:-1]) / 2 * np.diff(at)).sum() / (at[-1] - at[0]))


RECOMPUTED: dict[str, Callable[[Run], float | None]] = {"mean_moran": mean_moran, "curve_area": curve_area}


# ---- What a check measures, the range it must lie in, and what was found.

Verdict = Literal["supported", "contradicted", "not run"]
Runs = Mapping[str, Run]  # by a name that tells them apart
Values = dict[str, float]  # by seed, or by run
EVERY_ARM = "*"


@dataclass(frozen=True)
class Quantity:
    """A number in a result file of every run of an arm."""

    arm: str
    file: str
    key: str
    title: str

    def of(self, runs: Runs) -> Values:
        """The quantity by seed (of every arm: by run), of the runs that have it."""
        mine = {name: run for name, run in runs.items() if self.arm in (run.arm, EVERY_ARM) and self.file in run.json}
        return {
            name if self.arm == EVERY_ARM else str(run.seed): value
            for name, run in mine.items()
            if (value := run.number(self.file, self.key)) is not None
        }

    def __str__(self) -> str:
        return self.title if self.arm == EVERY_ARM else f"{self.title} of {self.arm}"


@dataclass(frozen=True)
class Range:
    """Where a statistic must lie; a `strict` bound itself is outside."""

    low: float | None = None
    high: float | None = None
    strict: bool = False

    def holds(self, value: float) -> bool:
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return low < value < high if self.strict else low <= value <= high

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:.4g} to {self.high:.4g}"
        sign, bound = (">", self.low) if self.high is None else ("<", self.high)
        return f"{sign if self.strict else {'>': '≥', '<': '≤'}[sign]} {bound:g}"


@dataclass(frozen=True)
class Finding:
    """A check's outcome: the statistic by seed here and in the reference, and the range that was wanted."""

    verdict: Verdict
    statistic: str
    wanted: Range | None  # None: without a reference there is none
    here: Values
    reference: Values
    reason: str = ""


# ---- What a claim compares: a statistic of every run and the range its values must lie in. Three kinds of it.
#
# order     A above B by a margin (paired by seed), or no farther from it; B may be a fixed number
# interval  the mean of new seeds lies where the reference seeds predict it
# equal     deterministic post-processing gives the same number again, here and on the reference

FEWEST_SEEDS = 3  # of the reference: with two, t has one degree of freedom and the interval holds nearly everything


class Check(Protocol):
    """One comparison. A new kind is one more such class, and its line in `KINDS`."""

    def quantities(self) -> tuple[Quantity, ...]:
        """What must be measured."""
        ...

    def judge(self, here: Runs, reference: Runs) -> Finding:
        """Judge the runs `here`; `reference` holds the committed runs of the same profile."""
        ...


@dataclass(frozen=True)
class Order:
    """`greater` above `than`, by a margin, or with `within` no farther from it than that, either way.

    Over seeds means decide; with `every_seed` each seed must hold.
    """

    greater: Quantity | float
    than: Quantity | float
    by: float | None = None  # None: above at all
    within: float | None = None
    every_seed: bool = False

    def __post_init__(self) -> None:
        if not self.quantities() or (self.by is not None and self.within is not None):
            raise TypeError("an order needs a quantity on one side at least, and by or within or neither")

    def quantities(self) -> tuple[Quantity, ...]:
        return tuple(side for side in (self.greater, self.than) if isinstance(side, Quantity))

    def judge(self, here: Runs, reference: Runs) -> Finding:
        mine, theirs = self._statistic(here), self._statistic(reference)
        said = Finding("not run", self._title(), self._wanted(), mine, theirs)
        if not mine:
            return _with(said, "not run", _missing(self.quantities(), here))
        good = _all_or_mean(self._wanted(), mine, self.every_seed)
        return _with(said, "supported" if good else "contradicted", "each seed must hold" if self.every_seed else "")

    def _statistic(self, runs: Runs) -> Values:
        """The quantity, or the difference of both in the seeds that both have."""
        columns = [quantity.of(runs) for quantity in self.quantities()]
        if len(columns) == 1:
            return columns[0]
        first, second = columns
        return {seed: first[seed] - second[seed] for seed in first if seed in second}

    def _wanted(self) -> Range:
        margin, strict = self.by or 0.0, self.by is None and self.within is None
        if not isinstance(self.greater, Quantity):
            centre, sign = self.greater, -1
        else:
            centre, sign = 0.0 if isinstance(self.than, Quantity) else self.than, 1
        if self.within is not None:
            return Range(centre - self.within, centre + self.within)
        bound = centre + sign * margin
        return Range(low=bound, strict=strict) if sign > 0 else Range(high=bound, strict=strict)

    def _title(self) -> str:
        both = self.quantities()
        if len(both) == 1:
            return str(both[0])
        first, second = both
        if first.title == second.title:
            return f"{first.title}, {first.arm} − {second.arm}"
        if first.arm == second.arm:
            return f"{first.title} − {second.title}, {first.arm}"
        return f"{first} − {second}"


@dataclass(frozen=True)
class Interval:
    """The mean of m new seeds lies in the prediction interval of n reference seeds:

        mean ± t(n - 1) * s * sqrt(1 / m + 1 / n)

    with s their standard deviation. A fixed ±0.5 points would reject 7% of honest reruns and pass a true loss of 0.5
    every other time; this interval holds `level` % of honest reruns whatever their spread is.

    With `pool` the seeds of all its quantities tell s together, about each one's own mean, and t has as many degrees of
    freedom as they have in sum: from three seeds alone the interval would hold nearly everything. It takes the spread
    to be the same for all of them.
    """

    quantity: Quantity
    level: float
    pool: tuple[Quantity, ...] = ()

    def quantities(self) -> tuple[Quantity, ...]:
        return (self.quantity,)

    def judge(self, here: Runs, reference: Runs) -> Finding:
        seeds = self.quantity.of(reference)
        committed = {run.folder.resolve() for run in reference.values()}
        mine = self.quantity.of({name: run for name, run in here.items() if run.folder.resolve() not in committed})
        said = Finding("not run", str(self.quantity), None, mine, seeds)
        if len(seeds) < FEWEST_SEEDS:
            return _with(said, "not run", f"the reference has {len(seeds)} of at least {FEWEST_SEEDS} seeds")
        if not mine:
            own = bool(self.quantity.of(here))
            reason = "these are the reference runs themselves" if own else _missing(self.quantities(), here)
            return _with(said, "not run", reason)
        groups = [list(quantity.of(reference).values()) for quantity in self.pool] or [list(seeds.values())]
        wanted = prediction_interval(list(seeds.values()), len(mine), self.level, *pooled_spread(groups))
        good = _all_or_mean(wanted, mine, every=False)
        finding = Finding("supported" if good else "contradicted", said.statistic, wanted, mine, seeds)
        if all(seeds.get(seed) == value for seed, value in mine.items()):
            return _with(finding, finding.verdict, f"repeats the reference's seed {', '.join(mine)} to the last digit")
        return _with(
            finding,
            finding.verdict,
            f"{self.level:.4g}% of honest reruns with {len(mine)} seed{'s' * (len(mine) > 1)} lie there",
        )


@dataclass(frozen=True)
class Equal:
    """A number that needs no training is `value`, or what is worked out again from the arrays beside it."""

    quantity: Quantity
    within: float
    value: float | None = None
    recomputed: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.recomputed is None):
            raise TypeError("give either value or recomputed")
        if self.recomputed is not None and self.recomputed not in RECOMPUTED:
            raise ValueError(f"recomputed {self.recomputed!r}: give one of {', '.join(RECOMPUTED)}")

    def quantities(self) -> tuple[Quantity, ...]:
        return (self.quantity,)

    def judge(self, here: Runs, reference: Runs) -> Finding:
        mine, theirs = self._statistic(here), self._statistic(reference)
        centre = self.value or 0.0
        wanted = Range(centre - self.within, centre + self.within)
        title = f"{self.quantity}, recomputed − said" if self.recomputed else str(self.quantity)
        said = Finding("not run", title, wanted, mine, theirs)
        if not (mine or theirs):
            return _with(said, "not run", _missing(self.quantities(), here))
        good = all(wanted.holds(value) for value in (*mine.values(), *theirs.values()))
        if good and (bare := [name for runs in (here, reference) for name in self._bare(runs)]):
            return _with(said, "not run", f"no arrays beside {bare[0]}" + (" and others" if len(bare) > 1 else ""))
        return _with(said, "supported" if good else "contradicted", "every run must hold" if self.recomputed else "")

    def _bare(self, runs: Runs) -> list[str]:
        """The runs that have the number, but not what it is worked out of."""
        if self.recomputed is None:
            return []
        return [name for name in self.quantity.of(runs) if RECOMPUTED[self.recomputed](runs[name]) is None]

    def _statistic(self, runs: Runs) -> Values:
        found = self.quantity.of(runs)
        if self.recomputed is None:
            return found
        name, again = self.recomputed, {}
        for run_name, value in found.items():
            worked_out = RECOMPUTED[name](runs[run_name])
            if worked_out is not None:
                again[run_name] = worked_out - value
        return again


KINDS: dict[str, type] = {"order": Order, "interval": Interval, "equal": Equal}


def prediction_interval(reference: Sequence[float], new: int, level: float, spread: float, freedom: int) -> Range:
    """Where the mean of `new` seeds lies in `level` % of the cases, after `reference` seeds (Student's t).

    `spread` is their standard deviation, known with `freedom` degrees of freedom.
    """
    quantile = float(student.ppf(0.5 + level / 200, freedom))
    half = quantile * spread * math.sqrt(1 / new + 1 / len(reference))
    return Range(fmean(reference) - half, fmean(reference) + half)


def pooled_spread(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation of values about the means of their groups, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups if group)
    squares = sum((value - fmean(group)) ** 2 for group in groups if group for value in group)
    return math.sqrt(squares / freedom), freedom


def _all_or_mean(wanted: Range, values: Values, every: bool) -> bool:
    return all(map(wanted.holds, values.values())) if every else wanted.holds(fmean(values.values()))


def _missing(quantities: Sequence[Quantity], runs: Runs) -> str:
    """Why there is nothing to compare."""
    if not runs:
        return "no such run here"
    if arms := dict.fromkeys(q.arm for q in quantities if all(q.arm not in (r.arm, EVERY_ARM) for r in runs.values())):
        return f"no run of {' and '.join(arms)} here"
    if missing := dict.fromkeys(str(quantity) for quantity in quantities if not quantity.of(runs)):
        return f"no {' and no '.join(missing)}"
    return "no seed has both"


def _with(finding: Finding, verdict: Verdict, reason: str) -> Finding:
    return replace(finding, verdict=verdict, reason=reason)
