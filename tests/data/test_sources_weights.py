"""The laws of the weights: whatever file is used has been hashed, wherever it was found."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_sources_server import Server, impatient, one_line, random_bytes, running_server

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import cache_folder
from pose_topo.download import catalog
from pose_topo.download.catalog import Checks
from pose_topo.download.targets import download
from pose_topo.download.weights import fetch_weights, weights_path

CONTENT = random_bytes(20_000, 5)
NAME = f"resnet18-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    if "torch" in sys.modules:
        monkeypatch.setattr(sys.modules["torch"].hub, "_hub_dir", None)
    with running_server() as opened:
        opened.serve(NAME, CONTENT)
        remote = replace(
            catalog.WEIGHTS["resnet18"],
            name=NAME,
            target=NAME,
            urls=(opened.url(NAME),),
            about=len(CONTENT),
            checks=Checks(sha256_prefix=NAME[9:17]),
        )
        monkeypatch.setitem(catalog.WEIGHTS, "resnet18", remote)
        yield opened


def test_weights_are_fetched_once_and_then_found(server: Server, tmp_path: Path) -> None:
    assert weights_path("resnet18", tmp_path / "cache") is None
    done = fetch_weights("resnet18", tmp_path / "cache", policy=impatient())
    assert done.action == "fetched" and done.path == tmp_path / "cache" / "weights" / NAME
    assert done.path.read_bytes() == CONTENT and weights_path("resnet18", tmp_path / "cache") == done.path
    again = download("weights", tmp_path, cache=tmp_path / "cache", arch="resnet18")
    assert [one.action for one in again] == ["kept"] and len(server.seen) == 1


def test_a_file_in_torch_hubs_folder_is_used_only_if_its_bytes_are_right(server: Server, tmp_path: Path) -> None:
    hub = tmp_path / "torch" / "hub" / "checkpoints" / NAME
    hub.parent.mkdir(parents=True)
    hub.write_bytes(CONTENT[:-1])  # a cached file that torch.hub would load without a look
    assert weights_path("resnet18", tmp_path / "cache") is None
    hub.write_bytes(CONTENT)
    assert weights_path("resnet18", tmp_path / "cache") == hub
    assert fetch_weights("resnet18", tmp_path / "cache").path == hub and not server.seen


def test_a_damaged_cached_file_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "weights" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    fetch_weights("resnet18", tmp_path / "cache", policy=impatient())
    assert path.read_bytes() == CONTENT


def test_weights_may_come_from_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    done = fetch_weights("resnet18", tmp_path / "cache", source=tmp_path / "mine.pth")
    assert done.action == "copied" and not server.seen


def test_offline_weights_are_one_line_with_url_path_and_prefix(server: Server, tmp_path: Path) -> None:
    server.files[f"/{NAME}"].stuck = ("reset",)
    with pytest.raises(PoseTopoError) as caught:
        fetch_weights("resnet18", tmp_path, policy=impatient())
    line = one_line(caught.value)
    assert server.url(NAME) in line and str(tmp_path / "weights" / NAME) in line and NAME[9:17] in line


def test_an_unknown_arch_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resnet152"):
        weights_path("resnet20", tmp_path)


def test_the_cache_is_named_or_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POSE_TOPO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pose_topo"
    monkeypatch.setenv("POSE_TOPO_CACHE", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env" and cache_folder(tmp_path / "named") == tmp_path / "named"
    monkeypatch.delenv("POSE_TOPO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "pose_topo"
