"""Network -> joints in the photograph, for every person of a set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.data import geometry
from pose_topo.data.batches import Batch
from pose_topo.devices import autocast
from pose_topo.evaluation.decoding import decode, flip_back, shift_right


@torch.inference_mode()
def heatmaps(model: nn.Module, images: Tensor, *, flip_test: bool, precision: str) -> Tensor:
    """Heatmaps (B, 16, H/4, W/4), fp32; with `flip_test` averaged with the mirrored input's (Xiao et al. 2018)."""
    with autocast(images.device, precision):
        maps = model(images).float()
        if flip_test:
            maps = 0.5 * (maps + shift_right(flip_back(model(images.flip(-1)).float())))
    return maps


def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    input_to_photo: NDArray[np.float64],
    *,
    flip_test: bool,
    decode_by: str,
    sigma: float,
    precision: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Joints (P, 16, 2) in 0-based pixels of the photograph, confidences (P, 16) and the rows they belong to (P,).

    Args:
        input_to_photo: (rows of the store, 2, 3).
    """
    model.eval()
    found, confidence, rows = [], [], []
    for batch in batches:
        maps = heatmaps(model, batch.images, flip_test=flip_test, precision=precision)
        pixels, sure = decode(maps, decode_by, sigma)
        found.append(geometry.apply(input_to_photo[batch.index], pixels.double().cpu().numpy()))
        confidence.append(sure.double().cpu().numpy())
        rows.append(batch.index)
    return np.concatenate(found), np.concatenate(confidence), np.concatenate(rows)
