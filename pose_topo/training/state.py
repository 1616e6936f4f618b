"""All that changes while training: begun, taken up from last.pt, saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pose_topo import runs
from pose_topo.config import RunConfig
from pose_topo.devices import seed_everything
from pose_topo.errors import PoseTopoError
from pose_topo.models.pose import SimpleBaseline, build_model
from pose_topo.models.weights import load_imagenet
from pose_topo.training.early_stopping import EarlyStopping
from pose_topo.training.meter import Reading
from pose_topo.training.optimisation import make_optimizer


@dataclass(frozen=True)
class Begun:
    """An epoch that was interrupted: what its steps gave."""

    sums: Reading
    seconds: float


@dataclass
class State:
    """A training in progress."""

    model: SimpleBaseline
    optimizer: torch.optim.Optimizer
    stopping: EarlyStopping
    history: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)  # provenance of each leg, interrupted ones too
    step: int = 0  # taken in all
    best_epoch: int = 0
    begun: Begun | None = None

    @property
    def epoch(self) -> int:
        """Whole epochs."""
        return len(self.history)


def start(
    config: RunConfig, device: torch.device, cache: Path | None, say: Callable[[str], None], *, anew: bool = True
) -> tuple[State, dict[str, str] | None]:
    """A training at its beginning, and where its ImageNet weights come from (None without them).

    Args:
        anew: False: it goes on from a checkpoint, so that they are not needed again.
    """
    seed_everything(config.seed)
    model = build_model(config)
    source = load_imagenet(model, config, cache, say) if config.recipe.pretrained and anew else None
    if config.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(model, make_optimizer(model, config.recipe), EarlyStopping(config.recipe.patience)), source


def read(run: Path, config: RunConfig, split_sha256: str, processes: int) -> runs.Checkpoint | None:
    """`last.pt` of a run to go on with; None if there is none.

    Raises:
        PoseTopoError: it is of another run, of other people, or was interrupted with another number of processes.
    """
    last = run / "last.pt"
    if not last.is_file():
        return None
    checkpoint = runs.load_checkpoint(last)
    anew = "give another --run-name, or --overwrite to start anew"
    if checkpoint.training is None or runs.differences(runs.plain(checkpoint.config), runs.plain(config)):
        raise PoseTopoError(f"{last} is not of this run: {anew}")
    if checkpoint.split_sha256 != split_sha256:
        raise PoseTopoError(f"{last} was trained on other people: the data or their split have changed since; {anew}")
    before = checkpoint.training["processes"]
    if before != processes:
        raise PoseTopoError(f"{last} was trained by {before} processes, not {processes}: take as many; or {anew}")
    return checkpoint


def take_up(state: State, checkpoint: runs.Checkpoint) -> None:
    """Go on from what `save` wrote."""
    saved = checkpoint.training
    assert saved is not None
    state.model.load_state_dict(checkpoint.model)
    state.optimizer.load_state_dict(saved["optimizer"])
    state.stopping = EarlyStopping(state.stopping.patience, saved["best"], saved["waited"])
    state.history, state.step, state.sessions = saved["history"], saved["step"], saved["sessions"]
    state.best_epoch = saved["best_epoch"]
    begun = saved["begun"]
    state.begun = begun and Begun(Reading(**begun["sums"]), begun["seconds"])
    torch.set_rng_state(saved["generator"])
    device = next(state.model.parameters()).device
    if device.type == "cuda" and saved["cuda_generator"] is not None:
        torch.cuda.set_rng_state(saved["cuda_generator"], device)


def mend(run: Path, checkpoint: runs.Checkpoint) -> None:
    """Make whole what a kill left undone after `last.pt` was written: metrics.csv, and best.pt if it is that epoch."""
    saved = checkpoint.training
    assert saved is not None
    runs.write_metrics(run / "metrics.csv", saved["history"])
    best = run / "best.pt"
    if saved["best_epoch"] == checkpoint.epoch > 0 and saved["begun"] is None:
        runs.save_checkpoint(best, checkpoint.config, checkpoint.epoch, checkpoint.model, checkpoint.split_sha256)


def save(state: State, config: RunConfig, run: Path, split_sha256: str, processes: int, *, better: bool) -> None:
    """Write last.pt, metrics.csv, and best.pt if this epoch is `better` than all before it; last.pt first, since `mend`
    can make the others from it.

    Raises:
        PoseTopoError: the weights are not finite, or the disk is full; what was there before stays.
    """
    weights = state.model.state_dict()
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise PoseTopoError(
            f"the weights are not finite after step {state.step}: lower --lr; last.pt holds what was trained before"
        )
    if better:
        state.best_epoch = state.epoch
    device = next(state.model.parameters()).device
    begun = state.begun
    training = {
        "optimizer": state.optimizer.state_dict(),
        "history": state.history,
        "best": state.stopping.best,
        "waited": state.stopping.waited,
        "best_epoch": state.best_epoch,
        "step": state.step,
        "sessions": state.sessions,
        "processes": processes,
        "begun": begun and {"sums": vars(begun.sums), "seconds": begun.seconds},
        # nothing draws from these while training (data draws belong to seed, epoch and person); a hook might
        "generator": torch.get_rng_state(),
        "cuda_generator": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
    runs.save_checkpoint(run / "last.pt", config, state.epoch, weights, split_sha256, training)
    runs.write_metrics(run / "metrics.csv", state.history)
    if better:
        runs.save_checkpoint(run / "best.pt", config, state.epoch, weights, split_sha256)
