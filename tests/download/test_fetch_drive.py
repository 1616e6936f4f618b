"""The study's copy on Google Drive, with a made-up gdown."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import gdown
import pytest
from loopback import Server
from made_up_targets import IMAGES, MAT, VALID, actions, assert_complete, contents, one_line, write_images

from pose_topo.core.errors import PoseTopoError
from pose_topo.download import catalog
from pose_topo.download.catalog import LICENCES
from pose_topo.download.fetch import Job, run, run_drive

pytestmark = pytest.mark.usefixtures("targets")
FILES = {f"mpii/images/{name}": content for name, content in IMAGES.items()}


def fake_gdown(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes] | Exception) -> None:
    def download_folder(id: str, output: str, resume: bool, timeout: float, retries: int) -> list[str]:
        assert id == catalog.DRIVE_FOLDER and resume
        if isinstance(files, Exception):
            raise files
        for name, content in files.items():
            path = Path(output) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return list(files)

    monkeypatch.setattr(gdown, "download_folder", download_folder)


def test_its_files_are_verified_like_any_others(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    fake_gdown(monkeypatch, {**FILES, "mpii/annotations/release.mat": MAT})
    assert actions(run_drive(Job(tmp_path / "data"))) == ["copied", "absent", "linked"]
    assert contents(tmp_path / "data" / "images") == IMAGES and not server.seen and said.count(LICENCES["mpii"]) == 1
    (tmp_path / "data").rename(tmp_path / "moved")  # the link is relative
    assert contents(tmp_path / "moved" / "images") == IMAGES
    fake_gdown(monkeypatch, {**FILES, "mpii/release.mat": b"another"})
    with pytest.raises(PoseTopoError, match="not used"):
        run_drive(Job(tmp_path / "other"))


@pytest.mark.parametrize("failure", [RuntimeError("quota\nexceeded"), {}])
def test_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Any) -> None:
    fake_gdown(monkeypatch, failure)
    with pytest.raises(PoseTopoError) as caught:
        run_drive(Job(tmp_path))
    line = one_line(caught.value)
    assert "drive.google.com" in line and str(tmp_path / "downloads" / "gdrive") in line
    assert not (tmp_path / "downloads" / "gdrive").exists()  # nothing came into it


def test_files_that_were_put_there_by_hand_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gdown(monkeypatch, RuntimeError("quota exceeded"))
    folder = tmp_path / "downloads" / "gdrive" / "mpii"
    write_images(folder / "images", IMAGES)
    with pytest.raises(PoseTopoError, match="quota exceeded"):
        run_drive(Job(tmp_path))
    (folder / "release.mat").write_bytes(MAT)
    (folder / "valid.h5").write_bytes(VALID)
    assert actions(run_drive(Job(tmp_path))) == ["copied", "copied", "linked"]
    assert_complete(tmp_path)


def test_without_a_network_the_line_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = RuntimeError("Max retries exceeded with url: /embeddedfolderview (Caused by NameResolutionError(...))")
    wrapped.__context__ = socket.gaierror(-2, "Name or service not known")
    fake_gdown(monkeypatch, wrapped)
    with pytest.raises(PoseTopoError, match=r"not fetched \(Name or service not known\); fetch it by hand into"):
        run_drive(Job(tmp_path))


def test_a_dry_run_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    fake_gdown(monkeypatch, AssertionError("asked"))
    run(catalog.TARGETS["mpii"], Job(tmp_path))
    said.clear()
    assert actions(run_drive(Job(tmp_path), dry_run=True)) == ["kept"] * 3 and "would" not in "".join(said)
    (tmp_path / "valid.h5").unlink()
    assert actions(run_drive(Job(tmp_path), dry_run=True)) == ["kept", "planned", "kept"]
    assert "drive.google.com" in said[-1] and "about 5.0 kB" in said[-1]
