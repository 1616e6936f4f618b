"""The heatmap loss."""

from __future__ import annotations

from torch import Tensor


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor, kind: str, mask: bool) -> Tensor:
    """Mean squared error over people, joints and cells, all (B, K, H, W); a scalar.

    Args:
        weights: (B, K), 0 for a joint that is not to be learnt; used where `mask`.
        kind: "mse", or "half-mse" = half of it (the standard recipe).
    """
    error = predicted.float() - target
    if mask:
        error = error * weights[..., None, None]
    loss = error.square().mean()
    return 0.5 * loss if kind == "half-mse" else loss
