"""The state of a training: what is fixed, the sums of the losses, and what changes and is saved in last.pt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.core.files import sha256_file
from pose_topo.core.log import log
from pose_topo.core.machine import seed_everything
from pose_topo.data.batches import Batches
from pose_topo.data.people import Dataset
from pose_topo.models.pose import SimpleBaseline, build_model, load_start
from pose_topo.study import runs
from pose_topo.study.config import RunConfig
from pose_topo.training.optimisation import EarlyStopping, make_optimizer
from pose_topo.training.processes import Interrupted, Interruption, Team


@dataclass(frozen=True)
class TrainingSettings:
    """What does not change during a training: the run, its data and its processes."""

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

    def stop_if_asked(self) -> None:
        """Check for a signal. All processes must call this at the same step.

        Raises:
            Interrupted: a process of the team has received a signal.
        """
        signum = max(number or 0 for number in self.team.gather(self.interruption.signum))
        if signum:
            raise Interrupted(signum, str(self.run / "last.pt"))


@dataclass(frozen=True)
class LossSums:
    """The losses of an epoch, summed over people."""

    heatmap: float = 0.0
    topo: float = 0.0
    people: int = 0
    bad_step: int | None = None  # the first step whose loss was not finite

    def means(self) -> tuple[float, float]:
        """The mean heatmap loss and the mean spatial loss per person."""
        return self.heatmap / self.people, self.topo / self.people

    def plus(self, other: LossSums) -> LossSums:
        """The sums over the people of both."""
        bad = [step for step in (self.bad_step, other.bad_step) if step is not None]
        return LossSums(
            self.heatmap + other.heatmap, self.topo + other.topo, self.people + other.people, min(bad, default=None)
        )


class Meter:
    """Sums the losses of an epoch on the device, so that no step has to wait for it.

    Args:
        start: the sums of the part of the epoch that an earlier session trained.
    """

    def __init__(self, device: torch.device, start: LossSums | None = None) -> None:
        start = start or LossSums()
        sums = [start.heatmap, start.topo, start.people, math.inf]
        self._sums = torch.tensor(sums, dtype=torch.float64, device=device)
        self._copy: Tensor | None = None  # on the host, filled while the next steps are computed
        self._copied: torch.cuda.Event | None = None

    def add(self, heatmap: Tensor, topo: Tensor | None, people: int, step: int) -> None:
        """Add the mean losses of a step, which are scalars on the device."""
        heatmap = heatmap.detach().double()
        topo = torch.zeros_like(heatmap) if topo is None else topo.detach().double()
        losses = torch.stack([heatmap, topo])
        first_bad = torch.where(losses.isfinite().all(), math.inf, float(step))
        self._sums[:2] += losses * people
        self._sums[2] += people
        self._sums[3] = torch.minimum(self._sums[3], first_bad)

    def poll(self) -> LossSums | None:
        """The sums without waiting for the device. On a GPU these are the sums at the previous call (None at the
        first), because a copy arrives only some steps after it was started."""
        if self._sums.device.type != "cuda":
            return self.read()
        before = None
        if self._copy is None or self._copied is None:
            self._copy = torch.empty(4, dtype=torch.float64, pin_memory=True)
            self._copied = torch.cuda.Event()
        else:
            self._copied.synchronize()  # waits only if the host is a whole interval ahead of the device
            before = _on_host(self._copy)
        self._copy.copy_(self._sums, non_blocking=True)
        self._copied.record()
        return before

    def read(self) -> LossSums:
        """The sums. Waits for the device."""
        return _on_host(self._sums)


def _on_host(sums: Tensor) -> LossSums:
    heatmap, topo, people, bad = sums.tolist()
    return LossSums(heatmap, topo, int(people), None if math.isinf(bad) else int(bad))


@dataclass
class State:
    """What changes during a training."""

    model: SimpleBaseline
    optimizer: torch.optim.Optimizer
    stopping: EarlyStopping
    history: list[dict[str, Any]] = field(default_factory=list)  # one row per epoch, as in metrics.csv
    sessions: list[dict[str, Any]] = field(default_factory=list)  # provenance of each session, also of interrupted ones
    step: int = 0  # steps taken in all epochs
    best_epoch: int = 0
    partial: tuple[LossSums, float] | None = None  # losses and seconds of the part of an epoch before an interruption

    @property
    def epoch(self) -> int:
        """The number of complete epochs."""
        return len(self.history)


def start(config: RunConfig, device: torch.device, file: Path | None) -> tuple[State, dict[str, str] | None]:
    """The state before the first step, and where its weights come from (None if they are random).

    Args:
        file: the file that the weights start from; None leaves them random.
    """
    seed_everything(config.seed)
    model = build_model(config)
    source = load_start(model, config, file) if file else None
    if config.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return State(model, make_optimizer(model, config.recipe), EarlyStopping(config.recipe.patience)), source


def find_checkpoint(run: Path, config: RunConfig, dataset: Dataset, processes: int) -> runs.Checkpoint | None:
    """The checkpoint `last.pt` from which a run is continued, or None if there is none.

    Raises:
        PoseTopoError: the checkpoint belongs to another run, to other data, to other starting weights, or to another
            number of processes.
    """
    last = run / "last.pt"
    if not last.is_file():
        return None
    checkpoint = runs.load_checkpoint(last)
    anew = "give another --run-name, or --overwrite to start anew"
    saved = checkpoint.training
    if saved is None or runs.identity(checkpoint.config) != runs.identity(config):
        raise PoseTopoError(f"{last} is not of this run: {anew}")
    if checkpoint.split_sha256 != dataset.split_sha256:
        raise PoseTopoError(f"{last} was trained on other people: the data or their split have changed since; {anew}")
    if saved["sessions"] and saved["sessions"][-1]["data_sha256"] != dataset.sha256:
        # people of the same names are other people if they come from another folder, as in two rendered data sets
        before, now = checkpoint.config.data, config.data
        if (before.mat_path, before.img_dir) != (now.mat_path, now.img_dir):
            raise PoseTopoError(f"{last} was trained on other data ({before.mat_path}): {anew}")
        log.warning(f"{now.mat_path}: annotations or crops have changed since {last}: the result is not bit-identical")
    initial = saved["sessions"][0]["weights"] if saved["sessions"] else None
    given = runs.RELEASED if config.recipe.start == "released" else Path(config.weights) if config.weights else None
    if initial and given:
        file = runs.reported_checkpoint(given) if given.is_dir() else given
        if not file.is_file():
            log.warning(f"{given} is not there any more: going on with the weights of {last}")
        elif sha256_file(file) != initial["sha256"]:
            raise PoseTopoError(f"{last} started from other weights than {given}: {anew}")
    if (trained_by := saved["processes"]) != processes:
        raise PoseTopoError(f"{last} was trained by {trained_by} processes, not {processes}: take as many; or {anew}")
    return checkpoint


def restore(state: State, checkpoint: runs.Checkpoint) -> None:
    """Set the state to what `save` wrote, in place.

    Raises:
        PoseTopoError: the checkpoint does not hold the state of this network and its optimizer.
    """
    saved = checkpoint.training
    assert saved is not None
    try:
        state.model.load_state_dict(checkpoint.model)
        state.optimizer.load_state_dict(saved["optimizer"])
        state.stopping = EarlyStopping(state.stopping.patience, saved["best"], saved["waited"])
        state.history, state.step, state.sessions = saved["history"], saved["step"], saved["sessions"]
        state.best_epoch = saved["best_epoch"]
        begun = saved["begun"]
        state.partial = begun and (LossSums(**begun["sums"]), begun["seconds"])
        torch.set_rng_state(saved["generator"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        why = f"{checkpoint.path} cannot be continued ({in_short(error)})"
        raise PoseTopoError(f"{why}: --overwrite starts anew") from None
    device = next(state.model.parameters()).device
    if device.type == "cuda" and saved["cuda_generator"] is not None:
        torch.cuda.set_rng_state(saved["cuda_generator"], device)


def repair_outputs(run: Path, checkpoint: runs.Checkpoint) -> None:
    """Write metrics.csv, and best.pt if this epoch is the best, in case a kill came after `last.pt` was written."""
    saved = checkpoint.training
    assert saved is not None
    runs.write_metrics(run / "metrics.csv", saved["history"])
    if saved["best_epoch"] == checkpoint.epoch > 0 and saved["begun"] is None:
        runs.save_checkpoint(replace(checkpoint, path=run / "best.pt", training=None))


def save(state: State, settings: TrainingSettings, *, better: bool) -> None:
    """Write last.pt, metrics.csv, and best.pt if this epoch is the best so far.

    last.pt is written first, because `repair_outputs` can make the other files from it.

    Raises:
        PoseTopoError: the weights are not finite, or the disk is full. The files that were there stay.
    """
    run, weights = settings.run, state.model.state_dict()
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise PoseTopoError(
            f"the weights are not finite after step {state.step}: lower --lr; last.pt holds what was trained before"
        )
    if better:
        state.best_epoch = state.epoch
    partial, device = state.partial, settings.device
    training = {
        "optimizer": state.optimizer.state_dict(),
        "history": state.history,
        "best": state.stopping.best,
        "waited": state.stopping.waited,
        "best_epoch": state.best_epoch,
        "step": state.step,
        "sessions": state.sessions,
        "processes": settings.team.size,
        "begun": partial and {"sums": vars(partial[0]), "seconds": partial[1]},
        # a training draws nothing from these (the data draw from seed, epoch and person), but a hook might
        "generator": torch.get_rng_state(),
        "cuda_generator": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
    split_sha256 = settings.dataset.split_sha256
    last = runs.Checkpoint(run / "last.pt", settings.config, state.epoch, weights, split_sha256, training)
    runs.save_checkpoint(last)
    runs.write_metrics(run / "metrics.csv", state.history)
    if better:
        runs.save_checkpoint(replace(last, path=run / "best.pt", training=None))
