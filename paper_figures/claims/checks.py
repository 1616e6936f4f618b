"""The four kinds of checks that a claim is made of: each compares a statistic of runs with a required range.

order     one number is above another by a margin (paired by seed), or not farther from it than that
bound     one number is above another by a margin with 95% confidence over seeds
interval  the mean of new seeds lies where the reference seeds predict it
equal     a number that needs no training is the same again, here and in the reference results
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np
from scipy.stats import t as student

from paper_figures.lib.results import Run

Verdict = Literal["supported", "contradicted", "not run"]
Runs = Mapping[str, Run]  # by unique names
Values = dict[str, float]  # by seed, or by the name of the run
EVERY_ARM = "*"


@dataclass(frozen=True)
class Quantity:
    """A number that a result file of each run of an arm holds."""

    arm: str
    file: str
    key: str
    title: str

    def of(self, runs: Runs) -> Values:
        """Return the quantity of the runs that have it: by seed, or by run where the quantity is of every arm."""
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
    """The range in which a statistic must lie. With `strict`, the bounds are not part of it."""

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
class CheckResult:
    """The result of a check: the statistic by seed, here and in the reference, and the required range."""

    verdict: Verdict
    statistic: str
    wanted: Range | None  # None where there are too few reference runs to predict one
    here: Values
    reference: Values
    reason: str = ""


def _verdict(good: bool) -> Verdict:
    return "supported" if good else "contradicted"


def _missing(quantities: Sequence[Quantity], runs: Runs) -> str:
    """Return why there is nothing to compare."""
    if not runs:
        return "no such run here"
    if arms := dict.fromkeys(q.arm for q in quantities if all(q.arm not in (r.arm, EVERY_ARM) for r in runs.values())):
        return f"no run of {' and '.join(arms)} here"
    if missing := dict.fromkeys(str(quantity) for quantity in quantities if not quantity.of(runs)):
        return f"no {' and no '.join(missing)}"
    return "no seed has both"


# ---- order


@dataclass(frozen=True)
class Order:
    """`greater` is above `than` by at least `by`, or, with `within`, differs from it by at most that.

    The mean over seeds decides, or with `every_seed` each seed.
    """

    greater: Quantity | float
    than: Quantity | float
    by: float | None = None  # None: by any amount
    within: float | None = None
    every_seed: bool = False

    def __post_init__(self) -> None:
        if not self.quantities() or (self.by is not None and self.within is not None):
            raise TypeError("an order needs a quantity on at least one side, and not both of by and within")

    def quantities(self) -> tuple[Quantity, ...]:
        return tuple(side for side in (self.greater, self.than) if isinstance(side, Quantity))

    def judge(self, here: Runs, reference: Runs) -> CheckResult:
        mine, theirs = self._statistic(here), self._statistic(reference)
        said = CheckResult("not run", self._title(), self._wanted(), mine, theirs)
        if not mine:
            return replace(said, reason=_missing(self.quantities(), here))
        decides = mine.values() if self.every_seed else [fmean(mine.values())]
        verdict = _verdict(all(map(self._wanted().holds, decides)))
        return replace(said, verdict=verdict, reason="each seed must hold" if self.every_seed else "")

    def _statistic(self, runs: Runs) -> Values:
        """Return the quantity, or the difference of the two in the seeds that both have."""
        columns = [quantity.of(runs) for quantity in self.quantities()]
        if len(columns) == 1:
            return columns[0]
        first, second = columns
        return {seed: first[seed] - second[seed] for seed in first if seed in second}

    def _wanted(self) -> Range:
        centre = next((side for side in (self.greater, self.than) if not isinstance(side, Quantity)), 0.0)
        if self.within is not None:
            return Range(centre - self.within, centre + self.within)
        if isinstance(self.greater, Quantity):
            return Range(low=centre + (self.by or 0.0), strict=self.by is None)
        return Range(high=centre - (self.by or 0.0), strict=self.by is None)

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


# ---- bound

FEWEST_SEEDS = 3  # with two, t has one degree of freedom, and an interval holds almost everything


@dataclass(frozen=True)
class Bound(Order):
    """`greater` is above `than` by at least `by`, with `level` % confidence over seeds.

    With the differences of n seeds, of mean m and standard deviation s, the one-sided lower confidence bound

        m - t(n - 1) * s / sqrt(n)

    is at least `by` (Student's t).
    """

    level: float = 95.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.greater, Quantity) or self.within is not None or self.every_seed:
            raise TypeError("a bound needs a quantity as greater, and neither within nor every_seed")

    def judge(self, here: Runs, reference: Runs) -> CheckResult:
        said = super().judge(here, reference)
        seeds = list(said.here.values())
        if len(seeds) < FEWEST_SEEDS:
            reason = said.reason or f"{len(seeds)} of at least {FEWEST_SEEDS} seeds"
            return replace(said, verdict="not run", reason=reason)
        bound = lower_bound(seeds, self.level)
        reason = f"with {self.level:.4g}% confidence, the mean is at least {bound:.4g}"
        return replace(said, verdict=_verdict(self._wanted().holds(bound)), reason=reason)


def lower_bound(values: Sequence[float], level: float) -> float:
    """Return the one-sided lower confidence bound (%) of the mean of at least two values, by Student's t."""
    quantile = float(student.ppf(level / 100, len(values) - 1))
    return fmean(values) - quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


# ---- interval


@dataclass(frozen=True)
class Interval:
    """The mean of m new seeds lies in the prediction interval of n reference seeds.

        mean ± t(n - 1) * s * sqrt(1 / m + 1 / n)

    with s their standard deviation. The interval holds `level` % of correct reruns, whatever their spread is. A fixed
    interval of ±0.5 points would reject 7% of correct reruns, and accept a true loss of 0.5 points half of the time.

    With `pool`, s is that of the seeds of all quantities in the pool, each about its own mean, and t has the sum of
    their degrees of freedom. It is for quantities with three seeds each, whose own interval would hold almost
    everything, and assumes the same spread for all of them.
    """

    quantity: Quantity
    level: float
    pool: tuple[Quantity, ...] = ()

    def quantities(self) -> tuple[Quantity, ...]:
        return (self.quantity,)

    def expected(self, reference: Runs, new: int = 1) -> Range | None:
        """Return the range for the mean of `new` seeds, or None with fewer than `FEWEST_SEEDS` reference seeds."""
        seeds = list(self.quantity.of(reference).values())
        if len(seeds) < FEWEST_SEEDS:
            return None
        groups = [list(quantity.of(reference).values()) for quantity in self.pool] or [seeds]
        return prediction_interval(seeds, new, self.level, *pooled_spread(groups))

    def judge(self, here: Runs, reference: Runs) -> CheckResult:
        seeds = self.quantity.of(reference)
        committed = {run.folder.resolve() for run in reference.values()}
        mine = self.quantity.of({name: run for name, run in here.items() if run.folder.resolve() not in committed})
        said = CheckResult("not run", str(self.quantity), None, mine, seeds)
        wanted = self.expected(reference, len(mine) or 1)
        if wanted is None:
            return replace(said, reason=f"the reference has {len(seeds)} of at least {FEWEST_SEEDS} seeds")
        if not mine:
            own = bool(self.quantity.of(here))
            reason = "these are the reference runs themselves" if own else _missing(self.quantities(), here)
            return replace(said, reason=reason)
        if all(seeds.get(seed) == value for seed, value in mine.items()):
            reason = f"repeats seed {', '.join(mine)} of the reference to the last digit"
        else:
            number = f"{len(mine)} seed{'s' * (len(mine) > 1)}"
            reason = f"{self.level:.4g}% of correct reruns with {number} lie in this range"
        return replace(said, verdict=_verdict(wanted.holds(fmean(mine.values()))), wanted=wanted, reason=reason)


def prediction_interval(reference: Sequence[float], new: int, level: float, spread: float, freedom: int) -> Range:
    """Return where the mean of `new` seeds lies in `level` % of the cases, given the `reference` seeds (Student's t).

    `spread` is their standard deviation, estimated with `freedom` degrees of freedom.
    """
    quantile = float(student.ppf(0.5 + level / 200, freedom))
    half = quantile * spread * math.sqrt(1 / new + 1 / len(reference))
    return Range(fmean(reference) - half, fmean(reference) + half)


def pooled_spread(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation of the values about the means of their groups, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups if group)
    squares = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / freedom), freedom


