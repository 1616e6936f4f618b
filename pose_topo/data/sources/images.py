"""The image folder: absent, or whole. Extracted beside its place and renamed once every file is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from pose_topo.data.sources.archives import readable, tar_files
from pose_topo.data.sources.verify import BLOCK
from pose_topo.errors import PoseTopoError
from pose_topo.files import read_json, write_json

_UNFINISHED = ".tmp"


def index_path(folder: Path) -> Path:
    """The list of names and sizes that an extraction leaves beside the folder."""
    return folder.with_name(f".{folder.name}.index.json")


def partial_path(folder: Path) -> Path:
    """Where the folder grows until it is whole."""
    return folder.with_name(f".{folder.name}.partial")


def incomplete(folder: Path, count: int | None) -> str | None:
    """Why the folder is not the whole image set, or None when it is.

    A folder extracted here is compared with its index, name by name and size by size; one placed by hand
    must hold `count` images that are not empty, and so must one whose index is damaged.
    """
    if not folder.is_dir():
        return "is missing"
    sizes = _sizes(folder)
    if wanted := _index(folder):
        wrong = sorted(name for name, size in wanted.items() if sizes.get(name) != size)
        if wrong:
            return f"lacks {len(wrong):,} of {len(wanted):,} images or holds them cut, such as {wrong[0]}"
        return None
    found = sum(1 for name, size in sizes.items() if _is_image(name) and size)
    if count is not None and found < count:
        return f"holds {found:,} of {count:,} images"
    return None


def _index(folder: Path) -> Mapping[str, int] | None:
    """Names and sizes of what was extracted; None if it was not, or if the list is damaged."""
    try:
        found = read_json(index_path(folder))
    except PoseTopoError:
        return None
    return found if isinstance(found, dict) else None


def was_extracted(folder: Path) -> bool:
    """Whether the folder's names and sizes are known; else its images are only counted."""
    return bool(_index(folder))


def extracted_bytes(folder: Path) -> int:
    """How much an interrupted extraction already wrote."""
    partial = partial_path(folder)
    return sum(_sizes(partial).values()) if partial.is_dir() else 0


def extract_images(archive: Path, member_folder: str, folder: Path, count: int | None, progress: bool = True) -> int:
    """Extract the JPEGs of `member_folder` to `folder`, going on where a killed call stopped.

    `archive` must have been verified: a file already there is only compared by size. A `folder` that is
    already there, incomplete, is set aside. Returns the number of images.

    Raises:
        PoseTopoError: the archive is damaged, unsafe (the member is named), or holds no image.
        OSError: the disk cannot take it.
    """
    partial = partial_path(folder)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        sizes = _fill(archive, member_folder, partial, count, progress)
    except PoseTopoError:
        shutil.rmtree(partial)  # what came of a bad archive must not be taken for a good one's later
        raise
    for stray in partial.iterdir():
        if stray.name not in sizes:
            stray.unlink()
    write_json(index_path(folder), sizes)
    set_aside(folder)
    partial.rename(folder)
    return len(sizes)


def _fill(archive: Path, member_folder: str, partial: Path, count: int | None, progress: bool) -> dict[str, int]:
    sizes: dict[str, int] = {}
    title, silent = f"extract {archive.name}", None if progress else True  # None: where stderr is no terminal
    with readable(archive), tqdm(desc=title, total=count, unit="file", leave=False, disable=silent) as bar:
        for path, size, content in tar_files(archive):
            if path.parent != PurePosixPath(member_folder) or not _is_image(path.name):
                continue
            sizes[path.name] = size
            if not _holds(partial / path.name, size):
                _write(content, partial / path.name, size, archive)
            bar.update()
    if not sizes:
        raise PoseTopoError(f"{archive}: holds no image in {member_folder}/")
    return sizes


def _write(content: IO[bytes], path: Path, size: int, archive: Path) -> None:
    """Write under another name, then rename: a file under its own name is whole."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    with unfinished.open("wb") as out:
        while block := content.read(BLOCK):
            out.write(block)
        written = out.tell()
    if written != size:
        raise PoseTopoError(f"{archive}: damaged, {path.name} has {written:,} of {size:,} bytes")
    unfinished.replace(path)


def _holds(path: Path, size: int) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == size


def _is_image(name: str) -> bool:
    return name.lower().endswith(".jpg") and not name.startswith(".")


def _sizes(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def set_aside(path: Path) -> Path | None:
    """Rename what stands at `path` to a free `<name>.replaced`: nothing of the user's is deleted."""
    if not os.path.lexists(path):
        return None
    number, aside = 1, path.with_name(f"{path.name}.replaced")
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.replaced.{number}")
    path.rename(aside)
    return aside
