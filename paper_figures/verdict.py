"""The verdict on every claim of claims.toml: supported, contradicted, or not run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from paper_figures import captions, command
from paper_figures.claims import Judged, judge, load_claims
from paper_figures.results import Run, load
from pose_topo.files import write_json, write_text

NAME = "verdict"
CLAIMS = Path(__file__).with_name("claims.toml")
SCHEMA = 1


def line(judged: Judged) -> str:
    """A claim on one line of a terminal."""
    claim = judged.claim
    return f"{claim.id}: {claim.statement} {judged.verdict.upper()}: {'; '.join(map(str, judged.findings))}"


def to_json(results: Sequence[Judged]) -> dict:
    """What verdict.json holds; measured values are by quantity, then by seed."""
    claims = [
        {
            "id": judged.claim.id,
            "statement": judged.claim.statement,
            "profile": judged.claim.profile,
            "verdict": judged.verdict,
            "checks": [
                {
                    "verdict": finding.verdict,
                    "wanted": finding.wanted,
                    "measured": {
                        name: {str(s): v for s, v in seeds.items()} for name, seeds in finding.measured.items()
                    },
                    "reason": finding.reason or None,
                }
                for finding in judged.findings
            ],
        }
        for judged in results
    ]
    return {"schema": SCHEMA, "kind": "verdict", "claims": claims}


def to_markdown(results: Sequence[Judged], runs: Sequence[Run]) -> str:
    """The claims as a table, then which runs they were judged by."""
    lines = ["| claim | statement | verdict | wanted | measured (mean over seeds) |", "|---|---|---|---|---|"]
    for judged in results:
        claim = judged.claim
        wanted = "; ".join(finding.wanted for finding in judged.findings)
        found = "; ".join(map(str, judged.findings))
        lines.append(f"| {claim.id} | {claim.statement} | **{judged.verdict}** | {wanted} | {found} |")
    lines.append("")
    for profile in dict.fromkeys(judged.claim.profile for judged in results):
        mine = [run for run in runs if run.protocol == profile]
        lines.append(f"- {captions.about(mine)}" if mine else f"- Protocol {profile}: no run.")
    return "\n".join(lines) + "\n"


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The shared options, and two of its own."""
    parser = command.parser(NAME, __doc__)
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="the claims (default: the study's)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a claim is contradicted")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    given = options(argv)

    def action() -> int:
        runs = load(given.results)
        results = [judge(claim, runs) for claim in load_claims(given.claims)]
        write_json(given.out / f"{NAME}.json", to_json(results))
        write_text(given.out / f"{NAME}.md", to_markdown(results, runs))
        for judged in results:
            print(line(judged))
        return int(given.check and any(judged.verdict == "contradicted" for judged in results))

    return command.guarded(NAME, action)


if __name__ == "__main__":
    raise SystemExit(main())
