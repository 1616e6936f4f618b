"""The spatial losses."""

from __future__ import annotations

import torch

from pose_topo.bench.timing import side_by_side
from pose_topo.config import TOPO_LOSSES
from pose_topo.lattice import Lattice
from pose_topo.models.regularizers import spatial_loss


def spatial_loss_cost(device: torch.device) -> dict[str, float]:
    """Forward and backward of each spatial loss alone: 256 inputs to a 16 x 16 grid, 16 pictures of 32 x 32 cells."""
    lattice = Lattice(16, 16)
    weight = torch.randn(256, 256, 1, 1, device=device, requires_grad=True)
    maps = torch.randn(16, 256, 32, 32, device=device).relu_().to(memory_format=torch.channels_last).requires_grad_()

    def run(name: str) -> None:
        read = weight if TOPO_LOSSES[name] == "weights" else maps
        torch.autograd.grad(spatial_loss(name, lattice, weight, maps), read)

    return side_by_side({f"loss_{name}_ms": lambda n=name: run(n) for name in TOPO_LOSSES}, device)
