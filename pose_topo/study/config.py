"""Every setting of a run, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.study.backbones import BACKBONES, HEATMAP_STRIDE, backbone

Model = Literal["baseline", "topo"]
Framing = Literal["person", "squeeze"]
Decode = Literal["argmax", "quarter", "dark", "cell-centre"]

Protocol = Literal["standard", "paper", "synthetic", "demo"]  # protocols.py has their recipes
TargetCentre = Literal["nearest", "exact", "truncated"]
Augment = Literal["none", "mild", "standard"]
Loss = Literal["half-mse", "mse"]
Init = Literal["standard", "paper"]
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["steps", "one-cycle", "cosine", "constant"]
LambdaSchedule = Literal["constant", "cosine", "study-cosine"]
SplitRule = Literal["auto", "tompson", "random", "paper", "file"]
TopoInit = Literal["orthogonal", "kaiming", "equal-norm"]
Precision = Literal["auto", "fp32", "bf16"]
Switch = Literal["on", "off"]

MAT_NAME = "mpii_human_pose_v1_u12_1.mat"
TOPO_LOSSES = (  # names of the spatial losses, the study's first; models/regularizers.py has their functions
    "weight-similarity",
    "neighbour-cosine",
    "topoloss",
    "activation-similarity",
    "spatial-correlation",
    "topographic",
)
if TYPE_CHECKING:
    Arch = TopoLoss = str
else:  # the choices are the names in two registries, which a type checker cannot read
    Arch, TopoLoss = Literal[tuple(BACKBONES)], Literal[TOPO_LOSSES]
DECONV_CHANNELS = 256  # of each deconvolution between the backbone and the head


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and scored. See protocols.py."""

    protocol: Protocol
    framing: Framing  # "person": a box by centre and scale; "squeeze": the whole photograph, aspect ratio lost
    input_size: int  # pixels, square
    sigma: float  # of the target Gaussian, heatmap cells
    target_centre: TargetCentre  # the cell `int(x + .5)`, x itself, or the cell `int(x)`
    augment: Augment  # rotation, scale and flip; "standard" is Xiao et al.'s
    loss: Loss
    mask_unlabelled: bool  # False: an unlabelled joint is trained towards an empty map
    init: Init
    optimizer: Optimizer
    lr: float
    weight_decay: float
    schedule: Schedule
    epochs: int
    batch_size: int
    patience: int | None  # epochs without a better one (see select) before stopping; None: never
    report: Literal["last", "best"]  # which checkpoint is scored
    lambda_schedule: LambdaSchedule
    topo_lr_mult: float  # learning rate of the topographic layer relative to the rest; the study's is 1
    flip_test: bool
    decode: Decode
    split: SplitRule
    val_split: float
    select: Literal["pckh", "loss"] = "pckh"  # what makes an epoch the best: validation PCKh, or the study's loss
    warm_up: float = 0.0  # epochs in which the learning rate rises to its peak
    single_person: bool = False  # keep only images with exactly one annorect ...
    min_labelled: int = 1  # ... and people with at least so many labelled joints
    pretrained: bool = True  # start from ImageNet weights
    colours: Literal["rgb", "bgr"] = "rgb"  # order of the network's input channels; ours is always RGB
    antialias: bool = False  # area-average the photograph before a warp that shrinks it 2 x or more
    deviations: tuple[str, ...] = ()  # printed wherever this recipe's numbers stand

    @property
    def heatmap_size(self) -> int:
        return self.input_size // HEATMAP_STRIDE

    @property
    def flip_shift(self) -> bool:
        """Whether the flip test moves the mirrored maps by a column: where a cell stands for its first pixel, not for
        the strip of pixels that the study's edge-based cells are."""
        return self.target_centre != "truncated"


@dataclass(frozen=True)
class Data:
    """Where a data set lies and how it is divided."""

    mat_path: str
    img_dir: str
    split_file: str | None = None
    name: str = "mpii"  # what results call it
    accept_split_mismatch: bool = False  # go on although the tompson split has not the published sizes

    @staticmethod
    def at(folder: str | Path, mat_path: str | Path | None = None, img_dir: str | Path | None = None) -> Data:
        """The standard layout under `folder`, with either path overridden."""
        folder = Path(folder)
        return Data(
            mat_path=str(mat_path or folder / MAT_NAME),
            img_dir=str(img_dir or folder / "images"),
            name=folder.name or "mpii",
        )


