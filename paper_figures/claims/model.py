"""Claims, and the profiles they are about, as typed values; claims.toml says what the fields mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from paper_figures.claims.checks import KINDS, Check, Quantity
from paper_figures.claims.limits import Limits, parse_limits
from paper_figures.lib.results import Run
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_toml
from pose_topo.scoring.published import same_people

CLAIMS = Path(__file__).with_name("claims.toml")
BROKEN = (ValueError, TypeError, KeyError, AttributeError)  # what a wrong entry raises
SIDES = ("greater", "than", "quantity")


@dataclass(frozen=True)
class Profile:
    """Which runs claims are about. What is None is not asked: the profile `every` takes all runs."""

    id: str
    about: str
    command: str  # makes its runs and its figures
    data: str | None = None
    protocol: str | None = None
    arch: str | None = None
    disk: str | None = None  # measured; no result file holds it
    published_people: bool = False  # MPII's own, of the published split

    def holds(self, run: Run) -> bool:
        """Whether a run is one of this profile, with nothing set otherwise than its arm says."""
        wanted = ((self.data, run.data), (self.protocol, run.protocol), (self.arch, run.arch))
        if self.published_people and not _of_published_people(run):
            return False
        return run.as_protocol and all(asked in (None, found) for asked, found in wanted)


def _of_published_people(run: Run) -> bool:
    evaluation = run.json.get("evaluation", {})
    return not evaluation.get("rendered", True) and same_people(evaluation.get("settings"))


@dataclass(frozen=True)
class Claim:
    """What is claimed of a profile, and the checks, all of one kind, that must all hold."""

    id: str
    statement: str
    kind: str
    profile: Profile
    checks: tuple[Check, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms it compares."""
        return tuple(dict.fromkeys(q.arm for check in self.checks for q in check.quantities()))


@dataclass(frozen=True)
class Study:
    """A whole claims file."""

    profiles: dict[str, Profile]
    claims: tuple[Claim, ...]
    level: float  # %, of interval claims
    limits: Limits = field(default_factory=Limits)


def load_study(path: Path = CLAIMS) -> Study:
    """Read a claims file.

    Raises:
        PoseTopoError: it is missing, not TOML, or holds a field or kind that does not exist.
    """
    content = read_toml(path)
    try:
        profiles = {name: _plain(Profile, {"id": name, **entry}) for name, entry in content["profile"].items()}
        known = {"titles": content["title"], "level": float(content["level"]), "profiles": profiles}
        claims = tuple(claim for entry in content["claim"] for claim in _claims(entry, **known))
        order = list(profiles)
        claims = tuple(sorted(claims, key=lambda claim: order.index(claim.profile.id)))
        limits = parse_limits(content, profiles)
    except BROKEN as error:
        raise PoseTopoError(f"{path}: not a claims file ({type(error).__name__}: {error})") from None
    if len({(claim.id, claim.profile.id) for claim in claims}) < len(claims):
        raise PoseTopoError(f"{path}: two claims of a profile have the same id")
    return Study(profiles, claims, known["level"], limits)


def _claims(
    entry: dict[str, Any], titles: Mapping[str, str], level: float, profiles: dict[str, Profile]
) -> list[Claim]:
    """The claim, of each of its profiles."""
    if unknown := set(entry) - {"id", "statement", "kind", "profiles", "check", "pooled"}:
        raise ValueError(f"claim {entry['id']}: unknown {', '.join(sorted(unknown))}")
    if not entry["check"] or not entry["profiles"]:
        raise ValueError(f"claim {entry['id']}: no check or no profile")
    # a claim of several intervals holds `level` % of honest reruns as a whole (Bonferroni)
    each = 100 - (100 - level) / len(entry["check"])
    checks = tuple(_check(entry["kind"], dict(check), titles, each) for check in entry["check"])
    if entry.get("pooled"):
        pool = tuple(check.quantity for check in checks)  # type: ignore[attr-defined]
        checks = tuple(replace(check, pool=pool) for check in checks)  # type: ignore[type-var]
    made = [Claim(entry["id"], entry["statement"], entry["kind"], profiles[name], checks) for name in entry["profiles"]]
    return [_known_arms(claim) for claim in made]


def _known_arms(claim: Claim) -> Claim:
    if not all(arm for arm in claim.arms):
        raise ValueError(f"claim {claim.id}: a quantity without an arm")
    return claim


def _check(kind: str, entry: dict[str, Any], titles: Mapping[str, str], level: float) -> Check:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: give one of {', '.join(KINDS)}")
    for side in SIDES:
        if isinstance(entry.get(side), dict):
            entry[side] = Quantity(**entry[side], title=titles[entry[side]["key"]])
    if kind == "interval":
        entry["level"] = level
    return _plain(KINDS[kind], entry)


def _plain(kind: type, entry: dict[str, Any]) -> Any:
    """A dataclass from a table of its fields."""
    if unknown := set(entry) - {f.name for f in fields(kind)}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    return kind(**entry)
