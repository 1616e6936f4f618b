"""The report: one page for a reviewer, with verdicts, figures and tables, limitations, provenance and times."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from paper_figures.claims.check import SCHEMA, summary
from paper_figures.lib.command import add_results, guarded
from paper_figures.lib.provenance_table import ProvenanceTable, load_provenance
from paper_figures.lib.results import Run, by_arm, load
from paper_figures.report.exhibits import ReportPart, inline, load_parts
from pose_topo.core.files import write_text
from pose_topo.study.results import read_document

HERE = Path(__file__).parent
MARKS = {"supported": "✓", "contradicted": "✗", "not run": "○"}  # a sign beside every word and colour


def page(
    claims: Mapping[str, Any], parts: Sequence[ReportPart], runs: Sequence[Run], provenance: ProvenanceTable
) -> str:
    """Return the report as HTML. The same input gives the same bytes."""
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
        parts=parts,
        not_supported=claims["not_supported"],
        never_run=claims["never_run"],
        groups=groups,
        shortened=[group for group in groups if not group["as_protocol"]],
        provenance=provenance,
        inline=inline,
        summary=summary,
        minutes=minutes,
        gigabytes=gigabytes,
    )


def _profiles(claims: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the profiles with their claims. Profiles of which nothing was run come last."""
    found = []
    for profile in claims["profiles"]:
        own = [_claim(claim) for claim in claims["claims"] if claim["profile"] == profile["id"]]
        if own:
            judged = any(check["here"] or check["reference"] for claim in own for check in claim["checks"])
            found.append({**profile, "claims": own, "judged": judged})
    return sorted(found, key=lambda profile: not profile["judged"])


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim with its plots. `reason` says why there is nothing to show; it is empty where there is."""
    checks = [{**check, "plot": None if claim["kind"] == "equal" else claim_plot(check)} for check in claim["checks"]]
    nothing = not any(check["here"] or check["reference"] for check in checks)
    reasons = ", ".join(dict.fromkeys(check["reason"] for check in checks if check["reason"]))
    return {**claim, "checks": checks, "reason": reasons if nothing else ""}


def _groups(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the runs by data set, protocol, backbone and arm; runs with other settings than their arm come apart."""
    groups: dict[tuple[str, str, str, bool], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.data or "?", run.protocol, run.arch, not run.as_protocol), []).append(run)
    return [
        {
            "where": ", ".join(key[:3]),
            "arm": arm,
            "seeds": ", ".join(str(seed) for seed in sorted({run.seed for run in group})),
            "as_protocol": not key[3],
            "deviations": "; ".join(dict.fromkeys(text for run in group for text in run.deviations)) or "none",
        }
        for key, members in sorted(groups.items())
        for arm, group in by_arm(members).items()
    ]


def minutes(value: float) -> str:
    """Return a duration as text: "7.7 min", or "12.4 h" above two hours."""
    return f"{value:.1f} min" if value < 120 else f"{value / 60:.1f} h"


def gigabytes(size: float) -> str:
    """Return a number of bytes as text: "1.9 GB"."""
    return f"{size / 1e9:.1f} GB"


# ---- the plot of a check

WIDTH, HEIGHT, EDGE = 280, 40, 8
REFERENCE_LANE, HERE_LANE, FOOT = 7, 19, 37  # y of the centres of the marks, and of the baseline of the text


def claim_plot(check: Mapping[str, Any]) -> Markup | None:
    """Return a check of claims.json as an inline SVG: the required range, the reference seeds and the values made here.

    None where there is no range or no value to show.
    """
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
    title = f"{check['statistic']}: required {wanted['text']}"
    return Markup(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """Return the function from a value to x under which all values fit, with a margin of a tenth on both sides."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0) * 0.1
    low, span = low - 0.1 * span, 1.2 * span
    return lambda value: EDGE + (value - low) / span * (WIDTH - 2 * EDGE)


def _diamond(x: float, y: float) -> str:
    return f'<path class="here" d="M{x:.1f} {y - 5:.1f}l4.4 5 -4.4 5 -4.4 -5z"/>'


def _labels(bounds: Sequence[float], at: Sequence[float]) -> list[str]:
    """Return the values of the bounds as texts below them, inside the plot and apart from each other."""
    anchors = ["middle"] * len(at) if len(at) == 1 or at[1] - at[0] > 70 else ["end", "start"]
    return [
        f'<text x="{min(max(x, 20), WIDTH - 20):.1f}" y="{FOOT}" text-anchor="{anchor}">{bound:.4g}</text>'
        for bound, x, anchor in zip(bounds, at, anchors, strict=True)
    ]


# ---- the command


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m paper_figures.report.page", description=__doc__, fromfile_prefix_chars="@"
    )
    parser.add_argument("--claims", type=Path, required=True, metavar="FILE", help="claims.json")
    parser.add_argument(
        "--papers",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="folders of figures and tables, one per part of the study, in the order of the report",
    )
    add_results(parser)
    parser.add_argument(
        "--provenance",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="provenance.json of the runs [default: those in the results folders]",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report. Returns the exit code."""
    given = options(argv)

    def action() -> int:
        claims = read_document(given.claims, "claims", SCHEMA)
        # folder by folder, because a run with other settings may have the name of another run
        runs = [run for folder in given.results for run in load([folder])]
        files = given.provenance
        if files is None:
            files = [path for folder in given.results if (path := folder / "provenance.json").is_file()]
        parts = load_parts(given.papers, given.out.parent)
        write_text(given.out, page(claims, parts, runs, load_provenance(files)))
        return 0

    return guarded("report", action)


if __name__ == "__main__":
    raise SystemExit(main())
