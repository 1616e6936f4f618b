"""One epoch: train on all batches, validate on the held-out people, and return a row for metrics.csv.

Training steps hardly ever wait for the device. The host reads the summed losses only every `READ_EVERY` steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial, reduce
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.machine import autocast
from pose_topo.data import geometry
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.people import People
from pose_topo.models.pose import SimpleBaseline, TopoModel, head_weight, heatmaps, layer_weight
from pose_topo.scoring.decoding import decode
from pose_topo.scoring.pckh import normalised_errors, scores_at
from pose_topo.study.config import Recipe
from pose_topo.topography import moran, parcellation, weight_statistics
from pose_topo.training.optimisation import heatmap_loss, lambda_factor, learning_rate, set_learning_rate
from pose_topo.training.processes import Interrupted, Team
from pose_topo.training.state import LossSums, Meter, State, TrainingSettings

SMALLEST_SCORED = 16  # people per batch that are validated: a forward pass of fewer is slower per person
READ_EVERY = 20  # steps between two reads of the summed losses, for the progress bar and to stop at NaN


def run_epoch(state: State, forward: nn.Module, settings: TrainingSettings) -> dict[str, Any]:
    """Train and validate the next epoch, or the rest of an interrupted one. Return its row, the last of the history.

    Args:
        forward: `state.model`, possibly wrapped for several processes. It is called in the steps.

    Raises:
        Interrupted: a signal came. `state` holds the steps that were taken and can be saved.
        PoseTopoError: the loss is not finite.
    """
    recipe, topography, team = settings.config.recipe, settings.config.topography, settings.team
    per_epoch, epoch = settings.train_set.steps(recipe.batch_size, team.size), state.epoch + 1
    factor = lambda_factor(recipe.lambda_schedule, epoch, recipe.epochs)
    spatial_lambda = factor * topography.weight if topography else 0.0
    before, seconds = state.partial or (LossSums(), 0.0)
    meter = Meter(settings.device, before if team.writer else None)  # the writer continues the sums of all processes
    started = time.perf_counter() - seconds
    taken = state.step - state.epoch * per_epoch
    score = f", PCKh {state.history[-1]['val_pckh']:.1f}" if state.history else ""
    bar, rate = _progress_bar(state, settings, taken), partial(learning_rate, recipe, per_epoch=per_epoch)

    def combined(own: LossSums) -> LossSums:
        """The sums of all processes, which must call this at the same steps. The losses must have been finite."""
        sums = reduce(LossSums.plus, team.gather(own))
        if sums.bad_step is not None:
            raise PoseTopoError(
                f"the loss is not finite at step {sums.bad_step} (learning rate {rate(sums.bad_step - 1):g}): "
                "lower --lr; last.pt holds what was trained before"
            )
        return sums

    batches = settings.train_set.epoch(
        settings.config.seed, epoch, recipe.batch_size, skip=taken, process=team.rank, processes=team.size
    )
    trained = None
    try:
        with closing(batches), closing(bar):
            steps = train_steps(
                state.model, state.optimizer, batches, recipe, precision=settings.precision,
                spatial_lambda=spatial_lambda, rate=rate, first_step=state.step, meter=meter, forward=forward,
            )  # fmt: skip
            for step, people, so_far in steps:
                if so_far is not None:
                    bar.set_postfix_str(f"loss {combined(so_far).means()[0]:.5f}{score}", refresh=False)
                state.step = step
                bar.update(people * team.size)
                if team.size == 1 or step % READ_EVERY == 0:
                    settings.stop_if_asked()
            sums = combined(meter.read())
        trained = time.perf_counter() - started
        team.share_buffers(state.model)  # so that the network that the writer will save is scored
        scores = validate(
            state.model, settings.val_set, settings.dataset.people, settings.precision,
            max(SMALLEST_SCORED, recipe.batch_size), team,
            after_batch=settings.stop_if_asked if team.size == 1 else lambda: None,
        )  # fmt: skip
        settings.stop_if_asked()
    except Interrupted:
        state.partial = combined(meter.read()), trained or time.perf_counter() - started
        raise
    state.partial = None
    timing = {"images_per_s": sums.people / trained, "seconds": time.perf_counter() - started}
    row = _row(state.model, recipe, sums, scores, spatial_lambda)
    row = {"epoch": epoch, **row, "lr": rate(state.step - 1), **timing}
    state.history.append(team.from_writer(row))  # the same row for all, so that early stopping stops all processes
    return state.history[-1]


def train_steps(
    model: SimpleBaseline,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    recipe: Recipe,
    *,
    precision: str,
    spatial_lambda: float,
    rate: Callable[[int], float],
    first_step: int,
    meter: Meter,
    forward: nn.Module | None = None,
) -> Iterator[tuple[int, int, LossSums | None]]:
    """Train on every batch once. A step is taken when the next item is asked for.

    Args:
        spatial_lambda: lambda of this epoch. With 0 the spatial loss is measured but has no gradient.
        rate: the learning rate of a step.
        first_step: steps taken before the first batch.
        meter: the losses are added to it.
        forward: the module that is called, if it is not `model` itself (a wrapper for several processes).

    Yields:
        The number of steps taken and the people in the last of them; every `READ_EVERY` steps also the sums so far of
        this process, if they are known without waiting for the device.
    """
    model.train()
    for number, batch in enumerate(batches, start=first_step + 1):
        set_learning_rate(optimizer, rate(number - 1))
        heatmap, topo = _step(model, forward or model, optimizer, batch, recipe, precision, spatial_lambda)
        meter.add(heatmap, topo, len(batch.index), number)
        yield number, len(batch.index), meter.poll() if number % READ_EVERY == 0 else None


def _step(
    model: SimpleBaseline,
    forward: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    precision: str,
    spatial_lambda: float,
) -> tuple[Tensor, Tensor | None]:
    """Take one step. Returns the heatmap loss and the spatial loss, before lambda."""
    with autocast(batch.images.device, precision):
        predicted, features = forward(batch.images, with_features=True)
    heatmap = heatmap_loss(predicted, batch.targets, batch.mask, recipe.loss, recipe.mask_unlabelled)
    topo = None
    # the gradients of several processes are averaged; with this weight that is the mean over the step's people
    loss = heatmap if batch.process_weight == 1 else batch.process_weight * heatmap
    if isinstance(model, TopoModel):
        with torch.set_grad_enabled(spatial_lambda > 0):
            topo = model.topo_reg_loss(features)
        loss = loss + spatial_lambda * topo if spatial_lambda > 0 else loss
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return heatmap, topo


def validate(
    model: SimpleBaseline,
    val: Batches,
    people: People,
    precision: str,
    batch_size: int,
    team: Team | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Score a network on the held-out people.

    Args:
        team: the processes that share the batches. The scores are the same as those of a single process.

    Returns:
        "val_loss", the mean heatmap loss per person, and "val_pckh", PCKh@0.5 without flip test (PCK@0.2 for people
        without head sizes).
    """
    recipe: Recipe = val.recipe
    team = team or Team()
    model.eval()
    scored: list[tuple[NDArray[np.int64], Tensor, Tensor]] = []  # people, joints, sum of the losses
    for batch in val.in_order(batch_size, process=team.rank, processes=team.size):
        maps = heatmaps(model, batch.images, flip_test=False, precision=precision)
        loss = heatmap_loss(maps, batch.targets, batch.mask, recipe.loss, recipe.mask_unlabelled)
        pixels, _ = decode(maps, recipe.decode, recipe.sigma)
        scored.append((batch.index, pixels.double(), loss.double() * len(batch.index)))
        after_batch()
    # the only place that waits for the device
    own = [(rows, pixels.cpu().numpy(), float(loss)) for rows, pixels, loss in scored]
    parts = [batch for turn in zip_longest(*team.gather(own)) for batch in turn if batch is not None]
    rows, pixels, losses = zip(*parts, strict=True)
    index = np.concatenate(rows)
    joints = geometry.apply(val.input_to_photo()[index], np.concatenate(pixels))
    joints = np.nan_to_num(joints, nan=0.0, posinf=0.0, neginf=0.0)  # a diverged network scores nothing
    truth = people.take(index)
    _, unit, threshold = truth.validation_unit()
    score = scores_at(normalised_errors(joints, truth.joints, truth.labelled, unit), threshold)["mean"] or 0.0
    return {"val_loss": sum(losses) / len(val), "val_pckh": score}


