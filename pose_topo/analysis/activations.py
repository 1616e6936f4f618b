"""What the channels of the grid answer: one number a channel and picture, pooled inside the hook."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.data.batches import Batch
from pose_topo.devices import autocast


@torch.inference_mode()
def mean_activations(
    model: nn.Module, layer: nn.Module, batches: Iterable[Batch], precision: str
) -> NDArray[np.float64]:
    """Spatial means (N, C) of what `layer` puts out, over all pictures.

    The hook keeps only the means (whole feature maps of a data set are tens of GiB) and is removed whatever happens.
    They stay on the device until the end, so that a GPU is never waited for between two batches.
    """
    kept: list[Tensor] = []

    def pool(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        kept.append(output.float().mean((2, 3)))

    handle = layer.register_forward_hook(pool)
    try:
        model.eval()
        for batch in batches:
            with autocast(batch.images.device, precision):
                model(batch.images)
    finally:
        handle.remove()
    return torch.cat(kept).double().cpu().numpy()
