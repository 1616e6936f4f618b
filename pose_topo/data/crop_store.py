"""Writing crops into a store's array, from several threads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path, locked, read_json, write_json
from pose_topo.core.log import log
from pose_topo.data import geometry
from pose_topo.data.crops import CropSettings, KeptArrays, keep_freed_memory, read_photograph, squeeze, warp_people
from pose_topo.data.people import People

SYNC_EVERY = 32 << 20  # bytes after which the disk is told to begin


class CropWriter:
    """Writes the rows of a memory-mapped (P, S, S, 3) array by its file.

    Not by the mapping: that has each of its pages faulted in before it is written, which costs about as much as the
    warp, and threads wait for each other there. The disk writes while the next photographs are decoded.
    """

    def __init__(self, crops: np.memmap) -> None:
        self._shape, self._start = crops.shape[1:], crops.offset
        self._bytes = int(np.prod(self._shape))
        self._file = os.open(Path(str(crops.filename)), os.O_RDWR)
        self._disk = ThreadPoolExecutor(1)
        self._syncing: Future[None] | None = None
        self._since = 0  # bytes since the last order to the disk

    def __enter__(self) -> CropWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disk.shutdown()
        try:
            os.fsync(self._file)
            if error is None and self._syncing is not None:
                self._syncing.result()
        finally:
            os.close(self._file)

    def write(self, row: int, picture: NDArray[np.uint8]) -> int:
        """Put a picture (S, S, 3) into its row; returns its CRC-32.

        Raises:
            OSError: the disk did not take it.
        """
        left, at = picture.data.cast("B"), self._start + int(row) * self._bytes
        while left:
            written = os.pwrite(self._file, left, at)
            left, at = left[written:], at + written
        return zlib.crc32(picture.data)

    def wrote(self, pictures: int) -> None:
        """Count what was written; now and then, have the disk begin. To be called from one thread.

        Raises:
            OSError: the disk did not take what was written before. The system says so once, to whoever asks first.
        """
        self._since += pictures * self._bytes
        if self._since >= SYNC_EVERY and (self._syncing is None or self._syncing.done()):
            if self._syncing is not None:
                self._syncing.result()
            self._since, self._syncing = 0, self._disk.submit(os.fsync, self._file)


# ---- Building a store of crops: every photograph decoded once, in threads, resumable after a kill.
#
# It is built under `<key>.partial` and renamed when whole. A build that was killed goes on where it stopped, after
# checking what it finds. It uses threads, not processes: OpenCV and numpy release the interpreter's lock.

MAX_UNREADABLE = 0.01  # share of photographs that may be unreadable before the build stops
SAVE_EVERY = 200  # photographs between two savings of what is done
ABSENT, DONE, UNREADABLE = 0, 1, 2


@dataclass
class _Index:
    """What is known of each crop, in the people's order."""

    state: NDArray[np.uint8]  # (P,) ABSENT, DONE or UNREADABLE
    crc: NDArray[np.uint32]  # (P,)
    to_photo: NDArray[np.float64]  # (P, 2, 3)

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            np.savez(temporary, state=self.state, crc=self.crc, to_photo=self.to_photo)


@dataclass(frozen=True)
class _Job:
    """All people of one photograph."""

    path: Path
    rows: NDArray[np.int64]
    to_photo: NDArray[np.float64] | None  # None: squeeze


@dataclass(frozen=True)
class _Result:
    rows: NDArray[np.int64]
    crc: list[int] | None  # None: the photograph is unreadable
    to_photo: NDArray[np.float64] | None


