"""Crops are written whole, to their rows, and the disk is told early."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pose_topo.data import crop_store as crop_writer
from pose_topo.data.crop_store import CropWriter

ROWS, SIDE = 12, 7


@pytest.fixture
def array(tmp_path: Path) -> np.memmap:
    return np.lib.format.open_memmap(tmp_path / "crops.npy", "w+", np.uint8, (ROWS, SIDE, SIDE, 3))


def _pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8)


def test_threads_write_their_rows(array: np.memmap, tmp_path: Path) -> None:
    pictures = _pictures()
    with CropWriter(array) as writer, ThreadPoolExecutor(3) as pool:
        sums = list(pool.map(lambda row: writer.write(row, pictures[row]), reversed(range(ROWS))))
    assert sums == [zlib.crc32(pictures[row].tobytes()) for row in reversed(range(ROWS))]
    assert np.array_equal(np.load(tmp_path / "crops.npy"), pictures)


def test_a_write_that_the_system_cuts_short_goes_on(
    array: np.memmap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pictures = os.pwrite, _pictures()
    monkeypatch.setattr(crop_writer.os, "pwrite", lambda file, data, at: whole(file, data[:10], at))
    with CropWriter(array) as writer:
        for row, picture in enumerate(pictures):
            writer.write(row, picture)
    assert np.array_equal(np.load(tmp_path / "crops.npy"), pictures)


def test_the_disk_is_told_after_so_many_bytes_and_at_the_end(array: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    told, picture = [], SIDE * SIDE * 3
    monkeypatch.setattr(crop_writer, "SYNC_EVERY", 4 * picture)
    monkeypatch.setattr(crop_writer.os, "fsync", told.append)
    with CropWriter(array) as writer:
        writer.wrote(3)
        assert told == []
        writer.wrote(1)
        writer.wrote(1)  # counted anew
    assert len(told) == 2


def test_what_the_disk_did_not_take_is_not_swallowed(array: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([OSError(28, "No space left on device"), None, None])

    def fsync(_file: int) -> None:
        if (answer := next(answers)) is not None:
            raise answer

    monkeypatch.setattr(crop_writer, "SYNC_EVERY", 1)
    monkeypatch.setattr(crop_writer.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"), CropWriter(array) as writer:
        writer.wrote(1)
