"""Read the downloaded archives: one member, or a folder of images, of a tar, a zip or a git repository.

The images are extracted into a folder beside their place, which is renamed when it is complete. So the image folder is
either absent or complete, whenever an extraction is killed.
"""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.core.files import read_json, sha256_stream, write_json
from pose_topo.download.catalog import Checks, stream_mismatch

LARGEST_MEMBER = 1 << 30  # bytes: far above any real member, so a decompression bomb is refused

# The errors of tarfile, zipfile and the decompressors on damaged or encrypted archives.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
            RuntimeError)  # fmt: skip


_Member = tuple[tarfile.TarInfo, Callable[[], IO[bytes]]]


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open a tar or a zip. Yields its members as tarfile describes them, each with a function that opens it.

    Raises:
        PoseTopoError: the archive is damaged, or has a member that would leave the folder or is too large.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield ((_safe(archive, _as_tar(opened, info)), partial(opened.open, info)) for info in opened.filelist)
        else:
            with tarfile.open(archive, "r:*") as tar:
                yield ((_safe(archive, info), cast(Any, partial(tar.extractfile, info))) for info in tar)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # an error of the disk: a damaged archive gives no number, or asks to seek outside the file
        raise PoseTopoError(f"{archive}: damaged or not the expected archive ({in_short(error)})") from None


