"""The report: one page for a reviewer, with verdicts, figures and tables, limitations, provenance and times."""

from __future__ import annotations

import argparse
import base64
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from paper_figures.claims.check import summary
from paper_figures.lib.command import CAPTION, add_results, exhibits
from paper_figures.lib.provenance_table import ProvenanceTable, load_provenance
from paper_figures.lib.results import Run, by_arm, load
from paper_figures.lib.tables import TextTable, read_table
from pose_topo.core.errors import PoseTopoError, guarded
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


# ---- the figures and tables

ENLARGED = 1.4  # relative to the printed size, because a screen is read from farther away
CSS_DPI, PRINT_DPI = 96, 300


@dataclass(frozen=True)
class Image:
    """A PNG as a data address, with its width and height on the page in CSS pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class ReportItem:
    """A figure or a table with its caption. Where there was nothing to show, only the caption, which says why."""

    name: str
    title: str
    label: str  # "Figure 1.2" or "Table 1.1"; empty where there is nothing to show
    caption: Markup
    image: Image | None
    table: TextTable | None


@dataclass(frozen=True)
class ReportPart:
    """The figures and tables of one part of the study."""

    title: str
    anchor: str
    items: tuple[ReportItem, ...]


def load_parts(folders: Sequence[Path], out: Path) -> list[ReportPart]:
    """Read folders of figures and tables. Their titles are their paths below `out`.

    Raises:
        PoseTopoError: a folder is missing or empty, or a file in it is not what it should be.
    """
    titles = part_titles(folders, out)
    return [
        ReportPart(title, f"part-{number}", _items(folder, number))
        for number, (folder, title) in enumerate(zip(folders, titles, strict=True), 1)
    ]


def part_titles(folders: Sequence[Path], out: Path) -> list[str]:
    """Return a title for each folder: `demo / resnet18` for <out>/demo/resnet18/paper.

    Folders elsewhere are named by the part of the path in which they differ, so that no title holds an absolute path.
    """
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100 (does not resolve links)
    root = Path(os.path.abspath(out))  # noqa: PTH100
    if not all(path.is_relative_to(root) for path in paths):
        root = Path(os.path.commonpath([path.parent for path in paths]))
    parts = [path.relative_to(root).parts for path in paths]
    parts = [
        part[:-1] if part and part[-1] == "paper" else part for part in parts
    ]  # only the last: a protocol is "paper"
    return [" / ".join(part) or "Figures and tables" for part in parts]


def _items(folder: Path, number: int) -> tuple[ReportItem, ...]:
    if not folder.is_dir():
        raise PoseTopoError(f"{folder}: no such folder of figures and tables")
    names = {
        path.name.removesuffix(suffix) for suffix in (CAPTION, ".png", ".json") for path in folder.glob(f"*{suffix}")
    }
    if not names:
        raise PoseTopoError(f"{folder}: holds no figure and no table")
    known = list(exhibits())
    ordered = sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))
    counts = {"Figure": 0, "Table": 0}
    return tuple(_item(folder, name, number, counts) for name in ordered)


def _item(folder: Path, name: str, number: int, counts: dict[str, int]) -> ReportItem:
    caption, picture, table = (folder / f"{name}{suffix}" for suffix in (CAPTION, ".png", ".json"))
    label = ""
    if kind := "Figure" if picture.is_file() else "Table" if table.is_file() else "":
        counts[kind] += 1
        label = f"{kind} {number}.{counts[kind]}"
    return ReportItem(
        name,
        exhibits()[name].title if name in exhibits() else name.replace("_", " ").capitalize(),
        label,
        inline(caption.read_text(encoding="utf-8")) if caption.is_file() else Markup(),
        _image(picture) if picture.is_file() else None,
        read_table(table) if table.is_file() else None,
    )


def _image(path: Path) -> Image:
    content = path.read_bytes()
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        raise PoseTopoError(f"{path}: not a PNG")
    width, height = (round(size * ENLARGED * CSS_DPI / PRINT_DPI) for size in struct.unpack(">II", content[16:24]))
    return Image("data:image/png;base64," + base64.b64encode(content).decode("ascii"), width, height)


def inline(text: str) -> Markup:
    """Return a paragraph as HTML. Of Markdown, `code` and **bold** are understood."""
    safe = str(escape(" ".join(text.split())))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe))


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
        claims = read_document(given.claims, "claims")
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
