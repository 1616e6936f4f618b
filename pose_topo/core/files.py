"""Write files atomically (complete or not at all), read JSON and TOML, hash files, lock them, name the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from pose_topo.core.errors import PoseTopoError, in_short

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]  # installed only where Python has no tomllib

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
MOST_BYTES = 100_000_000  # of a JSON or TOML file; the largest that pose_topo writes has 5 MB


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It is renamed to `path` on success and deleted after an error.

    The suffix is kept, because writers such as `numpy.savez` use it. Parent folders are created. The first time that
    this process writes to a folder, it removes the temporary files that killed processes of this user left there.

    Raises:
        OSError: the disk is full or broken. It names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    writer = f"{_NODE}-{os.getpid()}-{_started(os.getpid())}"
    temporary = path.with_name(f".{path.stem}.{writer}-{secrets.token_hex(6)}{path.suffix}")
    # unlike tempfile.mkstemp, this applies the user's umask, which cannot be read without changing it for all threads
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    except Exception as error:
        if disk := _of_a_disk(error):
            raise OSError(disk.errno, disk.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _of_a_disk(error: BaseException | None) -> OSError | None:
    """The error of a full or broken disk behind another one: a library may fail again when it closes its file."""
    while error is not None and not (isinstance(error, OSError) and error.errno in DISK):
        error = error.__context__
    return error


_NODE = f"{zlib.crc32(platform.node().encode()):08x}"  # this machine, because another one knows other processes
_TEMPORARY = re.compile(rf"\..*\.{_NODE}-(\d+)-(\d+)-[0-9a-f]{{12}}(\.\w+)?")
_cleared: set[Path] = set()


def _clear(folder: Path) -> None:
    if folder in _cleared:
        return
    _cleared.add(folder)
    with os.scandir(folder) as entries:
        found = [(Path(entry.path), match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for path, match in found:
        with suppress(OSError):  # another process may remove it, too
            if _started(match[1]) != match[2] and path.lstat().st_uid == os.getuid():
                path.unlink()


def _started(pid: int | str) -> str:
    """When a process of this user started, because its number is used again; "" if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]  # a killed one has its number until its parent asks for it


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write sorted, indented JSON, atomically.

    Raises:
        ValueError: `value` contains NaN or infinity. A missing number is written as null.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        PoseTopoError: the file is missing or not JSON. NaN and infinity, which JSON does not have, are refused.
    """
    return _read(path, partial(json.loads, parse_constant=_refuse), "JSON")


def _refuse(constant: str) -> None:
    raise ValueError(f"it contains {constant}")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        PoseTopoError: the file is missing or not TOML.
    """
    return _read(path, tomllib.loads, "TOML")


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a text file in UTF-8.

    Raises:
        PoseTopoError: the file is missing or no text.
    """
    return _read(path, str.splitlines, "text")


def _read(path: str | Path, parse: Callable[[str], Any], kind: str) -> Any:
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would be waited for, and a device read without end
            raise PoseTopoError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise PoseTopoError(f"{path}: {size / 1e6:,.0f} MB, more than any file of pose_topo")
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise PoseTopoError(f"{path}: not readable as {kind} ({in_short(error)})") from None


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as stream:
        return sha256_stream(stream)


def sha256_stream(stream: IO[bytes]) -> str:
    """The SHA-256 of what is left of a stream, in hex."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def git_blob_sha1_file(path: str | Path) -> str:
    """The name that git gives to the file's content: the SHA-1 of `blob <size>\\0` and the bytes, in hex."""
    content = Path(path).read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


@contextmanager
def locked(path: Path, busy: Callable[[], object]) -> Iterator[None]:
    """Hold a lock file, so that one process at a time does something. The file is created and stays.

    The system releases the lock of a process that is killed. On a disk without locks nothing is locked.

    Args:
        busy: called once if another process holds the lock. If it returns, the lock is waited for.
    """
    from filelock import FileLock, Timeout  # slow to import

    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # with the user's umask: FileLock would let nobody else write it
    lock = FileLock(path, fallback_to_soft=False)  # its other lock is the file itself, which a killed process leaves
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            busy()
            lock.acquire()
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # what network disks without locks answer
            raise
    try:
        yield
    finally:
        lock.release()


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`, or $POSE_TOPO_CACHE, or `pose_topo` in the user's cache folder.

    Raises:
        PoseTopoError: none of them is given, and the user has no home folder.
    """
    named = cache or os.environ.get("POSE_TOPO_CACHE")
    return Path(named).expanduser() if named else user_cache() / "pose_topo"


def user_cache() -> Path:
    """$XDG_CACHE_HOME, or ~/.cache.

    Raises:
        PoseTopoError: the user has no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        raise PoseTopoError("no home folder for crops and weights: give --cache-dir, or set POSE_TOPO_CACHE") from None
