"""Writing crops into a store's array, from several threads."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

SYNC_EVERY = 32 << 20  # bytes after which the disk is told to begin


class CropWriter:
    """Writes the rows of a memory-mapped (P, S, S, 3) array by its file.

    Not by the mapping: that has each of its pages faulted in before it is written, which costs about as much as the
    warp, and threads wait for each other there. The disk writes while the next photographs are decoded.
    """

    def __init__(self, crops: np.memmap) -> None:
        self._shape, self._start = crops.shape[1:], crops.offset
        self._bytes = int(np.prod(self._shape))
        self._file = os.open(Path(str(crops.filename)), os.O_RDWR)
        self._disk = ThreadPoolExecutor(1)
        self._syncing: Future[None] | None = None
        self._since = 0  # bytes since the last order to the disk

    def __enter__(self) -> CropWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disk.shutdown()
        try:
            os.fsync(self._file)
            if error is None and self._syncing is not None:
                self._syncing.result()
        finally:
            os.close(self._file)

    def write(self, row: int, picture: NDArray[np.uint8]) -> int:
        """Put a picture (S, S, 3) into its row; returns its CRC-32.

        Raises:
            OSError: the disk did not take it.
        """
        left, at = picture.data.cast("B"), self._start + int(row) * self._bytes
        while left:
            written = os.pwrite(self._file, left, at)
            left, at = left[written:], at + written
        return zlib.crc32(picture.data)

    def wrote(self, pictures: int) -> None:
        """Count what was written; now and then, have the disk begin. To be called from one thread.

        Raises:
            OSError: the disk did not take what was written before. The system says so once, to whoever asks first.
        """
        self._since += pictures * self._bytes
        if self._since >= SYNC_EVERY and (self._syncing is None or self._syncing.done()):
            if self._syncing is not None:
                self._syncing.result()
            self._since, self._syncing = 0, self._disk.submit(os.fsync, self._file)
