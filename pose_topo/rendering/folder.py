"""Render a data set into a folder: images, annotation file and manifest.

The images are rendered in several processes. The folder appears when it is complete; until then it is
`.<name>.partial`, which the next rendering into the folder removes if this one is killed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import locked, read_json, write_json
from pose_topo.core.log import log
from pose_topo.data.crop_store import cores
from pose_topo.rendering.annotation import ImageEntry, RectEntry, write_mpii_mat
from pose_topo.rendering.scene import render_scene

VERSION = "1.0.0"
NAME = "pose_topo synthetic"
MAT_NAME = "mpii_human_pose_v1_u12_1.mat"
QUALITY = 92
BYTES_PER_PERSON = 48_000  # on disk, annotations included: 114 MB for 2,400 people
FEW = 24  # people; for fewer, starting processes takes longer than rendering


def render_dataset(
    folder: Path, people: int, seed: int, workers: int | None = None, progress: bool = True
) -> dict[str, Any]:
    """Write a data set with exactly `people` annotated people to `folder` and return its manifest.

    An existing folder with the same manifest is kept. The result depends on (people, seed) alone, and image i depends
    on (seed, i) alone. So a smaller set is the beginning of a larger one.

    Raises:
        UsageError: `people` or `workers` is below 1, or `seed` is negative.
        PoseTopoError: `folder` holds something else.
    """
    if people < 1:
        raise UsageError(f"people must be at least 1, not {people}")
    if seed < 0:
        raise UsageError(f"seed must not be negative: {seed}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    folder = Path(folder)
    wanted = {"name": NAME, "version": VERSION, "people": people, "seed": seed}
    if _is_filled(folder):
        return _existing(folder, wanted)
    temporary, lock = (folder.parent / f".{folder.name}.{what}" for what in ("partial", "lock"))
    with locked(lock, lambda: log.info(f"another process is rendering {folder}; waiting for it")):
        try:
            if _is_filled(folder):  # by the other process
                return _existing(folder, wanted)
            shutil.rmtree(temporary, ignore_errors=True)  # what a killed process left
            (temporary / "images").mkdir(parents=True)
            manifest = {**wanted, **_render(temporary, people, seed, workers or cores(), progress)}
            write_json(temporary / "manifest.json", manifest)
            if folder.exists():
                folder.rmdir()  # empty, as seen above
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            lock.unlink(missing_ok=True)
    return manifest


def _is_filled(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def synthetic_size(people: int) -> str:
    """Return roughly how much of the disk a data set takes, as text."""
    return f"{max(1, round(people * BYTES_PER_PERSON / 1e6)):,} MB"


def _existing(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    refusal = PoseTopoError(f"{folder}: exists and is not the data set asked for; remove it or name another folder")
    if not (folder / "manifest.json").is_file():
        raise refusal
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or any(manifest.get(key) != value for key, value in wanted.items()):
        raise refusal
    images = sum(1 for _ in (folder / "images").glob("*.jpg"))
    if images != manifest.get("images") or not (folder / MAT_NAME).is_file():
        raise PoseTopoError(f"{folder}: incomplete data set ({images} images); remove it and render it again")
    return manifest


def _render(folder: Path, people: int, seed: int, workers: int, progress: bool) -> dict[str, Any]:
    """Write images and annotations. Return the counts and hashes for the manifest."""
    entries: list[ImageEntry] = []
    content = hashlib.sha256()
    left = people
    with (
        _pictures(seed, 1 if people < FEW else workers) as pictures,
        tqdm(total=people, unit="person", desc="rendering", disable=not progress) as bar,
    ):
        for jpeg, entry in pictures:
            entry = keep_first(entry, left)
            (folder / "images" / entry.name).write_bytes(jpeg)
            content.update(jpeg)
            entries.append(entry)
            found = count_annotated(entry)
            bar.update(found)
            left -= found
            if left == 0:
                break
    write_mpii_mat(folder / MAT_NAME, entries)
    annotations = _canonical(entries)
    content.update(annotations)
    return {
        "images": len(entries),
        "annotations_sha256": hashlib.sha256(annotations).hexdigest(),
        "content_sha256": content.hexdigest(),
    }


@contextmanager
def _pictures(seed: int, workers: int) -> Iterator[Iterable[tuple[bytes, ImageEntry]]]:
    """Yield the endless series of images in order. Leaving the block stops the rendering."""
    if workers == 1:
        yield (picture(seed, index) for index in itertools.count())
        return
    # spawned, not forked, because the caller may have threads; an executor notices when a worker dies
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        yield _ahead(pool, seed, 16 * workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ProcessPoolExecutor, seed: int, count: int) -> Iterator[tuple[bytes, ImageEntry]]:
    """Yield the series in order, and render only `count` images ahead, so that memory is bounded."""
    pending = deque(_submit(pool, seed, index) for index in range(count))
    for index in itertools.count(count):
        yield pending.popleft().result()
        pending.append(_submit(pool, seed, index))


def _submit(pool: ProcessPoolExecutor, seed: int, index: int) -> Future[tuple[bytes, ImageEntry]]:
    """Submit an image. A worker that this starts never gets Ctrl-C, which this process handles for all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process has the mask of its parent
    try:
        return pool.submit(picture, seed, index)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent has been killed; it would wait for work without end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def picture(seed: int, index: int) -> tuple[bytes, ImageEntry]:
    """Return image number `index` as JPEG, and its annotations."""
    image, entry = render_scene(seed, index)
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise PoseTopoError(f"image {index} could not be encoded as JPEG")
    return jpeg.tobytes(), entry


def count_annotated(entry: ImageEntry) -> int:
    """Return the number of people of the image who have labelled joints."""
    return sum(rect.points is not None for rect in entry.rects)


def keep_first(entry: ImageEntry, people: int) -> ImageEntry:
    """Return the entry with at most `people` annotated people; the others keep only their scale and centre."""
    if count_annotated(entry) <= people:
        return entry
    rects: list[RectEntry] = []
    for rect in entry.rects:
        if rect.points is not None:
            people -= 1
            if people < 0:
                rect = RectEntry(scale=rect.scale, objpos=rect.objpos)
        rects.append(rect)
    single = [number for number in entry.single if rects[number - 1].points is not None]
    return replace(entry, rects=rects, single=single)


def _canonical(entries: list[ImageEntry]) -> bytes:
    """Return the annotations as text, rounded to 0.01 pixel so that it is the same on every machine."""
    lines = []
    for entry in entries:
        rects = [
            {
                "head_box": rect.head_box,
                "points": rect.points and [(f"{x:.2f}", f"{y:.2f}", k, str(seen)) for x, y, k, seen in rect.points],
                "scale": None if rect.scale is None else f"{rect.scale:.6f}",
                "objpos": rect.objpos,
            }
            for rect in entry.rects
        ]
        lines.append(json.dumps([entry.name, entry.train, entry.activity, rects], sort_keys=True))
    return "\n".join(lines).encode()


def is_rendered(folder: Path) -> bool:
    """Return whether the manifest of a data folder says that this renderer wrote it."""
    try:
        manifest = read_json(folder / "manifest.json")
    except PoseTopoError:
        return False
    return isinstance(manifest, dict) and manifest.get("name") == NAME
