"""Reading archives without trust: a member that would leave the folder refuses the whole archive."""

from __future__ import annotations

import errno
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pose_topo.data.sources.verify import BLOCK, Checks, stream_mismatch
from pose_topo.errors import PoseTopoError

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
