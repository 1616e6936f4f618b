"""The report: one page with what was found, figures and tables, verdicts, limitations, provenance and times."""

from __future__ import annotations

import argparse
import base64
import os
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from paper_figures.claims.check import summary
from paper_figures.claims.model import REFERENCE
from paper_figures.lib import arms
from paper_figures.lib.command import CAPTION, FOLDERS, SUFFIXES, GroupTable, add_results, exhibits, words
from paper_figures.lib.costs import ProvenanceTable, below, load_provenance
from paper_figures.lib.results import Run, by_arm, load
from paper_figures.lib.tables import TextTable, as_text, csv_text, read_table, to_csv
from paper_figures.report.summary import claim_plot, found, main_table, numbers, reference_of
from pose_topo.core.errors import PoseTopoError, guarded
from pose_topo.core.files import write_text
from pose_topo.study.plan import read_study
from pose_topo.study.results import read_document

HERE = Path(__file__).parent
MARKS = {"supported": "✓", "contradicted": "✗", "not run": "○"}  # a sign beside every word and colour
FIRST = "parcellation"  # the figure of the first screen
KINDS = {"Figure": ".png", "Table": ".json"}  # and the file that makes an exhibit one


def page(
    claims: Mapping[str, Any],
    parts: Sequence[ReportPart],
    runs: Sequence[Run],
    provenance: ProvenanceTable,
    reference: Path = REFERENCE,
) -> str:
    """Return the report as HTML. The same input gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data = sorted({run.data for run in runs if run.data})
    shown = {part.title: list(part.runs) for part in parts if part.runs}
    if not shown:  # then by what runs have in common that can be compared
        for run in runs:
            shown.setdefault(", ".join((run.data or "?", run.protocol, run.arch)), []).append(run)
    (only,) = shown.values() if len(shown) == 1 else [()]
    table = main_table(shown) if len(shown) > 1 else None
    items = [(part, item) for part in parts for item in part.items if item.image]
    groups, profiles = _groups(runs), _profiles(claims)
    judged = [profile for profile in profiles if profile["judged"]]
    bars = [(profile["id"], profile["judged"]) for profile in judged]
    if len(judged) < 3:  # those of one data set, and those of every run
        bars = [("", [claim for _, own in bars for claim in own])]
    return environment.get_template("report.html.j2").render(
        title=f"pose_topo: results on {', '.join(data)}" if data else "pose_topo: claims",
        style=Markup((HERE / "report.css").read_text(encoding="utf-8").strip()),
        found=found(shown),
        numbers=numbers(only, reference_of(only, reference)),
        main_table=None if table is None else Download("main_table", as_text(table), to_csv(table)),
        first=next((one for one in items if one[1].name == FIRST), items[0] if items else None),
        counts={verdict: sum(c["verdict"] == verdict for c in claims["claims"]) for verdict in MARKS},
        marks=MARKS,
        level=f"{claims['level']:g}",
        judged=judged,
        bars=bars,
        waiting=[profile for profile in profiles if profile["waiting"]],
        parts=parts,
        not_supported=claims["not_supported"],
        never_run=claims["never_run"],
        shortened=[group for group in groups if not group["as_protocol"]],
        tables=[one for one in (_runs_table(groups), *_provenance_tables(provenance)) if one.text.rows],
        provenance=provenance,
        inline=inline,
        summary=summary,
        minutes=minutes,
        gigabytes=gigabytes,
        csv_address=csv_address,
    )


def _profiles(claims: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the profiles with their claims: those that were judged, and those that wait for runs, with the reason."""
    profiles = []
    for profile in claims["profiles"]:
        own = [_claim(claim) for claim in claims["claims"] if claim["profile"] == profile["id"]]
        waiting = [claim for claim in own if claim["verdict"] == "not run"]
        judged = [claim for claim in own if claim["verdict"] != "not run"]
        checks = [check for claim in waiting for check in claim["checks"] if check["verdict"] == "not run"]
        has_runs = any(check["here"] for claim in own for check in claim["checks"])
        reasons = dict.fromkeys(check["reason"] for check in checks if has_runs and check["reason"])
        profiles.append({**profile, "judged": judged, "waiting": waiting, "why": ", ".join(reasons)})
    return profiles


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim with its plots, large (one for each check, or None) and small (`bars`)."""
    plots = [None if claim["kind"] == "equal" else claim_plot(check) for check in claim["checks"]]
    checks = [{**check, "plot": plot} for check, plot in zip(claim["checks"], plots, strict=True)]
    shown = [check for check in checks if check["plot"]]
    bars = [claim_plot(check, small=len(shown)) for check in shown]
    return {**claim, "checks": checks, "bars": bars, "name": claim["id"].replace("-", " ").capitalize()}


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


# ---- the tables of runs


@dataclass(frozen=True)
class Download:
    """A table of the page, and the CSV file that it can be saved as."""

    name: str
    text: TextTable
    csv: str


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Download:
    return Download(name, TextTable(head, rows, words), csv_text([head, *rows]))


def _runs_table(groups: Sequence[Mapping[str, Any]]) -> Download:
    head = ("data, protocol, backbone", "arm", "seeds", "settings of its arm", "deviations from the study")
    rows = [
        (g["where"], g["arm"], g["seeds"], "yes" if g["as_protocol"] else "no: proves nothing", g["deviations"])
        for g in groups
    ]
    return _table("What was run", head, rows, len(head))


def _provenance_tables(provenance: ProvenanceTable) -> list[Download]:
    head = ("run", "environment", "data (sha256)", "sessions", "training", "peak memory", "on the GPU")
    rows = []
    for run in provenance.runs:
        gpu = gigabytes(run.gpu_memory) if run.gpu_memory else "–"
        about = (run.name, run.environments, run.data, str(run.sessions))
        rows.append((*about, minutes(run.seconds / 60), gigabytes(run.memory), gpu))
    return [
        _table("Environments", ("environment", "what it was"), [*provenance.environments.items()], 2),
        _table("Times and memory", head, rows, 3),
    ]


def csv_address(text: str) -> str:
    """Return a CSV file as a data address."""
    return "data:text/csv;base64," + base64.b64encode(text.encode("utf-8")).decode("ascii")


# ---- the figures and tables

ENLARGED = 1.4  # relative to the printed size, because a screen is read from farther away
CSS_DPI, PRINT_DPI = 96, 300


@dataclass(frozen=True)
class Image:
    """A PNG as a data address, with its width and height on the page in CSS pixels, and what it shows in words."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class ReportItem:
    """A figure or a table with its caption. Where there was nothing to show, only the caption, which says why."""

    name: str
    anchor: str
    title: str
    label: str  # "Figure 1.2" or "Table 1.1"; empty where there is nothing to show
    caption: Markup
    image: Image | None
    table: Download | None
    files: tuple[tuple[str, str], ...]  # (kind, address relative to the page) of files that lie below the page
    command: str


