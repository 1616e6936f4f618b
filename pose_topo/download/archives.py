"""Reading archives without trust: a member that would leave the folder refuses the whole archive."""

from __future__ import annotations

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, write_json
from pose_topo.download.catalog import BLOCK, Checks, stream_mismatch

_LARGEST_MEMBER = 1 << 30  # far above any real member; a bomb is not unpacked


# What tarfile, zipfile and the decompressors have been seen to raise on damaged or encrypted input.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
)


@contextmanager
def readable(archive: Path) -> Iterator[None]:
    """Around every reading of an archive: turn each way in which it can be broken into one line.

    Raises:
        PoseTopoError: it is broken.
    """
    try:
        yield
    except _BROKEN as error:
        raise _damage(archive, error) from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the disk's own: no bad block nor a seek to nowhere
            raise
        raise _damage(archive, error) from None


def _damage(archive: Path, error: Exception) -> PoseTopoError:
    detail = " ".join(str(error).split()) or type(error).__name__
    return PoseTopoError(f"{archive}: damaged or not the expected archive ({detail})")


def safe_name(archive: Path, name: str, directory: bool = False) -> PurePosixPath:
    """The member's path below the folder it is extracted to.

    Raises:
        PoseTopoError: the name is absolute, climbs with `..`, or means something else on another system.
    """
    path = PurePosixPath(name)
    odd = "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name) is not None
    if path.is_absolute() or ".." in path.parts or odd or not (path.parts or directory):
        raise _refusal(archive, name, "its name leaves the folder")
    return path


def _refusal(archive: Path, name: str, why: str) -> PoseTopoError:
    return PoseTopoError(f"{archive}: member {name!r} refused, {why}; nothing of the archive is used")


def tar_files(archive: Path) -> Iterator[tuple[PurePosixPath, int, IO[bytes]]]:
    """Path, size and content of the tar's files, in its order; to be read before the next is asked for.

    The reading of a content happens in the caller, who stands in `readable` for it.

    Raises:
        PoseTopoError: a member is unsafe (it is named), or the archive is damaged.
    """
    with readable(archive), tarfile.open(archive, "r:*") as tar:
        for member in tar:
            path = safe_name(archive, member.name, member.isdir())
            if member.isdir():
                continue
            if not member.isreg():
                kind = "link" if member.issym() or member.islnk() else "special file"
                raise _refusal(archive, member.name, f"it is a {kind}")
            if member.size > _LARGEST_MEMBER:
                raise _refusal(archive, member.name, f"it is {member.size:,} bytes large")
            content = tar.extractfile(member)
            assert content is not None  # a regular file has one
            yield path, member.size, content


def zip_mismatch(archive: Path, member: str, checks: Checks) -> str | None:
    """Why the zip does not hold `member` as `checks` describes it, or None when it does.

    Raises:
        PoseTopoError: a member is unsafe (it is named), or the archive is damaged.
    """
    with readable(archive), zipfile.ZipFile(archive) as opened:
        info = _find(archive, opened, member)
        if info is None:
            return f"holds no {member}"
        with opened.open(info) as stream:
            wrong = stream_mismatch(stream, info.file_size, checks)
        return f"holds a {member} that {wrong}" if wrong else None


def extract_zip_member(archive: Path, member: str, path: Path) -> None:
    """Write one member's content to `path`.

    Raises:
        PoseTopoError: a member is unsafe (it is named), the archive is damaged, or the member is not there.
    """
    with readable(archive), zipfile.ZipFile(archive) as opened:
        info = _find(archive, opened, member)
        if info is None:
            raise PoseTopoError(f"{archive}: holds no {member}")
        with opened.open(info) as stream, path.open("wb") as out:
            while block := stream.read(BLOCK):
                out.write(block)


def _find(archive: Path, opened: zipfile.ZipFile, member: str) -> zipfile.ZipInfo | None:
    """The member of that name, or of that last part; every other member is looked at for safety as well."""
    found = None
    for info in opened.infolist():
        path = safe_name(archive, info.orig_filename, info.is_dir())  # before zipfile cuts it at a NUL
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, info.filename, "it is a link or a special file")
        if info.file_size > _LARGEST_MEMBER:
            raise _refusal(archive, info.filename, f"it is {info.file_size:,} bytes large")
        if info.filename == member or (found is None and path.name == PurePosixPath(member).name):
            found = info
    return found


# ---- The image folder: absent, or whole. Extracted beside its place and renamed once every file is there.

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
