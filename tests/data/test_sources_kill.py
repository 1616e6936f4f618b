"""The law of the kill: at whatever moment it comes, nothing looks complete that is not, and a rerun ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sources_server import contents, image_remote, jpegs, make_tar, running_server

from pose_topo.download.archives import incomplete, partial_path
from pose_topo.download.transfer import Partial

IMAGES = jpegs(40, 5000)
ARCHIVE = make_tar({f"./images/{name}": content for name, content in IMAGES.items()})

# The child downloads through the ordinary door; only the catalogue, and the pace of writing, are the test's.
CHILD = """
import sys, time
from pathlib import Path
from pose_topo.download import archives as images, catalog
from pose_topo.download.targets import download
from pose_topo.download.catalog import Remote
from pose_topo.download.catalog import Checks
url, md5, size, count, data = sys.argv[1:]
remote = Remote(
    "images.tar.gz", (url,), "images", int(size), Checks(md5=md5), folder="images", count=int(count)
)
catalog.TARGETS["images"] = (remote,)
write = images._write
images._write = lambda *given: (write(*given), time.sleep(0.01))
download("images", Path(data))
"""


def _start(url: str, md5: str, data: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, url, md5, str(len(ARCHIVE)), str(len(IMAGES)), str(data)]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _progress(data: Path) -> float:
    """0 to 1 while the archive comes, 1 to 2 while it is extracted."""
    folder, part = data / "images", Partial(data / "downloads" / "images.tar.gz")
    if folder.exists():
        return 2.0
    if (data / "downloads" / "images.tar.gz").exists():
        partial = partial_path(folder)
        return 1.0 + (len(list(partial.iterdir())) / len(IMAGES) if partial.exists() else 0.0)
    return part.size() / len(ARCHIVE)


def _kill_at(child: subprocess.Popen[bytes], data: Path, moment: float) -> bool:
    """Kill the child once it is that far; false if it was through before."""
    while child.poll() is None and _progress(data) < moment:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def _kill_and_finish(data: Path, kills: int, seed: int) -> None:
    """Kill one download again and again, each time farther on, then let it end."""
    rng = random.Random(seed)
    moments = sorted(rng.uniform(0.0, 1.95) for _ in range(kills))
    with running_server() as server:
        md5 = image_remote(server, ARCHIVE, len(IMAGES)).checks.md5 or ""
        server.pace = 0.01
        killed = 0
        for moment in moments:
            killed += _kill_at(_start(server.url("images.tar.gz"), md5, data), data, moment)
            assert not (data / "images").exists() or incomplete(data / "images", len(IMAGES)) is None
        server.pace = 0.0
        last = _start(server.url("images.tar.gz"), md5, data)
        _, errors = last.communicate(timeout=60)
        assert last.returncode == 0, errors.decode()
    assert killed == kills  # each kill came while there was work
    assert contents(data / "images") == IMAGES  # what an undisturbed call brings
    assert (data / "downloads" / "images.tar.gz").read_bytes() == ARCHIVE
    left = sorted(path.name for path in data.iterdir())
    assert left == [".download.lock", ".images.index.json", "downloads", "images"]


def test_five_kills_in_a_row_lose_nothing_and_break_nothing(tmp_path: Path) -> None:
    _kill_and_finish(tmp_path / "data", kills=5, seed=int(time.time()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_in_a_row_lose_nothing_and_break_nothing(tmp_path: Path, seed: int) -> None:
    _kill_and_finish(tmp_path / "data", kills=20, seed=seed)


def test_two_at_once_do_the_work_once(tmp_path: Path) -> None:
    with running_server() as server:
        md5 = image_remote(server, ARCHIVE, len(IMAGES)).checks.md5 or ""
        server.pace = 0.002
        both = [_start(server.url("images.tar.gz"), md5, tmp_path) for _ in range(2)]
        for child in both:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0, errors.decode()
        assert len(server.seen) == 1
    assert contents(tmp_path / "images") == IMAGES
