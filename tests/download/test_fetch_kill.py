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
from loopback import Server, running_server
from made_up_targets import JOINTS, contents, image_remote, jpegs, make_tar, make_zip, people_remotes

from pose_topo.download.archives import incomplete, partial_path
from pose_topo.download.catalog import Remote
from pose_topo.download.transfer import Partial

IMAGES = jpegs(40, 20_000)
MEMBERS = {f"images/{name}": content for name, content in IMAGES.items()}

# Only the entries of the catalogue, and the pace of the extraction, are the test's.
CHILD = """
import sys, tarfile, time, zipfile
from pathlib import Path
from pose_topo.download.catalog import Checks, Remote
from pose_topo.download.fetch import Job, run
def slow(opens):
    return lambda *given: (time.sleep(0.01), opens(*given))[1]
tarfile.TarFile.extractfile = slow(tarfile.TarFile.extractfile)
zipfile.ZipFile.open = slow(zipfile.ZipFile.open)
run(eval(sys.argv[1]), Job(Path(sys.argv[2])))
"""


@pytest.fixture(autouse=True)
def naps() -> None:
    """Here time.sleep is the real one."""


def entries(server: Server, kind: str) -> tuple[Remote, ...]:
    """A tar of images with a known hash, or a zip of images and a file whose content is known."""
    if kind == "tar":
        return (image_remote(server, make_tar(MEMBERS), len(IMAGES)),)
    return people_remotes(server, make_zip({**MEMBERS, "joints.mat": JOINTS}), IMAGES)


def start(remotes: tuple[Remote, ...], data: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, repr(remotes), str(data)]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def progress(remote: Remote, data: Path) -> float:
    """0 to 1 while the archive comes, 1 to 2 while it is extracted."""
    folder, store = data / "images", data / "downloads" / remote.name
    if folder.exists():
        return 2.0
    if store.exists():
        partial = partial_path(folder)
        return 1.0 + (len(list(partial.iterdir())) / len(IMAGES) if partial.exists() else 0.0)
    return Partial(store).size() / remote.about


def kill_at(child: subprocess.Popen[bytes], remote: Remote, data: Path, moment: float) -> bool:
    """Kill the child at that progress. False if it had ended before."""
    while child.poll() is None and progress(remote, data) < moment:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def kill_and_finish(data: Path, moments: list[float], kind: str = "tar") -> None:
    """Kill one download at every moment in turn, then let it end."""
    with running_server() as server:
        remotes = entries(server, kind)
        server.pace = 0.003
        killed = 0
        for moment in sorted(moments):
            killed += kill_at(start(remotes, data), remotes[0], data, moment)
            assert not (data / "images").exists() or incomplete(data / "images", len(IMAGES)) is None
        server.pace = 0.0
        last = start(remotes, data)
        _, errors = last.communicate(timeout=60)
        assert last.returncode == 0, errors.decode()
        archive = server.files[f"/{remotes[0].name}"].content
    assert killed == len(moments)  # each kill came while there was work
    assert contents(data / "images") == IMAGES
    assert (data / "downloads" / remotes[0].name).read_bytes() == archive
    left = sorted(path.name for path in data.iterdir())
    assert left == [".download.lock", ".images.index.json", "downloads", *(remote.target for remote in remotes)]


def test_a_download_is_completed_after_a_kill_in_transfer_and_one_in_extraction(tmp_path: Path) -> None:
    kill_and_finish(tmp_path / "data", [0.4, 1.5])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("seed", range(4))
def test_a_download_is_completed_after_twenty_kills_at_random(tmp_path: Path, seed: int, kind: str) -> None:
    rng = random.Random(seed)
    kill_and_finish(tmp_path / "data", [rng.uniform(0.0, 1.9) for _ in range(20)], kind)


def test_two_processes_at_once_do_the_work_once(tmp_path: Path) -> None:
    with running_server() as server:
        remotes = entries(server, "tar")
        server.pace = 0.002
        both = [start(remotes, tmp_path) for _ in range(2)]
        for child in both:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0, errors.decode()
        assert len(server.seen) == 1
    assert contents(tmp_path / "images") == IMAGES