# ---- equal


def mean_moran(run: Run) -> float | None:
    """Return Moran's I averaged over the |head weight| maps of the joints: queen neighbours, binary, bounded grid.

    I = (C / S0) * sum_ij w_ij z_i z_j / sum_i z_i^2 (Moran 1950). Maps are shifted onto their neighbours here, while
    pose_topo multiplies with a matrix of neighbour weights. None where the run has no maps, or no map varies.
    """
    if not run.has("maps"):
        return None
    maps = run.maps["strength"]  # (K, h, w)
    z = maps - maps.mean((1, 2), keepdims=True)
    height, width = z.shape[1:]
    products, pairs = np.zeros(len(z)), 0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):  # so that each pair of neighbours counts once
        here = z[:, : height - down, max(0, -right) : width - max(0, right)]
        there = z[:, down:, max(0, right) : width + min(0, right)]
        products += (here * there).sum((1, 2))
        pairs += here[0].size
    squares = (z**2).sum((1, 2))
    varies = squares > 0  # a map without variance has no I
    return float((height * width / pairs * products[varies] / squares[varies]).mean()) if varies.any() else None


def curve_area(run: Run) -> float | None:
    """Return the AUC (%) by the trapezoidal rule over the PCKh curve."""
    curve = run.value("evaluation", "curve")
    score, at = np.array(curve["mean"]), np.array(curve["thresholds"])
    return float(((score[1:] + score[:-1]) / 2 * np.diff(at)).sum() / (at[-1] - at[0]))


