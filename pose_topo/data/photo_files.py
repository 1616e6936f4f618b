"""Photographs that somebody names on the command line: which files they are, and what their results are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pose_topo.errors import PoseTopoError

# what a folder is searched for; some of these OpenCV reads in some builds only, and then they are named as unreadable
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")
OVERLAY = ".overlay"  # before the suffix of our own pictures, which are no photographs


@dataclass(frozen=True)
class PhotoFile:
    """A photograph on the disk."""

    path: Path
    name: str  # of its results: the stem, numbered where another photograph has the same


def find_photographs(paths: list[Path]) -> list[PhotoFile]:
    """The photographs among `paths`: files as they are, folders without their subfolders, each photograph once.

    Raises:
        PoseTopoError: a path does not exist, or a folder holds no photograph.
    """
    taken: set[str] = set()
    seen: set[Path] = set()
    found = []
    for path in paths:
        for file in _files(path):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                found.append(PhotoFile(file, _free_name(file.stem, taken)))
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        if not path.exists():
            raise PoseTopoError(f"{path}: no such photograph or folder")
        yield path
        return
    inside = sorted(file for file in path.iterdir() if _is_photograph(file))
    if not inside:
        raise PoseTopoError(
            f"{path}: no photograph in this folder ({', '.join(SUFFIXES)}; subfolders are not searched)"
        )
    yield from inside


def _is_photograph(file: Path) -> bool:
    ours = file.stem.endswith(OVERLAY)
    hidden = file.name.startswith(".")  # such as macOS's ._name.jpg, which holds no picture
    return file.suffix.lower() in SUFFIXES and not ours and not hidden and not file.is_dir()


def _free_name(stem: str, taken: set[str]) -> str:
    """`stem`, or `stem-2`, `stem-3` ...: the first that is free also where file names know no case."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name
