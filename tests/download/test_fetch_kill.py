"""Kill a download at any moment: nothing looks complete that is not, and a later call completes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import running_server
from made_up_targets import contents, image_remote, jpegs, make_tar

from pose_topo.download.archives import incomplete, partial_path
from pose_topo.download.transfer import Partial

IMAGES = jpegs(40, 20_000)
ARCHIVE = make_tar({f"./images/{name}": content for name, content in IMAGES.items()})

# Only the entry of the catalogue, and the pace of the extraction, are the test's.
CHILD = """
import sys, tarfile, time
from pathlib import Path
from pose_topo.download.catalog import Checks, Remote
from pose_topo.download.fetch import Job, run
url, md5, size, count, data = sys.argv[1:]
remote = Remote("images.tar.gz", (url,), "images", int(size), Checks(md5=md5), folder="images", count=int(count))
extract = tarfile.TarFile.extract
tarfile.TarFile.extract = lambda *given, **options: (extract(*given, **options), time.sleep(0.01))
run((remote,), Job(Path(data)))
"""


@pytest.fixture(autouse=True)
def naps() -> None:
    """Here time.sleep is the real one."""


def start(url: str, md5: str, data: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, url, md5, str(len(ARCHIVE)), str(len(IMAGES)), str(data)]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def progress(data: Path) -> float:
    """0 to 1 while the archive comes, 1 to 2 while it is extracted."""
    folder, part = data / "images", Partial(data / "downloads" / "images.tar.gz")
    if folder.exists():
        return 2.0
    if (data / "downloads" / "images.tar.gz").exists():
        partial = partial_path(folder)
        return 1.0 + (len(list(partial.iterdir())) / len(IMAGES) if partial.exists() else 0.0)
    return part.size() / len(ARCHIVE)


def kill_at(child: subprocess.Popen[bytes], data: Path, moment: float) -> bool:
    """Kill the child at that progress. False if it had ended before."""
    while child.poll() is None and progress(data) < moment:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def kill_and_finish(data: Path, moments: list[float]) -> None:
    """Kill one download at every moment in turn, then let it end."""
    with running_server() as server:
        md5 = image_remote(server, ARCHIVE, len(IMAGES)).checks.md5 or ""
        server.pace = 0.003
        killed = 0
        for moment in sorted(moments):
            killed += kill_at(start(server.url("images.tar.gz"), md5, data), data, moment)
            assert not (data / "images").exists() or incomplete(data / "images", len(IMAGES)) is None
        server.pace = 0.0
        last = start(server.url("images.tar.gz"), md5, data)
        _, errors = last.communicate(timeout=60)
        assert last.returncode == 0, errors.decode()
    assert killed == len(moments)  # each kill came while there was work
    assert contents(data / "images") == IMAGES
    assert (data / "downloads" / "images.tar.gz").read_bytes() == ARCHIVE
    left = sorted(path.name for path in data.iterdir())
    assert left == [".download.lock", ".images.index.json", "downloads", "images"]


def test_a_download_is_completed_after_a_kill_in_transfer_and_one_in_extraction(tmp_path: Path) -> None:
    kill_and_finish(tmp_path / "data", [0.4, 1.5])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_download_is_completed_after_twenty_kills_at_random(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    kill_and_finish(tmp_path / "data", [rng.uniform(0.0, 1.9) for _ in range(20)])


def test_two_processes_at_once_do_the_work_once(tmp_path: Path) -> None:
    with running_server() as server:
        md5 = image_remote(server, ARCHIVE, len(IMAGES)).checks.md5 or ""
        server.pace = 0.002
        both = [start(server.url("images.tar.gz"), md5, tmp_path) for _ in range(2)]
        for child in both:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0, errors.decode()
        assert len(server.seen) == 1
    assert contents(tmp_path / "images") == IMAGES
