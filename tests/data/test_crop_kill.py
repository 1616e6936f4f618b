"""Kills at random moments: the next build completes, with the same bits as an undisturbed one."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_people import make_people, write_photographs

from pose_topo.data.crop_store import open_or_build
from pose_topo.data.crops import CropSettings

PEOPLE = make_people(300, width=320, height=240, per_image=2, scale=0.7)
SETTINGS = CropSettings("person", 64)
BUILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pose_topo.data import crop_store as crop_build, crops
from pose_topo.data.crop_store import open_or_build
from test_crop_kill import PEOPLE, SETTINGS

def slowly(path):  # else it is done before it can be killed
    time.sleep(0.01)
    return crops.read_photograph(path)

crop_build.read_photograph = slowly
crop_build.SAVE_EVERY = 10
print("ready", flush=True)
open_or_build(PEOPLE, Path(sys.argv[2]), SETTINGS, Path(sys.argv[3]), workers=2, progress=False)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), PEOPLE, 320, 240)


def kill_a_build(photographs: Path, cache: Path, after: float) -> None:
    command = [sys.executable, "-c", BUILD, str(Path(__file__).parent), str(photographs), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGKILL)


def check(photographs: Path, folder: Path, times: int, said: list[str]) -> None:
    undisturbed = open_or_build(PEOPLE, photographs, SETTINGS, folder / "undisturbed", workers=2, progress=False)
    rng = random.Random(times)
    cache, interrupted = folder / "0", 0
    for number in range(1, times + 1):
        kill_a_build(photographs, cache, rng.uniform(0.0, 0.3))
        stopped = bool(list(cache.glob("crops/*.partial")))
        interrupted += stopped
        if stopped and number % 3:
            continue  # the next one goes on with this one's work, and is killed as well
        found = open_or_build(PEOPLE, photographs, SETTINGS, cache, workers=2, progress=False)
        assert found.manifest == undisturbed.manifest
        assert found.crops.tobytes() == undisturbed.crops.tobytes()
        assert found.to_photo.tobytes() == undisturbed.to_photo.tobytes()
        cache = folder / str(number)
    assert interrupted >= times // 2
    assert any("going on with" in line and "300 of 300" not in line for line in said)


def test_killed_five_times(photographs: Path, tmp_path: Path, said: list[str]) -> None:
    check(photographs, tmp_path, 5, said)


@pytest.mark.slow
def test_killed_twenty_times(photographs: Path, tmp_path: Path, said: list[str]) -> None:
    check(photographs, tmp_path, 20, said)
