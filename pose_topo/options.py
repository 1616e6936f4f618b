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

from pose_topo.config import MAT_NAME, TOPO_LOSSES, Data, Recipe, RunConfig, Topography
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
    batch_size: Annotated[int | None, Option(help="People a step, of each process.")] = None
    lr: Annotated[float | None, Option(help="Peak learning rate.")] = None
    schedule: Annotated[
        str | None, Option(help="Learning rate: steps (x0.1 at 90/140 and 120/140), one-cycle, cosine or constant.")
    ] = None
    warm_up: Annotated[
        float | None, Option(help="Epochs in which the learning rate rises to its peak (one-cycle has its own).")
    ] = None
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
    precision: Annotated[str, Option(help="auto (bf16 where the hardware has it), fp32 or bf16.")] = "auto"
    compile: Annotated[str, Option(help="torch.compile: auto (where it was measured to pay), on or off.")] = "auto"
    deterministic: Annotated[
        bool, Option("--deterministic", help="CUDA: only algorithms that repeat to the bit; slower.")
    ] = False
    sync_batch_norm: Annotated[
        bool, Option("--sync-batch-norm", help="Several CUDA processes: BatchNorm over the people of all.")
    ] = False
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
            for name in (
                "epochs",
                "batch_size",
                "lr",
                "schedule",
                "warm_up",
                "input_size",
                "val_split",
                "split",
                "augment",
                "pretrained",
            )
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
            ("--compile", self.compile, ("auto", "on", "off")),
            ("--schedule", self.schedule or "steps", ("steps", "one-cycle", "cosine", "constant")),
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
            compile=self.compile,  # type: ignore[arg-type]
            deterministic=self.deterministic,
            sync_batch_norm=self.sync_batch_norm,
            threads=self.threads,
        )


@dataclass(frozen=True)
class TopoOptions(TrainOptions):
    """What `train-topo` takes besides."""

    spatial_lambda: Annotated[float, Option(help="Weight of the spatial loss; 0 is the control.")] = 0.5
    lambda_schedule: Annotated[str | None, Option(help="constant or cosine (1.0 down to 0.1 of lambda).")] = None
    topo_loss: Annotated[str, Option(help=f"Spatial loss (the study's: the first): {', '.join(TOPO_LOSSES)}.")] = (
        "weight-similarity"
    )
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


@dataclass(frozen=True)
class PredictOptions:
    """What `predict` takes."""

    box: Annotated[
        list[str] | None,
        Option(help="A person's box in pixels, x,y,w,h; again for each further person [default: the whole picture]."),
    ] = None
    out: Annotated[Path, Option(help="Folder of the overlays and of keypoints.json.")] = Path("out/predictions")
    min_confidence: Annotated[float, Option(help="Draw joints below it hollow; the JSON holds all.")] = 0.3
    overlay: Annotated[
        str, Option(help="png, jpg, none, or auto: JPEG of a JPEG, else PNG; at the photograph's own size.")
    ] = "auto"
    batch_size: Annotated[int, Option(min=1, help="Photographs in memory at a time.")] = 16
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto"
    progress: Annotated[
        bool | None, Option("--progress/--no-progress", help="Show a progress bar [default: in a terminal].")
    ] = None

    def check(self) -> None:
        """Raises:
        UsageError: a value that makes no sense."""
        _one_of("--overlay", self.overlay, ("auto", "png", "jpg", "none"))
        _one_of("--precision", self.precision, ("auto", "fp32", "bf16"))
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: give a number from 0 to 1")


@dataclass(frozen=True)
class ShowOptions(DataOptions):
    """What `show` takes."""

    split: Annotated[str, Option(help="Whom to show: train, val or all.")] = "val"
    count: Annotated[int, Option(min=1, help="How many people.")] = 24
    seed: Annotated[int, Option(min=0, help="Seed of the draw and of a random split, as in training.")] = 0
    protocol: Annotated[
        str | None,
        Option(help="Whose split and crops: standard, paper or demo [default: standard; with --worst: the run's]."),
    ] = None
    worst: Annotated[
        Path | None, Option(help="Show those that this run or checkpoint finds worst, the worst first.")
    ] = None
    out: Annotated[Path, Option(help="The contact sheet, .png or .jpg.")] = Path("out/show.png")
    device: Annotated[str, Option(help="--worst: auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="--worst: auto, fp32 or bf16.")] = "auto"
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def recipe(self) -> Recipe:
        """The protocol that chooses people, split and crops.

        Raises:
            UsageError: no such protocol, or one beside a run, which has its own.
        """
        if self.worst is not None and self.protocol is not None:
            raise UsageError("--protocol goes without --worst: a run has its own")
        name = self.protocol or "standard"
        _one_of("--protocol", name, tuple(PROTOCOLS))
        return PROTOCOLS[name]

    def check(self) -> None:
        """Raises:
        UsageError: a value that makes no sense."""
        _one_of("--split", self.split, ("train", "val", "all"))
        _one_of("--precision", self.precision, ("auto", "fp32", "bf16"))
        if self.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UsageError(f"--out {self.out}: give a name that ends in .png or .jpg")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} {value}: give one of {', '.join(allowed)}")


def as_command(options: type, positional: dict[str, Any]) -> Callable[[Callable], Callable]:
    """Decorate `f(positional..., options)`: typer sees the positional arguments, then every field as an option.

    Args:
        options: a dataclass whose fields are annotated with typer options.
        positional: name -> (annotation, default) of the arguments before them. One that is named as a field stands for
            it: the field is no option then, and holds the argument's value.
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
            if field.name not in positional
        ]
        fields = {field.name for field in dataclasses.fields(options)}

        def command(**values: Any) -> None:
            first = [values[name] for name in positional if name not in fields]
            function(*first, options(**{name: value for name, value in values.items() if name in fields}))

        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return wrap
