"""CropStore: every photograph decoded once, every person cropped once, kept as one memory-mapped array.

A store is a folder: `crops.npy` (P, S, S, 3) uint8 RGB, `index.npz` (the affine of each crop, which crops are there and their
checksums) and `manifest.json`. It is built under `<key>.partial` and renamed when whole; a build that was killed goes on
where it stopped, after checking what it finds.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.data import geometry
from pose_topo.data.people import People
from pose_topo.errors import PoseTopoError
from pose_topo.files import atomic_path, read_json, write_json

MAX_UNREADABLE = 0.01  # share of photographs that may be unreadable before the build stops
_ABSENT, _DONE, _UNREADABLE = 0, 1, 2


@dataclass(frozen=True)
class CropSettings:
    """What a store's pixels depend on, besides the people and the photographs."""

    framing: str  # "person" or "squeeze"
    input_size: int
    antialias: bool = False  # halve the photograph by area averages until the warp shrinks it less than 2 x

    @property
    def side(self) -> int:
        return self.input_size if self.framing == "squeeze" else geometry.stored_size(self.input_size)


@dataclass(frozen=True)
class CropStore:
    """An opened store. `crops[i]` belongs to people[i]."""

    crops: NDArray[np.uint8]  # (P, S, S, 3), memory-mapped, read-only
    to_photo: NDArray[np.float64]  # (P, 2, 3) stored crop -> photograph
    ok: NDArray[np.bool_]  # (P,) False: the photograph was unreadable
    settings: CropSettings
    manifest: dict


