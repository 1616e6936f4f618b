"""The crops of all people in one memory-mapped array, cut once and kept in the cache folder.

A store is the folder `<cache>/crops/<key>`:

- `crops.npy`: (P, S, S, 3) uint8 RGB.
- `index.npz`: for each crop whether it is there, its CRC-32, and its affine to the photograph.
- `manifest.json`: the settings, hashes, and the unreadable photographs.

It is built in `<key>.partial` and renamed when it is complete. A build that was killed is resumed: crops whose checksum
is right are kept. Each photograph is decoded once, in threads, because OpenCV and NumPy release the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.core.files import atomic_path, locked, read_json, write_json
from pose_topo.core.log import log
from pose_topo.data import geometry
from pose_topo.data.crops import CROPS_VERSION, read_photograph, squeeze, warp_people
from pose_topo.data.people import CropSettings, CropStore, People

MAX_UNREADABLE = 0.01  # share of photographs that may be unreadable; the build stops if there are more
SAVE_EVERY = 200  # photographs between two savings of the index
SAMPLED = 16  # crops whose checksum is verified whenever a store is opened
ABSENT, DONE, UNREADABLE = 0, 1, 2  # states of a crop


@dataclass
class _Index:
    """What is known of each of P crops."""

    state: NDArray[np.uint8]  # (P,) ABSENT, DONE or UNREADABLE
    crc: NDArray[np.uint32]  # (P,)
    to_photo: NDArray[np.float64]  # (P, 2, 3)

    def save(self, folder: Path) -> None:
        with atomic_path(folder / "index.npz") as temporary:
            np.savez(temporary, **vars(self))

    @staticmethod
    def load(folder: Path) -> _Index:
        with np.load(folder / "index.npz") as saved:
            return _Index(**saved)

    def wrong_checksums(self, crops: NDArray[np.uint8], rows: NDArray[np.int64]) -> list[int]:
        """Return those of `rows` whose pixels are not the ones that were written."""
        return [int(row) for row in rows if zlib.crc32(np.ascontiguousarray(crops[row]).data) != self.crc[row]]


# ---- Opening.


def open_or_build(
    people: People,
    img_dir: Path,
    settings: CropSettings,
    cache: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> CropStore:
    """Open the store of these people, and build it first if it does not exist.

    Raises:
        PoseTopoError: no room on the disk, more than 1% of the photographs unreadable, or a damaged store.
    """
    folder = cache / "crops" / store_key(people, img_dir, settings)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        waiting = f"another process is building the crops in {folder}; waiting for it"
        try:
            with locked(folder.with_name(folder.name + ".lock"), lambda: log.info(waiting)):
                if not manifest.is_file():  # else another process has built it in the meantime
                    build(people, img_dir, settings, folder, workers=workers or cores(), progress=progress)
        except OSError as error:
            raise PoseTopoError(
                f"the crops cannot be written to {folder.parent} ({in_short(error)}): give another --cache-dir"
            ) from None
    return open_store(folder)


def store_key(people: People, img_dir: Path, settings: CropSettings) -> str:
    """Return the name of a store.

    It depends on all that determines the crops: the people, the photographs (name, size and time of change), the
    settings, and the version of the code that cuts them.
    """
    versioned = {**asdict(settings), "version": CROPS_VERSION}
    digest = hashlib.sha256((people.sha256() + json.dumps(versioned, sort_keys=True)).encode())
    for name in sorted(set(people.names)):
        stat = (img_dir / name).stat()
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


def open_store(folder: Path) -> CropStore:
    """Open a finished store.

    Raises:
        PoseTopoError: it is damaged.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        settings = CropSettings(**manifest["settings"])
        index = _Index.load(folder)
        crops = np.load(folder / "crops.npy", mmap_mode="r")
        if crops.shape != (len(index.state), settings.side, settings.side, 3):
            raise ValueError(f"crops of shape {crops.shape}")
        done = np.flatnonzero(index.state == DONE)
        if wrong := index.wrong_checksums(crops, done[:: max(1, len(done) // SAMPLED)]):
            raise ValueError(f"crop {wrong[0]} has another checksum")
    except Exception as error:  # NumPy and JSON answer broken bytes with many kinds of errors
        what = " ".join(str(error).split())[:120]
        raise PoseTopoError(f"crop store {folder} is damaged ({what}): remove that folder and run again") from None
    return CropStore(crops, index.to_photo, index.state == DONE, settings, manifest)


# ---- Building.


def build(people: People, img_dir: Path, settings: CropSettings, folder: Path, *, workers: int, progress: bool) -> None:
    """Build the store `folder`, or finish an interrupted build of it.

    Raises:
        PoseTopoError: no room on the disk, or more than 1% of the photographs unreadable.
    """
    partial = folder.with_name(folder.name + ".partial")
    crops, index = _resume(partial, len(people)) or _start(partial, len(people), settings.side)
    _cut(people, img_dir, settings, crops, index, partial, workers, progress)
    crops.flush()
    write_json(partial / "manifest.json", _manifest(people, settings, index))
    if folder.exists():  # the remains of a store, without its manifest
        shutil.rmtree(folder)
    partial.replace(folder)


def _resume(partial: Path, count: int) -> tuple[np.memmap, _Index] | None:
    """Return the array and the index of an interrupted build, or None if there is none that can be used."""
    if not (partial / "index.npz").is_file():
        return None
    try:
        crops = np.lib.format.open_memmap(partial / "crops.npy", "r+")
        index = _Index.load(partial)
        wrong = index.wrong_checksums(crops, np.flatnonzero(index.state == DONE))
    except Exception as error:  # NumPy answers broken bytes with many kinds of errors
        what = " ".join(str(error).split())[:120]
        log.info(f"{partial} is damaged ({what}): building it again from the start")
        return None
    index.state[wrong] = ABSENT
    index.state[index.state == UNREADABLE] = ABSENT  # the photograph may have been replaced since
    log.info(f"going on with {partial}: {(index.state == ABSENT).sum():,} of {count:,} crops are left")
    return crops, index


def _start(partial: Path, count: int, side: int) -> tuple[np.memmap, _Index]:
    """Return an empty array on the disk and an empty index."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    needed = count * side * side * 3
    free = shutil.disk_usage(partial).free
    if needed > 0.95 * free:
        raise _no_room(needed, partial, f"{free / 1e9:.1f} GB are free")
    log.info(f"cropping {count:,} people to {side} x {side} px: {needed / 1e9:.2f} GB in {partial.parent}")
    crops = np.lib.format.open_memmap(partial / "crops.npy", "w+", np.uint8, (count, side, side, 3))
    if hasattr(os, "posix_fallocate"):
        # reserve the blocks now: a disk that is too small is found before the work, and writing to the mapping of a
        # file on a full disk would kill the process
        try:
            with (partial / "crops.npy").open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, crops.offset + crops.nbytes)
        except OSError as error:
            raise _no_room(needed, partial, error.strerror or str(error)) from None
    index = _Index(np.zeros(count, np.uint8), np.zeros(count, np.uint32), np.zeros((count, 2, 3)))
    index.save(partial)
    return crops, index


def _no_room(needed: int, partial: Path, why: str) -> PoseTopoError:
    what = f"the crops need {needed / 1e9:.1f} GB in {partial.parent}"
    return PoseTopoError(f"{what} ({why}): give --cache-dir on a larger disk")


def _cut(
    people: People, img_dir: Path, settings: CropSettings,
    crops: np.memmap, index: _Index, partial: Path, workers: int, progress: bool,
) -> None:  # fmt: skip
    """Cut the absent crops, photograph by photograph, into `crops` and `index`."""
    affines = geometry.person_to_photo(people.center, people.scale, settings.input_size)

    def cut(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Cut the crops of one photograph; return their rows and new state."""
        photo = read_photograph(img_dir / people.images[people.image[rows[0]]])
        if photo is None:
            return rows, UNREADABLE
        if settings.framing == "squeeze":
            size = np.array([[photo.shape[1], photo.shape[0]]])
            index.to_photo[rows] = geometry.squeeze_to_photo(size, settings.side)
            pictures = iter([squeeze(photo, settings.side)] * len(rows))
        else:
            index.to_photo[rows] = affines[rows]
            pictures = warp_people(photo, affines[rows], settings.side, settings.antialias)
        for row, picture in zip(rows, pictures, strict=True):
            crops[row] = picture
            index.crc[row] = zlib.crc32(picture.data)
        return rows, DONE

    absent = np.flatnonzero(index.state == ABSENT)
    order = absent[np.argsort(people.image[absent], kind="stable")]
    photographs = np.split(order, np.flatnonzero(np.diff(people.image[order])) + 1) if len(order) else []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the photographs are processed in parallel instead
    pool = ThreadPoolExecutor(workers)
    try:
        results = pool.map(cut, photographs)
        bar = tqdm(results, total=len(photographs), desc="crops", unit="photo", disable=not progress, mininterval=1)
        for number, (rows, state) in enumerate(bar, start=1):
            index.state[rows] = state  # set last and by this thread, so that a saved DONE has its checksum
            if number % SAVE_EVERY == 0:
                index.save(partial)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
        index.save(partial)


def _manifest(people: People, settings: CropSettings, index: _Index) -> dict:
    unreadable = sorted({people.images[i] for i in people.image[index.state == UNREADABLE]})
    photographs = len({int(i) for i in people.image})
    if len(unreadable) > MAX_UNREADABLE * photographs:
        named = ", ".join(unreadable[:5]) + (" ..." if len(unreadable) > 5 else "")
        raise PoseTopoError(
            f"{len(unreadable)} of {photographs} photographs are unreadable (more than {MAX_UNREADABLE:.0%}): {named}; "
            "fetch them again"
        )
    return {
        "people": len(people),
        "photographs": photographs,
        "people_sha256": people.sha256(),
        "settings": asdict(settings),
        "unreadable": unreadable,
        "crops_sha256": hashlib.sha256(index.crc.astype("<u4").tobytes() + index.state.tobytes()).hexdigest(),
    }


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
