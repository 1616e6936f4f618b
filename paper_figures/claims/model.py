"""The content of claims.toml as typed values: claims, the profiles they are about, and what is not claimed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from paper_figures.claims.checks import KINDS, Check, Interval, Quantity
from paper_figures.lib.results import Run
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_toml
from pose_topo.scoring.published import same_people

CLAIMS = Path(__file__).with_name("claims.toml")
REFERENCE = Path(__file__).parent.parent / "reference"
WRONG_ENTRY = (ValueError, TypeError, KeyError, AttributeError)  # what a wrong entry of the file raises
SIDES = ("greater", "than", "quantity")  # fields of a check that may be a quantity


@dataclass(frozen=True)
class Profile:
    """Which runs claims are about. A field that is None allows any value: the profile `every` takes all runs."""

    id: str
    about: str
    command: str  # makes its runs and its figures
    data: str | None = None
    protocol: str | None = None
    arch: str | None = None
    disk: str | None = None  # measured; no result file holds it
    published_people: bool = False  # the people of MPII's published validation split

    def holds(self, run: Run) -> bool:
        """Return whether a run belongs to this profile, with all other settings as its arm says."""
        wanted = ((self.data, run.data), (self.protocol, run.protocol), (self.arch, run.arch))
        if self.published_people:
            evaluation = run.json.get("evaluation", {})
            if evaluation.get("rendered", True) or not same_people(evaluation.get("settings")):
                return False
        return run.as_protocol and all(value in (None, found) for value, found in wanted)


@dataclass(frozen=True)
class Claim:
    """A statement about a profile, and the checks, all of one kind, which must all hold.

    The seeds `formed_on` suggested the claim, so they do not judge it.
    """

    id: str
    statement: str
    kind: str
    profile: Profile
    checks: tuple[Check, ...]
    formed_on: tuple[int, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that the claim compares."""
        return tuple(dict.fromkeys(q.arm for check in self.checks for q in check.quantities()))


@dataclass(frozen=True)
class NeverRun:
    """Something that was never run, and how committed reference results would show that it was: a test looks there."""

    what: str
    profile: str | None = None  # results of this profile
    provenance: Mapping[str, str] = field(default_factory=dict)  # a session whose fields match these patterns


@dataclass(frozen=True)
class Study:
    """The content of a claims file."""

    profiles: dict[str, Profile]
    claims: tuple[Claim, ...]
    level: float  # of interval claims, %
    not_supported: tuple[str, ...] = ()
    never_run: tuple[NeverRun, ...] = ()

    def limitations(self) -> str:
        """Return what is not supported and what was never run, as Markdown."""
        item = textwrap.TextWrapper(120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False).fill
        lines = ["This artifact does not support, whatever its numbers are:", "", *map(item, self.not_supported)]
        lines += ["", "The project has never run:", "", *(item(entry.what) for entry in self.never_run)]
        return "\n".join(lines) + "\n"


def load_study(path: Path = CLAIMS) -> Study:
    """Read a claims file.

    Raises:
        PoseTopoError: the file is missing, is not TOML, or holds a field or kind that does not exist.
    """
    content = read_toml(path)
    try:
        profiles = {name: _from_entry(Profile, {"id": name, **entry}) for name, entry in content["profile"].items()}
        level = float(content["level"])
        claims = [claim for entry in content["claim"] for claim in _claims(entry, content["title"], level, profiles)]
        never_run = tuple(NeverRun(**entry) for entry in content.get("never_run", ()))
        if unknown := {entry.profile for entry in never_run} - {None, *profiles}:
            raise ValueError(f"never_run: no profile {', '.join(sorted(map(str, unknown)))}")
        not_supported = tuple(entry["what"] for entry in content.get("not_supported", ()))
    except WRONG_ENTRY as error:
        raise PoseTopoError(f"{path}: not a claims file ({type(error).__name__}: {error})") from None
    if len({(claim.id, claim.profile.id) for claim in claims}) < len(claims):
        raise PoseTopoError(f"{path}: two claims of one profile have the same id")
    order = list(profiles)
    claims = tuple(sorted(claims, key=lambda claim: order.index(claim.profile.id)))
    return Study(profiles, claims, level, not_supported, never_run)


def _claims(
    entry: dict[str, Any], titles: Mapping[str, str], level: float, profiles: dict[str, Profile]
) -> list[Claim]:
    """Return the claim for each of its profiles."""
    if unknown := set(entry) - {"id", "statement", "kind", "profiles", "check", "pooled", "formed_on"}:
        raise ValueError(f"claim {entry['id']}: unknown {', '.join(sorted(unknown))}")
    if not entry["check"] or not entry["profiles"]:
        raise ValueError(f"claim {entry['id']}: no check or no profile")
    # all intervals of a claim together hold `level` % of correct reruns (Bonferroni)
    each = 100 - (100 - level) / len(entry["check"])
    checks = [_check(entry["kind"], dict(check), titles, each) for check in entry["check"]]
    if entry.get("pooled"):
        intervals = [check for check in checks if isinstance(check, Interval)]
        pool = tuple(check.quantity for check in intervals)
        checks = [replace(check, pool=pool) for check in intervals]
    if not all(q.arm for check in checks for q in check.quantities()):
        raise ValueError(f"claim {entry['id']}: a quantity without an arm")
    formed_on = tuple(entry.get("formed_on", ()))
    return [
        Claim(entry["id"], entry["statement"], entry["kind"], profiles[name], tuple(checks), formed_on)
        for name in entry["profiles"]
    ]


def _check(kind: str, entry: dict[str, Any], titles: Mapping[str, str], level: float) -> Check:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: give one of {', '.join(KINDS)}")
    for side in SIDES:
        if isinstance(entry.get(side), dict):
            entry[side] = Quantity(**entry[side], title=titles[entry[side]["key"]])
    if kind in ("bound", "interval"):
        entry["level"] = level
    return _from_entry(KINDS[kind], entry)


def _from_entry(kind: type, entry: dict[str, Any]) -> Any:
    """Return a dataclass made from a TOML table of its fields."""
    if unknown := set(entry) - {f.name for f in fields(kind)}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    return kind(**entry)
