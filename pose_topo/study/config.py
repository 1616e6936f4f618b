"""Every setting of a run, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.study.backbones import HEATMAP_STRIDE, backbone

Model = Literal["baseline", "topo"]
Framing = Literal["person", "squeeze"]
Decode = Literal["argmax", "quarter", "dark", "cell-centre"]

MAT_NAME = "mpii_human_pose_v1_u12_1.mat"
TOPO_LOSSES = {  # --topo-loss -> what it reads of the topographic layer; models/regularizers.py has the functions
    "weight-similarity": "weights",
    "neighbour-cosine": "weights",
    "topoloss": "weights",
    "activation-similarity": "activations",
    "spatial-correlation": "activations",
    "topographic": "activations",
}
DECONV_CHANNELS = 256  # of each deconvolution between the backbone and the head


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and scored. See protocols.py."""

    protocol: str
    framing: Framing  # "person": a box by centre and scale; "squeeze": the whole photograph, aspect ratio lost
    input_size: int  # pixels, square
    sigma: float  # of the target Gaussian, heatmap cells
    target_centre: Literal["nearest", "exact", "truncated"]  # the cell `int(x + .5)`, x itself, or the cell `int(x)`
    augment: Literal["none", "mild", "standard"]  # rotation, scale and flip; "standard" is Xiao et al.'s
    loss: Literal["half-mse", "mse"]
    mask_unlabelled: bool  # False: an unlabelled joint is trained towards an empty map
    init: Literal["standard", "paper"]
    optimizer: Literal["adam", "adamw"]
    lr: float
    weight_decay: float
    schedule: Literal["steps", "one-cycle", "cosine", "constant"]
    epochs: int
    batch_size: int
    patience: int | None  # epochs without a better one (see select) before stopping; None: never
    report: Literal["last", "best"]  # which checkpoint is scored
    lambda_schedule: Literal["constant", "cosine", "study-cosine"]
    topo_lr_mult: float  # learning rate of the topographic layer relative to the rest; the study's is 1
    flip_test: bool
    decode: Decode
    split: str
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
    init: Literal["orthogonal", "kaiming", "equal-norm"] = "orthogonal"
    loss: str = "weight-similarity"
    weight: float = 0.5  # the study's lambda; 0 is the control
    permuted: bool = False  # the loss sees the channels on other places, drawn by the run's seed: a control


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    model: Model
    arch: str
    recipe: Recipe
    data: Data
    topography: Topography | None = None  # None for the baseline
    weights: str | None = None  # path of ImageNet weights; None: cache, then download
    num_keypoints: int = 16
    seed: int = 0
    arm: str = field(default="")
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"  # torch.compile
    deterministic: bool = False  # on CUDA: only algorithms that repeat themselves to the bit
    sync_batch_norm: bool = False  # several processes: statistics over all of their people
    threads: int | None = None

    def __post_init__(self) -> None:
        _check(self)


def _check(config: RunConfig) -> None:
    recipe = config.recipe
    if config.num_keypoints != 16:
        raise UsageError(f"--num-keypoints {config.num_keypoints}: MPII has 16; its metric and flip test need them all")
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
    if config.seed < 0:
        raise UsageError(f"--seed {config.seed}: give 0 or more")
    if config.topography is not None and not config.topography.weight >= 0:
        raise UsageError(f"--spatial-lambda {config.topography.weight}: give 0 or more")


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


def _dataclass_in(hint: Any) -> type | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)  # type: ignore[return-value]
