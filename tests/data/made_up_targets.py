"""The targets of `download`, as small stand-ins on a loopback server. No tests here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_sources_server import (
    Server,
    contents,
    image_remote,
    impatient,
    jpegs,
    make_tar,
    make_zip,
    mat_remote,
    plain_remote,
    random_bytes,
    running_server,
)

from pose_topo.core.log import line, log
from pose_topo.download import catalog
from pose_topo.download.fetch import Done
from pose_topo.download.targets import download

IMAGES = jpegs(6)
ARCHIVE = make_tar({f"./images/{name}": content for name, content in IMAGES.items()})
MAT, VALID, NEWELL = random_bytes(4000, 11), random_bytes(5000, 12), random_bytes(600, 13)
ZIP = make_zip({"folder/": b"", "folder/release.mat": MAT, "folder/README": b"read me"})


@contextmanager
def served_targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of small stand-ins, with the catalogue turned to it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as opened:
        images = image_remote(opened, ARCHIVE, len(IMAGES))
        mat = mat_remote(opened, ZIP, MAT)
        valid = plain_remote(opened, VALID)
        newell = plain_remote(opened, NEWELL, "newell.h5", target="reference/newell.h5")
        table = {"mpii": (mat, valid, images), "images": (images,), "annotations": (mat,),
                 "split": (valid,), "reference": (newell,)}  # fmt: skip
        for name, remotes in table.items():
            monkeypatch.setitem(catalog.TARGETS, name, remotes)
        yield opened


class Lines(list[str]):
    """The messages of one call."""


class _Keep(logging.Handler):
    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        assert "\n" not in record.getMessage()
        self.lines.append(line(record))


def get(target: str, data: Path, lines: Lines | None = None, **options: Any) -> list[Done]:
    handler = _Keep(Lines() if lines is None else lines)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        return download(target, data, policy=impatient(), **options)
    finally:
        log.removeHandler(handler)


def actions(done: list[Done]) -> list[str]:
    return [one.action for one in done]


def assert_whole(data: Path) -> None:
    assert contents(data / "images") == IMAGES
    assert (data / "release.mat").read_bytes() == MAT and (data / "valid.h5").read_bytes() == VALID
