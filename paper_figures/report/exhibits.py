"""The little Markdown that captions and tables hold, as HTML."""

from __future__ import annotations

import base64
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from pose_topo.core.errors import PoseTopoError

_CELL_BORDER = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class PipeTable:
    """A pipe table's cells, as written; `right` says which columns hold numbers."""

    head: tuple[str, ...]
    right: tuple[bool, ...]
    body: tuple[tuple[str, ...], ...]


def inline(text: str) -> Markup:
    """One paragraph: everything is text but `code` and **bold**."""
    safe = str(escape(" ".join(text.split())))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe))


def pipe_tables(text: str) -> list[PipeTable]:
    """The pipe tables of a Markdown text, in order; what stands between them is left out.

    Raises:
        ValueError: a table has no rule under its head, or a row of another width.
    """
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [_table([_cells(line) for line in block]) for block in blocks if block]


def _cells(line: str) -> tuple[str, ...]:
    parts = _CELL_BORDER.split(line.strip())[1:-1]
    return tuple(part.strip().replace("\\|", "|") for part in parts)


def _table(rows: list[tuple[str, ...]]) -> PipeTable:
    if len(rows) < 2 or not all(re.fullmatch(":?-+:?", cell) for cell in rows[1]):
        raise ValueError("a table without a rule under its head")
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("a table whose rows differ in width")
    return PipeTable(rows[0], tuple(cell.endswith(":") for cell in rows[1]), tuple(rows[2:]))


# ---- What lies in a folder of figures and tables, in the paper's order, ready for a page.

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
