"""Network -> joints in the photograph, for every person of a set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.devices import autocast
from pose_topo.core.errors import PoseTopoError
from pose_topo.data import geometry
from pose_topo.data.batches import Batch
from pose_topo.scoring.decoding import decode, flip_back, shift_right


@torch.inference_mode()
def heatmaps(model: nn.Module, images: Tensor, *, flip_test: bool, precision: str, shift: bool = True) -> Tensor:
    """Heatmaps (B, 16, H/4, W/4), fp32; with `flip_test` averaged with the mirrored input's (Xiao et al. 2018).

    shift: move the mirrored input's maps right by one column; right wherever cell c stands for pixel 4c.
    """
    with autocast(images.device, precision):
        maps = model(images).float()
        if flip_test:
            back = flip_back(model(images.flip(-1)).float())
            maps = 0.5 * (maps + (shift_right(back) if shift else back))
    return maps


@torch.inference_mode()
def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    input_to_photo: NDArray[np.float64],
    *,
    flip_test: bool,
    decode_by: str,
    sigma: float,
    precision: str,
    shift: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Joints (P, 16, 2) in 0-based pixels of the photograph, confidences (P, 16) and the rows they belong to (P,).

    Decoded where the network runs and copied to the host once, at the end, so that a GPU is never waited for between
    two batches.

    Args:
        input_to_photo: (rows of the store, 2, 3).
        shift: of the flip test, see `heatmaps`.

    Raises:
        PoseTopoError: the network answers with numbers that are not finite.
    """
    model.eval()
    found: list[Tensor] = []  # (B, 16, 3): x, y, confidence
    rows = []
    for batch in batches:
        maps = heatmaps(model, batch.images, flip_test=flip_test, precision=precision, shift=shift)
        pixels, sure = decode(maps, decode_by, sigma)
        found.append(torch.cat([pixels, sure[..., None]], dim=-1))
        rows.append(batch.index)
    everything, order = torch.cat(found).double().cpu().numpy(), np.concatenate(rows)
    check_finite(everything[..., 2])
    return geometry.apply(input_to_photo[order], everything[..., :2]), everything[..., 2], order


def check_finite(confidence: NDArray[np.float64]) -> None:
    """Refuse answers of a network that has gone astray: decoded, NaN would be a joint in a corner.

    Raises:
        PoseTopoError: not all are finite.
    """
    if not np.isfinite(confidence).all():
        raise PoseTopoError("the network answers with numbers that are not finite: its training went astray")
