"""The archive: what is in it, and that its bytes depend on nothing else."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "archive.py"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")

spec = importlib.util.spec_from_file_location("archive", TOOL)
assert spec is not None and spec.loader is not None
archive = importlib.util.module_from_spec(spec)
spec.loader.exec_module(archive)


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def checkout(folder: Path) -> Path:
    """A tiny project of one commit, with a run beside it."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2"\n')
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "b").mkdir()
    (folder / "b" / "é a.txt").write_text("x")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one", "--date=2020-01-01T00:00:00Z")
    (folder / "runs").mkdir()
    (folder / "runs" / "best.pt").write_bytes(b"weights")
    (folder / "list").write_text("# the released one\nruns/*.pt  # all\n")
    return folder


def test_it_holds_what_is_tracked_and_what_is_listed(tmp_path):
    here = checkout(tmp_path / "with space")
    made = archive.write(here, tmp_path / "dist", here / "list")
    assert made.name == "pose_topo-1.2.tar.gz"
    with tarfile.open(made) as tar:
        modes = {entry.name.partition("/")[2]: entry.mode for entry in tar}
        assert modes == {
            "b/é a.txt": 0o644, "pyproject.toml": 0o644, "run.sh": 0o755, "runs/best.pt": 0o644,
            "REVISION": 0o644, "SHA256SUMS": 0o644,
        }  # fmt: skip
        assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in tar} == {(0, 0, "", "", 0)}
        top = made.name.removesuffix(".tar.gz")
        revision, sums = (tar.extractfile(f"{top}/{name}") for name in ("REVISION", "SHA256SUMS"))
        assert revision is not None and revision.read().decode() == git(here, "rev-parse", "HEAD")
        assert sums is not None and f"{hashlib.sha256(b'weights').hexdigest()}  runs/best.pt\n" in sums.read().decode()
    told = made.with_name(made.name + ".sha256").read_text()
    assert told == f"{hashlib.sha256(made.read_bytes()).hexdigest()}  {made.name}\n"


def test_its_bytes_depend_on_neither_time_nor_place(tmp_path):
    first = checkout(tmp_path / "first")
    second = tmp_path / "second" / "deep"
    git(tmp_path, "clone", "-q", str(first), str(second))
    for path in second.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (second / "pyproject.toml").chmod(0o600)
    one, two = archive.write(first, tmp_path / "1", None), archive.write(second, tmp_path / "2", None)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("line", "why"),
    [("runs/none.pt", "matches no file"), ("/etc/passwd", "outside the checkout"), ("../x", "outside the checkout")],
)
def test_a_list_that_cannot_be_served_is_one_line(tmp_path, line, why):
    here = checkout(tmp_path / "here")
    (here / "list").write_text(line)
    with pytest.raises(SystemExit, match=why):
        archive.write(here, tmp_path / "dist", here / "list")
    assert not (tmp_path / "dist").exists()


def test_uncommitted_changes_and_no_checkout_are_one_line(tmp_path):
    here = checkout(tmp_path / "here")
    (here / "run.sh").write_text("#!/bin/bash\n")
    with pytest.raises(SystemExit, match=r"1 files differ from the commit \(such as run.sh\)"):
        archive.write(here, tmp_path / "dist", None)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(here / "pyproject.toml", bare)
    with pytest.raises(SystemExit, match="a checkout is needed"):
        archive.write(bare, tmp_path / "dist", None)


def test_a_failure_midway_leaves_no_file(tmp_path, monkeypatch):
    here = checkout(tmp_path / "here")
    monkeypatch.setattr(archive, "sha256", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        archive.write(here, tmp_path / "dist", None)
    assert list((tmp_path / "dist").iterdir()) == []


def test_the_command_says_how_it_is_used():
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("usage:")
