"""One epoch: its steps, its validation, its row of metrics.csv."""

from __future__ import annotations

import time
from contextlib import closing
from functools import reduce
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from pose_topo.models.pose import TopoModel
from pose_topo.training.interruption import Interrupted
from pose_topo.training.meter import Meter, Reading
from pose_topo.training.schedules import lambda_factor, learning_rate
from pose_topo.training.setting import Setting
from pose_topo.training.state import Begun, State
from pose_topo.training.steps import READ_EVERY, guard, train_epoch
from pose_topo.training.validation import grid_state, validate


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
