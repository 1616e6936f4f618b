"""The server of a test, and no waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from loopback import Server, running_server
from made_up_targets import made_up_targets

from pose_topo.download import catalog


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the code under test would have slept. Proxies are not used."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


@pytest.fixture
def server() -> Iterator[Server]:
    """A server without files."""
    with running_server() as opened:
        yield opened


@pytest.fixture
def targets(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server of the made-up targets, which replace those of the catalogue."""
    for name, remotes in made_up_targets(server).items():
        monkeypatch.setitem(catalog.TARGETS, name, remotes)
    return server
