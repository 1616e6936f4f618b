"""What lies in a folder of figures and tables, in the paper's order, ready for a page."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from paper_figures.markup import PipeTable, inline, pipe_tables
from pose_topo.errors import PoseTopoError

CAPTION = ".caption.md"
TITLES = {  # in the order of the paper; what is not named here follows, by name
    "schematic": "The network and its grid",
    "training_curves": "Training",
    "table_pckh": "PCKh",
    "overlays": "Predictions",
    "parcellation": "Which joint each channel serves",
    "strength_maps": "Head weights on the grid",
    "moran": "Moran's I of each joint",
    "table_topography": "Topography, its price and its tuning",
    "neighbour_correlation": "Correlation of grid neighbours",
    "correlation_distance": "Correlation against distance",
    "coactivation": "Distance of co-active channels",
    "lesions": "Lesions of the grid",
    "tradeoff": "Accuracy against topography",
    "table_losses": "Six spatial losses",
    "table_metrics": "Official and legacy metric",
    "table_seeds": "Every seed",
}
ENLARGED = 1.4  # of the printed size: a screen is read from farther away
CSS_DPI, PRINT_DPI = 96, 300


@dataclass(frozen=True)
class Image:
    """A PNG within the page. Width and height as shown, in CSS pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table with its caption; neither where there was nothing to show, as the caption then says."""

    name: str
    title: str
    label: str  # "Figure 1.2", "Table 1.1"; empty without either
    caption: Markup
    image: Image | None
    tables: tuple[PipeTable, ...]


@dataclass(frozen=True)
class Paper:
    """A study part's figures and tables."""

    title: str
    anchor: str
    exhibits: tuple[Exhibit, ...]


def load_papers(folders: Sequence[Path], out: Path) -> list[Paper]:
    """The folders as given, named by their place below `out`.

    Raises:
        PoseTopoError: a folder is missing or empty, or a file in it is not what it should be.
    """
    titles = part_titles(folders, out)
    return [
        Paper(title, f"part-{number}", _exhibits(folder, number))
        for number, (folder, title) in enumerate(zip(folders, titles, strict=True), 1)
    ]


def part_titles(folders: Sequence[Path], out: Path) -> list[str]:
    """`demo / resnet18` for <out>/demo/resnet18/paper; elsewhere only by where the folders differ: no absolute path."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100 (links stay as they are)
    root = Path(os.path.abspath(out))  # noqa: PTH100
    if not all(path.is_relative_to(root) for path in paths):
        root = Path(os.path.commonpath([path.parent for path in paths]))
    parts = [path.relative_to(root).parts for path in paths]
    parts = [part[:-1] if part and part[-1] == "paper" else part for part in parts]  # a protocol is named so, too
    return [" / ".join(part) or "Figures and tables" for part in parts]


def _exhibits(folder: Path, number: int) -> tuple[Exhibit, ...]:
    if not folder.is_dir():
        raise PoseTopoError(f"{folder}: no such folder of figures and tables")
    names = {path.name.removesuffix(CAPTION) for path in folder.glob(f"*{CAPTION}")}
    names |= {path.stem for path in folder.glob("*.png")}
    names |= {path.stem for path in folder.glob("*.md") if not path.name.endswith(CAPTION)}
    if not names:
        raise PoseTopoError(f"{folder}: holds no figure and no table")
    known = list(TITLES)
    ordered = sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))
    counts = {"Figure": 0, "Table": 0}
    return tuple(_exhibit(folder, name, number, counts) for name in ordered)


def _exhibit(folder: Path, name: str, number: int, counts: dict[str, int]) -> Exhibit:
    caption, picture, table = (folder / f"{name}{suffix}" for suffix in (CAPTION, ".png", ".md"))
    label = ""
    if kind := "Figure" if picture.is_file() else "Table" if table.is_file() else "":
        counts[kind] += 1
        label = f"{kind} {number}.{counts[kind]}"
    try:
        tables = tuple(pipe_tables(table.read_text(encoding="utf-8"))) if table.is_file() else ()
    except ValueError as error:
        raise PoseTopoError(f"{table}: {error}") from None
    return Exhibit(
        name,
        TITLES.get(name, name.replace("_", " ").capitalize()),
        label,
        inline(caption.read_text(encoding="utf-8")) if caption.is_file() else Markup(),
        _image(picture) if picture.is_file() else None,
        tables,
    )


def _image(path: Path) -> Image:
    content = path.read_bytes()
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        raise PoseTopoError(f"{path}: not a PNG")
    width, height = (round(size * ENLARGED * CSS_DPI / PRINT_DPI) for size in struct.unpack(">II", content[16:24]))
    return Image("data:image/png;base64," + base64.b64encode(content).decode("ascii"), width, height)
