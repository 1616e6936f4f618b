"""One epoch of training steps, without a host synchronisation in the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pose_topo.config import Recipe
from pose_topo.data.batches import Batch
from pose_topo.devices import autocast
from pose_topo.errors import PoseTopoError
from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.training.losses import heatmap_loss
from pose_topo.training.optimisation import set_learning_rate

READ_EVERY = 20  # steps between two readings of the device-side sums: the progress bar and the NaN guard


@dataclass
class Sums:
    """Device-side sums over the people of an epoch, read by the host now and then."""

    heatmap: Tensor
    topo: Tensor
    people: int = 0
    steps: int = 0

    @staticmethod
    def on(device: torch.device) -> Sums:
        return Sums(
            torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), dtype=torch.float64, device=device)
        )

    def add(self, heatmap: Tensor, topo: Tensor | None, people: int) -> None:
        self.heatmap += heatmap.detach().double() * people
        if topo is not None:
            self.topo += topo.detach().double() * people
        self.people += people
        self.steps += 1

    def means(self) -> tuple[float, float]:
        """Mean heatmap loss and mean spatial loss a person; waits for the device."""
        heatmap, topo = torch.stack([self.heatmap, self.topo]).tolist()
        return heatmap / self.people, topo / self.people


def train_epoch(
    model: SimpleBaseline,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    recipe: Recipe,
    *,
    precision: str,
    strength: float,
    rate: Callable[[int], float],
    first_step: int,
    report: Callable[[int, float], None],
) -> Sums:
    """Train on every batch once.

    Args:
        strength: lambda of this epoch; 0 leaves the spatial loss out of the gradient but still measures it.
        rate: step -> learning rate.
        first_step: steps taken before this epoch.
        report: called every few steps with the people since its last call and the mean heatmap loss so far.

    Raises:
        PoseTopoError: the loss is no longer finite.
    """
    model.train()
    sums: Sums | None = None
    reported = 0
    for number, batch in enumerate(batches):
        if sums is None:
            sums = Sums.on(batch.images.device)
        lr = rate(first_step + number)
        set_learning_rate(optimizer, lr)
        sums.add(*_step(model, optimizer, batch, recipe, precision, strength), len(batch.index))
        if sums.steps % READ_EVERY == 0:
            report(sums.people - reported, _guard(sums, first_step + number + 1, lr))
            reported = sums.people
    if sums is None:
        raise PoseTopoError("no training batch: at least two people are needed")
    report(sums.people - reported, _guard(sums, first_step + sums.steps, optimizer.param_groups[0]["lr"]))
    return sums


def _step(
    model: SimpleBaseline,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    precision: str,
    strength: float,
) -> tuple[Tensor, Tensor | None]:
    with autocast(batch.images.device, precision):
        predicted, features = model(batch.images, with_features=True)
    heatmap = heatmap_loss(predicted, batch.targets, batch.weights, recipe.loss, recipe.mask_unlabelled)
    topo = None
    loss = heatmap
    if isinstance(model, TopoModel):
        with torch.set_grad_enabled(strength > 0):
            topo = model.topo_reg_loss(features)
        loss = heatmap + strength * topo if strength > 0 else heatmap
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return heatmap, topo


def _guard(sums: Sums, step: int, lr: float) -> float:
    heatmap, topo = sums.means()
    if not (torch.isfinite(torch.tensor(heatmap)) and torch.isfinite(torch.tensor(topo))):
        raise PoseTopoError(
            f"the loss is not finite (step {step} or the {READ_EVERY} before it, learning rate {lr:g}): lower --lr; "
            "last.pt holds the epoch before"
        )
    return heatmap
