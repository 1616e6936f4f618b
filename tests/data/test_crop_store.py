"""A store is complete or not there, a killed build is resumed, and damage is reported."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_people import make_people, write_photographs

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import crop_store, geometry
from pose_topo.data.crop_store import open_or_build, open_store, store_key
from pose_topo.data.crops import read_photograph, warp_person
from pose_topo.data.people import CropSettings, CropStore, People

SMALL = CropSettings("person", 32)
PEOPLE = make_people(240, width=96, height=64, per_image=2, scale=0.3)  # 120 photographs


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), PEOPLE, 96, 64)


def build(folder: Path, cache: Path, people: People = PEOPLE, settings: CropSettings = SMALL, **more) -> CropStore:
    return open_or_build(people, folder, settings, cache, **{"workers": 2, "progress": False, **more})


@pytest.fixture(scope="module")
def store(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return build(photographs, tmp_path_factory.mktemp("cache"))


def folder_of(cache: Path) -> Path:
    (manifest,) = cache.glob("crops/*/manifest.json")
    return manifest.parent


def test_every_crop_belongs_to_its_person(store: CropStore, photographs: Path) -> None:
    assert store.ok.all()
    assert store.crops.shape == (240, 56, 56, 3)
    affines = geometry.person_to_photo(PEOPLE.center, PEOPLE.scale, 32)
    assert np.array_equal(store.to_photo, affines)  # in double precision
    for row in range(0, 240, 7):
        photo = read_photograph(photographs / PEOPLE.names[row])
        assert photo is not None
        assert np.array_equal(store.crops[row], warp_person(photo, affines[row], 56))


def test_crops_do_not_depend_on_workers_and_folder(store: CropStore, photographs: Path, tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        again = build(photographs, tmp_path, workers=1)
        assert cv2.getNumThreads() == 2  # unchanged
    finally:
        cv2.setNumThreads(threads)
    assert again.manifest == store.manifest
    assert np.array_equal(again.crops, store.crops)


def test_a_store_is_built_once(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(photographs, tmp_path)
    monkeypatch.setattr(crop_store, "build", None)
    assert build(photographs, tmp_path).ok.all()


def test_key_depends_on_people_settings_photographs_and_version(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(photographs, copied)
    keys = {
        store_key(PEOPLE, copied, SMALL),
        store_key(PEOPLE.take(np.arange(239)), copied, SMALL),
        store_key(PEOPLE, copied, CropSettings("person", 64)),
        store_key(PEOPLE, copied, CropSettings("squeeze", 32)),
        store_key(PEOPLE, copied, CropSettings("person", 32, antialias=True)),
    }
    changed = copied / PEOPLE.images[3]
    os.utime(changed, (1, 1))
    keys.add(store_key(PEOPLE, copied, SMALL))
    changed.write_bytes(changed.read_bytes() + b"\0")
    os.utime(changed, (1, 1))  # of another size, at the same time
    keys.add(store_key(PEOPLE, copied, SMALL))
    monkeypatch.setattr(crop_store, "CROPS_VERSION", crop_store.CROPS_VERSION + 1)
    keys.add(store_key(PEOPLE, copied, SMALL))
    assert len(keys) == 8


def test_squeezed_crops(photographs: Path, tmp_path: Path) -> None:
    squeezed = build(photographs, tmp_path, settings=CropSettings("squeeze", 32))
    assert squeezed.crops.shape == (240, 32, 32, 3)
    assert np.array_equal(squeezed.crops[0], squeezed.crops[1])  # two people of one photograph
    assert squeezed.to_photo[0].tolist() == [[3, 0, 1], [0, 2, 0.5]]


def test_size_is_logged(photographs: Path, tmp_path: Path, said: list[str]) -> None:
    build(photographs, tmp_path)
    assert said == [f"cropping 240 people to 56 x 56 px: 0.00 GB in {tmp_path / 'crops'}"]


def test_a_disk_that_is_too_small_is_reported_before_the_build(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(crop_store.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(PoseTopoError, match=r"need 0\.0 GB in .* \(0\.0 GB are free\): give --cache-dir"):
        build(photographs, tmp_path)


def test_a_disk_that_fills_up_is_reported(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(crop_store.os, "posix_fallocate", full)
    with pytest.raises(PoseTopoError, match=r"No space left on device.*--cache-dir"):
        build(photographs, tmp_path)


def test_one_unreadable_photograph_is_skipped_and_named(photographs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "photographs"
    shutil.copytree(photographs, broken)
    (broken / "00050.jpg").write_bytes((photographs / "00050.jpg").read_bytes()[:900])
    found = build(broken, tmp_path)
    assert found.manifest["unreadable"] == ["00050.jpg"]
    assert np.flatnonzero(~found.ok).tolist() == [100, 101]
    assert not found.crops[100:102].any()


def test_more_than_one_percent_unreadable_stops_the_build(photographs: Path, tmp_path: Path, said: list[str]) -> None:
    broken = tmp_path / "photographs"
    shutil.copytree(photographs, broken)
    stat = (broken / "00003.jpg").stat()
    for name in ("00003.jpg", "00007.jpg"):
        (broken / name).write_bytes(b"\0" * (broken / name).stat().st_size)
        os.utime(broken / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(PoseTopoError, match=r"2 of 120 photographs are unreadable .*: 00003\.jpg, 00007\.jpg; fetch"):
        build(broken, tmp_path)
    with pytest.raises(PoseTopoError, match="2 of 120"):
        build(broken, tmp_path)
    assert any("4 of 240 crops are left" in line for line in said)  # the readable ones are not cut again


def test_a_cache_that_cannot_be_written_is_one_line_and_a_full_one_is_used(photographs: Path, tmp_path: Path) -> None:
    nowhere = Path("/proc/pose_topo")  # where not even root can make a folder
    with pytest.raises(PoseTopoError, match=r"the crops cannot be written to /proc/pose_topo/crops \(.*--cache-dir"):
        open_or_build(PEOPLE, photographs, SMALL, nowhere, progress=False)
    open_or_build(PEOPLE, photographs, SMALL, tmp_path, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    open_or_build(PEOPLE, photographs, SMALL, tmp_path, progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before  # nothing was written


@pytest.mark.parametrize("damage", ["pixels", "cut", "index", "manifest", "other manifest", "crops gone"])
def test_a_damaged_store_is_reported_in_one_line(photographs: Path, tmp_path: Path, damage: str) -> None:
    build(photographs, tmp_path)
    folder = folder_of(tmp_path)
    crops = (folder / "crops.npy").read_bytes()
    if damage == "pixels":
        (folder / "crops.npy").write_bytes(crops[:128] + bytes(len(crops) - 128))
    elif damage == "cut":
        (folder / "crops.npy").write_bytes(crops[:-1000])
    elif damage == "index":
        (folder / "index.npz").write_bytes(b"PK nonsense")
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    elif damage == "other manifest":
        (folder / "manifest.json").write_text("{}")
    else:
        (folder / "crops.npy").unlink()
    with pytest.raises(PoseTopoError, match=r"is damaged .*: remove that folder and run again") as caught:
        build(photographs, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_resumed_build_cuts_damaged_crops_again(
    store: CropStore, photographs: Path, tmp_path: Path, said: list[str]
) -> None:
    build(photographs, tmp_path)
    folder = folder_of(tmp_path)
    partial = folder.with_name(folder.name + ".partial")
    folder.rename(partial)
    (partial / "manifest.json").unlink()
    crops = np.lib.format.open_memmap(partial / "crops.npy", "r+")
    crops[17] = 99  # as after a crash of the machine
    crops.flush()
    resumed = build(photographs, tmp_path)
    assert any("1 of 240 crops are left" in line for line in said)
    assert resumed.manifest == store.manifest
    assert np.array_equal(resumed.crops, store.crops)


def test_a_damaged_partial_build_starts_again(
    store: CropStore, photographs: Path, tmp_path: Path, said: list[str]
) -> None:
    key = store_key(PEOPLE, photographs, SMALL)
    partial = tmp_path / "crops" / f"{key}.partial"
    partial.mkdir(parents=True)
    (partial / "index.npz").write_bytes(b"nonsense")
    assert build(photographs, tmp_path).manifest == store.manifest
    assert any("building it again from the start" in line for line in said)


def test_the_second_of_two_builds_waits_for_the_first(
    store: CropStore, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    builds: list[int] = []
    whole = crop_store.build

    def slow_build(*args, **kwargs) -> None:
        builds.append(1)
        time.sleep(0.2)
        whole(*args, **kwargs)

    monkeypatch.setattr(crop_store, "build", slow_build)
    threads = [threading.Thread(target=build, args=(photographs, tmp_path)) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert any("another process" in line for line in said)
    assert open_store(folder_of(tmp_path)).manifest == store.manifest


def test_an_interrupted_build_leaves_no_thread(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads have ended, and what they finished before is resumed."""
    calls: list[int] = []

    def interrupted(self: object, partial: Path) -> None:
        calls.append(1)
        if len(calls) == 3:  # while photographs are cut
            raise KeyboardInterrupt
        save(self, partial)

    save = crop_store._Index.save
    monkeypatch.setattr(crop_store, "SAVE_EVERY", 5)
    monkeypatch.setattr(crop_store._Index, "save", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        build(photographs, tmp_path)
    assert threading.active_count() == before
    (partial,) = tmp_path.glob("crops/*.partial")
    with np.load(partial / "index.npz") as index:
        assert 20 <= (index["state"] == crop_store.DONE).sum() < 240


# ---- Kills at random moments: the next build completes, with the same bits as an undisturbed one.

CROWD = make_people(300, width=320, height=240, per_image=2, scale=0.7)
LARGER = CropSettings("person", 64)
BUILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pose_topo.data import crop_store, crops
from pose_topo.data.crop_store import open_or_build
from test_crop_store import CROWD, LARGER

def slowly(path):  # so that it can be killed before it is done
    time.sleep(0.01)
    return crops.read_photograph(path)

crop_store.read_photograph = slowly
crop_store.SAVE_EVERY = 10
print("ready", flush=True)
open_or_build(CROWD, Path(sys.argv[2]), LARGER, Path(sys.argv[3]), workers=2, progress=False)
"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("crowd"), CROWD, 320, 240)


def kill_a_build(crowd: Path, cache: Path, after: float) -> None:
    command = [sys.executable, "-c", BUILD, str(Path(__file__).parent), str(crowd), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGKILL)


def check_kills(crowd: Path, folder: Path, times: int, said: list[str]) -> None:
    undisturbed = open_or_build(CROWD, crowd, LARGER, folder / "undisturbed", workers=2, progress=False)
    rng = random.Random(times)
    cache, interrupted = folder / "0", 0
    for number in range(1, times + 1):
        kill_a_build(crowd, cache, rng.uniform(0.0, 0.3))
        stopped = bool(list(cache.glob("crops/*.partial")))
        interrupted += stopped
        if stopped and number % 3:
            continue  # the next one goes on with this one's work, and is killed as well
        found = open_or_build(CROWD, crowd, LARGER, cache, workers=2, progress=False)
        assert found.manifest == undisturbed.manifest
        assert found.crops.tobytes() == undisturbed.crops.tobytes()
        assert found.to_photo.tobytes() == undisturbed.to_photo.tobytes()
        cache = folder / str(number)
    assert interrupted >= times // 2
    assert any("going on with" in line and "300 of 300" not in line for line in said)


def test_killed_three_times(crowd: Path, tmp_path: Path, said: list[str]) -> None:
    check_kills(crowd, tmp_path, 3, said)


@pytest.mark.slow
def test_killed_twenty_times(crowd: Path, tmp_path: Path, said: list[str]) -> None:
    check_kills(crowd, tmp_path, 20, said)
