"""The commit of the code: from git, or from the file REVISION of an archive or an image."""

import subprocess
from pathlib import Path

import pytest

from pose_topo.core.provenance import revision

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc123\n", {"commit": "abc123", "dirty": False}),
        ("abc123-dirty\n", {"commit": "abc123", "dirty": True}),
        ("\n", {"commit": None, "dirty": False}),
    ],
)
def test_the_file_revision_names_the_commit(tmp_path, text, expected):
    (tmp_path / "REVISION").write_text(text)
    assert revision(tmp_path) == expected


def test_without_the_file_git_names_the_commit(tmp_path):
    def git(*arguments: str) -> str:
        return subprocess.run([*GIT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD").strip()
    assert revision(tmp_path) == {"commit": head, "dirty": False}
    Path(tmp_path / "a").write_text("2")
    assert revision(tmp_path) == {"commit": head, "dirty": True}
    (tmp_path / "copied").mkdir()  # into another project's repository
    assert revision(tmp_path / "copied") == {"commit": None, "dirty": None}
