"""ImageNet weights: whatever file is used has been verified, wherever it was found."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from loopback import Server
from made_up_targets import QUICK, file_remote, one_line, random_bytes

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import cache_folder
from pose_topo.download import catalog
from pose_topo.download.catalog import Checks
from pose_topo.download.weights import fetch_weights, weights_path

CONTENT = random_bytes(20_000, 5)
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]
NAME = f"resnet18-{PREFIX}.pth"


@pytest.fixture(autouse=True)
def weights(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stand-in weights of a ResNet-18, and an empty folder of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    if "torch" in sys.modules:
        monkeypatch.setattr(sys.modules["torch"].hub, "_hub_dir", None)
    remote = file_remote(server, CONTENT, NAME, checks=Checks(sha256=PREFIX))
    monkeypatch.setitem(catalog.WEIGHTS, "resnet18", remote)


def test_weights_are_fetched_once_and_then_found(server: Server, tmp_path: Path) -> None:
    assert weights_path("resnet18", tmp_path / "cache") is None
    path = tmp_path / "cache" / "weights" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    for action in ("fetched", "kept"):
        result = fetch_weights("resnet18", tmp_path / "cache", policy=QUICK)
        assert result.action == action and result.path == path
        assert path.read_bytes() == CONTENT and weights_path("resnet18", tmp_path / "cache") == path
    assert len(server.seen) == 1


def test_a_file_of_torch_hub_is_used_only_if_it_verifies(server: Server, tmp_path: Path) -> None:
    hub = tmp_path / "torch" / "hub" / "checkpoints" / NAME
    hub.parent.mkdir(parents=True)
    hub.write_bytes(CONTENT[:-1])  # torch.hub itself would load it
    assert weights_path("resnet18", tmp_path / "cache") is None
    hub.write_bytes(CONTENT)
    assert weights_path("resnet18", tmp_path / "cache") == hub
    assert fetch_weights("resnet18", tmp_path / "cache").path == hub and not server.seen


def test_weights_may_come_from_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    result = fetch_weights("resnet18", tmp_path / "cache", source=tmp_path / "mine.pth")
    assert result.action == "copied" and not server.seen


def test_without_a_network_one_line_names_url_path_and_hash(server: Server, tmp_path: Path) -> None:
    server.files[f"/{NAME}"].stuck = ("reset",)
    with pytest.raises(PoseTopoError) as caught:
        fetch_weights("resnet18", tmp_path, policy=QUICK)
    line = one_line(caught.value)
    assert server.url(NAME) in line and str(tmp_path / "weights" / NAME) in line and f"sha256 {PREFIX}" in line


def test_an_unknown_backbone_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resnet152"):
        weights_path("resnet20", tmp_path)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POSE_TOPO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pose_topo"
    monkeypatch.setenv("POSE_TOPO_CACHE", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env" and cache_folder(tmp_path / "named") == tmp_path / "named"
    monkeypatch.delenv("POSE_TOPO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "pose_topo"
