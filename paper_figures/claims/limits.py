"""What the artifact does not support and what was never run, from claims.toml: for the report, and for the README.

    python -m paper_figures.claims.limits [--readme README.md]

prints the section; with `--readme` it writes it between the two marker lines of that file.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paper_figures.lib.command import guarded
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, read_toml, write_text

BEGIN, END = "<!-- limits: python -m paper_figures.claims.limits --readme README.md -->", "<!-- /limits -->"
CLAIMS = Path(__file__).with_name("claims.toml")
REFERENCE = Path(__file__).parent.parent / "reference"


@dataclass(frozen=True)
class NeverRun:
    """Something that nobody has run, and what would show that somebody has."""

    what: str
    profile: str | None = None  # committed results of this profile
    provenance: Mapping[str, str] = field(default_factory=dict)  # a committed session with fields like these patterns


@dataclass(frozen=True)
class Limits:
    """Both lists."""

    not_supported: tuple[str, ...] = ()
    never_run: tuple[NeverRun, ...] = ()


def parse_limits(content: Mapping[str, Any], profiles: Collection[str]) -> Limits:
    """The lists of a claims file.

    Raises:
        ValueError, TypeError, KeyError: an entry makes no sense.
    """
    never = tuple(NeverRun(**entry) for entry in content.get("never_run", ()))
    if unknown := {entry.profile for entry in never} - {None, *profiles}:
        raise ValueError(f"never_run: no profile {', '.join(sorted(map(str, unknown)))}")
    return Limits(tuple(entry["what"] for entry in content.get("not_supported", ())), never)


def outdated(limits: Limits, reference: Path = REFERENCE) -> list[str]:
    """Entries that say "never run" of what committed reference results show to have been run.

    Raises:
        PoseTopoError: a committed provenance.json is not readable.
    """
    sessions = [
        session for path in sorted(reference.glob("*/*/provenance.json")) for session in read_json(path)["sessions"]
    ]
    return [entry.what for entry in limits.never_run if _was_run(entry, reference, sessions)]


def _was_run(entry: NeverRun, reference: Path, sessions: Sequence[Mapping[str, Any]]) -> bool:
    if entry.profile and any((reference / entry.profile).glob("*/evaluation.json")):
        return True
    return bool(entry.provenance) and any(
        all(fnmatch.fnmatchcase(str(session.get(key)), like) for key, like in entry.provenance.items())
        for session in sessions
    )


def to_markdown(limits: Limits) -> str:
    """The README's section, without its heading."""
    lines = ["Not supported by this artifact, whatever its numbers are:", ""]
    lines += [f"- {what}" for what in limits.not_supported]
    lines += ["", "Never run here:", ""]
    lines += [f"- {entry.what}" for entry in limits.never_run]
    return "\n".join(lines) + "\n"


def between(text: str) -> str | None:
    """What a README holds between the markers; None where they are not there."""
    _, begin, rest = text.partition(BEGIN + "\n")
    section, end, _ = rest.partition(END)
    return section if begin and end else None


def put(text: str, section: str) -> str | None:
    """A README with `section` between its markers; None where they are not there."""
    old = between(text)
    return None if old is None else text.replace(f"{BEGIN}\n{old}{END}", f"{BEGIN}\n{section}{END}", 1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    made = argparse.ArgumentParser(prog="python -m paper_figures.claims.limits", description=__doc__)
    made.add_argument("--readme", type=Path, metavar="FILE", help="write the section between this file's markers")
    options = made.parse_args(argv)
    return guarded("limits", lambda: _show(options.readme))


def _show(readme: Path | None) -> int:
    section = to_markdown(parse_limits(read_toml(CLAIMS), read_toml(CLAIMS)["profile"]))
    if readme is None:
        print(section, end="")
        return 0
    text = put(readme.read_text(encoding="utf-8"), section)
    if text is None:
        raise PoseTopoError(f"{readme}: has no lines {BEGIN} and {END}: put them where the section should be")
    write_text(readme, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
