"""What threads keep, and what the C library does."""

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pose_topo.data.crops import KeptArrays

DECODING = """
import resource
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from pose_topo.data.crops import keep_freed_memory

keep_freed_memory()
jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8))[1]


def decoded(times: int) -> int:
    for _ in range(times):
        cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


with ThreadPoolExecutor(1) as pool:
    before = pool.submit(decoded, 3).result()
    print((pool.submit(decoded, 10).result() - before) / 10)
"""


def test_an_array_is_kept_as_long_as_it_is_large_enough() -> None:
    kept = KeptArrays()
    first = kept.get("a", 4, 5, 3)
    assert first.shape == (4, 5, 3) and first.dtype == np.uint8 and first.flags.c_contiguous
    smaller = kept.get("a", 2, 3)
    assert smaller.shape == (2, 3) and np.shares_memory(first, smaller)
    assert kept.get("a", 0, 3).shape == (0, 3)
    larger = kept.get("a", 5, 5, 3)
    assert larger.shape == (5, 5, 3) and not np.shares_memory(first, larger)
    assert not np.shares_memory(larger, kept.get("b", 5, 5, 3))


def test_each_thread_has_its_own() -> None:
    kept = KeptArrays()
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(kept.get, "a", 8).result()
    assert not np.shares_memory(there, kept.get("a", 8))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_photograph_is_decoded_into_memory_that_is_there() -> None:
    """Of the 675 pages of each picture next to none is faulted in after the first."""
    done = subprocess.run([sys.executable, "-c", DECODING], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 70
