"""What the doctor reports of write access, disk, data and weights."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pose_topo.commands import prepare
from pose_topo.download import catalog
from pose_topo.download.catalog import Checks, Remote


def levels(data: Path, profile: str) -> dict[str, str]:
    return {finding.what: finding.level for finding in prepare.check_folders(data, profile)}


def state(data: Path, what: str) -> str:
    return next(finding.state for finding in prepare.check_folders(data, "full") if finding.what == what)


@pytest.fixture
def known(monkeypatch, tmp_path) -> Path:
    """A data set of one file with a known hash, and no weights."""
    checks = Checks(sha256=hashlib.sha256(b"truth").hexdigest())
    monkeypatch.setitem(catalog.TARGETS, "mpii", (Remote("list", ("http://localhost/",), "list", 5, checks),))
    monkeypatch.setenv("POSE_TOPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pose_topo.download.weights.hub_checkpoints", lambda: tmp_path / "hub")
    return tmp_path / "data"


def room(monkeypatch, gigabytes: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, int(gigabytes * 1e9)))


def test_a_user_without_a_home_folder_is_told(monkeypatch, tmp_path):
    for name in ("POSE_TOPO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda _: (_ for _ in ()).throw(RuntimeError("no home")))
    (finding,) = prepare.check_folders(tmp_path, "demo")
    assert finding.level == "FAIL" and "set POSE_TOPO_CACHE" in finding.state


def test_missing_and_wrong_data_are_named(known):
    assert levels(known, "full")["data"] == "FAIL"
    assert f"pose-topo download mpii --data {known}" in state(known, "data")
    known.mkdir()
    (known / "list").write_text("lies!")
    assert "list has sha256" in state(known, "data")
    (known / "list").write_text("truth")
    assert levels(known, "full")["data"] == "ok"
    assert "verified" in state(known, "data")


def test_missing_and_broken_weights_are_named(known, monkeypatch, tmp_path):
    assert levels(known, "full")["weights"] == "FAIL"
    content = {arch: arch.encode() for arch in prepare.STUDY_ARCHS}
    for arch, data in content.items():
        remote = Remote(arch, (), arch, 9, Checks(sha256=hashlib.sha256(data).hexdigest()))
        monkeypatch.setitem(catalog.WEIGHTS, arch, remote)
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for arch in prepare.STUDY_ARCHS[:2]:
        (folder / arch).write_bytes(content[arch])
    (folder / prepare.STUDY_ARCHS[2]).write_bytes(b"cut")
    words = state(known, "weights")
    assert words.endswith(f"{prepare.STUDY_ARCHS[2]}; `pose-topo download weights --arch {prepare.STUDY_ARCHS[2]}`")
    (folder / prepare.STUDY_ARCHS[2]).write_bytes(content[prepare.STUDY_ARCHS[2]])
    assert levels(known, "full")["weights"] == "ok"


def test_the_demo_needs_only_disk_space(known, monkeypatch):
    room(monkeypatch, 2.5)
    assert set(levels(known, "demo").values()) == {"ok"}
    room(monkeypatch, 1.9)
    assert levels(known, "demo")["disk"] == "FAIL"


def test_folders_on_one_disk_are_added_up(known, monkeypatch):
    room(monkeypatch, 60)  # enough for crops or for runs, not for both
    assert levels(known, "full")["disk"] == "FAIL"
    assert "61.0 GB needed" in state(known, "disk")
    monkeypatch.setattr(prepare, "_device", lambda folder: hash(str(folder)))
    assert levels(known, "full")["disk"] == "ok"


def test_a_folder_that_is_read_only_is_a_note(known, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert levels(known, "demo")["write access"] == "ok"
    monkeypatch.setattr(os, "access", lambda folder, _: folder != tmp_path)
    assert levels(known, "demo")["write access"] == "note"
    assert "read-only: runs" in state(known, "write access") and "--save-dir" in state(known, "write access")
