"""Files that are whole or absent: written under a temporary name, then renamed. And their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pose_topo.core.errors import PoseTopoError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any error.

    The suffix is kept, since writers such as `numpy.savez` look at it. Parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes 0600; the file is for everybody the umask allows
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write sorted, indented JSON atomically. NaN and infinity are refused: a missing number is null.

    Raises:
        ValueError: `value` holds NaN or infinity.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        PoseTopoError: it is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PoseTopoError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise PoseTopoError(f"{path}: not readable as JSON ({error})") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        PoseTopoError: it is missing or not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PoseTopoError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise PoseTopoError(f"{path}: not readable as TOML ({error})") from None


def sha256_file(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    return _hash_file(path, hashlib.sha256())


def git_blob_sha1_file(path: str | Path) -> str:
    """The name git gives the file's content: sha1 of `blob <size>\\0` and the bytes, in hex."""
    header = f"blob {Path(path).stat().st_size}\0".encode()
    return _hash_file(path, hashlib.sha1(header, usedforsecurity=False))


def _hash_file(path: str | Path, digest: Any) -> str:
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---- One writer at a time, among all processes of a machine. A killed holder's lock is free.

try:
    import fcntl
except ImportError:  # a system without it goes unlocked
    fcntl = None


@contextmanager
def locked(path: Path, busy: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a folder, or of a file, which is made if it is not there.

    Args:
        busy: called where another process holds it: raises, or says so, and then it is waited for.
    """
    if fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:
            pass  # a network disk without locks
        yield
    finally:
        os.close(held)


# ---- Caches


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`, or $POSE_TOPO_CACHE, or `pose_topo` in $XDG_CACHE_HOME (~/.cache)."""
    named = os.environ.get("POSE_TOPO_CACHE")
    if cache is not None or named:
        return Path(cache or named or "").expanduser()
    return user_cache() / "pose_topo"


def user_cache() -> Path:
    """$XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
