"""Run a network on the people of a data set, and decode their joints."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.machine import autocast
from pose_topo.data import geometry
from pose_topo.data.batches import Batch
from pose_topo.scoring.decoding import decode, flip_back, shift_right
from pose_topo.study.config import Recipe


@torch.inference_mode()
def heatmaps(model: nn.Module, images: Tensor, *, flip_test: bool, precision: str, shift: bool = True) -> Tensor:
    """Heatmaps (B, 16, H/4, W/4) in fp32.

    Args:
        flip_test: Average with the heatmaps of the mirrored input (Xiao et al. 2018).
        shift: Move the heatmaps of the mirrored input right by one column. This is correct if cell c stands for pixel
            4c.
    """
    with autocast(images.device, precision):
        maps = model(images).float()
        if flip_test:
            back = flip_back(model(images.flip(-1)).float())
            maps = 0.5 * (maps + (shift_right(back) if shift else back))
    return maps


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[Batch], input_to_photo: NDArray[np.float64], recipe: Recipe, precision: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Predict the joints of all people of `batches`.

    The heatmaps are decoded on the device of the network. The joints are copied to the host once, at the end, so that
    the host does not wait for a GPU between two batches.

    Args:
        model: It returns one set of heatmaps for each input, or L sets, as L blocks of B.
        input_to_photo: (rows of the store, 2, 3), the affine map from the input to the photograph.
        recipe: The flip test and the decoding.

    Returns:
        Joints (P, 16, 2) in 0-based pixels of the photograph, their confidences (P, 16), and the rows of the store that
        they belong to (P,). With L sets of heatmaps each person has L entries, in the order of the sets.

    Raises:
        PoseTopoError: The output of the network is not finite.
    """
    model.eval()
    decoded: list[Tensor] = []  # (B, 16, 3): x, y, confidence
    rows = []
    for batch in batches:
        maps = heatmaps(model, batch.images, flip_test=recipe.flip_test, precision=precision, shift=recipe.flip_shift)
        pixels, confidence = decode(maps, recipe.decode, recipe.sigma)
        decoded.append(torch.cat([pixels, confidence[..., None]], dim=-1))
        rows.append(np.tile(batch.index, len(maps) // len(batch.index)))
    everything, order = torch.cat(decoded).double().cpu().numpy(), np.concatenate(rows)
    check_finite(everything[..., 2])
    return geometry.apply(input_to_photo[order], everything[..., :2]), everything[..., 2], order


def check_finite(confidence: NDArray[np.float64]) -> None:
    """Refuse outputs that are not finite: decoded, NaN would be a joint in the corner.

    Raises:
        PoseTopoError: Some confidences are not finite.
    """
    if not np.isfinite(confidence).all():
        raise PoseTopoError("the output of the network is not finite: its training diverged")
