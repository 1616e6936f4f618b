"""The heatmap loss, the schedules of the learning rate and of lambda, early stopping, and the optimiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.study.config import Recipe

STEP_DROPS = (90 / 140, 120 / 140)  # of the standard recipe's epochs
WARM_UP, START_DIV, END_DIV = 0.2, 25.0, 1e4  # one-cycle: share of rising steps, lr / first lr, first lr / last lr


def heatmap_loss(predicted: Tensor, target: Tensor, weights: Tensor, kind: str, mask: bool) -> Tensor:
    """Mean squared error over people, joints and cells, a scalar.

    Args:
        predicted, target: heatmaps (B, K, H, W).
        weights: joint mask (B, K), 0 for a joint that does not count. Used only with `mask`.
        kind: "mse", or "half-mse", which is half of it (the standard recipe).
    """
    error = predicted.float() - target
    if mask:
        error = error * weights[..., None, None]
    loss = error.square().mean()
    return 0.5 * loss if kind == "half-mse" else loss


def learning_rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """The learning rate of a step.

    "steps": x0.1 at 90/140 and at 120/140 of the epochs (Xiao et al. 2018). "one-cycle": Smith & Topin 2018, with
    cosines. "cosine": from the peak to 0 (Loshchilov & Hutter 2017). "constant": the peak. All but one-cycle rise
    linearly during the first `recipe.warm_up` epochs.

    Args:
        step: steps taken before this one.
        per_epoch: steps per epoch.
    """
    peak, steps = recipe.lr, per_epoch * recipe.epochs
    if recipe.schedule == "one-cycle":
        rise = max(1.0, WARM_UP * steps - 1)
        if step <= rise:
            return _cosine(peak / START_DIV, peak, step / rise)
        return _cosine(peak, peak / START_DIV / END_DIV, (step - rise) / max(1.0, steps - 1 - rise))
    warm = round(recipe.warm_up * per_epoch)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if recipe.schedule == "cosine":
        return _cosine(peak, 0.0, (step - warm) / max(1, steps - warm))
    if recipe.schedule == "steps":
        # rounded, because 140 * (90 / 140) is slightly less than 90
        return peak * 0.1 ** sum(step // per_epoch >= round(share * recipe.epochs) for share in STEP_DROPS)
    return peak


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def lambda_factor(schedule: str, epoch: int, epochs: int) -> float:
    """The number by which lambda is multiplied in an epoch. Epochs are counted from 1.

    "constant": 1. "cosine": 1 in the first epoch, 0.1 in the last. "study-cosine": the formula of the original study.
    Its period is one epoch too short, so it rises again in the last epoch (with 2 epochs: 0.1, 1.0). A single epoch
    has factor 1, where the formula is 0/0.
    """
    if schedule == "constant" or epochs == 1:
        return 1.0
    share = epoch / (epochs - 1) if schedule == "study-cosine" else (epoch - 1) / (epochs - 1)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))


class EarlyStopping:
    """Counts the epochs since the best (lowest) value. `patience` None never stops."""

    def __init__(self, patience: int | None, best: float = float("inf"), waited: int = 0) -> None:
        self.patience, self.best, self.waited = patience, best, waited

    def update(self, value: float) -> bool:
        """Take the value of an epoch. Returns whether it is the best so far."""
        better = value < self.best
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return better

    @property
    def stop(self) -> bool:
        return self.patience is not None and self.waited >= self.patience


def make_optimizer(model: SimpleBaseline, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW. The topographic layer, and the head if its multiplier is not 1, have parameter groups of their own
    with their learning-rate multipliers."""
    own: list[tuple[nn.Module, float]] = [(model.topo, recipe.topo_lr_mult)] if isinstance(model, TopoModel) else []
    if recipe.head_lr_mult != 1:
        own.append((model.head, recipe.head_lr_mult))
    taken = {id(parameter) for layer, _ in own for parameter in layer.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    groups = [{"params": rest, "lr_mult": 1.0}]
    groups += [{"params": list(layer.parameters()), "lr_mult": factor} for layer, factor in own]
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group `lr` times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
