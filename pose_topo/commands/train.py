"""The commands `train-baseline` and `train-topo`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from pose_topo.commands.app import DataOptions, app, as_command, share_cores
from pose_topo.core.errors import UsageError
from pose_topo.core.log import hide_messages, log
from pose_topo.study.arms import Arm
from pose_topo.study.config import (
    Arch,
    Augment,
    Precision,
    Protocol,
    Recipe,
    RunConfig,
    Schedule,
    SplitRule,
    Start,
    Switch,
    Topography,
    TopoInit,
    TopoLoss,
)
from pose_topo.study.protocols import PROTOCOLS

# options of the same name as a field of the recipe, the last two of `train-topo` only, or of the run
RECIPE_OPTIONS = ("epochs", "batch_size", "lr", "schedule", "warm_up", "input_size", "val_split", "split", "augment",
                  "lambda_schedule", "topo_lr_mult")  # fmt: skip
RUN_OPTIONS = ("arch", "seed", "device", "precision", "compile", "deterministic", "sync_batch_norm", "threads")


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """The options of both training commands. None stands for the value of the protocol."""

    protocol: Annotated[Protocol, Option(help="Recipe: standard is the MPII benchmark, paper the original study.")] = (
        "standard"
    )
    arch: Annotated[Arch, Option(help="Backbone.")] = "resnet50"
    epochs: Annotated[int | None, Option(help="Epochs.")] = None
    batch_size: Annotated[int | None, Option(help="People per step, for each process.")] = None
    lr: Annotated[float | None, Option(help="Peak learning rate.")] = None
    schedule: Annotated[
        Schedule | None, Option(help="Learning rate; steps: x0.1 at 90/140 and at 120/140 of the epochs.")
    ] = None
    warm_up: Annotated[
        float | None, Option(help="Epochs in which the learning rate rises to its peak (not with one-cycle).")
    ] = None
    input_size: Annotated[int | None, Option(help="Side of the input in pixels, a multiple of 32.")] = None
    val_split: Annotated[
        float | None, Option(help="Hold out this share of the photographs at random (sets --split random).")
    ] = None
    split: Annotated[SplitRule | None, Option(help="Division of the people; auto: tompson for MPII's own file.")] = None
    split_file: Annotated[Path | None, Option(help="Tompson's valid.h5, or a list of held-out image names.")] = None
    accept_split_mismatch: Annotated[
        bool, Option("--accept-split-mismatch", help="Go on although the tompson split has not the published sizes.")
    ] = False
    augment: Annotated[Augment | None, Option(help="Rotation, scale and flip.")] = None
    start: Annotated[
        str | None,
        Option(metavar="FILE|released|imagenet|none", help="What the weights start from; FILE: a run or checkpoint."),
    ] = None
    pretrained: Annotated[
        bool | None, Option("--pretrained/--no-pretrained", help="The same as --start imagenet, --start none.")
    ] = None
    weights: Annotated[str | None, Option(help="File of ImageNet weights [default: the cache, else a download].")] = (
        None
    )
    seed: Annotated[int, Option(help="Seed of weights, order, augmentation and random split.")] = 0
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[Precision, Option(help="auto: bf16 where the hardware multiplies it, else fp32.")] = "auto"
    compile: Annotated[Switch, Option(help="Use torch.compile.")] = "off"
    deterministic: Annotated[
        bool, Option("--deterministic", help="CUDA: only algorithms that repeat to the bit; slower.")
    ] = False
    sync_batch_norm: Annotated[
        bool, Option("--sync-batch-norm", help="Several CUDA processes: BatchNorm over the people of all.")
    ] = False
    threads: Annotated[int | None, Option(help="CPU threads [default: torch's].")] = None
    save_dir: Annotated[Path, Option(help="Folder of all runs.")] = Path("runs")
    run_name: Annotated[str | None, Option(help="Folder of this run [default: <ARCH>_<Model>_time_<timestamp>].")] = (
        None
    )
    arm: Annotated[
        str | None,
        Option(help="Name of the arm in results [default: by its settings, e.g. baseline, control, topo, topo-l5]."),
    ] = None
    resume: Annotated[
        Literal["auto", "never"], Option(help="auto: continue an interrupted run of the same name; never: refuse it.")
    ] = "auto"
    overwrite: Annotated[bool, Option("--overwrite", help="Start anew in a folder that holds a run.")] = False
    wandb: Annotated[bool, Option("--wandb/--no-wandb", help="Log to Weights & Biases, project ABNS.")] = False
    save_plts: Annotated[
        bool, Option("--save-plts/--no-save-plts", help="Draw predictions and maps after every epoch.")
    ] = False
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def recipe(self) -> Recipe:
        """The recipe of the protocol, with the values that were given."""
        given = {name: getattr(self, name, None) for name in RECIPE_OPTIONS}
        asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        base = PROTOCOLS[self.protocol]
        if self.val_split is not None:
            rule = asked.setdefault("split", "hashed" if base.split == "hashed" else "random")
            if rule != "random":
                raise UsageError(f"--val-split is the share of --split random, not of --split {rule}")
        split = asked.setdefault("split", "auto") if self.split_file else asked.get("split")
        if self.split_file and split in ("random", "paper", "hashed", "tune"):
            raise UsageError(f"--split {split} takes no --split-file: give --split file or --split tompson with it")
        if split == "file" and not self.split_file:
            raise UsageError("--split file needs --split-file: a text file with one held-out image name per line")
        if (start := self._start()) is not None:
            asked["start"] = start
        if self.warm_up and (self.schedule or base.schedule) == "one-cycle":
            raise UsageError(f"--warm-up {self.warm_up:g}: the one-cycle schedule has a rise of its own; leave it out")
        if self.input_size is not None:  # the target grows with the heatmap: sigma 3 at 384 where it is 2 at 256
            asked["sigma"] = base.sigma * self.input_size / base.input_size
        recipe = replace(base, **asked)
        if recipe.start == "network" and self.start is None:
            raise UsageError(f"--protocol {self.protocol} starts from a network: give --start RUN, released or none")
        return recipe

    def _start(self) -> Start | None:
        """What the weights start from, by the three options that say it; None: the protocol's."""
        imagenet = self.pretrained if self.pretrained is not None else (True if self.weights is not None else None)
        if imagenet is False and self.weights is not None:
            raise UsageError("--weights are ImageNet weights to start from: not with --no-pretrained")
        if self.start is None:
            return None if imagenet is None else "imagenet" if imagenet else "none"
        start: Start = self.start if self.start in ("none", "imagenet", "released") else "network"
        if imagenet is not None and imagenet != (start == "imagenet"):
            raise UsageError(f"--start {self.start}: not with --pretrained, --no-pretrained or --weights")
        return start

    def config(self) -> RunConfig:
        """The settings of the run.

        Raises:
            UsageError: a value is invalid, or two options do not fit together.
        """
        recipe = self.recipe()
        split_file = str(self.split_file) if self.split_file else None
        return RunConfig(
            recipe=recipe,
            data=replace(self.where(), split_file=split_file, accept_split_mismatch=self.accept_split_mismatch),
            weights=self.start if recipe.start == "network" else self.weights,
            arm=self.arm or "baseline",
            **{name: getattr(self, name) for name in RUN_OPTIONS},
        )


