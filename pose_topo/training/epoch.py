"""One epoch of training steps, without a host synchronisation in the step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import reduce
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pose_topo.core.devices import autocast
from pose_topo.core.errors import PoseTopoError
from pose_topo.data import geometry
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.people import People, head_size
from pose_topo.models.pose import SimpleBaseline, TopoModel, head_weight, layer_weight
from pose_topo.models.prediction import heatmaps
from pose_topo.scoring.decoding import decode
from pose_topo.scoring.pckh import normalised_errors, scores_at
from pose_topo.study.config import Recipe
from pose_topo.topography import moran, parcellation, weight_statistics
from pose_topo.training.optimisation import heatmap_loss, lambda_factor, learning_rate, set_learning_rate
from pose_topo.training.processes import Interrupted, Team
from pose_topo.training.state import Begun, Meter, Reading, Setting, State

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
    heatmap = heatmap_loss(predicted, batch.targets, batch.mask, recipe.loss, recipe.mask_unlabelled)
    topo = None
    # several processes average their gradients: each one's share makes that the mean over the step's people
    loss = heatmap if batch.process_weight == 1 else batch.process_weight * heatmap
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


# ---- What is measured after every epoch: loss and PCKh on the held-out people, and the grid's weight_statistics.


def validate(
    model: SimpleBaseline,
    val: Batches,
    people: People,
    precision: str,
    batch_size: int,
    team: Team | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """`val_loss` (heatmap loss, a mean over people) and `val_pckh` (official, @0.5, without flip test).

    Args:
        team: processes that share the work, by whole batches, so that the numbers are those of one process alone.
        after_batch: called between two batches.
    """
    recipe: Recipe = val.recipe
    team = team or Team()
    model.eval()
    to_photo = val.input_to_photo()
    losses, found, rows = [], [], []
    for batch in val.in_order(batch_size, process=team.rank, processes=team.size):
        maps = heatmaps(model, batch.images, flip_test=False, precision=precision)
        loss = heatmap_loss(maps, batch.targets, batch.mask, recipe.loss, recipe.mask_unlabelled)
        pixels, _ = decode(maps, recipe.decode, recipe.sigma)
        losses.append(loss.double() * len(batch.index))
        found.append(pixels.double())
        rows.append(batch.index)
        after_batch()
    # the device is waited for once, here
    mine = [(rows_, pixels.cpu().numpy(), float(loss)) for rows_, pixels, loss in zip(rows, found, losses, strict=True)]
    parts = [batch for by_turn in zip_longest(*team.gather(mine)) for batch in by_turn if batch is not None]
    index = np.concatenate([part[0] for part in parts])
    joints = geometry.apply(to_photo[index], np.concatenate([part[1] for part in parts]))
    joints = np.nan_to_num(joints, nan=0.0, posinf=0.0, neginf=0.0)  # a diverged network scores nothing
    seen = people.take(index)
    errors = normalised_errors(joints, seen.joints, seen.labelled, head_size(seen.head_box))
    return {"val_loss": sum(part[2] for part in parts) / len(val), "val_pckh": scores_at(errors, 0.5)["mean"] or 0.0}


def grid_state(model: SimpleBaseline) -> dict[str, float]:
    """Mean Moran's I of |head weight| over joints, contiguity, and the health numbers of the topographic layer;
    nothing for a baseline."""
    if not isinstance(model, TopoModel):
        return {}
    lattice = model.topo.lattice
    head, weight = head_weight(model), layer_weight(model)
    per_joint = moran.morans_i(np.abs(head), lattice.adjacency())
    state = {
        "moran_i": float(np.mean(per_joint[np.isfinite(per_joint)])) if np.isfinite(per_joint).any() else None,
        "contiguity": parcellation.contiguity(parcellation.labels(np.abs(head)), lattice),
        "mean_row_norm": weight_statistics.mean_row_norm(weight),
        "cosine_excess": weight_statistics.cosine_excess(weight, lattice),
        "participation_ratio": weight_statistics.participation_ratio(weight),
    }
    return {key: float(value) for key, value in state.items() if value is not None}


# ---- One epoch: its steps, its validation, its row of metrics.csv.


def train_one(state: State, forward: nn.Module, setting: Setting) -> dict[str, Any]:
    """Train and validate the next epoch, or the rest of it; its row is appended to the history.

    Args:
        forward: `state.model`, as it is to be called.

    Raises:
        Interrupted: `state` holds what was done, ready to be saved.
        PoseTopoError: the loss is no longer finite.
    """
    recipe, team = setting.config.recipe, setting.team
    per_epoch, epoch = setting.steps_per_epoch, state.epoch + 1
    begun = state.begun or Begun(Reading(0.0, 0.0, 0, None), 0.0)
    before = begun.sums if team.writer else Reading(0.0, 0.0, 0, None)  # the team's sums go on in one place
    meter = Meter(setting.device, before.heatmap, before.topo, before.people)
    started = time.perf_counter() - begun.seconds
    taken = state.step - state.epoch * per_epoch
    bar = _bar(state, setting, taken)

    def rate(step: int) -> float:
        return learning_rate(recipe, step, per_epoch)

    def together(own: Reading) -> Reading:
        return reduce(Reading.plus, team.gather(own))

    def report(sums: Reading) -> None:
        bar.set_postfix_str(f"loss {sums.means()[0]:.5f}" + _last_score(state), refresh=False)

    def after_step(step: int, people: int) -> None:
        state.step = step
        bar.update(people * team.size)
        if team.size == 1 or step % READ_EVERY == 0:
            setting.stop_if_asked()

    batches = setting.train_set.epoch(
        setting.config.seed, epoch, recipe.batch_size, skip=taken, process=team.rank, processes=team.size
    )
    trained = None
    try:
        with closing(batches), closing(bar):
            sums = train_epoch(
                state.model, state.optimizer, batches, recipe, precision=setting.precision,
                strength=_strength(setting, epoch), rate=rate, first_step=state.step, meter=meter, forward=forward,
                together=together, report=report, after_step=after_step,
            )  # fmt: skip
        trained = time.perf_counter() - started
        held_out = _validated(state, setting)
    except Interrupted:
        sums = guard(together(meter.read()), rate)
        state.begun = Begun(sums, trained or time.perf_counter() - started)
        raise
    state.begun = None
    timing = {"images_per_s": sums.people / trained, "seconds": time.perf_counter() - started}
    row = _row(state, setting, epoch, sums, held_out) | {"lr": rate(state.step - 1)} | timing
    state.history.append(team.from_writer(row))  # one row for all: what stops a training must stop it everywhere
    return state.history[-1]


def _validated(state: State, setting: Setting) -> dict[str, float]:
    """The scores on the held-out people, of the network that the writer will save."""
    team, recipe = setting.team, setting.config.recipe
    team.share_buffers(state.model)
    held_out = validate(
        state.model, setting.val_set, setting.dataset.people, setting.precision, recipe.batch_size, team,
        after_batch=setting.stop_if_asked if team.size == 1 else lambda: None,
    )  # fmt: skip
    setting.stop_if_asked()
    return held_out


def _strength(setting: Setting, epoch: int) -> float:
    """Lambda of an epoch."""
    recipe, topography = setting.config.recipe, setting.config.topography
    if topography is None:
        return 0.0
    return topography.weight * lambda_factor(recipe.lambda_schedule, epoch, recipe.epochs)


def _row(state: State, setting: Setting, epoch: int, sums: Reading, held_out: dict[str, float]) -> dict[str, Any]:
    heatmap, topo = sums.means()
    strength, recipe = _strength(setting, epoch), setting.config.recipe
    is_topo = isinstance(state.model, TopoModel)
    row: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": heatmap + strength * topo,
        "train_heatmap_loss": heatmap,
        **({"topo_loss": topo, "lambda": strength} if is_topo else {}),
        **held_out,
        **grid_state(state.model),
    }
    if recipe.select == "loss" and isinstance(state.model, TopoModel):
        # the study selects by the validation loss with its annealed spatial term; a loss on activations is known on
        # training batches only: its mean over the epoch stands in
        with torch.no_grad():
            reads = state.model.reads_activations
            row["val_loss"] += strength * (topo if reads else float(state.model.topo_reg_loss()))
    return row


def _bar(state: State, setting: Setting, taken: int) -> tqdm:
    """Progress of the epoch; its name says how long the epochs after it will take."""
    epochs, people = setting.config.recipe.epochs, len(setting.train_set)
    name = f"epoch {state.epoch + 1}/{epochs}"
    if state.history and (left := epochs - state.epoch - 1):
        name += f" (then {tqdm.format_interval(left * state.history[-1]['seconds'])})"
    done = min(people, taken * setting.config.recipe.batch_size * setting.team.size)
    return tqdm(total=people, initial=done, desc=name, unit="img", disable=not setting.progress, mininterval=2)


def _last_score(state: State) -> str:
    return f", PCKh {state.history[-1]['val_pckh']:.1f}" if state.history else ""