@dataclass(frozen=True)
class ReportPart:
    """The figures and tables of one part of the study, and the runs that they show."""

    title: str
    anchor: str
    folder: str  # relative to the page
    items: tuple[ReportItem, ...]
    runs: tuple[Run, ...]


def load_parts(folders: Sequence[Path], out: Path, runs: Sequence[Run] = ()) -> list[ReportPart]:
    """Read folders of figures and tables. Their titles are their paths below `out`, the folder of the page.

    Raises:
        PoseTopoError: a folder is missing or empty, or a file in it is not what it should be.
    """
    titles = part_titles(folders, out)
    return [
        _part(folder, title, out, number, runs)
        for number, (folder, title) in enumerate(zip(folders, titles, strict=True), 1)
    ]


def part_titles(folders: Sequence[Path], out: Path) -> list[str]:
    """Return a title for each folder: `demo / resnet18` for <out>/demo/resnet18/paper.

    Folders elsewhere are named by the part of the path in which they differ, so that no title holds an absolute path.
    """
    parts = [folder.parts for folder in below(folders, out)]
    # only the last part: a protocol is "paper"
    return [" / ".join(part[:-1] if part[-1:] == ("paper",) else part) or "Figures and tables" for part in parts]


def _part(folder: Path, title: str, out: Path, number: int, runs: Sequence[Run]) -> ReportPart:
    if not folder.is_dir():
        raise PoseTopoError(f"{folder}: no such folder of figures and tables")
    names = {
        path.name.removesuffix(suffix) for suffix in (CAPTION, ".png", ".json") for path in folder.glob(f"*{suffix}")
    }
    if not names:
        raise PoseTopoError(f"{folder}: holds no figure and no table")
    known = list(exhibits())
    place = os.path.relpath(folder, out).replace(os.sep, "/")
    address = None if place.startswith("..") else quote(place)
    items: list[ReportItem] = []
    counts = Counter[str]()
    for name in sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name)):
        kind = next((kind for kind, end in KINDS.items() if (folder / f"{name}{end}").is_file()), "")
        counts[kind] += 1
        label = f"{kind} {number}.{counts[kind]}" if kind else ""
        anchor = f"part-{number}-{name if re.fullmatch('[a-z_]+', name) else len(items) + 1}"
        items.append(_item(folder, name, anchor, label, address))
    return ReportPart(title, f"part-{number}", place, tuple(items), _shown_runs(folder, runs))


