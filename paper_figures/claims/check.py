"""The verdict on every claim of claims.toml: supported, contradicted, or not run. `claims.md` and `claims.json`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from paper_figures.claims.checks import Finding, Values
from paper_figures.claims.judging import REFERENCE, Judged, Results, about, judge_all, load_predictions, load_reference
from paper_figures.claims.limits import to_markdown as limits_markdown
from paper_figures.claims.model import CLAIMS, Study, load_study
from paper_figures.lib import command
from paper_figures.lib.results import load
from pose_topo.core.files import write_json, write_text

NAME = "check"
SCHEMA = 1


def summary(values: Values) -> str:
    """Values over seeds: "0.489 (0.471 to 0.51, 6 seeds)"; of many runs that are named, their number."""
    if not values:
        return "–"
    found = list(values.values())
    if len(found) == 1:
        return f"{found[0]:.4g}"
    what = f"{len(found)} {'seeds' if all(name.isdecimal() for name in values) else 'runs'}"
    if len(set(found)) == 1:
        return f"{found[0]:.4g} ({what})"
    return f"{fmean(found):.4g} ({min(found):.4g} to {max(found):.4g}, {what})"


def sentence(finding: Finding) -> str:
    """A finding on one line: what was compared, what came out, what was wanted, what the reference gave."""
    text = f"{finding.statistic} {summary(finding.here)}" if finding.here else finding.statistic
    text += f" (wanted {finding.wanted})" if finding.wanted else ""
    text += f", reference {summary(finding.reference)}" if finding.reference else ""
    return text + (f"; {finding.reason}" if finding.reason else "")


def line(judged: Judged) -> str:
    """A claim on one line of a terminal."""
    if all(finding.verdict == "not run" for finding in judged.findings):
        found = ", ".join(dict.fromkeys(finding.reason for finding in judged.findings))
    else:
        found = "; ".join(map(sentence, judged.findings))
    return f"{judged.verdict.upper():12} {judged.claim.profile.id}/{judged.claim.id}: {found}"


def to_json(study: Study, judged: Sequence[Judged], results: Results) -> dict[str, Any]:
    """What claims.json holds: everything the report says of claims. docs/results.md describes it."""
    return {
        "schema": SCHEMA,
        "kind": "claims",
        "level": study.level,
        "profiles": [
            {
                "id": profile.id,
                "about": profile.about,
                "command": profile.command,
                "disk": profile.disk,
                "here": about(profile, mine := results.of(profile)),
                "here_is_reference": bool(mine) and mine == results.committed(profile),
                "reference": about(profile, results.committed(profile)),
            }
            for profile in study.profiles.values()
        ],
        "claims": [_entry(one) for one in judged],
        "not_supported": list(study.limits.not_supported),
        "never_run": [entry.what for entry in study.limits.never_run],
    }


def _entry(judged: Judged) -> dict[str, Any]:
    claim = judged.claim
    return {
        "id": claim.id,
        "profile": claim.profile.id,
        "kind": claim.kind,
        "statement": claim.statement,
        "verdict": judged.verdict,
        "cost": judged.cost and asdict(judged.cost),
        "checks": [
            {
                "verdict": finding.verdict,
                "statistic": finding.statistic,
                "wanted": finding.wanted and {**asdict(finding.wanted), "text": str(finding.wanted)},
                "here": finding.here,
                "reference": finding.reference,
                "reason": finding.reason or None,
            }
            for finding in judged.findings
        ],
    }


def to_markdown(content: dict[str, Any], judged: Sequence[Judged], limits: str) -> str:
    """The claims as a table, then which runs they were judged by, then what is not supported."""
    lines = ["| verdict | claim | compared | wanted | here | reference |", "|---|---|---|---|---|---|"]
    for one in judged:
        claim = one.claim
        first = f"**{one.verdict}** | **{claim.profile.id}/{claim.id}** ({claim.kind}): {claim.statement}"
        for finding in one.findings:
            here = summary(finding.here) + (f"; {finding.reason}" if finding.verdict == "not run" else "")
            cells = (finding.statistic, str(finding.wanted or "–"), here, summary(finding.reference))
            lines.append(f"| {first} | {' | '.join(cells)} |")
            first = " | "
    lines += ["", "Means over seeds (smallest to largest).", ""]
    for profile in content["profiles"]:
        here = "the reference runs themselves." if profile["here_is_reference"] else profile["here"]
        lines.append(f"- **{profile['id']}**, {profile['about']} (`{profile['command']}`).")
        lines.append(f"  Here: {here} Reference: {profile['reference']}")
    return "\n".join(lines) + "\n\n" + limits


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The shared options, and some of its own."""
    parser = command.parser(NAME, __doc__, needed=False)
    parser.add_argument(
        "--predictions-evaluation",
        type=Path,
        metavar="FILE",
        help="evaluation.json of newell.h5 (pose-topo evaluate --predictions)",
    )
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="the claims (default: the study's)")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="folder of the reference results")
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 also where a claim is contradicted")
    return parser.parse_args(argv)


def gather(study: Study, given: argparse.Namespace) -> Results:
    """The results that the options name.

    Raises:
        PoseTopoError: a folder does not exist, or its files contradict each other or their arm's name.
    """
    root = given.reference.resolve()
    own = [path for path in given.results if not path.resolve().is_relative_to(root)]
    # shortened runs prove nothing, and two of them may bear one name
    runs = load(own, keep=lambda run: run.as_protocol)
    if given.predictions_evaluation is not None:
        runs.append(load_predictions(given.predictions_evaluation))
    return Results(runs, load_reference(study, given.reference), itself=len(own) < len(given.results))


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code: 1 where a claim is contradicted."""
    given = options(argv)

    def action() -> int:
        study = load_study(given.claims)
        results = gather(study, given)
        judged = judge_all(study, results)
        content = to_json(study, judged, results)
        write_json(given.out / "claims.json", content)
        write_text(given.out / "claims.md", to_markdown(content, judged, limits_markdown(study.limits)))
        for one in judged:
            print(line(one))
        contradicted = any(one.verdict == "contradicted" for one in judged)
        return int(contradicted and not given.no_fail)

    return command.guarded(NAME, action)


if __name__ == "__main__":
    raise SystemExit(main())