RECOMPUTED: dict[str, Callable[[Run], float | None]] = {"mean_moran": mean_moran, "curve_area": curve_area}


@dataclass(frozen=True)
class Equal:
    """A number equals `value`, or what `recomputed` computes from the arrays beside it; neither needs training.

    Recomputing detects an edited number, and a number that was measured with another version than the arrays.
    """

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

    def judge(self, here: Runs, reference: Runs) -> CheckResult:
        mine, theirs = self._statistic(here), self._statistic(reference)
        centre = self.value or 0.0
        wanted = Range(centre - self.within, centre + self.within)
        title = f"{self.quantity}, recomputed − stated" if self.recomputed else str(self.quantity)
        said = CheckResult("not run", title, wanted, mine, theirs)
        if not (mine or theirs):
            return replace(said, reason=_missing(self.quantities(), here))
        good = all(wanted.holds(value) for value in (*mine.values(), *theirs.values()))
        bare = [name for name in self.quantity.of(here) if name not in mine]
        bare += [name for name in self.quantity.of(reference) if name not in theirs]
        if good and bare:
            return replace(said, reason=f"no arrays beside {bare[0]}" + (" and others" if len(bare) > 1 else ""))
        return replace(said, verdict=_verdict(good), reason="every run must hold" if self.recomputed else "")

    def _statistic(self, runs: Runs) -> Values:
        found = self.quantity.of(runs)
        if self.recomputed is None:
            return found
        again = {name: RECOMPUTED[self.recomputed](runs[name]) for name in found}
        return {name: value - found[name] for name, value in again.items() if value is not None}


# A new kind is one more class with `quantities()`, which it compares, and `judge(here, reference)`, which judges the
# runs made here; `reference` holds the reference runs of the same profile.
Check = Order | Interval | Equal
KINDS: dict[str, type[Check]] = {"order": Order, "bound": Bound, "interval": Interval, "equal": Equal}
