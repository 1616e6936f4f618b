"""The training loop, for both networks, every protocol, and one process or several."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pose_topo.core.errors import PoseTopoError, UsageError, in_short
from pose_topo.core.files import write_json, write_text
from pose_topo.core.log import log
from pose_topo.core.machine import (
    is_out_of_memory,
    peak_memory,
    pick_device,
    pick_precision,
    prepare_device,
    provenance,
)
from pose_topo.data.batches import Batches
from pose_topo.data.people import Dataset
from pose_topo.models.pose import SimpleBaseline, TopoModel, head_weight, heatmaps
from pose_topo.pictures import drawing
from pose_topo.scoring.decoding import decode
from pose_topo.study import runs
from pose_topo.study.config import RunConfig, to_dict
from pose_topo.training.epoch import run_epoch
from pose_topo.training.processes import Interrupted, Interruption, Team
from pose_topo.training.state import State, TrainingSettings, find_checkpoint, repair_outputs, restore, save, start

WANDB_PROJECT = "ABNS"  # the project of the original study
SHOWN = 8  # people in a picture
COMPILER = (
    "torch.compile failed ({}): give --compile off, or remove its cache, which a kill may have damaged "
    "($TORCHINDUCTOR_CACHE_DIR, or torchinductor_* in the folder for temporary files)"
)

EpochHook = Callable[[SimpleBaseline, dict[str, Any]], None]


@dataclass(frozen=True)
class RunContext:
    """What a training needs in addition to its `RunConfig`."""

    start: Path | None = None  # the file that the weights start from, required unless the recipe starts at random
    progress: bool = True  # show a progress bar
    hooks: tuple[EpochHook, ...] = ()  # called after every epoch by the writer, with the model and the epoch's row
    team: Team = field(default_factory=Team)


def train(
    config: RunConfig,
    dataset: Dataset,
    run: Path,
    context: RunContext | None = None,
    *,
    resume: bool = True,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Train a network into the folder `run`. Return its history: one row per epoch, as in metrics.csv.

    Args:
        resume: continue from `last.pt` if the folder holds the same run.
        overwrite: delete the run that the folder holds, and start from the first epoch.

    Raises:
        PoseTopoError: the folder holds another run, the starting weights are missing, a loss is not finite, the disk is
            full, or the GPU's memory is too small.
        UsageError: the device does not exist, or `sync_batch_norm` is set without CUDA.
        Interrupted: the process received SIGTERM or SIGINT. The state after the last step is saved.
    """
    context = context or RunContext()
    team = context.team
    device = pick_device(team.device(config.device))
    if config.sync_batch_norm and device.type != "cuda":
        raise UsageError("--sync-batch-norm: it needs CUDA")
    prepare_device(device, config.threads, config.deterministic)
    with runs.claimed(run) if team.writer else nullcontext(), team.joined(device), Interruption() as interruption:
        if team.writer:
            runs.check_run(run, config, resume=resume, overwrite=overwrite)
            runs.clear_leftovers(run)
        try:
            return _train(config, dataset, run, device, context, interruption, overwrite)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = config.recipe.batch_size
            smaller = f"--batch-size {size // 2}" if size >= 4 else "a smaller --input-size or --arch"
            raise PoseTopoError(f"{device}: out of memory with {size} people per step: try {smaller}") from None


def _train(
    config: RunConfig,
    dataset: Dataset,
    run: Path,
    device: torch.device,
    context: RunContext,
    interruption: Interruption,
    overwrite: bool,
) -> list[dict[str, Any]]:
    team, recipe, split = context.team, config.recipe, dataset.split
    if len({repr(one) for one in team.gather((dataset.split_sha256, runs.plain(config)))}) > 1:
        raise PoseTopoError("the processes have different people or settings: give the same files and flags to all")
    saved = find_checkpoint(run, config, dataset, team.size) if team.writer and not overwrite else None
    saved = team.from_writer(saved)
    given = context.start if saved is None and recipe.start != "none" else None
    if saved is None and recipe.start != "none" and given is None:
        raise PoseTopoError(f"the recipe starts from {recipe.start}: give its file in RunContext(start=...)")
    state, weights = start(config, device, given)
    if saved is not None:
        restore(state, saved)
        weights = state.sessions[0]["weights"]
        if team.writer:
            repair_outputs(run, saved)
        log.info(f"continuing from {saved.path}, epoch {state.epoch}, step {state.step}")
    if not overwrite and _finished(state, config) and team.from_writer((run / "provenance.json").is_file()):
        log.info(f"{run}: already trained for {state.epoch} epochs")
        return state.history
    train_set, val_set = (
        Batches(dataset.store, dataset.people, rows, recipe, device) for rows in (split.train, split.val)
    )
    precision, progress = pick_precision(config.precision, device), context.progress and team.writer
    settings = TrainingSettings(
        config, run, dataset, train_set, val_set, device, precision, team, interruption, progress
    )
    several = f" ({team.size} processes x {recipe.batch_size})" if team.size > 1 else ""
    log.info(
        f"{run}: {len(train_set):,} people to train on, {len(val_set):,} held out ({split.rule} split); "
        f"{recipe.batch_size * team.size} people per step{several}, learning rate {recipe.lr:g}; "
        f"{device} {precision}, {torch.get_num_threads()} threads"
    )
    session = provenance(device, precision, dataset.sha256, config.seed)
    for key in ("device", "precision", "threads"):
        if state.sessions and state.sessions[-1][key] != session[key]:
            log.warning(f"{key} {session[key]} now, {state.sessions[-1][key]} before: the result is not bit-identical")
    cost = {"wall_seconds": 0.0, "peak_memory": peak_memory(device)}  # updated while training
    state.sessions.append(session | {"weights": weights, "processes": team.size} | cost)
    if team.writer and overwrite:
        runs.remove(run)  # as late as possible, because the steps above may fail
    _epochs(state, settings, context)
    if team.writer:
        # provenance.json is written last, so a folder that has it holds a complete run
        write_json(run / "provenance.json", {"sessions": state.sessions})
    return state.history