def grid_state(model: SimpleBaseline) -> dict[str, float]:
    """Mean Moran's I of |head weight| over joints, contiguity, and statistics of the topographic layer's weights, those
    that are defined. Empty for a baseline."""
    if not isinstance(model, TopoModel):
        return {}
    lattice = model.topo.lattice
    head, weight = head_weight(model), layer_weight(model)
    per_joint = moran.morans_i(np.abs(head), lattice.adjacency())
    state = {
        "moran_i": float(np.mean(per_joint[np.isfinite(per_joint)])) if np.isfinite(per_joint).any() else None,
        "contiguity": parcellation.contiguity(parcellation.labels(np.abs(head)), lattice),
        "mean_row_norm": weight_statistics.mean_row_norm(weight),
        "cosine_excess": weight_statistics.excess(*weight_statistics.cosines(weight, lattice)),
        "participation_ratio": weight_statistics.participation_ratio(weight),
    }
    return {key: float(value) for key, value in state.items() if value is not None}


def _row(
    model: SimpleBaseline, recipe: Recipe, sums: LossSums, scores: dict[str, float], spatial_lambda: float
) -> dict[str, float]:
    """The losses, scores and measures of an epoch, as in metrics.csv."""
    heatmap, topo = sums.means()
    row = {"train_loss": heatmap + spatial_lambda * topo, "train_heatmap_loss": heatmap}
    if isinstance(model, TopoModel):
        row |= {"topo_loss": topo, "lambda": spatial_lambda}
    row |= scores | grid_state(model)
    if recipe.select == "loss" and isinstance(model, TopoModel):
        # the study selects by the validation loss with its annealed spatial term; a loss on activations is known on
        # training batches only, so its mean over the epoch is taken
        with torch.no_grad():
            spatial = topo if model.reads_activations else float(model.topo_reg_loss())
        row["val_loss"] += spatial_lambda * spatial
    return row


def _progress_bar(state: State, settings: TrainingSettings, taken: int) -> tqdm:
    """The progress bar of an epoch. Its name says how long the epochs after it will take."""
    epochs, people = settings.config.recipe.epochs, len(settings.train_set)
    name = f"epoch {state.epoch + 1}/{epochs}"
    if state.history and (left := epochs - state.epoch - 1):
        name += f" (then {tqdm.format_interval(left * state.history[-1]['seconds'])})"
    done = min(people, taken * settings.config.recipe.batch_size * settings.team.size)
    return tqdm(total=people, initial=done, desc=name, unit="img", disable=not settings.progress, mininterval=2)
