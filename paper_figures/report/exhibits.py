"""Read folders of figures and tables for the report, with their captions, in the order of the paper."""

from __future__ import annotations

import base64
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from paper_figures.lib.command import CAPTION, exhibits
from paper_figures.lib.tables import TextTable, read_table
from pose_topo.core.errors import PoseTopoError

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
