"""What the doctor says of disk, data and weights."""

import hashlib
import shutil
from pathlib import Path

import pytest

from pose_topo.commands import doctor as study
from pose_topo.download import catalog
from pose_topo.download.catalog import Checks, Remote


def levels(data: Path, profile: str) -> dict[str, str]:
    return {finding.what: finding.level for finding in study.judge_study(data, profile)}


def state(data: Path, what: str) -> str:
    return next(finding.state for finding in study.judge_study(data, "full") if finding.what == what)


@pytest.fixture
def known(monkeypatch, tmp_path) -> Path:
    """A data set of one file whose hash is known, and no weights anywhere."""
    checks = Checks(sha256=hashlib.sha256(b"truth").hexdigest())
    monkeypatch.setitem(catalog.TARGETS, "mpii", (Remote("list", ("http://localhost/",), "list", 5, checks),))
    monkeypatch.setenv("POSE_TOPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pose_topo.download.weights.hub_checkpoints", lambda: tmp_path / "hub")
    return tmp_path / "data"


def room(monkeypatch, gigabytes: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, int(gigabytes * 1e9)))


def test_data_are_missing_then_wrong_then_verified(known):
    assert levels(known, "full")["data"] == "FAIL"
    assert f"pose-topo download mpii --data {known}" in state(known, "data")
    known.mkdir()
    (known / "list").write_text("lies!")
    assert "list has sha256" in state(known, "data")
    (known / "list").write_text("truth")
    assert levels(known, "full")["data"] == "ok"
    assert "verified" in state(known, "data")


def test_weights_are_told_apart(known, monkeypatch, tmp_path):
    assert levels(known, "full")["weights"] == "FAIL"
    content = {arch: arch.encode() for arch in study.ARCHS}
    for arch, data in content.items():
        remote = Remote(arch, (), arch, 9, Checks(sha256=hashlib.sha256(data).hexdigest()))
        monkeypatch.setitem(catalog.WEIGHTS, arch, remote)
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for arch in study.ARCHS[:2]:
        (folder / arch).write_bytes(content[arch])
    (folder / study.ARCHS[2]).write_bytes(b"cut")
    words = state(known, "weights")
    assert words.endswith(f"{study.ARCHS[2]}; `pose-topo download weights --arch {study.ARCHS[2]}`")
    (folder / study.ARCHS[2]).write_bytes(content[study.ARCHS[2]])
    assert levels(known, "full")["weights"] == "ok"


def test_the_demo_asks_for_room_alone(known, monkeypatch):
    room(monkeypatch, 2.5)
    assert set(levels(known, "demo").values()) == {"ok"}
    room(monkeypatch, 1.9)
    assert levels(known, "demo")["disk"] == "FAIL"


def test_folders_on_one_disk_are_counted_together(known, monkeypatch):
    room(monkeypatch, 60)  # enough for crops or for runs, not for both
    assert levels(known, "full")["disk"] == "FAIL"
    assert "61.0 GB needed" in state(known, "disk")
    monkeypatch.setattr(study, "_device", lambda folder: hash(str(folder)))
    assert levels(known, "full")["disk"] == "ok"


def test_wandb_says_what_it_would_do():
    assert study._wandb({}).state.endswith("unless --wandb is given (then online)")
    assert study._wandb({"WANDB_MODE": "offline"}).state.endswith("(then offline)")