def _as_tar(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> tarfile.TarInfo:
    """The same member in a tar. In a zip made on Unix, a link is a file with a mode and its target as content."""
    member = tarfile.TarInfo(info.filename)
    member.size = info.file_size
    if info.is_dir():
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(info.external_attr >> 16):
        member.type = tarfile.SYMTYPE
        with opened.open(info) as stream:
            member.linkname = os.fsdecode(stream.read(4096))
    return member


def _safe(archive: Path, member: tarfile.TarInfo) -> tarfile.TarInfo:
    if why := _unsafe(member):
        raise PoseTopoError(f"{archive}: member {member.name!r} refused, {why}; nothing of the archive is used")
    return member


def _unsafe(member: tarfile.TarInfo) -> str | None:
    """Why tarfile's `data_filter` would refuse it, or that it is too large, or None.

    Python has that filter only since 3.10.12 and 3.11.4.
    """
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return "it is a special file"
    name = member.name.lstrip("/")
    places = [name]
    if member.issym() or member.islnk():
        if member.linkname.startswith("/"):
            return "it is a link to an absolute path"
        places += [f"{PurePosixPath(name).parent}/{member.linkname}" if member.issym() else member.linkname]
    if any(os.path.normpath(place).split("/")[0] == ".." for place in places):
        return "it leads outside the destination"
    return f"it has {member.size:,} bytes" if member.size > LARGEST_MEMBER else None


def is_archive(path: Path) -> bool:
    """Whether the file begins like a tar or ends like a zip."""
    with suppress(*_DAMAGED):
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    return False


@contextmanager
def opened_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open the member of that path, or else of that file name. Yields its stream and its size in bytes.

    Raises:
        PoseTopoError: the archive is damaged, or has no such member, or a member that `_members` refuses.
    """
    with _members(archive) as members:
        name = PurePosixPath(member).name
        found = [one for one in members if PurePosixPath(one[0].name).name == name and one[0].isreg()]
        if not found:
            raise PoseTopoError(f"{archive}: holds no {member}")
        info, opens = next((one for one in found if one[0].name == member), found[0])
        with opens() as stream:
            yield stream, info.size


def member_mismatch(archive: Path, member: str, checks: Checks) -> str | None:
    """Why the archive does not hold `member` as `checks` describes it, or None if it does.

    Raises:
        PoseTopoError: as `opened_member`.
    """
    with opened_member(archive, member) as (stream, size):
        wrong = stream_mismatch(stream, size, checks)
    return f"holds a {member} that {wrong}" if wrong else None


# ---- Git repositories


def is_git(path: Path) -> bool:
    """Whether the folder is a bare git repository, or the `.git` of one that is not."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir()


@contextmanager
def as_archive(source: Path, path: str, place: Path) -> Iterator[Path]:
    """Yield `source`, or if it is a git repository, a tar of `path` in its newest commit that lies for now at `place`.

    Raises:
        PoseTopoError: git is not installed, or it cannot read the repository.
    """
    if not is_git(source):
        yield source
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    command = ["git", "-C", str(source), "archive", "--format=tar", f"--output={place.absolute()}", "HEAD", path]
    if shutil.which("git") is None:
        raise PoseTopoError(f"{source}: a git repository, and git is not installed; give a checkout of it")
    try:
        made = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if made.returncode:
            raise PoseTopoError(f"{source}: git archive fails ({' '.join(made.stderr.split())[:200]})")
        yield place
    finally:
        place.unlink(missing_ok=True)


# ---- The image folder


def index_path(folder: Path) -> Path:
    """The list of names and sizes that an extraction leaves beside the folder."""
    return folder.with_name(f".{folder.name}.index.json")


def partial_path(folder: Path) -> Path:
    """The folder that an extraction fills."""
    return folder.with_name(f".{folder.name}.partial")


def extract_images(
    archive: Path,
    member_folder: str,
    folder: Path,
    count: int | None,
    listing: str | None = None,
    progress: bool = True,
) -> int:
    """Extract the JPEGs of `member_folder` to `folder`, and continue what a killed call left.

    Verify `archive` first: a file of an earlier call is only compared by its size. An incomplete `folder` is set aside.
    `count` and `listing` are those of `incomplete`. Returns the number of images.

    Raises:
        PoseTopoError: the archive is damaged, holds no image or too few, or has a member that would leave the folder.
        OSError: the disk cannot take it.
    """
    unfinished = partial_path(folder)
    unfinished.mkdir(parents=True, exist_ok=True)
    held, sizes = _sizes(unfinished), {}
    hidden = None if progress else True  # None: no bar where stderr is no terminal
    bar = tqdm(desc=f"extract {archive.name}", total=count, unit="file", leave=False, disable=hidden)
    try:
        with bar, _members(archive) as members:
            for name, size, opens in _images(members, member_folder):
                sizes[name] = size
                if held.get(name) != size:
                    with opens() as stream, (unfinished / name).open("wb") as out:
                        shutil.copyfileobj(stream, out)
                bar.update()
        if not sizes:
            raise PoseTopoError(f"{archive}: holds no image in {member_folder}/")
        for name in held.keys() - sizes.keys():
            (unfinished / name).unlink()
        if wrong := incomplete(unfinished, count, listing):
            raise PoseTopoError(f"{archive}: what was extracted {wrong}; not used")
    except PoseTopoError:
        shutil.rmtree(unfinished)  # else the files of a bad archive would be kept when a good one is extracted
        raise
    write_json(index_path(folder), sizes)
    set_aside(folder)
    unfinished.rename(folder)
    return len(sizes)


def _images(members: Iterator[_Member], folder: str) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    """The names and sizes of the JPEGs of `folder`, which is at the top of the archive or below one folder."""
    for info, opens in members:
        path = PurePosixPath(info.name)
        inside = path.parent.name == folder and path.parent.parent.parent == PurePosixPath()
        if info.isreg() and inside and _is_image(path.name):
            yield path.name, info.size, opens


def images_mismatch(archive: Path, folder: str, listing: str) -> str | None:
    """Why the JPEGs of `folder` in the archive are not those of the `listing`, or None if they are.

    Raises:
        PoseTopoError: as `_members`.
    """
    with _members(archive) as members:
        return _listing_mismatch(((name, opens) for name, _, opens in _images(members, folder)), listing)


def _listing_mismatch(files: Iterable[tuple[str, Callable[[], IO[bytes]]]], listing: str) -> str | None:
    """Compare the `listing` with the sha256 of the lines that `sha256sum` prints of the files, sorted by name."""
    lines = {}
    for name, opens in files:
        with opens() as stream:
            lines[name] = f"{sha256_stream(stream)}  {name}\n"
    found = hashlib.sha256("".join(lines[name] for name in sorted(lines)).encode()).hexdigest()
    return None if found == listing else f"holds images whose list has sha256 {found}, not {listing}"


def incomplete(folder: Path, count: int | None, listing: str | None = None) -> str | None:
    """Why the image folder is not complete, or None if it is.

    The names and sizes of an extracted folder are compared with its index. A folder that was placed by hand, or whose
    index is damaged, must hold `count` images that are not empty. If `listing` is known, the content is compared too:
    it is the sha256 of the lines `<sha256>  <name>` of all images, sorted by name.
    """
    if not folder.is_dir():
        return "is missing"
    sizes, wanted = _sizes(folder), None
    with suppress(PoseTopoError):
        wanted = read_json(index_path(folder))
    if isinstance(wanted, dict) and wanted:
        wrong = sorted(name for name, size in wanted.items() if sizes.get(name) != size)
        if wrong:
            return f"lacks {len(wrong):,} of {len(wanted):,} images or holds them cut, such as {wrong[0]}"
    else:
        found = sum(1 for name, size in sizes.items() if _is_image(name) and size)
        if count is not None and found < count:
            return f"holds {found:,} of {count:,} images"
    images = ((name, partial((folder / name).open, "rb")) for name in sizes if _is_image(name))
    return None if listing is None else _listing_mismatch(images, listing)


def extracted_bytes(folder: Path) -> int:
    """How many bytes an interrupted extraction has written."""
    unfinished = partial_path(folder)
    return sum(_sizes(unfinished).values()) if unfinished.is_dir() else 0


def _is_image(name: str) -> bool:
    return name.lower().endswith(".jpg") and not name.startswith(".")


def _sizes(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def set_aside(path: Path) -> None:
    """Rename whatever is at `path` to a free `<name>.replaced`, so that no file of the user is deleted."""
    if not os.path.lexists(path):
        return
    number, aside = 1, path.with_name(f"{path.name}.replaced")
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.replaced.{number}")
    path.rename(aside)