@dataclass(frozen=True)
class Topography:
    """The topographic layer and its loss."""

    height: int = 16
    width: int = 16
    neighbours: int = 8
    torus: bool = False
    batch_norm: bool = False
    init: TopoInit = "orthogonal"
    loss: TopoLoss = "weight-similarity"
    weight: float = 0.5  # the study's lambda; 0 is the control
    permuted: bool = False  # the loss sees the channels on other places, drawn by the run's seed: a control


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    model: Model
    arch: Arch
    recipe: Recipe
    data: Data
    topography: Topography | None = None  # None for the baseline
    weights: str | None = None  # path of ImageNet weights; None: cache, then download
    seed: int = 0
    arm: str = field(default="")
    device: str = "auto"
    precision: Precision = "auto"
    compile: Switch = "off"  # torch.compile
    deterministic: bool = False  # on CUDA: only algorithms that repeat themselves to the bit
    sync_batch_norm: bool = False  # several processes: statistics over all of their people
    threads: int | None = None

    def __post_init__(self) -> None:
        _check(self)


_OPTION = {(Topography, "init"): "--topo-init", (Topography, "loss"): "--topo-loss"}  # others are named as the field


def check_literals(settings: Any) -> None:
    """Check that every `Literal` field of a settings dataclass, and of the dataclasses in it, holds one of its choices.

    Raises:
        UsageError: a value is not one of the choices; the message names the option.
    """
    hints = typing.get_type_hints(type(settings))
    for f in dataclasses.fields(settings):
        value, hint = getattr(settings, f.name), hints[f.name]
        if dataclasses.is_dataclass(value):
            check_literals(value)
        elif typing.get_origin(hint) is Literal and value not in (choices := typing.get_args(hint)):
            option = _OPTION.get((type(settings), f.name), "--" + f.name.replace("_", "-"))
            raise UsageError(f"{option} {value}: give one of {', '.join(map(str, choices))}")


def _check(config: RunConfig) -> None:
    check_literals(config)
    recipe = config.recipe
    if (config.model == "topo") != (config.topography is not None):
        raise UsageError("the topo model needs a topography, the baseline has none")
    stride = backbone(config.arch).stride
    if recipe.input_size < stride or recipe.input_size % stride:
        raise UsageError(f"--input-size {recipe.input_size}: give a multiple of {stride}")
    numbers = {"--lr": recipe.lr, "--topo-lr-mult": recipe.topo_lr_mult}
    numbers |= {"--spatial-lambda": config.topography.weight} if config.topography else {}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise UsageError(f"{name} {value}: give a number")
    if config.threads is not None and config.threads < 1:
        raise UsageError(f"--threads {config.threads}: give at least 1")
    if not 0 <= config.seed < 1 << 63:
        raise UsageError(f"--seed {config.seed}: give one from 0 to 2^63 - 1")
    if recipe.epochs < 1:
        raise UsageError(f"--epochs {recipe.epochs}: give at least 1")
    if recipe.batch_size < 2:
        raise UsageError(f"--batch-size {recipe.batch_size}: give at least 2 (BatchNorm needs them)")
    if not recipe.lr > 0:
        raise UsageError(f"--lr {recipe.lr}: give a positive learning rate")
    if not 0 < recipe.val_split < 1:
        raise UsageError(f"--val-split {recipe.val_split}: give a share between 0 and 1")
    if not 0 <= recipe.warm_up < recipe.epochs:
        raise UsageError(f"--warm-up {recipe.warm_up:g}: give 0 or more, and less than the {recipe.epochs} epochs")
    if config.topography is not None:
        _check_topography(config.topography)


def _check_topography(topography: Topography) -> None:
    from pose_topo.study.lattice import Lattice  # it imports numpy, which --help does not need

    if not topography.weight >= 0:
        raise UsageError(f"--spatial-lambda {topography.weight}: give 0 or more")
    lattice = Lattice(topography.height, topography.width, topography.neighbours, topography.torus)
    if lattice.channels < 2:
        raise UsageError("--topo-grid 1 1: a single channel has no neighbours; give at least two")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Rebuild a config dataclass from `to_dict`'s values.

    Raises:
        PoseTopoError: a field is missing or unknown (written by another version).
    """
    if cls is RunConfig:
        values = _upgraded(values)
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := set(values) - known:
        raise PoseTopoError(
            f"unknown {cls.__name__} settings {sorted(unknown)}: written by another version of pose_topo?"
        )
    built: dict[str, Any] = {}
    for name, value in values.items():
        inner = _dataclass_in(hints[name])
        if inner is not None and isinstance(value, dict):
            value = from_dict(inner, value)
        built[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**built)
    except TypeError as error:
        raise PoseTopoError(f"incomplete {cls.__name__} settings ({error})") from None


def _upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run as this version writes them. Earlier versions also wrote the number of joints, which was
    always 16, and "auto" for `compile`, which meant "off"."""
    values = dict(values)
    if values.get("num_keypoints") == 16:
        del values["num_keypoints"]
    if values.get("compile") == "auto":
        values["compile"] = "off"
    return values


def _dataclass_in(hint: Any) -> type | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)  # type: ignore[return-value]