def _epochs(state: State, settings: TrainingSettings, context: RunContext) -> None:
    """Train the remaining epochs. Save after each epoch, and within an epoch if a signal is received."""
    config, team, started = settings.config, settings.team, time.perf_counter()
    if config.compile == "on":
        state.model.compile()
    forward = team.wrapped(state.model, settings.device)

    def save_all(better: bool) -> None:
        state.sessions[-1]["wall_seconds"] = round(time.perf_counter() - started, 1)
        state.sessions[-1]["peak_memory"] = peak_memory(settings.device)
        if team.writer:
            save(state, settings, better=better)

    if team.writer:
        runs.write_config(settings.run, config)
    while not _finished(state, config):
        try:
            row = run_epoch(state, forward, settings)
        except Interrupted:
            save_all(better=False)
            raise
        except Exception as error:
            if config.compile == "on" and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise PoseTopoError(COMPILER.format(in_short(error))) from error
            raise
        save_all(state.stopping.update(-row["val_pckh"] if config.recipe.select == "pckh" else row["val_loss"]))
        for hook in context.hooks if team.writer else ():
            try:
                hook(state.model, row)
            except Exception as error:  # a picture or a log may fail in any way, but must not end the training
                log.warning(f"epoch {row['epoch']} has no picture or log ({' '.join(str(error).split())[:120]})")


def _finished(state: State, config: RunConfig) -> bool:
    return state.epoch >= config.recipe.epochs or state.stopping.stop


# ---- hooks: pictures, and a log at Weights & Biases


def chosen_hooks(run: Path, dataset: Dataset, config: RunConfig, *, plots: bool, wandb: bool) -> tuple[EpochHook, ...]:
    """The hooks that were asked for. Pictures are drawn first, because the log sends them."""
    hooks = [plot_hook(run, dataset, config)] if plots or wandb else []
    return (*hooks, wandb_hook(run, config)) if wandb else tuple(hooks)


def plot_hook(run: Path, dataset: Dataset, config: RunConfig) -> EpochHook:
    """A hook that draws `plots/epoch-NNN-predictions.png` and the parcellation of a topographic layer."""
    rows, recipe = dataset.split.val[:SHOWN], config.recipe

    def draw(model: SimpleBaseline, row: dict[str, Any]) -> None:
        device = next(model.parameters()).device
        people = Batches(dataset.store, dataset.people, rows, recipe, device)
        model.eval()
        maps = heatmaps(model, next(people.in_order(SHOWN)).images, flip_test=False, precision="fp32")
        pixels, _ = decode(maps, recipe.decode, recipe.sigma)
        inner = slice(people.margin, people.margin + recipe.input_size)
        crops = [dataset.store.crops[i, inner, inner] for i in rows]
        drawing.write_overlays(run / "plots" / f"{_stem(row)}predictions.png", crops, pixels.cpu().numpy())
        if isinstance(model, TopoModel):
            parcellation = run / "plots" / f"{_stem(row)}parcellation.png"
            drawing.write_parcellation(parcellation, head_weight(model), model.topo.lattice)

    return draw


def wandb_hook(run: Path, config: RunConfig) -> EpochHook:
    """A hook that sends every epoch's row and pictures to Weights & Biases. Without a connection it only warns."""
    try:
        import wandb

        kept = run / runs.WANDB_ID  # beside the checkpoints, so that a continued run has a single log
        if not kept.is_file():
            write_text(kept, secrets.token_hex(8) + "\n")
        log_id = kept.read_text(encoding="utf-8").strip()
        session = wandb.init(project=WANDB_PROJECT, name=run.name, config=to_dict(config), id=log_id, resume="allow")
    except Exception as error:  # the client may fail in any way, for example without a network
        log.warning(f"no wandb logging ({' '.join(str(error).split())[:120]})")
        return lambda _model, _row: None

    def send(_model: SimpleBaseline, row: dict[str, Any]) -> None:
        pictures = sorted((run / "plots").glob(f"{_stem(row)}*.png"))
        try:
            shown = {path.stem.removeprefix(_stem(row)): wandb.Image(str(path)) for path in pictures}
            session.log(row | shown, step=row["epoch"])
        except Exception as error:  # the client may fail in any way
            log.warning(f"wandb lost epoch {row['epoch']} ({' '.join(str(error).split())[:120]})")

    return send


def _stem(row: dict[str, Any]) -> str:
    return f"epoch-{row['epoch']:03d}-"
