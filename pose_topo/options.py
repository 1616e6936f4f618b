"""Command-line options as dataclasses: each field is an option, its annotation carries the help line.

`as_command` turns a function of such a dataclass into one that typer understands, so that an option that two commands
share is written once.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from pose_topo.config import MAT_NAME, Data, Recipe, RunConfig, Topography
from pose_topo.errors import UsageError
from pose_topo.protocols import PROTOCOLS


@dataclass(frozen=True)
class DataOptions:
    """Where the data are."""

    data: Annotated[Path, Option(help="Data folder: the annotation file and images/ in it.")] = Path("mpii")
    mat_path: Annotated[Path | None, Option(help=f"Annotation file [default: DATA/{MAT_NAME}].")] = None
    img_dir: Annotated[Path | None, Option(help="Folder of the photographs [default: DATA/images].")] = None
    cache_dir: Annotated[
        Path | None, Option(help="Where crops and weights are kept [default: $POSE_TOPO_CACHE or ~/.cache/pose_topo].")
    ] = None

    def where(self) -> Data:
        return Data.at(self.data, self.mat_path, self.img_dir)


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """What both training commands take. None means: as the protocol says."""

    protocol: Annotated[str, Option(help="standard (the MPII benchmark), paper (the original study) or demo.")] = (
        "standard"
    )
    arch: Annotated[str, Option(help="resnet18, resnet34, resnet50, resnet101 or resnet152.")] = "resnet50"
    epochs: Annotated[int | None, Option(help="Epochs.")] = None
    batch_size: Annotated[int | None, Option(help="People a step.")] = None
    lr: Annotated[float | None, Option(help="Peak learning rate.")] = None
    input_size: Annotated[int | None, Option(help="Side of the network's input in pixels, a multiple of 32.")] = None
    val_split: Annotated[
        float | None, Option(help="Hold out this share of the images at random (sets --split random).")
    ] = None
    split: Annotated[str | None, Option(help="auto, tompson, random, paper or file.")] = None
    split_file: Annotated[Path | None, Option(help="Tompson's valid.h5, or a list of held-out image names.")] = None
    accept_split_mismatch: Annotated[
        bool, Option("--accept-split-mismatch", help="Go on although the tompson split has not the published sizes.")
    ] = False
    augment: Annotated[str | None, Option(help="Rotation, scale and flip: none, mild or standard.")] = None
    pretrained: Annotated[bool | None, Option("--pretrained/--no-pretrained", help="Start from ImageNet weights.")] = (
        None
    )
    weights: Annotated[str | None, Option(help="File of ImageNet weights [default: the cache, else a download].")] = (
        None
    )
    num_keypoints: Annotated[int, Option(help="Joints a person (MPII: 16).")] = 16
    seed: Annotated[int, Option(help="Seed of weights, order, augmentation and random split.")] = 0
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto"
    threads: Annotated[int | None, Option(help="CPU threads [default: torch's].")] = None
    save_dir: Annotated[Path, Option(help="Runs are kept here.")] = Path("runs")
    run_name: Annotated[str | None, Option(help="Folder of this run [default: <ARCH>_<Model>_time_<timestamp>].")] = (
        None
    )
    arm: Annotated[str | None, Option(help="What results call this run [default: baseline, control or topo].")] = None
    resume: Annotated[str, Option(help="auto: go on with an interrupted run of the same name; never: refuse it.")] = (
        "auto"
    )
    overwrite: Annotated[bool, Option("--overwrite", help="Start anew in a folder that holds a run.")] = False
    wandb: Annotated[bool, Option("--wandb/--no-wandb", help="Log to Weights & Biases, project ABNS.")] = False
    save_plts: Annotated[
        bool, Option("--save-plts/--no-save-plts", help="Draw predictions and maps after every epoch.")
    ] = False
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def recipe(self) -> Recipe:
        """The protocol with what was asked otherwise."""
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"--protocol {self.protocol}: give one of {', '.join(PROTOCOLS)}")
        asked: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "lr", "input_size", "val_split", "split", "augment", "pretrained")
            if getattr(self, name) is not None
        }
        if self.val_split is not None:
            asked.setdefault("split", "random")
        base = PROTOCOLS[self.protocol]
        if self.input_size is not None:  # the target grows with the heatmap: sigma 3 at 384 where it is 2 at 256
            asked["sigma"] = base.sigma * self.input_size / base.input_size
        return replace(base, **asked)

    def config(self) -> RunConfig:
        """The run that was asked for.

        Raises:
            UsageError: a value that makes no sense.
        """
        for name, value, allowed in (
            ("--precision", self.precision, ("auto", "fp32", "bf16")),
            ("--resume", self.resume, ("auto", "never")),
            ("--augment", self.augment or "none", ("none", "mild", "standard")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} {value}: give one of {', '.join(allowed)}")
        return RunConfig(
            model="baseline",
            arch=self.arch,
            recipe=self.recipe(),
            data=replace(
                self.where(),
                split_file=str(self.split_file) if self.split_file else None,
                accept_split_mismatch=self.accept_split_mismatch,
            ),
            weights=self.weights,
            num_keypoints=self.num_keypoints,
            seed=self.seed,
            arm=self.arm or "baseline",
            device=self.device,
            precision=self.precision,  # type: ignore[arg-type]
            threads=self.threads,
        )


@dataclass(frozen=True)
class TopoOptions(TrainOptions):
    """What `train-topo` takes besides."""

    spatial_lambda: Annotated[float, Option(help="Weight of the spatial loss; 0 is the control.")] = 0.5
    lambda_schedule: Annotated[str | None, Option(help="constant or cosine (1.0 down to 0.1 of lambda).")] = None
    topo_loss: Annotated[str, Option(help="Spatial loss: weight-similarity (the study's).")] = "weight-similarity"
    topo_grid: Annotated[tuple[int, int], Option(help="Height and width of the channel grid.")] = (16, 16)
    topo_neighbours: Annotated[int, Option(help="4 (rook) or 8 (queen).")] = 8
    topo_torus: Annotated[bool, Option("--topo-torus", help="Join the grid's opposite borders.")] = False
    topo_norm: Annotated[bool, Option("--topo-norm", help="BatchNorm in the topographic layer.")] = False
    topo_init: Annotated[str, Option(help="orthogonal, kaiming or equal-norm.")] = "orthogonal"
    topo_lr_mult: Annotated[
        float | None,
        Option(help="Learning rate of the topographic layer relative to the rest (the study: 1; demo: 10)."),
    ] = None

    def recipe(self) -> Recipe:
        asked: dict[str, Any] = {}
        if self.lambda_schedule is not None:
            if self.lambda_schedule not in ("constant", "cosine"):
                raise UsageError(f"--lambda-schedule {self.lambda_schedule}: give constant or cosine")
            asked["lambda_schedule"] = self.lambda_schedule
        if self.topo_lr_mult is not None:
            if not self.topo_lr_mult > 0:
                raise UsageError(f"--topo-lr-mult {self.topo_lr_mult}: give a positive factor")
            asked["topo_lr_mult"] = self.topo_lr_mult
        return replace(super().recipe(), **asked)

    def config(self) -> RunConfig:
        topography = Topography(
            height=self.topo_grid[0],
            width=self.topo_grid[1],
            neighbours=self.topo_neighbours,
            torus=self.topo_torus,
            batch_norm=self.topo_norm,
            init=self.topo_init,  # type: ignore[arg-type]
            loss=self.topo_loss,
            weight=self.spatial_lambda,
        )
        arm = self.arm or ("topo" if self.spatial_lambda > 0 else "control")
        return replace(super().config(), model="topo", topography=topography, arm=arm)


@dataclass(frozen=True)
class ResultOptions(DataOptions):
    """What `evaluate` and `analyze` share."""

    data: Annotated[Path | None, Option(help="Data folder [default: the one the run was trained on].")] = None  # type: ignore[assignment]
    out: Annotated[Path | None, Option(help="Folder of the result files [default: out/<run name>].")] = None
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto"
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def elsewhere(self) -> Data | None:
        """Data given instead of those the run was trained on."""
        if self.data is None:
            if self.mat_path or self.img_dir:
                raise UsageError("--mat-path and --img-dir need --data here")
            return None
        return Data.at(self.data, self.mat_path, self.img_dir)


@dataclass(frozen=True)
class EvaluateOptions(ResultOptions):
    """What `evaluate` takes besides."""

    decode: Annotated[str | None, Option(help="argmax, quarter, dark or cell-centre [default: the protocol's].")] = None
    flip: Annotated[
        bool | None, Option("--flip/--no-flip", help="Average with the mirrored picture [default: the protocol's].")
    ] = None
    predictions: Annotated[
        Path | None, Option(help="Score this .h5 or .mat prediction file instead of a checkpoint.")
    ] = None
    ground_truth: Annotated[
        Path | None, Option(help="With --predictions: detections_our_format.mat, or our own predictions.h5.")
    ] = None


@dataclass(frozen=True)
class AnalyzeOptions(ResultOptions):
    """What `analyze` takes besides."""

    permutations: Annotated[int, Option(min=1, help="Permutations behind every p value.")] = 9999
    untrained: Annotated[bool, Option("--untrained", help="Also measure the network as its training found it.")] = False
    control: Annotated[
        Path | None, Option(help="The control's run, checkpoint or analysis: give I as a share of its best.")
    ] = None
    lesions: Annotated[
        bool, Option("--lesions", help="Also silence discs of the grid and score the held-out people each time.")
    ] = False
    lesion_grids: Annotated[int, Option(min=1, help="With --lesions: permuted grids behind its p value.")] = 19
    group: Annotated[
        bool, Option("--group", help="Compare the results folders of several seeds, arm by arm, with the control.")
    ] = False


def as_command(options: type, positional: dict[str, Any]) -> Callable[[Callable], Callable]:
    """Decorate `f(positional..., options)`: typer sees the positional arguments, then every field as an option.

    Args:
        options: a dataclass whose fields are annotated with typer options.
        positional: name -> (annotation, default) of the arguments before them.
    """

    def wrap(function: Callable) -> Callable:
        hints = typing.get_type_hints(options, include_extras=True)
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(name, kind, annotation=annotation, default=default)
            for name, (annotation, default) in positional.items()
        ]
        parameters += [
            inspect.Parameter(field.name, kind, annotation=hints[field.name], default=field.default)
            for field in dataclasses.fields(options)
        ]

        def command(**values: Any) -> None:
            first = [values.pop(name) for name in positional]
            function(*first, options(**values))

        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return wrap
