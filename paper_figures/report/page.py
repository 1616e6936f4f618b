"""A claim's numbers on a line: where they were to lie, where the reference seeds lie, and where those made here do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from paper_figures.claims.check import SCHEMA, summary
from paper_figures.lib import command
from paper_figures.lib.provenance import Origins, load_origins
from paper_figures.lib.results import Run, by_arm, load
from paper_figures.report.exhibits import Paper, inline, load_papers
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, write_text

WIDTH, HEIGHT, EDGE = 280, 40, 8
REFERENCE_LANE, HERE_LANE, FOOT = 7, 19, 37  # y of the dots' centres, and of the text's baseline


def strip(check: Mapping[str, Any]) -> Markup | None:
    """An inline SVG of a check of claims.json; None where there is no range or no value to show."""
    wanted, here, reference = check["wanted"], list(check["here"].values()), list(check["reference"].values())
    if wanted is None or not (here or reference):
        return None
    bounds = [bound for bound in (wanted["low"], wanted["high"]) if bound is not None]
    place = _scale([*bounds, *here, *reference])
    left = EDGE if wanted["low"] is None else place(wanted["low"])
    right = WIDTH - EDGE if wanted["high"] is None else place(wanted["high"])
    shapes = [f'<rect class="band" x="{left:.1f}" y="0" width="{max(right - left, 1):.1f}" height="26"/>']
    shapes += [f'<line class="bound" x1="{place(b):.1f}" x2="{place(b):.1f}" y1="0" y2="26"/>' for b in bounds]
    shapes += [f'<circle class="reference" cx="{place(v):.1f}" cy="{REFERENCE_LANE}" r="3.2"/>' for v in reference]
    shapes += [_diamond(place(value), HERE_LANE) for value in here]
    shapes += _labels(bounds, [place(bound) for bound in bounds])
    title = f"{check['statistic']}: wanted {wanted['text']}"
    return Markup(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )


def _scale(values: Sequence[float]) -> Any:
    """From a value to x; all values fit, with a tenth to spare on both sides."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0) * 0.1
    low, span = low - 0.1 * span, 1.2 * span
    return lambda value: EDGE + (value - low) / span * (WIDTH - 2 * EDGE)


def _diamond(x: float, y: float) -> str:
    return f'<path class="here" d="M{x:.1f} {y - 5:.1f}l4.4 5 -4.4 5 -4.4 -5z"/>'


def _labels(bounds: Sequence[float], at: Sequence[float]) -> list[str]:
    """The bounds' values below them, kept inside and apart."""
    anchors = ["middle"] * len(at) if len(at) == 1 or at[1] - at[0] > 70 else ["end", "start"]
    return [
        f'<text x="{min(max(x, 20), WIDTH - 20):.1f}" y="{FOOT}" text-anchor="{anchor}">{bound:.4g}</text>'
        for bound, x, anchor in zip(bounds, at, anchors, strict=True)
    ]


# ---- One page for a reviewer: verdicts, tables and figures, what is not supported, provenance and times.

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
        raise PoseTopoError(
            f"{path} is not a schema {SCHEMA} claims file: `python -m paper_figures.claims.check` writes it"
        )
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
