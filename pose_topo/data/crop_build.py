"""Building a store of crops: every photograph decoded once, in threads, resumable after a kill.

It is built under `<key>.partial` and renamed when whole. A build that was killed goes on where it stopped, after
checking what it finds. Threads, not processes: OpenCV and numpy release the interpreter's lock for all that takes time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pose_topo.data import geometry
from pose_topo.data.crop_writer import CropWriter
from pose_topo.data.crops import CropSettings, read_photograph, squeeze, warp_people
from pose_topo.data.kept_memory import KeptArrays, keep_freed_memory
from pose_topo.data.people import People
from pose_topo.errors import PoseTopoError
from pose_topo.files import atomic_path, write_json

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
    say: Callable[[str], None] = print,
) -> None:
    """Make the store `folder`, or finish the interrupted build beside it.

    Raises:
        PoseTopoError: no room on the disk, or more than 1% of the photographs unreadable.
    """
    partial = folder.with_name(folder.name + ".partial")
    crops, index = _open_partial(partial, len(people), settings.side, say)
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


def _open_partial(partial: Path, count: int, side: int, say: Callable[[str], None]) -> tuple[np.memmap, _Index]:
    """The array to fill, and what of it is filled already."""
    crops_path, index_path = partial / "crops.npy", partial / "index.npz"
    if index_path.is_file():
        try:
            crops = np.lib.format.open_memmap(crops_path, "r+")
            index = _checked(crops, index_path)
        except Exception as error:  # broken bytes raise whatever their readers meet first
            say(f"{partial} is damaged ({' '.join(str(error).split())[:120]}): beginning anew")
        else:
            say(f"going on with {partial}: {(index.state == ABSENT).sum():,} of {count:,} crops are left")
            return crops, index
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    needed = count * side * side * 3
    _check_room(needed, partial)
    say(f"cropping {count:,} people to {side} x {side} px: {needed / 1e9:.2f} GB in {partial.parent}")
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
