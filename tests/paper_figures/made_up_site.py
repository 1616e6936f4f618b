"""Made-up inputs of a report: claims, two parts of the study with figures and tables, and provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_up_results
import numpy as np
from PIL import Image

from paper_figures.claims import check
from paper_figures.lib.tables import TextTable, write_table

DATA = "synthetic-2400"
FIGURES = ("zebra", "parcellation", "training_curves")  # not in the order of the paper; the first is unknown
SESSION: dict[str, Any] = {
    "command": ["pose-topo", "train-topo", "--data", "/home/somebody/data"],
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "cuda": None,
    "data_sha256": "da7a" * 16,
    "device": "a made-up CPU",
    "dirty": False,
    "driver": None,
    "lock_sha256": "10cc" * 16,
    "peak_memory": {"rss": 1_900_000_000},
    "pose_topo": "0.1.0",
    "precision": "bf16",
    "processes": 1,
    "python": "3.11.7",
    "seed": 0,
    "tf32": False,
    "threads": 2,
    "torch": "2.12.1",
    "wall_seconds": 330.0,
    "weights": None,
}


def write_site(root: Path, more: str = "") -> dict[str, list[Path]]:
    """Write results, figures, provenance and claims.json below `root`. Returns the paths by option of `report.page`.

    With `more`, there is one more part whose folder, arm, run, figure, caption and table have this name.
    """
    data = root / "out" / DATA
    reference = root / "reference"
    made_up_results.write_study(reference / "small", seeds=(0, 1, 2), data=DATA)
    results = made_up_results.write_study(data / "small" / "resnet18", seeds=(0, 1), data=DATA)
    results += made_up_results.write_study(data / "small-e2" / "resnet18", arms=("topo",), seeds=(0,), data=DATA)
    for name in ("evaluation.json", "analysis.json"):
        made_up_results.edit(results[-1], name, ("as_protocol",), False)
    made_up_results.edit(results[0], "evaluation.json", ("pckh", "0.5", "mean"), 60.0)  # contradicts a claim
    papers = [write_paper(data / part / "resnet18" / "paper") for part in ("small", "small-e2")]
    if more:
        folder = data / more / "resnet18"
        results += made_up_results.write_study(folder, arms=(more,), seeds=(0,), data=DATA)
        papers.append(write_paper(folder / "paper"))
        (papers[-1] / f"{FIGURES[0]}.png").rename(papers[-1] / f"{more}.png")
        (papers[-1] / f"{more}.caption.md").write_text(f"**Finding {more}** Caption of {more}\n", encoding="utf-8")
        write_table("", TextTable((more, "Head"), ((more, f"Cell {more}"),)), papers[-1], "table_pckh")
    provenance = [write_provenance(root / "runs" / path.relative_to(root / "out")) for path in results]
    given = ["--results", *map(str, results), "--reference", str(reference), "--out", str(data), "--no-fail"]
    assert check.main(given) == 0
    given = {"papers": papers, "results": results, "provenance": provenance, "reference": [reference]}
    return {"claims": [data / "claims.json"], **given}


def write_paper(folder: Path) -> Path:
    """Write three figures, a table, and the caption of a figure that has nothing to show."""
    folder.mkdir(parents=True)
    for number, name in enumerate(FIGURES):
        pixels = np.full((60 + 10 * number, 300, 3), 200, np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        text = f"**{name.capitalize()} is 3.** What it shows, where a < b & `code` **stands**.\n"
        (folder / f"{name}.caption.md").write_text(text)
    table = TextTable(("", "Head", "a|b"), (("topo", "71.2 ± 0.3", "–"),))
    write_table("arm,seed,Head\ntopo,0,71.23\n", table, folder, "table_pckh")
    (folder / "table_pckh.caption.md").write_text("PCKh of <everybody>.\n")
    (folder / "lesions.caption.md").write_text("Not shown: no run has lesions.\n")
    return folder


def write_provenance(folder: Path) -> Path:
    """Write the provenance of a run, which was interrupted once if it is of the arm topo."""
    folder.mkdir(parents=True)
    resumed = [SESSION | {"wall_seconds": 30.0, "dirty": True}] if folder.name.startswith("topo") else []
    made_up_results.dump(folder / "provenance.json", {"sessions": [*resumed, SESSION]})
    return folder / "provenance.json"


def options(site: dict[str, list[Path]], out: Path) -> list[str]:
    """Return the command line of `report.page`."""
    given = [text for name, paths in site.items() for text in (f"--{name}", *map(str, paths))]
    return [*given, "--out", str(out)]
