"""Scoring people."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pose_topo.bench.timing import milliseconds, side_by_side
from pose_topo.config import RunConfig
from pose_topo.data.batches import Batches
from pose_topo.data.crop_store import CropStore
from pose_topo.data.people import People, head_size
from pose_topo.devices import autocast, pick_precision, seed_everything
from pose_topo.evaluation.evaluate import BATCH
from pose_topo.evaluation.inference import predict
from pose_topo.evaluation.pckh import score
from pose_topo.models.pose import build_model


def evaluation_cost(
    store: CropStore, people: People, config: RunConfig, device: torch.device, count: int
) -> dict[str, float]:
    """Scoring `count` people (the store's, over again if it has fewer) with the flip test, against the two forward
    passes alone on a batch that is there already."""
    recipe = config.recipe
    precision = pick_precision(config.precision, device)
    seed_everything(0)
    model = build_model(config).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    size, rows = min(BATCH, count), np.resize(np.arange(len(people)), count)
    batches = Batches(store, people, rows, recipe, device)
    fixed = next(batches.in_order(size)).images

    @torch.inference_mode()
    def forward() -> None:
        for start in range(0, count, size):
            with autocast(device, precision):
                for _ in range(2):
                    model(fixed[: count - start])

    def find() -> tuple[Any, Any, Any]:
        return predict(
            model, batches.in_order(size), batches.input_to_photo(), flip_test=True, decode_by=recipe.decode,
            sigma=recipe.sigma, precision=precision,
        )  # fmt: skip

    def judge(found: Any, where: Any) -> None:
        seen = people.take(where)
        score(found, seen.joints, seen.labelled, head_size(seen.head_box))

    found, _, where = find()
    ceiling, inference = side_by_side({"forward": forward, "find": find}, device).values()
    scoring = milliseconds(lambda: judge(found, where), torch.device("cpu"))
    return {
        "evaluation_people": count,
        "evaluation_s": (inference + scoring) / 1e3,
        "evaluation_images_per_s_model_only": 1e3 * count / ceiling,
        "evaluation_images_per_s": 1e3 * count / (inference + scoring),
        "evaluation_score_ms": scoring,
        "evaluation_over_model_only": ceiling / (inference + scoring),
    }
