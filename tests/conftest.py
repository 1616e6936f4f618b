"""A tiny rendered data set, shared by every test that needs pictures."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pose_topo.core.log import line, log
from pose_topo.rendering.folder import render_dataset


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 rendered people in MPII's layout."""
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    render_dataset(folder, people=16, seed=5, workers=1, progress=False)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests never touch the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["POSE_TOPO_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def no_console() -> None:
    """No test prints messages because an earlier one in its process ran a command."""
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(line(record))


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The messages of a test, as the console would print them."""
    handler, level = _Lines(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler.lines
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real files, where POSE_TOPO_REAL_DATA names them."""
    named = os.environ.get("POSE_TOPO_REAL_DATA")
    if not named:
        pytest.skip("POSE_TOPO_REAL_DATA is not set: no real files here")
    return Path(named)