@dataclass(frozen=True)
class TopoOptions(TrainOptions):
    """The options of `train-topo`."""

    spatial_lambda: Annotated[float, Option(help="Weight of the spatial loss; 0 is the control.")] = 0.5
    lambda_schedule: Annotated[
        Literal["constant", "cosine"] | None, Option(help="cosine: from lambda down to 0.1 of it.")
    ] = None
    topo_loss: Annotated[TopoLoss, Option(help="Spatial loss; the first is the study's.")] = "weight-similarity"
    topo_grid: Annotated[tuple[int, int], Option(help="Height and width of the channel grid.")] = (16, 16)
    topo_neighbours: Annotated[int, Option(help="4 (rook) or 8 (queen).")] = 8
    topo_torus: Annotated[bool, Option("--topo-torus", help="Join the grid's opposite borders.")] = False
    topo_permuted: Annotated[
        bool, Option("--topo-permuted", help="A control: the spatial loss sees the channels on permuted places.")
    ] = False
    topo_norm: Annotated[bool, Option("--topo-norm", help="BatchNorm in the topographic layer.")] = False
    topo_init: Annotated[TopoInit, Option(help="Initial weights of the topographic layer.")] = "orthogonal"
    topo_lr_mult: Annotated[
        float | None,
        Option(help="Learning rate of the topographic layer relative to the rest (the study: 1; small: 10; demo: 30)."),
    ] = None

    def config(self) -> RunConfig:
        height, width = self.topo_grid
        same = {name: getattr(self, f"topo_{name}") for name in ("neighbours", "torus", "init", "loss", "permuted")}
        topography = Topography(height, width, batch_norm=self.topo_norm, weight=self.spatial_lambda, **same)
        config = replace(super().config(), topography=topography)
        return replace(config, arm=self.arm or str(Arm.of(config, PROTOCOLS[self.protocol])))


