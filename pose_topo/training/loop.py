"""The one training loop: both networks, every protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pose_topo import provenance, runs
from pose_topo.config import RunConfig
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import Dataset
from pose_topo.devices import pick_device, pick_precision, seed_everything
from pose_topo.errors import PoseTopoError
from pose_topo.files import read_json, write_json
from pose_topo.models.pose import SimpleBaseline, build_model
from pose_topo.models.weights import load_imagenet
from pose_topo.training.early_stopping import EarlyStopping
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.schedules import lambda_factor, learning_rate
from pose_topo.training.steps import train_epoch
from pose_topo.training.validation import grid_state, validate

EpochHook = Callable[[SimpleBaseline, dict[str, Any]], None]


@dataclass
class _State:
    """All that changes while training."""

    model: SimpleBaseline
    optimizer: torch.optim.Optimizer
    stopping: EarlyStopping
    history: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)  # provenance of each leg, interrupted ones too
    step: int = 0

    @property
    def epoch(self) -> int:
        return len(self.history)


def train(
    config: RunConfig,
    dataset: Dataset,
    run: Path,
    *,
    resume: bool = True,
    overwrite: bool = False,
    cache: Path | None = None,
    progress: bool = True,
    hooks: tuple[EpochHook, ...] = (),
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Train a network into the folder `run`; returns the history (a row an epoch, as in metrics.csv).

    Args:
        resume: go on from `last.pt` if the folder holds one of the same settings.
        overwrite: start anew in a folder that holds a run.
        hooks: called after every epoch with the model and its row.

    Raises:
        PoseTopoError: the folder holds a run of other settings, the weights are not to be had, or the loss diverged.
    """
    check_run(run, config, resume=resume, overwrite=overwrite)
    device = pick_device(config.device, say)
    precision = pick_precision(config.precision, device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if overwrite:
        runs.remove(run)
    started = time.perf_counter()
    state, weights = _start(config, device, cache, say)
    _resume(state, run, config, dataset.split_sha256, say)
    if _finished(state, config) and (run / "provenance.json").is_file():
        say(f"{run}: trained already, epoch {state.epoch}")
        return state.history
    runs.write_config(run, config)
    session = provenance.collect(device, precision, dataset.sha256, config.seed) | {"weights": weights}
    state.sessions.append(session)
    train_set, val_set = (
        Batches(dataset.store, dataset.people, rows, config.recipe, device)
        for rows in (dataset.split.train, dataset.split.val)
    )
    say(
        f"{run}: {len(train_set):,} people to train on, {len(val_set):,} held out ({dataset.split.rule} split), "
        f"{device} {precision}, {torch.get_num_threads()} threads"
    )
    while not _finished(state, config):
        row = _epoch(state, config, dataset, train_set, val_set, precision, progress)
        session["wall_seconds"] = round(time.perf_counter() - started, 1)
        session["peak_memory"] = provenance.peak_memory(device)
        _save(state, config, run, dataset.split_sha256, better=state.stopping.update(row["val_loss"]))
        for hook in hooks:
            hook(state.model, row)
    # written last: whoever finds it knows that the run is whole
    write_json(run / "provenance.json", {"sessions": state.sessions})
    return state.history


def _finished(state: _State, config: RunConfig) -> bool:
    return state.epoch >= config.recipe.epochs or state.stopping.stop


def check_run(run: Path, config: RunConfig, *, resume: bool = True, overwrite: bool = False) -> None:
    """Whether `config` may be trained into the folder `run`; nothing is written.

    Raises:
        PoseTopoError: it holds a run of other settings, or any run where `resume` is False; unless `overwrite`.
    """
    existing = run / "config.json"
    if overwrite or not existing.is_file():
        return
    changed = runs.differences(read_json(existing), runs.plain(config))
    if changed or not resume:
        why = " with other settings (" + "; ".join(changed[:6]) + ")" if changed else ""
        raise PoseTopoError(f"{run} holds a run{why}: give another --run-name, or --overwrite to start anew")


def _start(
    config: RunConfig, device: torch.device, cache: Path | None, say: Callable[[str], None]
) -> tuple[_State, dict[str, str] | None]:
    seed_everything(config.seed)
    model = build_model(config)
    source = load_imagenet(model, config, cache, say) if config.recipe.pretrained else None
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, config.recipe)
    return _State(model, optimizer, EarlyStopping(config.recipe.patience)), source


