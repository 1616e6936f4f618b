"""The topographic layer: a 1x1 convolution whose output channels lie on a grid."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor, nn

from pose_topo.core.errors import UsageError
from pose_topo.models.regularizers import weight_similarity
from pose_topo.study.config import TopoInit
from pose_topo.study.lattice import Lattice


def init_weight(weight: Tensor, how: str) -> None:
    """Initialise the weight of a 1x1 convolution, (C, C_in, 1, 1), in place, with the gain of a ReLU, sqrt(2).

    Raises:
        UsageError: `how` is none of "orthogonal", "kaiming" and "equal-norm".
    """
    if how == "orthogonal":
        nn.init.orthogonal_(weight, gain=nn.init.calculate_gain("relu"))
    elif how == "kaiming":
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    elif how == "equal-norm":  # random directions, every row of norm sqrt(2)
        nn.init.normal_(weight)
        with torch.no_grad():
            weight.mul_(math.sqrt(2) / weight.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None])
    else:
        raise UsageError(f"--topo-init {how}: give one of {', '.join(get_args(TopoInit))}")


class TopographicConv2d(nn.Module):
    """A 1x1 convolution whose output channels lie on a lattice: (B, in_channels, H, W) -> (B, C, H, W).

    The convolution is followed by BatchNorm (if `batch_norm` is True) and by a ReLU. To compute a spatial loss, pass
    `conv.weight` and the outputs to `spatial_loss`.

    Args:
        in_channels: number of channels of the input.
        lattice: the grid of the C output channels.
        batch_norm: normalise before the ReLU. The convolution then has no bias.
        init: how the weights are initialised: "orthogonal" (the study's), "kaiming" or "equal-norm" (random
            directions, every row of norm sqrt(2)).

    Raises:
        UsageError: an unknown `init`.
    """

    def __init__(
        self, in_channels: int, lattice: Lattice, *, batch_norm: bool = False, init: str = "orthogonal"
    ) -> None:
        super().__init__()
        self.lattice = lattice
        self.conv = nn.Conv2d(in_channels, lattice.channels, 1, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(lattice.channels) if batch_norm else nn.Identity()
        init_weight(self.conv.weight, init)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def weight_similarity_loss(self) -> Tensor:
        """The study's spatial loss of this layer, a scalar."""
        return weight_similarity(self.conv.weight, self.lattice)
