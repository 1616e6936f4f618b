"""Pack the artifact: what git tracks (code, lock, reference results), and the checkpoints that a list names.

    python3 tools/archive.py dist [LIST]

writes dist/pose_topo-<version>.tar.gz and its .sha256. The same commit and the same checkpoints give the same bytes
wherever zlib is the same: names sorted, no times, no owners. Inside, REVISION holds the commit and SHA256SUMS the hash
of every file. LIST has one pattern a line, relative to the checkout (runs/mpii/standard/*/topo-s0/last.pt); # comments.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent


def tracked(root: Path) -> list[str]:
    """What git tracks, as it is committed: a changed file stops it."""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        sys.exit(f"archive: {len(changed)} files differ from the commit (such as{changed[0][2:]}): commit them first")
    return [name for name in _git(root, "ls-files", "-z").split("\0") if name]


def named(root: Path, listed: Path) -> list[str]:
    """The files that a list's patterns match; each pattern must match one, inside the checkout."""
    found: list[str] = []
    for line in listed.read_text(encoding="utf-8").splitlines():
        pattern = line.partition("#")[0].strip()
        if not pattern:
            continue
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            sys.exit(f"archive: {listed}: {pattern} is outside the checkout")
        files = [path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()]
        if not files:
            sys.exit(f"archive: {listed}: {pattern} matches no file: train it, or take it from the list")
        found += files
    return found


def pack(root: Path, names: list[str], top: str, revision: str, out: IO[bytes]) -> None:
    """Write the archive: every file below `top`, sorted, then REVISION and SHA256SUMS."""
    with (
        gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        sums = []
        for name in sorted(set(names)):
            path = root / name
            with path.open("rb") as stream:
                entry = tarfile.TarInfo(f"{top}/{name}")  # owner 0 and time 0 unless told otherwise
                entry.size, entry.mode = path.stat().st_size, 0o755 if path.stat().st_mode & 0o100 else 0o644
                tar.addfile(entry, stream)
            sums.append(f"{sha256(path)}  {name}\n")
        for name, text in (("REVISION", f"{revision}\n"), ("SHA256SUMS", "".join(sums))):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))


def sha256(path: Path) -> str:
    """A file's sha256, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write(root: Path, out: Path, listed: Path | None) -> Path:
    """The archive and its checksum file, each whole or absent."""
    version = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    if version is None:
        sys.exit("archive: pyproject.toml names no version")
    names = tracked(root) + (named(root, listed) if listed else [])
    top = f"pose_topo-{version[1]}"
    path = out / f"{top}.tar.gz"
    with _whole(path) as stream:
        pack(root, names, top, _git(root, "rev-parse", "HEAD").strip(), stream)
    with _whole(path.with_name(path.name + ".sha256")) as stream:
        stream.write(f"{sha256(path)}  {path.name}\n".encode())
    return path


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only once it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        with unfinished.open("wb") as stream:
            yield stream
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"archive: git {arguments[0]} failed ({' '.join(done.stderr.split())}): a checkout is needed")
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: archive.py FOLDER [LIST]")
    made = write(ROOT, Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None)
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB; `sha256sum -c {made.name}.sha256` in {made.parent} verifies it")
