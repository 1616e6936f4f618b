"""PCKh with channels of the layer before the head silenced: many lesions for little more than one forward pass.

The head is linear: with f the features and W the head's weights, silencing the channels S changes its maps by
- W[:, S] f[S] alone. So backbone and deconvolutions run once a batch, the head once, and each lesion costs a product
with the few channels that it silences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo import joints
from pose_topo.data import geometry
from pose_topo.data.batches import Batch
from pose_topo.data.people import People, head_size
from pose_topo.devices import autocast
from pose_topo.evaluation.decoding import decode
from pose_topo.evaluation.pckh import normalised_errors
from pose_topo.models.pose import SimpleBaseline

THRESHOLD = 0.5
_AT_ONCE = 64  # lesions whose predictions are scored together: bounds memory


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
    device = model.head.weight.device
    silent = [torch.from_numpy(np.flatnonzero(mask)).to(device) for mask in masks]
    correct, labelled, seen = np.zeros((1 + len(masks), joints.K), np.int64), np.zeros(joints.K, np.int64), 0
    for batch in batches:
        with autocast(batch.images.device, precision):
            features = model.features(batch.images)
        here, start = people.take(batch.index), 0
        for pixels in _predictions(model, features.float(), silent, decode_by):  # (L', K, B, 2)
            found = _correct(pixels, here, input_to_photo[batch.index])
            correct[start : start + len(found)] += found
            start += len(found)
        labelled += here.labelled.sum(axis=0)
        seen += len(batch.index)
    return _scores(correct, labelled, seen)


def _predictions(model: SimpleBaseline, features: Tensor, silent: list[Tensor], decode_by: str) -> Iterator[Tensor]:
    """Joints in pixels of the network's input, the intact ones first: blocks of (lesions, K, B, 2)."""
    people, channels, height, width = features.shape
    flat = features.permute(1, 0, 2, 3).reshape(channels, -1)  # (C, B h w): a lesion reads whole rows
    weight = model.head.weight.float().flatten(1)  # (K, C)
    intact = weight @ flat
    if model.head.bias is not None:
        intact = intact + model.head.bias.float()[:, None]

    def located(maps: Tensor) -> Tensor:
        return decode(maps.view(len(weight), people, height, width), decode_by)[0]

    block = [located(intact)]
    for channels_out in silent:
        if len(block) == _AT_ONCE:
            yield torch.stack(block)
            block = []
        lost = torch.addmm(intact, weight[:, channels_out], flat[channels_out], alpha=-1)
        block.append(located(lost))
    yield torch.stack(block)


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
