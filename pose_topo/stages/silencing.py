"""Lesions of a network: silence channels of the layer before the head, and score the held-out people each time.

The head is linear. With features f and head weights W, silencing the channels S changes the heatmaps by - W[:, S] f[S].
Therefore the backbone and the deconvolutions run once per batch, and each lesion costs one product with the few
channels that it silences. If fewer channels are left than silenced, the product is with those that are left:
subtracting nearly everything would leave rounding errors.

A silenced channel is 0, or its mean response, which the head expects of it. The two differ by one number in all cells
of a heatmap. That moves no highest cell, but a heatmap without a positive value has no joint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.machine import autocast
from pose_topo.data import geometry
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.people import People
from pose_topo.models.pose import SimpleBaseline, head_weight
from pose_topo.scoring.decoding import decode
from pose_topo.scoring.pckh import hits, normalised_errors, percentages
from pose_topo.stages.checkpoints import Network, grid_of
from pose_topo.stages.evaluate import BATCH
from pose_topo.study import joints
from pose_topo.topography import lesions, parcellation

Array = NDArray[np.float64]

_CPU_BYTES = 8 << 20  # features that all lesions read again: they fit into the cache of a CPU


# ---- The numbers of `lesions` in analysis.json


def measure_lesions(
    network: Network, batches: Batches, people: People, means: Array, permuted_grids: int
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Silence discs on the true grid and on permuted grids: numbers for analysis.json and maps for analysis.npz.

    Sub-pixel decoding is left out. It decides nothing at half a head size, and it costs more than the lesion.

    Args:
        batches: The held-out people.
        people: All people of the store.
        means: (C,), the mean response of each channel. "by_mean" holds the numbers of lesions that silence to it.
        permuted_grids: The number of permuted grids in the null.
    """
    model, lattice = network.model, grid_of(network.model)
    orders = lesions.arrangements(lattice.channels, permuted_grids)
    masks = lesions.silenced(lattice, orders)  # (R, A + 1, D, C)
    decode_by = "cell-centre" if batches.recipe.decode == "cell-centre" else "argmax"
    scores = pckh_silenced(
        model,
        batches.in_order(BATCH),
        people,
        batches.input_to_photo(),
        masks.reshape(-1, lattice.channels),
        fills=(np.zeros_like(means), means),
        decode_by=decode_by,
        precision=network.precision,
    )
    owner = lesions.owners(parcellation.labels(head_weight(model)), masks)  # (R, A + 1, D)
    shape = (2, *masks.shape[:3])  # by zero and by the mean, R, A + 1, D
    damage, by_mean = (scores.intact - scores.joints).reshape(*shape, -1)  # (R, A + 1, D, K) each
    pooled = (scores.intact_mean - scores.mean).reshape(shape)
    sizes = masks[:, 0].sum(axis=-1).mean(axis=-1)

    def by_radius(means: Array, damage: Array) -> list[dict[str, Any]]:
        return [
            {"radius": radius, "channels": float(size), **mean_damage(mean), **specificity(values, owned)}
            for radius, size, mean, values, owned in zip(lesions.RADII, sizes, means, damage, owner, strict=True)
        ]

    numbers = {
        "people": len(batches),
        "threshold": people.validation_unit()[2],
        "decode": decode_by,
        "flip_test": False,
        "intact": None if np.isnan(scores.intact).all() else scores.intact_mean,
        "centres": masks.shape[2],
        "permuted_grids": permuted_grids,
        "smallest_p": 1 / (1 + permuted_grids),
        "radii": by_radius(pooled[0], damage),
        "by_mean": by_radius(pooled[1], by_mean),
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


def mean_damage(pooled: Array) -> dict[str, float]:
    """The loss of pooled PCKh at one radius, (A + 1, D): its mean over discs, and that of the A permuted grids."""
    means = pooled.mean(axis=1)
    return {"damage": float(means[0]), "null_damage": float(means[1:].mean()), "null_damage_sd": float(means[1:].std())}


def specificity(damage: Array, owner: NDArray[np.int64]) -> dict[str, Any]:
    """The specificity at one radius, from the damage (A + 1, D, K) and the owner (A + 1, D) of each disc."""
    measured = lesions.specificity(damage, owner)
    if measured is None:
        keys = ("specificity", "null_mean", "null_sd", "p", "own", "other", "null_own", "null_other")
        return {**dict.fromkeys(keys), "reason": "no silenced channel serves a joint that can be scored"}
    return {
        "specificity": measured.value,
        "null_mean": float(measured.null.mean()),
        "null_sd": float(measured.null.std()),
        "p": measured.p,
        "own": float(measured.own[0]),
        "other": float(measured.other[0]),
        "null_own": float(measured.own[1:].mean()),
        "null_other": float(measured.other[1:].mean()),
        "reason": None,
    }


# ---- PCKh of the intact network and of every lesion


@dataclass(frozen=True)
class Scores:
    """PCKh@0.5 in percent, without flip test. NaN for a joint that nobody has labelled.

    Attributes:
        intact, intact_mean: Per joint (K,), and pooled, of the intact network.
        joints, mean: The same of each lesion, (L, K) and (L,).
    """

    intact: Array
    intact_mean: float
    joints: Array
    mean: Array


@torch.inference_mode()
def pckh_silenced(
    model: SimpleBaseline,
    batches: Iterable[Batch],
    people: People,
    input_to_photo: Array,
    masks: NDArray[np.bool_],
    *,
    decode_by: str,
    precision: str,
    fills: Sequence[Array] = (),
) -> Scores:
    """Score the intact network and every lesion.

    Args:
        people: All people of the store. `input_to_photo` (P, 2, 3) holds their affine maps.
        masks: (L, C), the channels that each lesion silences.
        decode_by: The method that turns heatmaps into joints.
        fills: (C,) each, the responses that silenced channels have (default: 0). All lesions are scored with each of
            them; the lesions with the first fill come first.

    Raises:
        PoseTopoError: The activations of the network are not finite.
    """
    model.eval()
    _, unit, threshold = people.validation_unit()
    weight = model.head.weight.float().flatten(1)  # (K, C)
    levels = [torch.from_numpy(fill).to(weight) for fill in fills] or [torch.zeros_like(weight[0])]
    terms = [_term(mask, weight, level) for level in levels for mask in torch.from_numpy(masks)]
    correct, labelled = np.zeros((1 + len(terms), joints.K), np.int64), np.zeros(joints.K, np.int64)
    for batch in batches:
        with autocast(batch.images.device, precision):
            features = model.features(batch.images).float()
        if not bool(torch.isfinite(features).all()):
            raise PoseTopoError("the activations of the network are not finite: its training diverged")
        done = 0
        for pixels in _predictions(model, features, terms, decode_by):  # (1 + L, K, b, 2)
            rows = batch.index[done : done + pixels.shape[2]]
            correct += _correct(pixels, people.take(rows), unit[rows], threshold, input_to_photo[rows])
            labelled += (people.labelled[rows] & (unit[rows] > 0)[:, None]).sum(axis=0)
            done += len(rows)
    per_joint, mean = percentages(correct, labelled)
    mean = np.nan_to_num(mean)
    return Scores(per_joint[0], float(mean[0]), per_joint[1:], mean[1:])


class _Term(NamedTuple):
    """One lesion as a linear term: the product of some channels and their weights (K, n).

    sign -1: subtract it from the heatmaps of the intact network. 1: add it to the bias. `level` (K, 1) is what the
    silenced channels still add to every cell.
    """

    channels: Tensor
    weights: Tensor
    sign: int
    level: Tensor


def _term(mask: Tensor, weight: Tensor, level: Tensor) -> _Term:
    few, mask = 2 * int(mask.sum()) <= len(mask), mask.to(weight.device)
    channels = (mask if few else ~mask).nonzero()[:, 0]
    return _Term(channels, weight.index_select(1, channels), -1 if few else 1, (weight @ (level * mask))[:, None])


def _predictions(model: SimpleBaseline, features: Tensor, terms: list[_Term], decode_by: str) -> Iterator[Tensor]:
    """Joints in pixels of the input, (1 + L, K, b, 2), from features (B, C, h, w). The intact network comes first.

    They come for b people at a time: on a CPU for so few that their features stay in the cache.
    """
    weight = model.head.weight.float().flatten(1)  # (K, C)
    bias = weight.new_zeros(len(weight), 1) if model.head.bias is None else model.head.bias.float()[:, None]
    on_cpu = features.device.type == "cpu"
    people_at_once = max(1, _CPU_BYTES // (4 * features[0].numel())) if on_cpu else len(features)
    for part in features.split(people_at_once):
        people, channels, height, width = part.shape
        flat = part.permute(1, 0, 2, 3).reshape(channels, -1).contiguous()  # (C, b h w): a lesion reads whole rows
        silent = bias.expand(-1, flat.shape[1])
        intact = torch.addmm(silent, weight, flat)
        # two buffers for all lesions: fresh memory for each lesion would cost more than the product
        picked, maps = torch.empty_like(flat), torch.empty_like(intact)
        located = [decode(intact.view(-1, people, height, width), decode_by)[0]]
        for term in terms:
            read = torch.index_select(flat, 0, term.channels, out=picked[: len(term.channels)])
            torch.addmm(intact if term.sign < 0 else silent, term.weights, read, alpha=term.sign, out=maps)
            maps += term.level
            located.append(decode(maps.view(-1, people, height, width), decode_by)[0])
        yield torch.stack(located)


def _correct(pixels: Tensor, people: People, unit: Array, threshold: float, to_photo: Array) -> NDArray[np.int64]:
    """The number of correct joints, (L, K), from joints (L, K, B, 2) in pixels of the input."""
    count, keypoints, batch, _ = pixels.shape
    by_person = pixels.permute(2, 0, 1, 3).reshape(batch, count * keypoints, 2).double().cpu().numpy()
    errors = normalised_errors(
        geometry.apply(to_photo, by_person).reshape(batch * count, keypoints, 2),
        np.repeat(people.joints, count, axis=0),
        np.repeat(people.labelled, count, axis=0),
        np.repeat(unit, count),
    )
    return hits(errors, threshold).reshape(batch, count, keypoints).sum(axis=0)
