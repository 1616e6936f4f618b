"""CropStore: every person's crop in one memory-mapped array.

A store is a folder: `crops.npy` (P, S, S, 3) uint8 RGB, `index.npz` (the affine of each crop, which crops are there and
their checksums) and `manifest.json`. `crop_build` fills it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_topo.data.crop_build import DONE, build
from pose_topo.data.crops import CropSettings
from pose_topo.data.people import People
from pose_topo.errors import PoseTopoError
from pose_topo.files import read_json
from pose_topo.locks import locked

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
    say: Callable[[str], None] = print,
) -> CropStore:
    """Open the store of these people, building it first if it is not there.

    Raises:
        PoseTopoError: no room on the disk, more than 1% of the photographs unreadable, or a damaged store.
    """
    folder = cache / "crops" / store_key(people, img_dir, settings)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        waiting = f"another process is building the crops in {folder}; waiting for it"
        with locked(folder.with_name(folder.name + ".lock"), lambda: say(waiting)):
            if not manifest.is_file():  # else another process built it while this one waited
                build(people, img_dir, settings, folder, workers=workers, progress=progress, say=say)
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
