"""Lesions of one network, measured: the numbers of `lesions` in `analysis.json` and the maps behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.analysis import lesions, parcellation
from pose_topo.analysis.silencing import THRESHOLD, Scores, pckh_silenced
from pose_topo.data.batches import Batches
from pose_topo.data.people import People
from pose_topo.lattice import Lattice
from pose_topo.models.pose import SimpleBaseline

Array = NDArray[np.float64]


def lesion(
    model: SimpleBaseline,
    lattice: Lattice,
    batches: Batches,
    people: People,
    *,
    batch_size: int,
    precision: str,
    permuted_grids: int,
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Silence discs on the true grid and on permuted ones; score the held-out people each time.

    Sub-pixel decoding is left out: at half a head size it decides nothing, and costs more than the lesion.
    """
    orders = lesions.arrangements(lattice.channels, permuted_grids)
    masks = lesions.silenced(lattice, orders)  # (R, A + 1, D, C)
    decode_by = "cell-centre" if batches.recipe.decode == "cell-centre" else "argmax"
    scores = pckh_silenced(
        model,
        batches.in_order(batch_size),
        people,
        batches.input_to_photo(),
        masks.reshape(-1, lattice.channels),
        decode_by=decode_by,
        precision=precision,
    )
    head = model.head.weight.detach().double().cpu().numpy()[:, :, 0, 0]
    owner = lesions.owners(parcellation.labels(head), masks)  # (R, A + 1, D)
    damage = (scores.intact - scores.joints).reshape(*masks.shape[:3], -1)  # (R, A + 1, D, K)
    pooled = (scores.intact_mean - scores.mean).reshape(masks.shape[:3])  # (R, A + 1, D)
    sizes = masks[:, 0].sum(axis=-1).mean(axis=-1)
    numbers = {
        "people": scores.people,
        "threshold": THRESHOLD,
        "decode": decode_by,
        "flip_test": False,
        "intact": _intact(scores),
        "centres": masks.shape[2],
        "permuted_grids": permuted_grids,
        "smallest_p": 1 / (1 + permuted_grids),
        "radii": [
            {"radius": radius, "channels": float(size), **_damage(mean), **_specific(values, owned)}
            for radius, size, mean, values, owned in zip(lesions.RADII, sizes, pooled, damage, owner, strict=True)
        ],
    }
    maps = {
        "lesion_radii": np.array(lesions.RADII),
        "lesion_centres": lesions.centres(lattice),
        "lesion_owner": owner[:, 0],
        "lesion_damage": damage[:, 0],
        "lesion_null_owner": owner[:, 1:],
        "lesion_null_damage": damage[:, 1:],
    }
    return numbers, maps


def _intact(scores: Scores) -> float | None:
    return None if np.isnan(scores.intact).all() else scores.intact_mean


def _damage(pooled: Array) -> dict[str, float]:
    """Loss of pooled PCKh, a mean over discs; the null's spread is over permuted grids. `pooled` is (A + 1, D)."""
    means = pooled.mean(axis=1)
    return {"damage": float(means[0]), "null_damage": float(means[1:].mean()), "null_damage_sd": float(means[1:].std())}


def _specific(damage: Array, owner: NDArray[np.int64]) -> dict[str, Any]:
    found = lesions.specificity(damage, owner)
    if found is None:
        keys = ("specificity", "null_mean", "null_sd", "p", "own", "other", "null_own", "null_other")
        return {**dict.fromkeys(keys), "reason": "no silenced channel serves a joint that can be scored"}
    return {
        "specificity": found.value,
        "null_mean": float(found.null.mean()),
        "null_sd": float(found.null.std()),
        "p": found.p,
        "own": float(found.own[0]),
        "other": float(found.other[0]),
        "null_own": float(found.own[1:].mean()),
        "null_other": float(found.other[1:].mean()),
        "reason": None,
    }
