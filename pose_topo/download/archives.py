"""Read the downloaded archives: one member of a zip, or the images of a tar.

The images are extracted into a folder beside their place, which is renamed when it is complete. So the image folder is
either absent or complete, whenever an extraction is killed.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, write_json
from pose_topo.download.catalog import Checks, stream_mismatch

LARGEST_MEMBER = 1 << 30  # bytes: far above any real member, so a decompression bomb is refused

# The errors of tarfile, zipfile and the decompressors on damaged or encrypted archives.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
            RuntimeError)  # fmt: skip


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn every error of a damaged archive into one line.

    Raises:
        PoseTopoError: the archive is damaged.
    """
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # an error of the disk: a damaged archive gives no number, or asks to seek outside the file
        detail = " ".join(str(error).split()) or type(error).__name__
        raise PoseTopoError(f"{archive}: damaged or not the expected archive ({detail})") from None


@contextmanager
def zip_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open the member of that path, or else of that file name. Yields its stream and its size in bytes.

    Raises:
        PoseTopoError: the archive is damaged, or has no such member, or it is too large.
    """
    with _readable(archive), zipfile.ZipFile(archive) as opened:
        name = PurePosixPath(member).name
        found = [info for info in opened.infolist() if PurePosixPath(info.filename).name == name and not info.is_dir()]
        if not found:
            raise PoseTopoError(f"{archive}: holds no {member}")
        info = next((info for info in found if info.filename == member), found[0])
        if info.file_size > LARGEST_MEMBER:
            raise _refusal(archive, info.filename, f"it has {info.file_size:,} bytes")
        with opened.open(info) as stream:
            yield stream, info.file_size


def zip_mismatch(archive: Path, member: str, checks: Checks) -> str | None:
    """Why the zip does not hold `member` as `checks` describes it, or None if it does.

    Raises:
        PoseTopoError: as `zip_member`.
    """
    with zip_member(archive, member) as (stream, size):
        wrong = stream_mismatch(stream, size, checks)
    return f"holds a {member} that {wrong}" if wrong else None


def _refusal(archive: Path, name: str, why: str) -> PoseTopoError:
    return PoseTopoError(f"{archive}: member {name!r} refused, {why}; nothing of the archive is used")


# ---- The image folder


def index_path(folder: Path) -> Path:
    """The list of names and sizes that an extraction leaves beside the folder."""
    return folder.with_name(f".{folder.name}.index.json")


def partial_path(folder: Path) -> Path:
    """The folder that an extraction fills."""
    return folder.with_name(f".{folder.name}.partial")


def extract_images(archive: Path, member_folder: str, folder: Path, count: int | None, progress: bool = True) -> int:
    """Extract the JPEGs of `member_folder` to `folder`, and continue what a killed call left.

    Verify `archive` first: a file of an earlier call is only compared by its size. An incomplete `folder` is set aside.
    Returns the number of images.

    Raises:
        PoseTopoError: the archive is damaged, holds no image, or has a member that would leave the folder.
        OSError: the disk cannot take it.
    """
    partial = partial_path(folder)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        sizes = _extract_into(partial, archive, member_folder, count, progress)
    except PoseTopoError:
        shutil.rmtree(partial)  # else the files of a bad archive would be kept when a good one is extracted
        raise
    for name in _sizes(partial).keys() - sizes.keys():
        (partial / name).unlink()
    write_json(index_path(folder), sizes)
    set_aside(folder)
    partial.rename(folder)
    return len(sizes)


def _extract_into(
    partial: Path, archive: Path, member_folder: str, count: int | None, progress: bool
) -> dict[str, int]:
    held, sizes = _sizes(partial), {}
    hidden = None if progress else True  # None: no bar where stderr is no terminal
    bar = tqdm(desc=f"extract {archive.name}", total=count, unit="file", leave=False, disable=hidden)
    with _readable(archive), bar, tarfile.open(archive, "r:*") as tar:
        for member in tar:
            try:
                tarfile.data_filter(member, str(partial))
            except tarfile.FilterError as error:
                raise _refusal(archive, member.name, str(error)) from None
            if member.size > LARGEST_MEMBER:
                raise _refusal(archive, member.name, f"it has {member.size:,} bytes")
            path = PurePosixPath(member.name)
            if not (member.isreg() and path.parent == PurePosixPath(member_folder) and _is_image(path.name)):
                continue
            sizes[path.name] = member.size
            if held.get(path.name) != member.size:
                # mode and time are those of a new file, not of the archive
                new = member.replace(name=path.name, mode=None, mtime=None, deep=False)  # type: ignore[arg-type]  # None is documented
                tar.extract(new, partial, filter="data")
            bar.update()
    if not sizes:
        raise PoseTopoError(f"{archive}: holds no image in {member_folder}/")
    return sizes


def incomplete(folder: Path, count: int | None) -> str | None:
    """Why the image folder is not complete, or None if it is.

    The names and sizes of an extracted folder are compared with its index. A folder that was placed by hand, or whose
    index is damaged, must hold `count` images that are not empty.
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


def extracted_bytes(folder: Path) -> int:
    """How many bytes an interrupted extraction has written."""
    partial = partial_path(folder)
    return sum(_sizes(partial).values()) if partial.is_dir() else 0


def _index(folder: Path) -> dict[str, int] | None:
    try:
        found = read_json(index_path(folder))
    except PoseTopoError:
        return None
    return found if isinstance(found, dict) else None


def _is_image(name: str) -> bool:
    return name.lower().endswith(".jpg") and not name.startswith(".")


def _sizes(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def set_aside(path: Path) -> Path | None:
    """Rename whatever is at `path` to a free `<name>.replaced`, so that no file of the user is deleted."""
    if not os.path.lexists(path):
        return None
    number, aside = 1, path.with_name(f"{path.name}.replaced")
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.replaced.{number}")
    path.rename(aside)
    return aside