def build(
    people: People,
    img_dir: Path,
    settings: CropSettings,
    folder: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Make the store `folder`, or finish the interrupted build beside it.

    Raises:
        PoseTopoError: no room on the disk, or more than 1% of the photographs unreadable.
    """
    partial = folder.with_name(folder.name + ".partial")
    crops, index = _open_partial(partial, len(people), settings.side)
    jobs = list(_jobs(people, img_dir, settings, np.flatnonzero(index.state == ABSENT)))
    try:
        with (
            CropWriter(crops) as writer,
            # closed first: no thread may write once the file is, whose number another file may then have
            closing(_run(jobs, writer, settings, workers or cores(), progress)) as results,
        ):
            for number, result in enumerate(results, start=1):
                index.state[result.rows] = UNREADABLE if result.crc is None else DONE
                if result.crc is not None:
                    index.crc[result.rows], index.to_photo[result.rows] = result.crc, result.to_photo
                    writer.wrote(len(result.rows))
                if number % SAVE_EVERY == 0:
                    index.save(partial / "index.npz")
    finally:
        index.save(partial / "index.npz")
    write_json(partial / "manifest.json", _manifest(people, settings, index))
    if folder.exists():  # without its manifest, else nobody would have built: the remains of a store
        shutil.rmtree(folder)
    partial.replace(folder)


def _open_partial(partial: Path, count: int, side: int) -> tuple[np.memmap, _Index]:
    """The array to fill, and what of it is filled already."""
    crops_path, index_path = partial / "crops.npy", partial / "index.npz"
    if index_path.is_file():
        try:
            crops = np.lib.format.open_memmap(crops_path, "r+")
            index = _checked(crops, index_path)
        except Exception as error:  # broken bytes raise whatever their readers meet first
            log.info(f"{partial} is damaged ({' '.join(str(error).split())[:120]}): beginning anew")
        else:
            log.info(f"going on with {partial}: {(index.state == ABSENT).sum():,} of {count:,} crops are left")
            return crops, index
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    needed = count * side * side * 3
    _check_room(needed, partial)
    log.info(f"cropping {count:,} people to {side} x {side} px: {needed / 1e9:.2f} GB in {partial.parent}")
    crops = np.lib.format.open_memmap(crops_path, "w+", np.uint8, (count, side, side, 3))
    _reserve(crops_path, needed)
    index = _Index(np.zeros(count, np.uint8), np.zeros(count, np.uint32), np.zeros((count, 2, 3)))
    index.save(index_path)
    return crops, index


def _checked(crops: np.memmap, index_path: Path) -> _Index:
    """What an interrupted build finished; a crop whose checksum is wrong is made again."""
    with np.load(index_path) as saved:
        index = _Index(saved["state"], saved["crc"], saved["to_photo"])
    for row in np.flatnonzero(index.state == DONE):
        if zlib.crc32(np.ascontiguousarray(crops[row]).data) != index.crc[row]:
            index.state[row] = ABSENT
    index.state[index.state == UNREADABLE] = ABSENT  # it may have been replaced since
    return index


def _check_room(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > 0.95 * free:
        raise _no_room(needed, folder, f"{free / 1e9:.1f} GB are free")


def _reserve(path: Path, needed: int) -> None:
    """Claim the blocks now, so that a disk that is too small is found before the work and not after hours of it."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise _no_room(needed, path.parent, error.strerror or str(error)) from None


def _no_room(needed: int, folder: Path, why: str) -> PoseTopoError:
    return PoseTopoError(
        f"the crops need {needed / 1e9:.1f} GB in {folder.parent} ({why}): give --cache-dir on a larger disk"
    )


def _jobs(people: People, img_dir: Path, settings: CropSettings, missing: NDArray[np.int64]) -> Iterator[_Job]:
    person = settings.framing == "person"
    to_photo = geometry.person_to_photo(people.center, people.scale, settings.input_size) if person else None
    order = missing[np.argsort(people.image[missing], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(people.image[order])) + 1):
        if len(rows):
            name = people.images[people.image[rows[0]]]
            yield _Job(img_dir / name, rows, None if to_photo is None else to_photo[rows])


def _run(
    jobs: list[_Job], writer: CropWriter, settings: CropSettings, workers: int, progress: bool
) -> Generator[_Result, None, None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the photographs are the parallelism
    keep_freed_memory()
    pool, kept = ThreadPoolExecutor(workers), KeptArrays()
    try:
        done = pool.map(lambda job: _crop_photograph(job, writer, settings, kept), jobs)
        yield from tqdm(done, total=len(jobs), desc="crops", unit="photo", disable=not progress, mininterval=1)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)


def _crop_photograph(job: _Job, writer: CropWriter, settings: CropSettings, kept: KeptArrays) -> _Result:
    """Write the crops of one photograph into the store."""
    photo = read_photograph(job.path)
    if photo is None:
        return _Result(job.rows, None, None)
    if job.to_photo is None:
        size = np.tile([photo.shape[1], photo.shape[0]], (len(job.rows), 1))
        whole = squeeze(photo, settings.side)
        return _Result(
            job.rows,
            [writer.write(row, whole) for row in job.rows],
            geometry.squeeze_to_photo(size, settings.side),
        )
    crops = warp_people(photo, job.to_photo, settings.side, settings.antialias, kept=kept)
    return _Result(job.rows, [writer.write(row, crop) for row, crop in zip(job.rows, crops, strict=True)], job.to_photo)


def _manifest(people: People, settings: CropSettings, index: _Index) -> dict:
    bad = sorted({people.images[i] for i in people.image[index.state == UNREADABLE]})
    photographs = len({int(i) for i in people.image})
    if len(bad) > MAX_UNREADABLE * photographs:
        named = ", ".join(bad[:5]) + (" ..." if len(bad) > 5 else "")
        raise PoseTopoError(
            f"{len(bad)} of {photographs} photographs are unreadable (more than {MAX_UNREADABLE:.0%}): {named}; "
            "fetch them again"
        )
    return {
        "people": len(people),
        "photographs": photographs,
        "people_sha256": people.sha256(),
        "settings": asdict(settings),
        "unreadable": bad,
        "crops_sha256": hashlib.sha256(index.crc.astype("<u4").tobytes() + index.state.tobytes()).hexdigest(),
    }


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---- CropStore: every person's crop in one memory-mapped array.
#
# A store is a folder: `crops.npy` (P, S, S, 3) uint8 RGB, `index.npz` (the affine of each crop, which crops are there,
# their checksums) and `manifest.json`. `crop_build` fills it.

SAMPLED = 16  # crops whose checksum is looked at whenever a store is opened


@dataclass(frozen=True)
class CropStore:
    """An opened store. `crops[i]` belongs to people[i]."""

    crops: NDArray[np.uint8]  # (P, S, S, 3), memory-mapped, read-only
    to_photo: NDArray[np.float64]  # (P, 2, 3) stored crop -> photograph; zero where not ok
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
        PoseTopoError: no room on the disk, more than 1% of the photographs unreadable, or a damaged store.
    """
    folder = cache / "crops" / store_key(people, img_dir, settings)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        waiting = f"another process is building the crops in {folder}; waiting for it"
        with locked(folder.with_name(folder.name + ".lock"), lambda: log.info(waiting)):
            if not manifest.is_file():  # else another process built it while this one waited
                build(people, img_dir, settings, folder, workers=workers, progress=progress)
    return open_store(folder)


def open_store(folder: Path) -> CropStore:
    """Open a finished store.

    Raises:
        PoseTopoError: it is damaged.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        settings = CropSettings(**manifest["settings"])
        with np.load(folder / "index.npz") as index:
            to_photo, state, crc = index["to_photo"], index["state"], index["crc"]
        crops = np.load(folder / "crops.npy", mmap_mode="r")
        if crops.shape != (len(state), settings.side, settings.side, 3):
            raise ValueError(f"crops of shape {crops.shape}")
        done = np.flatnonzero(state == DONE)
        if bad := wrong_checksums(crops, crc, done[:: max(1, len(done) // SAMPLED)]):
            raise ValueError(f"crop {bad[0]} has another checksum")
    except Exception as error:  # broken bytes raise whatever their readers meet first
        what = " ".join(str(error).split())[:120]
        raise PoseTopoError(f"crop store {folder} is damaged ({what}): remove that folder and run again") from None
    return CropStore(crops, to_photo, state == DONE, settings, manifest)


def wrong_checksums(crops: NDArray[np.uint8], crc: NDArray[np.uint32], rows: NDArray[np.int64]) -> list[int]:
    """Those of `rows` whose pixels are not the ones that were written."""
    return [int(row) for row in rows if zlib.crc32(np.ascontiguousarray(crops[row]).data) != crc[row]]


def store_key(people: People, img_dir: Path, settings: CropSettings) -> str:
    """Names a store: the people, the photographs (name, size and time of change) and the settings."""
    digest = hashlib.sha256((people.sha256() + json.dumps(asdict(settings), sort_keys=True)).encode())
    for name in sorted({people.images[i] for i in people.image}):
        stat = (img_dir / name).stat()
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]
