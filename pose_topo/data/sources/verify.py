"""What is known of a file's bytes, and whether a file on disk agrees with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pose_topo.errors import PoseTopoError
from pose_topo.files import git_blob_sha1_file, md5_file, sha256_file

BLOCK = 1 << 20


@dataclass(frozen=True)
class Checks:
    """Every size and hash known of a file; whatever is None is not known and not checked."""

    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    git_blob_sha1: str | None = None

    @property
    def hashed(self) -> bool:
        """Whether any hash is known: a size alone says nothing of the bytes."""
        return any((self.md5, self.sha256, self.sha256_prefix, self.git_blob_sha1))

    def describe(self) -> str:
        """One phrase for messages, such as `1,350,310 bytes, sha256 6c9e...`."""
        known = [] if self.size is None else [f"{self.size:,} bytes"]
        known += [f"{label} {value}" for label, value in self._hashes() if value]
        return ", ".join(known) or "no hash known"

    def _hashes(self) -> list[tuple[str, str | None]]:
        return [
            ("md5", self.md5),
            ("sha256", self.sha256),
            ("sha256 prefix", self.sha256_prefix),
            ("git blob sha1", self.git_blob_sha1),
        ]


def mismatch(path: Path, checks: Checks) -> str | None:
    """Why `path` is not the file that `checks` describes, or None when it is.

    Raises:
        PoseTopoError: the file cannot be read.
    """
    try:
        return _mismatch(path, checks)
    except OSError as error:
        raise PoseTopoError(f"{path}: cannot be read ({error.strerror})") from None


def _mismatch(path: Path, checks: Checks) -> str | None:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if checks.size is not None and size != checks.size:
        return f"has {size:,} bytes, not {checks.size:,}"
    sha256 = sha256_file(path) if checks.sha256 or checks.sha256_prefix else ""
    found = {
        "md5": md5_file(path) if checks.md5 else None,
        "sha256": sha256 if checks.sha256 else None,
        "sha256 prefix": sha256[: len(checks.sha256_prefix)] if checks.sha256_prefix else None,
        "git blob sha1": git_blob_sha1_file(path) if checks.git_blob_sha1 else None,
    }
    for label, wanted in checks._hashes():
        if wanted and found[label] != wanted.lower():
            return f"has {label} {found[label]}, not {wanted}"
    return None


def stream_mismatch(stream: IO[bytes], size: int, checks: Checks) -> str | None:
    """The same question for `size` bytes read from a stream (an archive's member)."""
    if checks.size is not None and size != checks.size:
        return f"has {size:,} bytes, not {checks.size:,}"
    digests: dict[str, Any] = {
        "md5": hashlib.md5(usedforsecurity=False),
        "sha256": hashlib.sha256(),
        "sha256 prefix": hashlib.sha256(),
        "git blob sha1": hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False),
    }
    wanted = {label: value.lower() for label, value in checks._hashes() if value}
    while block := stream.read(BLOCK):
        for label in wanted:
            digests[label].update(block)
    for label, value in wanted.items():
        found = digests[label].hexdigest()[: len(value)]
        if found != value:
            return f"has {label} {found}, not {value}"
    return None
