"""Memory that threads keep from one photograph to the next.

A page that a process has not used, or has given back, costs a fault when it is first written: for the megabytes of a
photograph, together about half as long as decoding it.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading

import numpy as np
from numpy.typing import NDArray

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_KEPT = 32 << 20  # bytes; glibc takes no more, and maps what is larger each time
KEPT_FREE = 256 << 20  # bytes at the end of a heap


class KeptArrays(threading.local):
    """Arrays by name, each thread's own."""

    def __init__(self) -> None:
        self._flat: dict[str, NDArray[np.uint8]] = {}

    def get(self, name: str, *shape: int) -> NDArray[np.uint8]:
        """The array `name` of the calling thread, in this shape; what it held is lost."""
        size = math.prod(shape)
        if name not in self._flat or self._flat[name].size < size:
            self._flat[name] = np.empty(size, np.uint8)
        return self._flat[name][:size].reshape(shape)


def keep_freed_memory() -> None:
    """Have the C library keep the blocks that this process frees, for the decoder, whose pictures are fresh each time.

    By itself glibc gives them back to the system or not, as what was freed before happens to have moved its limits.
    Another C library is left as it is. Cannot be undone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE)