def _shown_runs(folder: Path, runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the runs that a folder of figures shows: those that make listed in it, or else those beside it."""
    if not (folder / ".runs").is_file():
        return tuple(run for run in runs if run.folder.parent == folder.parent)
    listed = {Path(line).resolve() for line in (folder / ".runs").read_text(encoding="utf-8").splitlines()}
    return tuple(run for run in runs if run.folder.resolve() in listed)


def _item(folder: Path, name: str, anchor: str, label: str, address: str | None) -> ReportItem:
    """Read a figure or table. `address` is that of its folder on the page, if it has one."""
    caption, picture, table, csv = (folder / f"{name}{suffix}" for suffix in (CAPTION, ".png", ".json", ".csv"))
    title = exhibits()[name].title if name in exhibits() else name.replace("_", " ").capitalize()
    text = caption.read_text(encoding="utf-8") if caption.is_file() else ""
    finding = re.match(r"\*\*([^*]+)\*\*", text)
    alt = f"{title}. {finding[1]}" if finding else f"{title}. The caption describes it."
    shown = read_table(table) if table.is_file() else None
    values = csv.read_text(encoding="utf-8") if csv.is_file() else ""
    if shown and not values:
        values = csv_text([shown.head, *shown.rows])
    files = [suffix[1:] for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    can_repeat = name in exhibits() and (folder / ".runs").is_file()
    return ReportItem(
        name,
        anchor,
        title,
        label,
        inline(text),
        _image(picture, alt) if picture.is_file() else None,
        shown and Download(name, shown, values),
        tuple((kind, f"{address}/{quote(f'{name}.{kind}')}") for kind in files) if address is not None else (),
        command(folder, name, shown) if can_repeat and address is not None else "",
    )


def _image(path: Path, alt: str) -> Image:
    content = path.read_bytes()
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        raise PoseTopoError(f"{path}: not a PNG")
    width, height = (round(size * ENLARGED * CSS_DPI / PRINT_DPI) for size in struct.unpack(">II", content[16:24]))
    return Image("data:image/png;base64," + base64.b64encode(content).decode("ascii"), width, height, alt)


def command(folder: Path, name: str, table: TextTable | None) -> str:
    """Return the command that makes a figure or table of <out>/<part>/<backbone>/paper again. $P is that folder."""
    source = "--group $P/group/group.json" if isinstance(exhibits()[name], GroupTable) else "--results @$P/.runs"
    if table and any(label.endswith(arms.REFERENCE) for label in (*table.head, *(row[0] for row in table.rows))):
        part = folder.parent.parent.name
        beside = read_study()["study"].get(part, {}).get("beside", [])
        source += "".join(f" --reference paper_figures/reference/{part}/{one}" for one in beside)
    return f"python -m paper_figures {name} {source} --out $P"


def inline(text: str) -> Markup:
    """Return a paragraph as HTML. Of Markdown, `code` and **bold** are understood."""
    safe = str(escape(" ".join(text.split())))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe))


# ---- the command


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m paper_figures.report.page", description=__doc__)
    parser.add_argument("--claims", type=Path, required=True, metavar="FILE", help="claims.json")
    parser.add_argument(
        "--papers",
        help="folders of figures and tables, one per part of the study, in the order of the report; those with the "
        "name of a profile come first, in the order of the claims",
        **FOLDERS,
    )
    add_results(parser)
    parser.add_argument(
        "--provenance",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="provenance.json of the runs [default: those in the results folders]",
    )
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="folder of the reference results")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page to write")
    return parser.parse_args(words(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report. Returns the exit code."""

    def action() -> int:
        given = options(argv)
        claims = read_document(given.claims, "claims")
        # folder by folder, because a run with other settings may have the name of another run
        runs = [run for folder in given.results for run in load([folder])]
        files = given.provenance
        if files is None:
            files = [path for folder in given.results if (path := folder / "provenance.json").is_file()]
        order = [profile["id"] for profile in claims["profiles"]]  # that of the reference results
        papers = sorted(given.papers, key=lambda one: order.index(one.name) if one.name in order else len(order))
        parts = load_parts(papers, given.out.parent, runs)
        write_text(given.out, page(claims, parts, runs, load_provenance(files), given.reference))
        print(found({part.title: part.runs for part in parts}))
        return 0

    return guarded("report", action)


if __name__ == "__main__":
    raise SystemExit(main())
