"""Decoding, crops and batches."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from pose_topo.bench.timing import milliseconds, quiet, side_by_side
from pose_topo.config import Recipe
from pose_topo.data import tompson
from pose_topo.data.batches import Batches
from pose_topo.data.crop_build import cores
from pose_topo.data.crop_store import CropStore, open_or_build
from pose_topo.data.crops import CropSettings, read_photograph
from pose_topo.data.people import People

CPU = torch.device("cpu")
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}  # what most of MPII's photographs are
SIZED = 600  # people, so that little of the time is the beginning and the end of a build
MPII_CROWD = sum(people for people, _ in tompson.SIZES.values()) / sum(images for _, images in tompson.SIZES.values())


def crops_cost(
    people: People, img_dir: Path, settings: CropSettings, work: Path, workers: int = 1
) -> tuple[dict[str, float], CropStore]:
    """Decoding every photograph once, against building the store (which decodes them too), on as many workers each."""
    paths = [img_dir / name for name in dict.fromkeys(people.names)]
    caches = iter(work / f"cache{k}" for k in range(10))

    def decode() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(_decoded, paths))

    def build() -> CropStore:
        return open_or_build(people, img_dir, settings, next(caches), workers=workers, progress=False, say=quiet)

    alone, built = side_by_side({"decode": decode, "build": build}, CPU).values()
    cost = {
        "photographs": len(paths),
        "people_per_photograph": len(people) / len(paths),
        "decode_ms_per_person": alone / len(people),
        "crop_build_ms_per_person": built / len(people),
        "crop_build_over_decode": built / alone,
    }
    return cost, build()


def _decoded(path: Path) -> None:
    """Decode a photograph, and keep nothing of it."""
    read_photograph(path)


def sized_crops_cost(people: People, img_dir: Path, settings: CropSettings, work: Path) -> dict[str, float]:
    """The same on photographs as MPII's, on all cores: of `SIZES`, with `MPII_CROWD` people in each.

    They are the first of the data set, continued by their mirror images, so that the fineness of the pictures stays.
    """
    people, found = _thinned(people.take(np.arange(min(SIZED, len(people)))), MPII_CROWD), {}
    for name, (width, height) in SIZES.items():
        folder = work / name
        _resized(people, img_dir, folder / "images", width, height)
        cost, _ = crops_cost(people, folder / "images", settings, folder, cores())
        found |= {f"{name}_{key}": value for key, value in cost.items() if key != "photographs"}
        shutil.rmtree(folder)
    return found


def _thinned(people: People, crowd: float) -> People:
    """The first person of each photograph, and as many others that there are `crowd` in one."""
    first = np.sort(np.unique(people.image, return_index=True)[1])
    others = np.setdiff1d(np.arange(len(people)), first)
    return people.take(np.sort(np.append(first, others[: max(0, round(crowd * len(first)) - len(first))])))


def _resized(people: People, img_dir: Path, into: Path, width: int, height: int) -> None:
    """Write every photograph at another size, its top left corner where it was."""
    into.mkdir(parents=True)
    for name in dict.fromkeys(people.names):
        photo = read_photograph(img_dir / name)
        assert photo is not None  # the store was built from it before
        down, right = max(0, height - photo.shape[0]), max(0, width - photo.shape[1])
        larger = cv2.copyMakeBorder(photo, 0, down, 0, right, cv2.BORDER_REFLECT)
        cv2.imwrite(str(into / name), larger[:height, :width])


def batch_cost(store: CropStore, people: People, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Making batches, without and with the standard augmentation; the latter also by one thread of the CPU."""

    def one(augment: str, where: torch.device) -> float:
        batches = Batches(store, people, np.arange(len(people)), replace(recipe, augment=augment), where)  # type: ignore[arg-type]
        # none is kept: all of them together would be many GB
        return milliseconds(lambda: deque(batches.epoch(0, 1, recipe.batch_size), maxlen=0), where) / len(people)

    cost = {f"batch_{augment}_ms_per_person": one(augment, device) for augment in ("none", "standard")}
    with _one_thread():
        return cost | {"batch_standard_one_thread_ms_per_person": one("standard", CPU)}


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
