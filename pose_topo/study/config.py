"""Every setting of a run, as frozen dataclasses, and how they are checked, written and read."""

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

Framing = Literal["person", "squeeze"]
Decode = Literal["argmax", "quarter", "dark", "cell-centre"]

Protocol = Literal["standard", "paper", "synthetic", "photographs", "small", "demo"]  # protocols.py has their recipes
TargetCentre = Literal["nearest", "exact", "truncated"]
Augment = Literal["none", "mild", "standard"]
Schedule = Literal["steps", "one-cycle", "cosine", "constant"]
LambdaSchedule = Literal["constant", "cosine", "study-cosine"]
SplitRule = Literal["auto", "tompson", "random", "paper", "hashed", "tune", "file"]
TopoInit = Literal["orthogonal", "kaiming", "equal-norm"]
Start = Literal["none", "imagenet", "network", "released"]
Precision = Literal["auto", "fp32", "bf16"]
Switch = Literal["on", "off"]

MAT_NAME = "mpii_human_pose_v1_u12_1.mat"
ANNOTATIONS = (MAT_NAME, "joints.mat", "annotations.json")  # the annotation files of MPII, LSPET and COCO's format
# The only list of the spatial losses, the study's first, and which tensor of the topographic layer each one reads. The
# function of "weight-similarity" is `weight_similarity` in models/regularizers.py.
TOPO_LOSSES: dict[str, Literal["weights", "activations"]] = {
    "weight-similarity": "weights",
    "neighbour-cosine": "weights",
    "topoloss": "weights",
    "activation-similarity": "activations",
    "spatial-correlation": "activations",
    "topographic": "activations",
}
if TYPE_CHECKING:
    from pose_topo.study.lattice import Lattice

    Arch = TopoLoss = str
else:  # the choices are the names in two registries, which a type checker cannot read
    Arch, TopoLoss = Literal[tuple(BACKBONES)], Literal[tuple(TOPO_LOSSES)]
# the suffixes by which a folder is searched for photographs; some builds of OpenCV cannot read all of them
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")
LARGEST_INPUT, MOST, MOST_CHANNELS = 4096, 1_000_000, 4096  # a settings file with more is broken: no memory holds it
DECONV_CHANNELS = 256  # output channels of each deconvolution between the backbone and the head


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and scored. `protocols.py` has the recipe of each protocol."""

    protocol: Protocol
    framing: Framing  # "person": a box from the person's centre and scale; "squeeze": the photograph, made square
    input_size: int  # pixels, square
    sigma: float  # standard deviation of the target Gaussian, in heatmap cells
    target_centre: TargetCentre  # "nearest": the cell int(x + .5); "exact": x; "truncated": the cell int(x)
    augment: Augment  # rotation, scale and flip; "standard" is Xiao et al.'s
    loss: Literal["half-mse", "mse"]  # of the heatmaps; "half-mse" is half of "mse"
    mask_unlabelled: bool  # True: unlabelled joints do not count in the loss; False: their target is an empty map
    init: Literal["standard", "paper"]  # of the deconvolutions and the head; "paper" is the original study's
    optimizer: Literal["adam", "adamw"]
    lr: float
    weight_decay: float
    schedule: Schedule
    epochs: int
    batch_size: int
    patience: int | None  # training stops after this number of epochs without a new best one; None: never
    report: Literal["last", "best"]  # which checkpoint is scored
    lambda_schedule: LambdaSchedule  # "study-cosine" is the formula of the original study
    topo_lr_mult: float  # learning rate of the topographic layer relative to the backbone; the study's is 1
    flip_test: bool
    decode: Decode
    split: SplitRule
    val_split: float  # fraction of the photographs that a random split holds out
    head_lr_mult: float = 1.0  # the same for the head; the study's is 1
    select: Literal["pckh", "loss"] = "pckh"  # the best epoch has the highest validation PCKh, or lowest loss (study)
    warm_up: float = 0.0  # epochs in which the learning rate rises to its peak
    single_person: bool = False  # keep only photographs with exactly one annotated rectangle ("annorect")
    min_labelled: int = 1  # keep only people with at least this number of labelled joints
    # what the weights start from: random weights, an ImageNet backbone, the backbone and deconvolutions of a given
    # network, or those of the released network
    start: Start = "imagenet"
    colours: Literal["rgb", "bgr"] = "rgb"  # order of the network's input channels; "bgr" for Microsoft's checkpoints
    antialias: bool = False  # area-average the photograph before a warp that shrinks it 2 x or more
    deviations: tuple[str, ...] = ()  # how the protocol differs from the original study; printed beside results

    @property
    def heatmap_size(self) -> int:
        return self.input_size // HEATMAP_STRIDE

    @property
    def flip_shift(self) -> bool:
        """Whether the flip test moves the mirrored maps by one column, which is needed if cell c is at pixel 4c. In the
        study's recipe cell c covers pixels 4c to 4c + 3."""
        return self.target_centre != "truncated"


