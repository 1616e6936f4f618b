"""One epoch of training steps, without a host synchronisation in the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pose_topo.config import Recipe
from pose_topo.data.batches import Batch
from pose_topo.devices import autocast
from pose_topo.errors import PoseTopoError
from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.training.losses import heatmap_loss
from pose_topo.training.meter import Meter, Reading
from pose_topo.training.optimisation import set_learning_rate

READ_EVERY = 20  # steps between two looks at the device's sums: the progress bar and the NaN guard


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
    meter: Meter,
    forward: nn.Module | None = None,
    together: Callable[[Reading], Reading] = lambda own: own,
    report: Callable[[Reading], None] = lambda _: None,
    after_step: Callable[[int, int], None] = lambda _step, _people: None,
) -> Reading:
    """Train on every batch once; the losses are added to `meter`. Returns their sums.

    Args:
        strength: lambda of this epoch; 0 leaves the spatial loss out of the gradient but still measures it.
        rate: step -> learning rate.
        first_step: steps taken before the first batch.
        forward: `model` as it is to be called, where that is not `model` itself (wrapped for several processes).
        together: own sums -> those of all processes, which ask at the same steps, so that all of them stop or none.
        report: called every few steps with the sums so far.
        after_step: called with the number of steps taken and the people of the last, once it is whole; what it raises
            ends the epoch.

    Raises:
        PoseTopoError: the loss is no longer finite.
    """
    model.train()
    for number, batch in enumerate(batches, start=first_step):
        set_learning_rate(optimizer, rate(number))
        heatmap, topo = _step(model, forward or model, optimizer, batch, recipe, precision, strength)
        meter.add(heatmap, topo, len(batch.index), number + 1)
        if (number + 1) % READ_EVERY == 0 and (reading := meter.poll()) is not None:
            report(guard(together(reading), rate))
        after_step(number + 1, len(batch.index))
    return guard(together(meter.read()), rate)


def _step(
    model: SimpleBaseline,
    forward: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    precision: str,
    strength: float,
) -> tuple[Tensor, Tensor | None]:
    with autocast(batch.images.device, precision):
        predicted, features = forward(batch.images, with_features=True)
    heatmap = heatmap_loss(predicted, batch.targets, batch.weights, recipe.loss, recipe.mask_unlabelled)
    topo = None
    # several processes average their gradients: each one's share makes that the mean over the step's people
    loss = heatmap if batch.share == 1 else batch.share * heatmap
    if isinstance(model, TopoModel):
        with torch.set_grad_enabled(strength > 0):
            topo = model.topo_reg_loss(features)
        loss = loss + strength * topo if strength > 0 else loss
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return heatmap, topo


def guard(reading: Reading, rate: Callable[[int], float]) -> Reading:
    """The same reading, if every loss in it was finite.

    Raises:
        PoseTopoError: with the first step that was not.
    """
    if reading.bad_step is not None:
        raise PoseTopoError(
            f"the loss is not finite at step {reading.bad_step} (learning rate {rate(reading.bad_step - 1):g}): "
            "lower --lr; last.pt holds what was trained before"
        )
    return reading
