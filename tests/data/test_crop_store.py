"""A store is whole or not there, and says what is wrong."""

import os
import shutil
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
from pose_topo.data import crop_store as crop_build
from pose_topo.data.crop_store import CropStore, open_or_build, open_store, store_key
from pose_topo.data.crops import CropSettings, read_photograph, warp_person
from pose_topo.data.people import People

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


def test_every_crop_is_its_persons(store: CropStore, photographs: Path) -> None:
    assert store.ok.all()
    assert store.crops.shape == (240, 56, 56, 3)
    affines = geometry.person_to_photo(PEOPLE.center, PEOPLE.scale, 32)
    assert np.array_equal(store.to_photo, affines)  # in double precision
    for row in range(0, 240, 7):
        photo = read_photograph(photographs / PEOPLE.names[row])
        assert photo is not None
        assert np.array_equal(store.crops[row], warp_person(photo, affines[row], 56))


def test_order_workers_and_place_do_not_matter(store: CropStore, photographs: Path, tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        again = build(photographs, tmp_path, workers=1)
        assert cv2.getNumThreads() == 2  # as it was
    finally:
        cv2.setNumThreads(threads)
    assert again.manifest == store.manifest
    assert np.array_equal(again.crops, store.crops)


def test_second_time_nothing_is_built(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(photographs, tmp_path)
    monkeypatch.setattr(crop_store, "build", None)
    assert build(photographs, tmp_path).ok.all()


def test_key_sees_people_settings_and_photographs(photographs: Path, tmp_path: Path) -> None:
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
    assert len(keys) == 7


def test_squeezed(photographs: Path, tmp_path: Path) -> None:
    squeezed = build(photographs, tmp_path, settings=CropSettings("squeeze", 32))
    assert squeezed.crops.shape == (240, 32, 32, 3)
    assert np.array_equal(squeezed.crops[0], squeezed.crops[1])  # two people of one photograph
    assert squeezed.to_photo[0].tolist() == [[3, 0, 1], [0, 2, 0.5]]


def test_size_is_announced(photographs: Path, tmp_path: Path, said: list[str]) -> None:
    build(photographs, tmp_path)
    assert said == [f"cropping 240 people to 56 x 56 px: 0.00 GB in {tmp_path / 'crops'}"]


def test_full_disk_is_said_before_anything_is_built(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(crop_build.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(PoseTopoError, match=r"need 0\.0 GB in .* \(0\.0 GB are free\): give --cache-dir"):
        build(photographs, tmp_path)


def test_a_disk_that_fills_up_is_said(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(crop_build.os, "posix_fallocate", full)
    with pytest.raises(PoseTopoError, match=r"No space left on device.*--cache-dir"):
        build(photographs, tmp_path)


def test_one_unreadable_among_many_is_named_and_skipped(photographs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "photographs"
    shutil.copytree(photographs, broken)
    (broken / "00050.jpg").write_bytes((photographs / "00050.jpg").read_bytes()[:900])
    found = build(broken, tmp_path)
    assert found.manifest["unreadable"] == ["00050.jpg"]
    assert np.flatnonzero(~found.ok).tolist() == [100, 101]
    assert not found.crops[100:102].any()


def test_more_than_one_in_a_hundred_stops_and_can_be_mended(photographs: Path, tmp_path: Path, said: list[str]) -> None:
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
    assert any("4 of 240 crops are left" in line for line in said)  # what was readable is not done again


@pytest.mark.parametrize("damage", ["pixels", "cut", "index", "manifest", "other manifest", "crops gone"])
def test_damaged_store_is_one_line(photographs: Path, tmp_path: Path, damage: str) -> None:
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


def test_interrupted_build_redoes_what_is_wrong(
    store: CropStore, photographs: Path, tmp_path: Path, said: list[str]
) -> None:
    build(photographs, tmp_path)
    folder = folder_of(tmp_path)
    partial = folder.with_name(folder.name + ".partial")
    folder.rename(partial)
    (partial / "manifest.json").unlink()
    crops = np.lib.format.open_memmap(partial / "crops.npy", "r+")
    crops[17] = 99  # as if a crash of the machine had lost it
    crops.flush()
    mended = build(photographs, tmp_path)
    assert any("1 of 240 crops are left" in line for line in said)
    assert mended.manifest == store.manifest
    assert np.array_equal(mended.crops, store.crops)


def test_broken_partial_build_begins_anew(store: CropStore, photographs: Path, tmp_path: Path, said: list[str]) -> None:
    key = store_key(PEOPLE, photographs, SMALL)
    partial = tmp_path / "crops" / f"{key}.partial"
    partial.mkdir(parents=True)
    (partial / "index.npz").write_bytes(b"nonsense")
    assert build(photographs, tmp_path).manifest == store.manifest
    assert any("beginning anew" in line for line in said)


def test_two_at_once(
    store: CropStore, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """The second waits for the first, and builds nothing."""
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


def test_no_thread_writes_on_after_an_interruption(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the store's file is closed, and its number may be another file's."""
    whole, closed, late = crop_build.CropWriter.write, crop_build.CropWriter.__exit__, []
    is_closed = threading.Event()

    def slowly(self: crop_build.CropWriter, row: int, picture: np.ndarray) -> int:
        time.sleep(0.002)
        late.extend([row] if is_closed.is_set() else [])
        return whole(self, row, picture)

    def close(self: crop_build.CropWriter, *error: object) -> None:
        is_closed.set()
        closed(self, *error)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(crop_build.CropWriter, "write", slowly)
    monkeypatch.setattr(crop_build.CropWriter, "__exit__", close)
    monkeypatch.setattr(crop_build.CropWriter, "wrote", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(photographs, tmp_path)
    time.sleep(0.05)
    assert is_closed.is_set() and late == []
