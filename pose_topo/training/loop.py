"""The one training loop: both networks, every protocol, one process or many."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pose_topo.core import provenance
from pose_topo.core.devices import is_out_of_memory, pick_device, pick_precision, prepare_device
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import write_json
from pose_topo.core.log import log
from pose_topo.data.batches import Batches
from pose_topo.data.people import Dataset
from pose_topo.models.pose import SimpleBaseline
from pose_topo.study import runs
from pose_topo.study.config import RunConfig
from pose_topo.training import state as states
from pose_topo.training.epoch import train_one
from pose_topo.training.processes import Interrupted, Interruption, Team
from pose_topo.training.state import Setting, State

EpochHook = Callable[[SimpleBaseline, dict[str, Any]], None]


@dataclass(frozen=True)
class Surroundings:
    """How a training is run; nothing of it changes what is trained."""

    cache: Path | None = None  # of ImageNet weights
    progress: bool = True
    hooks: tuple[EpochHook, ...] = ()  # called after every epoch with the model and its row, by the writer
    team: Team = field(default_factory=Team)  # the processes that train together


def train(
    config: RunConfig,
    dataset: Dataset,
    run: Path,
    around: Surroundings | None = None,
    *,
    resume: bool = True,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Train a network into the folder `run`; returns the history (a row an epoch, as in metrics.csv).

    Args:
        resume: go on from `last.pt` if the folder holds one of the same settings.
        overwrite: start anew in a folder that holds a run.

    Raises:
        PoseTopoError: the folder holds a run of other settings, the weights are not to be had, the loss diverged, or
            the GPU's memory is too small.
        Interrupted: SIGTERM or SIGINT came; everything up to the step is saved.
    """
    around = around or Surroundings()
    device = pick_device(around.team.device(config.device))
    if config.sync_batch_norm and device.type != "cuda":
        raise UsageError("--sync-batch-norm: it needs CUDA")
    prepare_device(device, config.threads, config.deterministic)
    with (
        runs.claimed(run) if around.team.writer else nullcontext(),
        around.team.joined(device),
        Interruption() as interruption,
    ):
        if around.team.writer:
            runs.check_run(run, config, resume=resume, overwrite=overwrite)
            runs.clear_leftovers(run)
        try:
            return _train(config, dataset, run, device, around, interruption, overwrite)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = config.recipe.batch_size
            smaller = f"--batch-size {size // 2}" if size >= 4 else "a smaller --input-size or --arch"
            raise PoseTopoError(f"{device}: out of memory with {size} people a step: try {smaller}") from None


def _train(
    config: RunConfig,
    dataset: Dataset,
    run: Path,
    device: torch.device,
    around: Surroundings,
    interruption: Interruption,
    overwrite: bool,
) -> list[dict[str, Any]]:
    team = around.team
    if len({repr(one) for one in team.gather((dataset.split_sha256, runs.plain(config)))}) > 1:
        raise PoseTopoError("the processes have not the same people or settings: the same files and flags everywhere")
    mine = team.writer and not overwrite
    saved = team.from_writer(states.read(run, config, dataset.split_sha256, team.size) if mine else None)
    state, weights = states.start(config, device, around.cache, anew=saved is None)
    if saved is not None:
        weights = saved.training["sessions"][0]["weights"] if saved.training else None
        states.take_up(state, saved)
        if team.writer:
            states.mend(run, saved)
        log.info(f"going on from {saved.path}, epoch {state.epoch}, step {state.step}")
    if not overwrite and _finished(state, config) and team.from_writer((run / "provenance.json").is_file()):
        log.info(f"{run}: trained already, epoch {state.epoch}")
        return state.history
    train_set, val_set = (
        Batches(dataset.store, dataset.people, rows, config.recipe, device)
        for rows in (dataset.split.train, dataset.split.val)
    )
    precision = pick_precision(config.precision, device)
    setting = Setting(
        config, run, dataset, train_set, val_set, device, precision, team, interruption, around.progress and team.writer
    )
    log.info(setting.announcement())
    session = provenance.collect(device, precision, dataset.sha256, config.seed)
    for key in ("device", "precision", "threads"):
        if state.sessions and state.sessions[-1][key] != session[key]:
            log.warning(f"{key} {session[key]} now, {state.sessions[-1][key]} before: not the same to the bit")
    cost = {"wall_seconds": 0.0, "peak_memory": provenance.peak_memory(device)}  # so far
    state.sessions.append(session | {"weights": weights, "processes": team.size} | cost)
    if team.writer and overwrite:
        runs.remove(run)  # not before all that may fail was made: until here the old run is whole
    _epochs(state, setting, around)
    if team.writer:
        # written last: whoever finds it knows that the run is whole
        write_json(run / "provenance.json", {"sessions": state.sessions})
    return state.history


def _epochs(state: State, setting: Setting, around: Surroundings) -> None:
    """Train what is left, saving after every epoch, and in the middle of one if asked to stop."""
    config, team, started = setting.config, setting.team, time.perf_counter()
    if config.compile == "on":
        state.model.compile()
    forward = team.wrapped(state.model, setting.device)

    def save(better: bool) -> None:
        state.sessions[-1]["wall_seconds"] = round(time.perf_counter() - started, 1)
        state.sessions[-1]["peak_memory"] = provenance.peak_memory(setting.device)
        if team.writer:
            states.save(state, config, setting.run, setting.dataset.split_sha256, team.size, better=better)

    if team.writer:
        runs.write_config(setting.run, config)
    while not _finished(state, config):
        try:
            row = train_one(state, forward, setting)
        except Interrupted:
            save(better=False)
            raise
        save(state.stopping.update(-row["val_pckh"] if config.recipe.select == "pckh" else row["val_loss"]))
        for hook in around.hooks if team.writer else ():
            _guarded(hook, state.model, row)


def _guarded(hook: EpochHook, model: SimpleBaseline, row: dict[str, Any]) -> None:
    """A picture or a log that fails costs itself, never the training."""
    try:
        hook(model, row)
    except Exception as error:  # whatever drawing or a log's client does
        log.warning(f"epoch {row['epoch']} has no picture or log ({' '.join(str(error).split())[:120]})")


def _finished(state: State, config: RunConfig) -> bool:
    return state.epoch >= config.recipe.epochs or state.stopping.stop
