"""The optimiser: Adam or AdamW, with a learning rate of its own for the topographic layer."""

from __future__ import annotations

import torch
from torch import nn

from pose_topo.config import Recipe
from pose_topo.models.pose import TopoModel


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Two parameter groups; `set_learning_rate` keeps their ratio, `recipe.topo_lr_mult`."""
    topo = list(model.topo.parameters()) if isinstance(model, TopoModel) else []
    own = {id(parameter) for parameter in topo}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    groups = [{"params": rest, "lr_mult": 1.0}]
    if topo:
        groups.append({"params": topo, "lr_mult": recipe.topo_lr_mult})
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
