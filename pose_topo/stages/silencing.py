"""PCKh with channels of the layer before the head silenced: many lesions for little more than one forward pass.

The head is linear: with f the features and W the head's weights, silencing the channels S changes its maps by
- W[:, S] f[S] alone. So backbone and deconvolutions run once a batch, the head once, and each lesion costs a product
with the few channels that it silences (or with those it leaves, where these are fewer: to take away nearly everything
would leave rounding).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.devices import autocast
from pose_topo.core.errors import PoseTopoError
from pose_topo.data import geometry
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.people import People, head_size
from pose_topo.models.pose import SimpleBaseline, head_weight
from pose_topo.scoring.decoding import decode
from pose_topo.scoring.pckh import normalised_errors
from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography import lesions, parcellation

THRESHOLD = 0.5
_Terms = tuple[Tensor, Tensor, int]
_CPU_BYTES = 8 << 20  # of features that lesions read again and again: what a CPU's cache can hold


@dataclass(frozen=True)
class Scores:
    """PCKh@0.5 in percent, without flip test: per joint (K,) and pooled, intact; (L, K) and (L,) with lesions.

    NaN for a joint that nobody has labelled.
    """

    intact: NDArray[np.float64]
    intact_mean: float
    joints: NDArray[np.float64]
    mean: NDArray[np.float64]
    people: int


@torch.inference_mode()
def pckh_silenced(
    model: SimpleBaseline,
    batches: Iterable[Batch],
    people: People,
    input_to_photo: NDArray[np.float64],
    masks: NDArray[np.bool_],
    *,
    decode_by: str,
    precision: str,
) -> Scores:
    """Score a network intact and under every lesion.

    Args:
        people: all people of the store; `input_to_photo` (P, 2, 3) their affines.
        masks: (L, C), which channels each lesion silences.
        decode_by: how maps become joints.

    Raises:
        ValueError: the masks are not of the head's channels.
    """
    if masks.ndim != 2 or masks.shape[1] != model.head.in_channels:
        raise ValueError(f"masks {masks.shape}: the head reads {model.head.in_channels} channels")
    model.eval()
    weight = model.head.weight.float().flatten(1)  # (K, C)
    lesions = [_terms(mask, weight) for mask in torch.from_numpy(masks)]
    correct, labelled, seen = np.zeros((1 + len(masks), joints.K), np.int64), np.zeros(joints.K, np.int64), 0
    for batch in batches:
        with autocast(batch.images.device, precision):
            features = model.features(batch.images).float()
        if not bool(torch.isfinite(features).all()):
            raise PoseTopoError("the network's activations are not finite: its training went astray")
        done = 0
        for pixels in _predictions(model, features, lesions, decode_by):  # (1 + L, K, b, 2)
            rows = batch.index[done : done + pixels.shape[2]]
            here = people.take(rows)
            correct += _correct(pixels, here, input_to_photo[rows])
            labelled += here.labelled.sum(axis=0)
            done += len(rows)
        seen += done
    return _scores(correct, labelled, seen)


def _predictions(model: SimpleBaseline, features: Tensor, lesions: list[_Terms], decode_by: str) -> Iterator[Tensor]:
    """Joints in pixels of the network's input, the intact ones first: (1 + L, K, b, 2) for b people at a time.

    Args:
        features: (B, C, h, w) of a batch; on a CPU they are taken apart so that they stay in its cache.
        lesions: what each leaves out, as `_terms` says it.
    """
    weight = model.head.weight.float().flatten(1)  # (K, C)
    bias = weight.new_zeros(len(weight), 1) if model.head.bias is None else model.head.bias.float()[:, None]
    for part in features.split(_people_at_once(features)):
        people, channels, height, width = part.shape
        flat = part.permute(1, 0, 2, 3).reshape(channels, -1).contiguous()  # (C, b h w): a lesion reads whole rows
        silent = bias.expand(-1, flat.shape[1])
        intact = torch.addmm(silent, weight, flat)

        def located(maps: Tensor, people: int = people, height: int = height, width: int = width) -> Tensor:
            return decode(maps.view(-1, people, height, width), decode_by)[0]

        found = [located(intact)]
        # written again and again: fresh memory for each lesion would cost more than the product
        picked, maps = torch.empty_like(flat), torch.empty_like(intact)
        for rows, columns, sign in lesions:
            some = torch.index_select(flat, 0, rows, out=picked[: len(rows)])
            found.append(located(torch.addmm(intact if sign < 0 else silent, columns, some, alpha=sign, out=maps)))
        yield torch.stack(found)


def _terms(mask: Tensor, weight: Tensor) -> _Terms:
    """Of one lesion (C,): channels, their weights (K, n), and whether they are taken from the intact maps (-1) or make
    up the rest (1)."""
    few = 2 * int(mask.sum()) <= len(mask)
    rows = (mask if few else ~mask).nonzero()[:, 0].to(weight.device)
    return rows, weight.index_select(1, rows), -1 if few else 1


def _people_at_once(features: Tensor) -> int:
    if features.device.type != "cpu":
        return len(features)
    return max(1, _CPU_BYTES // (4 * features[0].numel()))


def _correct(pixels: Tensor, people: People, to_photo: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of each joint are right, (L, K), of joints (L, K, B, 2) in input pixels."""
    lesions, count, batch, _ = pixels.shape
    by_person = pixels.permute(2, 0, 1, 3).reshape(batch, lesions * count, 2).double().cpu().numpy()
    found = geometry.apply(to_photo, by_person).reshape(batch * lesions, count, 2)
    errors = normalised_errors(
        found,
        np.repeat(people.joints, lesions, axis=0),
        np.repeat(people.labelled, lesions, axis=0),
        np.repeat(head_size(people.head_box), lesions),
    )
    right = np.where(np.isnan(errors), np.inf, errors) <= THRESHOLD
    return right.reshape(batch, lesions, count).sum(axis=0)


def _scores(correct: NDArray[np.int64], labelled: NDArray[np.int64], people: int) -> Scores:
    share = 100.0 * correct / np.where(labelled > 0, labelled, 1)
    share[:, labelled == 0] = np.nan
    scored = list(joints.SCORED)
    pooled = 100.0 * correct[:, scored].sum(axis=1) / max(1, int(labelled[scored].sum()))
    return Scores(share[0], float(pooled[0]), share[1:], pooled[1:], people)


# ---- Lesions of one network, measured: the numbers of `lesions` in `analysis.json` and the maps behind them.

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
    owner = lesions.owners(parcellation.labels(head_weight(model)), masks)  # (R, A + 1, D)
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