@app.command("train-baseline")
@as_command(TrainOptions)
def train_baseline(chosen: TrainOptions) -> None:
    """Train SimpleBaseline: ResNet, three deconvolutions, and one heatmap per joint."""
    _train(chosen)


@app.command("train-topo")
@as_command(TopoOptions)
def train_topo(chosen: TopoOptions) -> None:
    """Train TopoModel: SimpleBaseline with a topographic layer and its spatial loss."""
    _train(chosen)


def _train(chosen: TrainOptions) -> None:
    config = chosen.config()
    share_cores(chosen.threads)
    from pose_topo.core.machine import pick_device
    from pose_topo.data.dataset import check_layout, prepare
    from pose_topo.download.weights import start_file
    from pose_topo.models.regularizers import check
    from pose_topo.study import runs
    from pose_topo.training.loop import RunContext, chosen_hooks, train
    from pose_topo.training.processes import team_from_environment

    model, stamp = "TopoModel" if config.model == "topo" else "SimpleBaseline", time.strftime("%Y%m%d-%H%M%S")
    run = chosen.save_dir / (chosen.run_name or f"{config.arch.upper()}_{model}_time_{stamp}")
    resume, team = chosen.resume == "auto", team_from_environment()
    if not team.writer:
        hide_messages()
    # check everything that is quick to check before data are read or weights are downloaded
    pick_device(team.device(config.device), warn=False)  # `train` warns
    if config.topography is not None:
        check(config.topography.loss, config.topography.lattice())
    if team.writer:
        runs.check_run(run, config, resume=resume, overwrite=chosen.overwrite)
    check_layout(config.data)
    is_new = chosen.overwrite or not (run / "last.pt").is_file()
    start = start_file(config, chosen.cache_dir) if is_new else None
    progress = chosen.progress and team.writer
    dataset = prepare(config.data, config.recipe, seed=config.seed, cache=chosen.cache_dir, progress=progress)
    if chosen.overwrite and team.writer:
        (run / runs.WANDB_ID).unlink(missing_ok=True)  # a new run has a new log
    hooks = chosen_hooks(run, dataset, config, plots=chosen.save_plts, wandb=chosen.wandb) if team.writer else ()
    context = RunContext(start, progress, hooks, team)
    last = train(config, dataset, run, context, resume=resume, overwrite=chosen.overwrite)[-1]
    score = dataset.people.validation_unit()[0]
    log.info(
        f"{run}: epoch {last['epoch']}, validation {score} {last['val_pckh']:.2f} (no flip test); "
        f"next: pose-topo evaluate {run}"
    )