def open_or_build(
    people: People,
    img_dir: Path,
    settings: CropSettings,
    cache: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> CropStore:
    """Open the store of these people, building it first if it is not there.

    Raises:
        PoseTopoError: no room on the disk, or more than 1% of the photographs unreadable.
    """
    folder = cache / "crops" / store_key(people, img_dir, settings)
    if not (folder / "manifest.json").is_file():
        _build(people, img_dir, settings, folder, workers, progress)
    return open_store(folder)


def open_store(folder: Path) -> CropStore:
    """Open a finished store.

    Raises:
        PoseTopoError: it is damaged.
    """
    manifest = read_json(folder / "manifest.json")
    try:
        with np.load(folder / "index.npz") as index:
            to_photo, state = index["to_photo"], index["state"]
        crops = np.load(folder / "crops.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise PoseTopoError(f"crop store {folder} is damaged ({error}): remove that folder and run again") from None
    return CropStore(crops, to_photo, state == _DONE, CropSettings(**manifest["settings"]), manifest)


def store_key(people: People, img_dir: Path, settings: CropSettings) -> str:
    """Names a store: the people, the photographs (name, size and time of change) and the settings."""
    digest = hashlib.sha256((people.sha256() + json.dumps(asdict(settings), sort_keys=True)).encode())
    for name in sorted({people.images[i] for i in people.image}):
        stat = (img_dir / name).stat()
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


def read_photograph(path: Path) -> NDArray[np.uint8] | None:
    """Decode a JPEG to BGR as it is stored (no EXIF rotation: annotations know none); None if missing, broken or cut off."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if not data.size:
        return None
    if data[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in data[-4096:].tobytes():
        return None  # OpenCV would fill the missing part with grey and say nothing
    return cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)  # type: ignore[return-value]


def warp_person(
    photo: NDArray[np.uint8], to_photo: NDArray[np.float64], side: int, antialias: bool = False
) -> NDArray[np.uint8]:
    """One crop, RGB, bilinear, zero outside the photograph; `to_photo` (2, 3) maps its pixels into the photograph."""
    if antialias:
        photo, to_photo = _halved(photo, to_photo)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(photo, to_photo, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _halved(photo: NDArray[np.uint8], to_photo: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    while to_photo[0, 0] >= 2 and min(photo.shape[:2]) >= 2:
        height, width = photo.shape[0] // 2, photo.shape[1] // 2
        photo = cv2.resize(photo[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        to_photo = to_photo / 2
        to_photo[:, 2] -= 0.25  # pixel centre x of the photograph lies at (x + .5) / 2 - .5 of its half
    return photo, to_photo


def squeeze(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole photograph, RGB, squeezed to a square (the study's framing)."""
    return cv2.cvtColor(cv2.resize(photo, (side, side), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Job:
    """All people of one photograph."""

    path: str
    rows: NDArray[np.int64]
    to_photo: NDArray[np.float64] | None  # None: squeeze
    crops: str
    side: int
    antialias: bool


def _crop_photograph(job: _Job) -> tuple[NDArray[np.int64], int, list[int], NDArray[np.float64] | None]:
    """Worker: write the crops of one photograph into the store; return rows, state, checksums and affines."""
    photo = read_photograph(Path(job.path))
    if photo is None:
        return job.rows, _UNREADABLE, [0] * len(job.rows), None
    crops = np.load(job.crops, mmap_mode="r+")
    if job.to_photo is None:
        size = np.tile([photo.shape[1], photo.shape[0]], (len(job.rows), 1))
        to_photo = geometry.squeeze_to_photo(size, job.side)
        pictures = [squeeze(photo, job.side)] * len(job.rows)
    else:
        to_photo = job.to_photo
        pictures = [warp_person(photo, matrix, job.side, job.antialias) for matrix in to_photo]
    for row, picture in zip(job.rows, pictures, strict=True):
        crops[row] = picture
    return job.rows, _DONE, [zlib.crc32(picture.data) for picture in pictures], to_photo


def _build(
    people: People, img_dir: Path, settings: CropSettings, folder: Path, workers: int | None, progress: bool
) -> None:
    partial = folder.with_name(folder.name + ".partial")
    crops_path, index_path = partial / "crops.npy", partial / "index.npz"
    side = settings.side
    if not index_path.is_file():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _check_room(len(people) * side * side * 3, partial)
        np.lib.format.open_memmap(crops_path, "w+", np.uint8, (len(people), side, side, 3)).flush()
        state, crc, to_photo = (
            np.zeros(len(people), np.uint8),
            np.zeros(len(people), np.uint32),
            np.zeros((len(people), 2, 3)),
        )
        _save_index(index_path, state, crc, to_photo)
    else:
        state, crc, to_photo = _resume(crops_path, index_path)
    jobs = list(_jobs(people, img_dir, settings, crops_path, np.flatnonzero(state == _ABSENT)))
    for number, (rows, what, sums, affine) in enumerate(_run(jobs, workers, progress), start=1):
        state[rows], crc[rows] = what, sums
        if affine is not None:
            to_photo[rows] = affine
        if number % 500 == 0:
            _save_index(index_path, state, crc, to_photo)
    _save_index(index_path, state, crc, to_photo)
    _finish(people, settings, state, crc, partial, folder)


def _run(jobs: list[_Job], workers: int | None, progress: bool) -> Iterator[tuple]:
    from tqdm import tqdm

    count = workers or len(os.sched_getaffinity(0))
    bar = tqdm(total=len(jobs), desc="crops", unit="photo", disable=not progress, mininterval=1)
    if count == 1 or len(jobs) < 64:  # a pool takes longer to start than the work
        for job in jobs:
            yield _crop_photograph(job)
            bar.update()
    else:
        # spawn: forking a process that already runs torch's threads can lock up
        with multiprocessing.get_context("spawn").Pool(count, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            for done in pool.imap_unordered(_crop_photograph, jobs, chunksize=4):
                yield done
                bar.update()
    bar.close()


def _jobs(
    people: People, img_dir: Path, settings: CropSettings, crops_path: Path, missing: NDArray[np.int64]
) -> Iterator[_Job]:
    person = settings.framing == "person"
    to_photo = geometry.person_to_photo(people.center, people.scale, settings.input_size) if person else None
    order = missing[np.argsort(people.image[missing], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(people.image[order])) + 1):
        if len(rows):
            name = people.images[people.image[rows[0]]]
            affines = None if to_photo is None else to_photo[rows]
            yield _Job(str(img_dir / name), rows, affines, str(crops_path), settings.side, settings.antialias)


def _resume(crops_path: Path, index_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.float64]]:
    """What an interrupted build finished; a crop whose checksum is wrong is made again."""
    with np.load(index_path) as index:
        state, crc, to_photo = index["state"], index["crc"], index["to_photo"]
    crops = np.load(crops_path, mmap_mode="r")
    for row in np.flatnonzero(state == _DONE):
        if zlib.crc32(np.ascontiguousarray(crops[row]).data) != crc[row]:
            state[row] = _ABSENT
    state[state == _UNREADABLE] = _ABSENT  # it may have been replaced since
    return state, crc, to_photo


def _save_index(path: Path, state: NDArray, crc: NDArray, to_photo: NDArray) -> None:
    with atomic_path(path) as temporary:
        np.savez(temporary, state=state, crc=crc, to_photo=to_photo)


def _check_room(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > 0.95 * free:
        raise PoseTopoError(
            f"the crops need {needed / 1e9:.1f} GB in {folder.parent}, {free / 1e9:.1f} GB are free: give --cache-dir on a larger disk"
        )


def _finish(people: People, settings: CropSettings, state: NDArray, crc: NDArray, partial: Path, folder: Path) -> None:
    bad = sorted({people.images[i] for i in people.image[state == _UNREADABLE]})
    photographs = len({int(i) for i in people.image})
    if len(bad) > MAX_UNREADABLE * photographs:
        named = ", ".join(bad[:5]) + (" ..." if len(bad) > 5 else "")
        raise PoseTopoError(
            f"{len(bad)} of {photographs} photographs are unreadable (more than {MAX_UNREADABLE:.0%}): {named}; fetch them again"
        )
    manifest = {
        "people": len(people),
        "photographs": photographs,
        "people_sha256": people.sha256(),
        "settings": asdict(settings),
        "unreadable": bad,
        "crops_sha256": hashlib.sha256(crc.astype("<u4").tobytes() + state.tobytes()).hexdigest(),
    }
    write_json(partial / "manifest.json", manifest)
    partial.replace(folder)
