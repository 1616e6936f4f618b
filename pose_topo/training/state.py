"""What does not change while a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pose_topo.core.devices import seed_everything
from pose_topo.core.errors import PoseTopoError
from pose_topo.data.batches import Batches
from pose_topo.data.people import Dataset
from pose_topo.models.backbones import load_imagenet
from pose_topo.models.pose import SimpleBaseline, build_model
from pose_topo.study import runs
from pose_topo.study.config import RunConfig
from pose_topo.training.optimisation import EarlyStopping, make_optimizer
from pose_topo.training.processes import Interrupted, Interruption, Team


@dataclass(frozen=True)
class Setting:
    """A training's run, data and machine."""

    config: RunConfig
    run: Path
    dataset: Dataset
    train_set: Batches
    val_set: Batches
    device: torch.device
    precision: str
    team: Team
    interruption: Interruption
    progress: bool

    @property
    def steps_per_epoch(self) -> int:
        return self.train_set.steps(self.config.recipe.batch_size, self.team.size)

    def stop_if_asked(self) -> None:
        """Raises:
        Interrupted: a signal came to any process of the team (all of which must ask at the same step).
        """
        signum = max(number or 0 for number in self.team.gather(self.interruption.signum))
        if signum:
            raise Interrupted(signum, str(self.run / "last.pt"))

    def announcement(self) -> str:
        """What is about to be trained, on what, by how many."""
        split, recipe, size = self.dataset.split, self.config.recipe, self.team.size
        people = recipe.batch_size * size
        batch = f"{people} people a step" + (f" ({size} processes x {recipe.batch_size})" if size > 1 else "")
        return (
            f"{self.run}: {len(self.train_set):,} people to train on, {len(self.val_set):,} held out ({split.rule} "
            f"split); {batch}, learning rate {recipe.lr:g}; {self.device} {self.precision}, "
            f"{torch.get_num_threads()} threads"
        )


# ---- The losses of an epoch, summed on the device; the host reads them without waiting for it.


@dataclass(frozen=True)
class Reading:
    """What the host knows of the sums."""

    heatmap: float  # sum over people
    topo: float  # sum over people
    people: int
    bad_step: int | None  # the first step whose loss was not finite

    def means(self) -> tuple[float, float]:
        """Mean heatmap loss and mean spatial loss a person."""
        return self.heatmap / self.people, self.topo / self.people

    def plus(self, other: Reading) -> Reading:
        """Both together."""
        bad = [step for step in (self.bad_step, other.bad_step) if step is not None]
        return Reading(
            self.heatmap + other.heatmap, self.topo + other.topo, self.people + other.people, min(bad, default=None)
        )


class Meter:
    """Sums over the people of an epoch, and the first step whose loss was not finite."""

    def __init__(self, device: torch.device, heatmap: float = 0.0, topo: float = 0.0, people: int = 0) -> None:
        """Args:
        heatmap, topo, people: the sums of an epoch's beginning that was trained before.
        """
        self._sums = torch.tensor([heatmap, topo, people, math.inf], dtype=torch.float64, device=device)
        self._copy: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    def add(self, heatmap: Tensor, topo: Tensor | None, people: int, step: int) -> None:
        """Take a step's mean losses (scalars on the device)."""
        heatmap = heatmap.detach().double()
        topo = torch.zeros_like(heatmap) if topo is None else topo.detach().double()
        losses = torch.stack([heatmap, topo])
        first_bad = torch.where(losses.isfinite().all(), math.inf, float(step))
        self._sums[:2] += losses * people
        self._sums[2] += people
        self._sums[3] = torch.minimum(self._sums[3], first_bad)

    def poll(self) -> Reading | None:
        """The sums; on a GPU those of the last call (None at the first), whose copy has long arrived, while the next is
        sent for."""
        if self._sums.device.type != "cuda":
            return self.read()
        before = None
        if self._copy is not None and self._copied is not None:
            self._copied.synchronize()  # waits only if the host has run a whole interval ahead of the device
            before = _reading(self._copy)
        else:
            self._copy = torch.empty(4, dtype=torch.float64, pin_memory=True)
            self._copied = torch.cuda.Event()
        self._copy.copy_(self._sums, non_blocking=True)
        self._copied.record()
        return before

    def read(self) -> Reading:
        """The sums; waits for the device."""
        return _reading(self._sums)


def _reading(sums: Tensor) -> Reading:
    heatmap, topo, people, bad = sums.tolist()
    return Reading(heatmap, topo, int(people), None if math.isinf(bad) else int(bad))


# ---- All that changes while training: begun, taken up from last.pt, saved.


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
    config: RunConfig, device: torch.device, cache: Path | None, *, anew: bool = True
) -> tuple[State, dict[str, str] | None]:
    """A training at its beginning, and where its ImageNet weights come from (None without them).

    Args:
        anew: False: it goes on from a checkpoint, so that they are not needed again.
    """
    seed_everything(config.seed)
    model = build_model(config)
    source = load_imagenet(model, config, cache) if config.recipe.pretrained and anew else None
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
