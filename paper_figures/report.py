"""One page for a reviewer: verdicts, then tables and figures, then what is not supported, then provenance and times."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from paper_figures import command
from paper_figures.check import SCHEMA, summary
from paper_figures.markup import inline
from paper_figures.origins import Origins, load_origins
from paper_figures.papers import Paper, load_papers
from paper_figures.results import Run, by_arm, load
from paper_figures.strips import strip
from pose_topo.errors import PoseTopoError
from pose_topo.files import read_json, write_text

NAME = "report"
HERE = Path(__file__).parent
MARKS = {"supported": "✓", "contradicted": "✗", "not run": "○"}  # a word and a sign beside every colour


def read_claims(path: Path) -> dict[str, Any]:
    """What `check` has written.

    Raises:
        PoseTopoError: it is something else.
    """
    content = read_json(path)
    if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != ("claims", SCHEMA):
        raise PoseTopoError(f"{path} is not a schema {SCHEMA} claims file: `python -m paper_figures.check` writes it")
    return content


def page(claims: Mapping[str, Any], papers: Sequence[Paper], runs: Sequence[Run], origins: Origins) -> str:
    """The report as HTML: the same input gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data, groups = sorted({run.data for run in runs if run.data}), _groups(runs)
    return environment.get_template("report.html.j2").render(
        title=f"pose_topo: results on {', '.join(data)}" if data else "pose_topo: claims",
        style=Markup((HERE / "report.css").read_text(encoding="utf-8").strip()),
        counts={verdict: sum(c["verdict"] == verdict for c in claims["claims"]) for verdict in MARKS},
        contradicted=[claim for claim in claims["claims"] if claim["verdict"] == "contradicted"],
        marks=MARKS,
        level=f"{claims['level']:g}",
        profiles=_profiles(claims),
        papers=papers,
        not_supported=claims["not_supported"],
        never_run=claims["never_run"],
        groups=groups,
        shortened=[group for group in groups if not group["as_protocol"]],
        origins=origins,
        inline=inline,
        summary=summary,
        minutes=minutes,
        gigabytes=gigabytes,
    )


def _profiles(claims: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Profiles with their claims; those of which nothing was run stand last."""
    found = []
    for profile in claims["profiles"]:
        own = [_claim(claim) for claim in claims["claims"] if claim["profile"] == profile["id"]]
        if own:
            judged = any(check["here"] or check["reference"] for claim in own for check in claim["checks"])
            found.append({**profile, "claims": own, "judged": judged})
    return sorted(found, key=lambda profile: not profile["judged"])


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    """A claim with its strips; `silent` is why there is nothing to show at all."""
    checks = [{**check, "strip": None if claim["kind"] == "equal" else strip(check)} for check in claim["checks"]]
    nothing = not any(check["here"] or check["reference"] for check in checks)
    reasons = ", ".join(dict.fromkeys(check["reason"] for check in checks if check["reason"]))
    return {**claim, "checks": checks, "silent": reasons if nothing else ""}


def _groups(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs by data set, protocol, backbone and arm; shortened ones apart."""
    parts: dict[tuple[str, str, str, bool], list[Run]] = {}
    for run in runs:
        parts.setdefault((run.data or "?", run.protocol, run.arch, not run.as_protocol), []).append(run)
    return [
        {
            "where": ", ".join(key[:3]),
            "arm": arm,
            "seeds": ", ".join(str(seed) for seed in sorted({run.seed for run in group})),
            "as_protocol": not key[3],
            "deviations": "; ".join(dict.fromkeys(text for run in group for text in run.deviations)) or "none",
        }
        for key, part in sorted(parts.items())
        for arm, group in by_arm(part).items()
    ]


def minutes(value: float) -> str:
    """ "7.7 min", or "12.4 h" of more than two hours."""
    return f"{value:.1f} min" if value < 120 else f"{value / 60:.1f} h"


def gigabytes(size: float) -> str:
    """A byte count as memory is named: "1.9 GB"."""
    return f"{size / 1e9:.1f} GB"


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the page is made of."""
    made = argparse.ArgumentParser(
        prog=f"python -m paper_figures.{NAME}", description=__doc__, fromfile_prefix_chars="@"
    )
    made.add_argument("--claims", type=Path, required=True, metavar="FILE", help="claims.json that `check` wrote")
    for name, what in (
        ("papers", "folders of figures and tables, one a study part, in the order to show them"),
        ("results", "results folders, one a run; @FILE lists them"),
    ):
        made.add_argument(f"--{name}", type=Path, nargs="*", default=[], metavar="DIR", help=what)
    made.add_argument(
        "--provenance",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="runs' provenance.json [default: those in the results folders]",
    )
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page to write")
    return made.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    given = options(argv)

    def action() -> int:
        # folder by folder: a shortened run may bear the name of a whole one
        runs = [run for folder in given.results for run in load([folder])]
        origins = given.provenance
        if origins is None:
            origins = [path for folder in given.results if (path := folder / "provenance.json").is_file()]
        papers = load_papers(given.papers, given.out.parent)
        write_text(given.out, page(read_claims(given.claims), papers, runs, load_origins(origins)))
        return 0

    return command.guarded(NAME, action)


if __name__ == "__main__":
    raise SystemExit(main())