def _resume(state: _State, run: Path, config: RunConfig, split_sha256: str, say: Callable[[str], None]) -> None:
    """Take up `last.pt`, if there is one."""
    last = run / "last.pt"
    if not last.is_file():
        return
    checkpoint = runs.load_checkpoint(last)
    saved = checkpoint.training
    if saved is None or runs.differences(runs.plain(checkpoint.config), runs.plain(config)):
        raise PoseTopoError(f"{last} is not of this run: give another --run-name, or --overwrite to start anew")
    if checkpoint.split_sha256 != split_sha256:
        raise PoseTopoError(
            f"{last} was trained on other people: the data or their split have changed since; "
            "give another --run-name, or --overwrite to start anew"
        )
    state.model.load_state_dict(checkpoint.model)
    state.optimizer.load_state_dict(saved["optimizer"])
    state.stopping = EarlyStopping(state.stopping.patience, saved["best"], saved["waited"])
    state.history, state.step, state.sessions = saved["history"], saved["step"], saved["sessions"]
    runs.write_metrics(run / "metrics.csv", state.history)  # a kill may have come between the two files
    for leftover in run.glob(".*.pt"):  # or while one was being written
        leftover.unlink()
    say(f"going on from {last}, epoch {state.epoch}")


def _epoch(
    state: _State,
    config: RunConfig,
    dataset: Dataset,
    train_set: Batches,
    val_set: Batches,
    precision: str,
    progress: bool,
) -> dict[str, Any]:
    recipe, epoch = config.recipe, state.epoch + 1
    strength = 0.0
    if config.topography is not None:
        strength = config.topography.weight * lambda_factor(recipe.lambda_schedule, epoch, recipe.epochs)
    per_epoch = max(1, train_set.steps(recipe.batch_size))
    started = time.perf_counter()
    bar = tqdm(
        total=len(train_set), desc=f"epoch {epoch}/{recipe.epochs}", unit="img", disable=not progress, mininterval=2
    )

    def rate(step: int) -> float:
        return learning_rate(recipe.schedule, recipe.lr, step, per_epoch * recipe.epochs, per_epoch)

    def report(people: int, loss: float) -> None:
        bar.set_postfix_str(f"loss {loss:.5f}", refresh=False)
        bar.update(people)

    sums = train_epoch(
        state.model,
        state.optimizer,
        train_set.epoch(config.seed, epoch, recipe.batch_size),
        recipe,
        precision=precision,
        strength=strength,
        rate=rate,
        first_step=state.step,
        report=report,
    )
    seconds = time.perf_counter() - started
    heatmap, topo = sums.means()
    held_out = validate(state.model, val_set, dataset.people, precision, max(recipe.batch_size, 32))
    bar.set_postfix_str(f"loss {heatmap:.5f}, val PCKh {held_out['val_pckh']:.1f}")
    bar.close()
    state.step += sums.steps
    is_topo = config.topography is not None
    row: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": heatmap + strength * topo,
        "train_heatmap_loss": heatmap,
        **({"topo_loss": topo, "lambda": strength} if is_topo else {}),
        **held_out,
        **grid_state(state.model),
        "lr": rate(state.step - 1),
        "images_per_s": sums.people / seconds,
        "seconds": time.perf_counter() - started,
    }
    if recipe.report == "best" and is_topo:
        # the study selects by the validation loss with its annealed spatial term; a loss on activations is known on
        # training batches only: its mean over the epoch stands in
        with torch.no_grad():
            reads = state.model.reads_activations
            row["val_loss"] += strength * (topo if reads else float(state.model.topo_reg_loss()))  # type: ignore[operator]
    state.history.append(row)
    return row


def _save(state: _State, config: RunConfig, run: Path, split_sha256: str, *, better: bool) -> None:
    weights = state.model.state_dict()
    if better:
        runs.save_checkpoint(run / "best.pt", config, state.epoch, weights, split_sha256)
    training = {
        "optimizer": state.optimizer.state_dict(),
        "history": state.history,
        "best": state.stopping.best,
        "waited": state.stopping.waited,
        "step": state.step,
        "sessions": state.sessions,
    }
    runs.save_checkpoint(run / "last.pt", config, state.epoch, weights, split_sha256, training)
    runs.write_metrics(run / "metrics.csv", state.history)
