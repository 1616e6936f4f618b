"""Claims as typed values, and how one is judged against runs. claims.toml says what the fields mean."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Protocol

from paper_figures.results import Run, one_study
from pose_topo.errors import PoseTopoError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]

Verdict = Literal["supported", "contradicted", "not run"]


@dataclass(frozen=True)
class Quantity:
    """A number in a result file of every run of an arm."""

    arm: str
    file: str
    key: str

    def __str__(self) -> str:
        return f"{self.arm} {self.file}:{self.key}"


class Check(Protocol):
    """One comparison. A new kind is one more such class, and its line in `KINDS`."""

    @property
    def every_seed(self) -> bool: ...

    def quantities(self) -> tuple[Quantity, ...]:
        """What must be measured."""
        ...

    def holds(self, values: Sequence[float]) -> bool:
        """Whether values of `quantities()`, in that order, agree."""
        ...

    def wanted(self) -> str:
        """The comparison in words."""
        ...


@dataclass(frozen=True)
class Threshold:
    """A number against fixed bounds."""

    quantity: Quantity
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    every_seed: bool = False

    def __post_init__(self) -> None:
        if not self._bounds():
            raise TypeError("a threshold needs at_least, above, at_most or below")

    def _bounds(self) -> list[tuple[str, float]]:
        bounds = ((">=", self.at_least), (">", self.above), ("<=", self.at_most), ("<", self.below))
        return [(sign, bound) for sign, bound in bounds if bound is not None]

    def quantities(self) -> tuple[Quantity, ...]:
        return (self.quantity,)

    def holds(self, values: Sequence[float]) -> bool:
        (value,) = values
        tests = {">=": value.__ge__, ">": value.__gt__, "<=": value.__le__, "<": value.__lt__}
        return all(tests[sign](bound) is True for sign, bound in self._bounds())

    def wanted(self) -> str:
        return f"{self.quantity} " + " and ".join(f"{sign} {bound:g}" for sign, bound in self._bounds())


@dataclass(frozen=True)
class Order:
    """One number above another, by a margin."""

    greater: Quantity
    than: Quantity
    by: float = 0.0
    every_seed: bool = False

    def quantities(self) -> tuple[Quantity, ...]:
        return self.greater, self.than

    def holds(self, values: Sequence[float]) -> bool:
        greater, than = values
        return greater - than >= self.by if self.by else greater > than

    def wanted(self) -> str:
        return f"{self.greater} above {self.than}" + (f" by >= {self.by:g}" if self.by else "")


@dataclass(frozen=True)
class Interval:
    """A number near another, or near a fixed one."""

    quantity: Quantity
    around: Quantity | float
    within: float
    every_seed: bool = False

    def quantities(self) -> tuple[Quantity, ...]:
        return (self.quantity, self.around) if isinstance(self.around, Quantity) else (self.quantity,)

    def holds(self, values: Sequence[float]) -> bool:
        centre = values[1] if isinstance(self.around, Quantity) else self.around
        return abs(values[0] - centre) <= self.within

    def wanted(self) -> str:
        centre = self.around if isinstance(self.around, Quantity) else f"{self.around:g}"
        return f"{self.quantity} within {self.within:g} of {centre}"


KINDS: dict[str, type] = {"threshold": Threshold, "order": Order, "interval": Interval}


@dataclass(frozen=True)
class Claim:
    """What is claimed, for which protocol, and the checks that must all hold."""

    id: str
    statement: str
    profile: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Finding:
    """A check's outcome: what was wanted and, by quantity and seed, what was measured."""

    verdict: Verdict
    wanted: str
    measured: dict[str, dict[int, float]]
    reason: str = ""

    def __str__(self) -> str:
        means = (f"{name} = {fmean(seeds.values()):.4g}" for name, seeds in self.measured.items() if seeds)
        return ", ".join(means) + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Judged:
    """A claim with its findings."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """One contradicted check contradicts the claim; one that was not run leaves it open."""
        found = {finding.verdict for finding in self.findings}
        if "contradicted" in found:
            return "contradicted"
        return "not run" if "not run" in found else "supported"


def load_claims(path: Path) -> list[Claim]:
    """Read a claims file.

    Raises:
        PoseTopoError: it is missing, not TOML, or holds a field or kind that does not exist.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        claims = [_claim(entry) for entry in content["claim"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PoseTopoError(f"{path}: not a claims file ({type(error).__name__}: {error})") from None
    if len({claim.id for claim in claims}) < len(claims):
        raise PoseTopoError(f"{path}: two claims have the same id")
    return claims


def _claim(entry: dict[str, Any]) -> Claim:
    checks = tuple(_check(dict(check)) for check in entry["check"])
    if unknown := set(entry) - {"id", "statement", "profile", "check"}:
        raise ValueError(f"claim {entry['id']}: unknown {sorted(unknown)}")
    if not checks:
        raise ValueError(f"claim {entry['id']}: no check")
    return Claim(entry["id"], entry["statement"], entry["profile"], checks)


def _check(entry: dict[str, Any]) -> Check:
    kind = entry.pop("kind")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: give one of {', '.join(KINDS)}")
    return KINDS[kind](**{k: Quantity(**v) if isinstance(v, dict) else v for k, v in entry.items()})


def judge(claim: Claim, runs: Sequence[Run]) -> Judged:
    """Judge a claim by the runs of its profile.

    Raises:
        PoseTopoError: those runs cannot be compared, or a file lacks a key that the claim names.
    """
    runs = [run for run in runs if run.protocol == claim.profile and run.as_protocol]
    one_study(runs)
    return Judged(claim, tuple(_find(check, runs) for check in claim.checks))


def _find(check: Check, runs: Sequence[Run]) -> Finding:
    quantities = check.quantities()
    measured = {str(quantity): _measure(quantity, runs) for quantity in quantities}
    if missing := [name for name, seeds in measured.items() if not seeds]:
        return Finding("not run", check.wanted(), measured, f"no {' and no '.join(missing)}")
    common = sorted(set.intersection(*(set(seeds) for seeds in measured.values())))
    if not common:
        return Finding("not run", check.wanted(), measured, "no seed has both")
    paired = {name: {seed: seeds[seed] for seed in common} for name, seeds in measured.items()}
    columns = [paired[str(quantity)] for quantity in quantities]
    if check.every_seed:
        good = all(check.holds([column[seed] for column in columns]) for seed in common)
    else:
        good = check.holds([fmean(column.values()) for column in columns])
    return Finding("supported" if good else "contradicted", check.wanted(), paired)


def _measure(quantity: Quantity, runs: Sequence[Run]) -> dict[int, float]:
    """The quantity by seed, of the runs that have it."""
    mine = [run for run in runs if run.arm == quantity.arm and quantity.file in run.json]
    return {run.seed: v for run in mine if (v := run.number(quantity.file, quantity.key)) is not None}
