"""What a check measures, the range it must lie in, and what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from paper_figures.results import Run

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