@dataclass(frozen=True)
class Data:
    """Where a data set lies and how it is divided."""

    mat_path: str
    img_dir: str
    split_file: str | None = None
    name: str = "mpii"  # the name of the data set in result files
    accept_split_mismatch: bool = False  # accept a tompson split that does not have the published sizes

    @staticmethod
    def at(
        folder: str | Path | None = None, mat_path: str | Path | None = None, img_dir: str | Path | None = None
    ) -> Data:
        """The data set in `folder`, which is recognised by its annotation file (`ANNOTATIONS`).

        Args:
            folder: Default: the folder of `mat_path`, or "mpii" without one.
            mat_path: Another annotation file.
            img_dir: Another folder of photographs than `images`. Without `folder` and without `images`, photographs may
                lie beside `mat_path`.
        """
        beside = folder is None and mat_path is not None
        folder = Path(mat_path).parent if folder is None and mat_path is not None else Path(folder or "mpii")
        there = [folder / name for name in ANNOTATIONS if (folder / name).is_file()]
        images = folder / "images"
        if beside and not images.is_dir() and folder.is_dir():
            images = folder if any(file.suffix.lower() in SUFFIXES for file in folder.iterdir()) else images
        return Data(
            mat_path=str(mat_path or (there[0] if there else folder / MAT_NAME)),
            img_dir=str(img_dir or images),
            name=folder.absolute().name or "mpii",
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
    weight: float = 0.5  # lambda, the weight of the spatial loss; 0 for the control arm
    permuted: bool = False  # the loss uses a random permutation of the channels, drawn from the run's seed

    def lattice(self) -> Lattice:
        """The grid of the channels.

        Raises:
            UsageError: a side is below 1, or the number of neighbours is neither 4 nor 8.
        """
        from pose_topo.study.lattice import Lattice  # imports numpy, which --help does not need

        return Lattice(self.height, self.width, self.neighbours, self.torus)


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Raises:
        UsageError: a setting has a value that is not allowed; the message names the option.
    """

    arch: Arch
    recipe: Recipe
    data: Data
    topography: Topography | None = None  # None for the baseline
    weights: str | None = None  # the file of the start: ImageNet weights (None: cache or download), or a network
    seed: int = 0
    arm: str = ""
    device: str = "auto"
    precision: Precision = "auto"
    compile: Switch = "off"  # torch.compile
    deterministic: bool = False  # on CUDA: use only deterministic algorithms
    sync_batch_norm: bool = False  # with several processes: compute BatchNorm statistics over all of them
    threads: int | None = None
    model: Literal["baseline", "topo"] = field(init=False)  # computed from `topography`; also written to config.json

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", "baseline" if self.topography is None else "topo")
        check_literals(self)
        self._check_ranges()

    def _check_ranges(self) -> None:
        recipe, topography, threads, stride = self.recipe, self.topography, self.threads, backbone(self.arch).stride
        size, sizes = recipe.input_size, range(stride, LARGEST_INPUT + 1, stride)
        epochs, batch, warm_up, factor = recipe.epochs, recipe.batch_size, recipe.warm_up, recipe.topo_lr_mult
        most = f"at most {MOST:,}"
        checks = [
            ("--input-size", size, size in sizes, f"a multiple of {stride}, at most {LARGEST_INPUT:,}"),
            ("--start", recipe.start, recipe.start != "network" or self.weights, "the file of the network"),
            ("--threads", threads, threads is None or 1 <= threads <= MOST, f"at least 1, {most}"),
            ("--seed", self.seed, 0 <= self.seed < 1 << 63, "one from 0 to 2^63 - 1"),
            ("--epochs", epochs, 1 <= epochs <= MOST, f"at least 1, {most}"),
            ("--batch-size", batch, 2 <= batch <= MOST, f"at least 2, which BatchNorm needs, and {most}"),
            ("sigma", recipe.sigma, 0 < recipe.sigma <= size, f"a width of at most {size} cells"),
            ("weight_decay", recipe.weight_decay, 0 <= recipe.weight_decay < math.inf, "0 or more"),
            ("patience", recipe.patience, recipe.patience is None or recipe.patience >= 1, "at least 1, or none"),
            ("min_labelled", recipe.min_labelled, 0 <= recipe.min_labelled <= 16, "0 to 16"),
            ("--lr", recipe.lr, 0 < recipe.lr < math.inf, "a positive learning rate"),
            ("--topo-lr-mult", factor, 0 < factor < math.inf, "a positive factor"),
            ("--val-split", recipe.val_split, 0 < recipe.val_split < 1, "a share between 0 and 1"),
            ("--warm-up", warm_up, 0 <= warm_up < epochs, f"0 or more, and less than the {epochs} epochs"),
        ]
        if topography is not None:
            checks.append(("--spatial-lambda", topography.weight, 0 <= topography.weight < math.inf, "0 or more"))
        for option, value, valid, wanted in checks:
            if not valid:
                raise UsageError(f"{option} {value}: give {wanted}")
        if topography is not None:
            channels, grid = topography.lattice().channels, f"--topo-grid {topography.height} {topography.width}"
            if channels < 2:
                raise UsageError(f"{grid}: a single channel has no neighbours; give at least two")
            if channels > MOST_CHANNELS:
                raise UsageError(f"{grid}: {channels:,} channels; give at most {MOST_CHANNELS:,}")


_OPTION = {(Topography, "init"): "--topo-init", (Topography, "loss"): "--topo-loss"}  # others are `--<field>`


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
            raise UsageError(f"{option} {value!s:.60}: give one of {', '.join(map(str, choices))}")


def to_dict(config: Any) -> dict[str, Any]:
    """A settings dataclass as plain JSON values."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }


def from_dict(cls: type, values: Any) -> Any:
    """Rebuild a settings dataclass from the output of `to_dict`, of this version of pose_topo or an earlier one.

    Raises:
        PoseTopoError: a setting is missing, unknown, of the wrong type, or has a value that is not allowed.
    """
    if not isinstance(values, dict):
        raise PoseTopoError(f"the {cls.__name__} settings are {type(values).__name__}, not a dictionary")
    values = _upgraded(cls, values)
    hints, fields = typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}
    if unknown := set(values) - set(fields):
        raise PoseTopoError(
            f"unknown {cls.__name__} settings {sorted(unknown)!s:.120}: written by another version of pose_topo?"
        )
    built = {name: _field(f"{cls.__name__}.{name}", hints[name], value) for name, value in values.items()}
    try:
        settings = cls(**{name: value for name, value in built.items() if fields[name].init})
    except TypeError as error:
        raise PoseTopoError(f"incomplete {cls.__name__} settings ({error})") from None
    for name, value in built.items():
        if (computed := getattr(settings, name)) != value:  # a field that is computed from the others
            raise PoseTopoError(f"{cls.__name__}.{name} is {value!r:.60}, but the other settings give {computed!r}")
    return settings


def _upgraded(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Settings that an earlier version wrote, as this version has them."""
    values = dict(values)
    if cls is RunConfig and values.get("num_keypoints") == 16:  # it was always 16
        del values["num_keypoints"]
    if cls is RunConfig and values.get("compile") == "auto":  # which meant "off"
        values["compile"] = "off"
    if cls is Recipe and isinstance(values.get("pretrained"), bool):
        values["start"] = "imagenet" if values.pop("pretrained") else "none"
    return values


def _field(name: str, hint: Any, value: Any) -> Any:
    """Convert a value from JSON to the type of a field, or refuse it. (`check_literals` checks choices.)"""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        kind = typing.get_origin(option) or option
        if dataclasses.is_dataclass(option) and value is not None:
            return from_dict(option, value)  # type: ignore[arg-type]  # pyright cannot tell a class from an instance
        if kind is tuple and isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
            return tuple(value)
        if type(value) is (str if kind is Literal else kind) or (kind is float and type(value) is int):
            if type(value) is int and abs(value) >= 1 << 63:
                break
            return value
    raise PoseTopoError(f"{name} is {value!r:.60}, not of the type {getattr(hint, '__name__', hint)}")
