"""The study's Google Drive folder, with a made-up gdown."""

from __future__ import annotations

import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_targets import IMAGES, MAT, VALID, Lines, actions, assert_whole, get, served_targets
from test_sources_server import Server, contents, one_line

from pose_topo.core.errors import PoseTopoError
from pose_topo.download import catalog
from pose_topo.download.catalog import LICENCE


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the made-up targets."""
    with served_targets(monkeypatch) as opened:
        yield opened


def fake_gdown(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes] | Exception) -> None:
    def download_folder(id: str, output: str, resume: bool = False) -> list[str]:
        assert id == catalog.DRIVE_FOLDER and resume
        if isinstance(files, Exception):
            raise files
        for name, content in files.items():
            path = Path(output) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return list(files)

    module = types.ModuleType("gdown")
    module.__dict__["download_folder"] = download_folder
    monkeypatch.setitem(sys.modules, "gdown", module)


def test_the_drive_folder_is_verified_like_any_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"mpii/images/{name}": content for name, content in IMAGES.items()}
    fake_gdown(monkeypatch, {**files, "mpii/annotations/release.mat": MAT})
    lines = Lines()
    assert actions(get("gdrive", tmp_path / "data", lines)) == ["copied", "absent", "linked"]
    assert contents(tmp_path / "data" / "images") == IMAGES and not server.seen and LICENCE in lines
    (tmp_path / "data").rename(tmp_path / "moved")  # the link goes with the data
    assert contents(tmp_path / "moved" / "images") == IMAGES
    fake_gdown(monkeypatch, {**files, "mpii/release.mat": b"another"})
    with pytest.raises(PoseTopoError, match="not used"):
        get("gdrive", tmp_path / "other")


@pytest.mark.parametrize("failure", [RuntimeError("quota\nexceeded"), {}, None])
def test_a_drive_folder_that_does_not_come_is_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    if failure is None:
        monkeypatch.setitem(sys.modules, "gdown", None)
    else:
        fake_gdown(monkeypatch, failure)
    with pytest.raises(PoseTopoError) as caught:
        get("gdrive", tmp_path)
    line = one_line(caught.value)
    assert "drive.google.com" in line and (failure is None or str(tmp_path / "downloads" / "gdrive") in line)
    assert not (tmp_path / "downloads" / "gdrive").exists()  # nothing came into it


def test_what_a_hand_put_into_the_drives_folder_is_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gdown(monkeypatch, RuntimeError("quota exceeded"))
    folder = tmp_path / "downloads" / "gdrive" / "mpii"
    for name, content in {"images/" + name: content for name, content in IMAGES.items()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(PoseTopoError, match="quota exceeded"):
        get("gdrive", tmp_path)
    (folder / "release.mat").write_bytes(MAT)
    (folder / "valid.h5").write_bytes(VALID)
    assert actions(get("gdrive", tmp_path)) == ["copied", "copied", "linked"]
    assert_whole(tmp_path)


def test_without_a_network_the_drives_line_is_short(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = RuntimeError("Max retries exceeded with url: /embeddedfolderview (Caused by NameResolutionError(...))")
    wrapped.__context__ = socket.gaierror(-2, "Name or service not known")
    fake_gdown(monkeypatch, wrapped)
    with pytest.raises(PoseTopoError, match=r"not fetched \(Name or service not known\); fetch it by hand into"):
        get("gdrive", tmp_path)


def test_gdown_is_not_imported_unless_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    get("mpii", tmp_path)
    lines = Lines()
    assert actions(get("gdrive", tmp_path, lines, dry_run=True)) == ["kept"] * 3 and "would" not in "".join(lines)
    (tmp_path / "valid.h5").unlink()
    lines = Lines()
    assert actions(get("gdrive", tmp_path, lines, dry_run=True)) == ["kept", "planned", "kept"]
    assert "drive.google.com" in lines[0] and "about 5.0 kB" in lines[0]
