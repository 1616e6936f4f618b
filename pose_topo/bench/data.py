"""Decoding, crops and batches."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pose_topo.bench.timing import milliseconds, quiet, side_by_side
from pose_topo.config import Recipe
from pose_topo.data.batches import Batches
from pose_topo.data.crop_store import CropStore, open_or_build
from pose_topo.data.crops import CropSettings, read_photograph
from pose_topo.data.people import People


def crops_cost(people: People, img_dir: Path, settings: CropSettings, work: Path) -> tuple[dict[str, float], CropStore]:
    """Decoding every photograph once, against building the store (which decodes them too), one worker each."""
    names = list(dict.fromkeys(people.names))
    cpu = torch.device("cpu")
    caches = iter(work / f"cache{k}" for k in range(10))

    def build() -> CropStore:
        return open_or_build(people, img_dir, settings, next(caches), workers=1, progress=False, say=quiet)

    actions = {"decode": lambda: [read_photograph(img_dir / name) for name in names], "build": build}
    decode, built = side_by_side(actions, cpu).values()
    cost = {
        "photographs": len(names),
        "people_per_photograph": len(people) / len(names),
        "decode_ms_per_person": decode / len(people),
        "crop_build_ms_per_person": built / len(people),
        "crop_build_over_decode": built / decode,
    }
    return cost, build()


def batch_cost(store: CropStore, people: People, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Making batches, without and with the standard augmentation."""
    cost = {}
    for augment in ("none", "standard"):
        batches = Batches(store, people, np.arange(len(people)), replace(recipe, augment=augment), device)  # type: ignore[arg-type]
        # none is kept: all of them together would be many GB
        spent = milliseconds(lambda b=batches: deque(b.epoch(0, 1, recipe.batch_size), maxlen=0), device)
        cost[f"batch_{augment}_ms_per_person"] = spent / len(people)
    return cost
