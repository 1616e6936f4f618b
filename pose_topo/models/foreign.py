"""How other code names the parts of the same network, and how it feeds it: three layouts, told apart by their keys.

All three normalise with ImageNet's mean and deviation, channel by channel as they lie: Xiao et al.'s code feeds BGR,
and takes red's mean from blue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pose_topo.core.errors import PoseTopoError
from pose_topo.study import joints
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import PROTOCOLS

State = dict[str, Tensor]

_STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # torchvision's names ...
PLACES = (0, 1, 4, 5, 6, 7)  # ... and places in the Sequential of its children, between them ReLU and pooling


@dataclass(frozen=True)
class Layout:
    """How some other code names and feeds its network."""

    name: str
    who: str
    colours: Literal["rgb", "bgr"]
    protocol: str
    prefixes: tuple[tuple[str, str], ...]  # theirs, ours

    def ours(self, key: str) -> str | None:
        """Our name of a key; None if this layout has no such key."""
        found = next(((theirs, ours) for theirs, ours in self.prefixes if key.startswith(theirs)), None)
        return found and found[1] + key.removeprefix(found[0])

    def theirs(self, key: str) -> str:
        """Their name of one of our keys."""
        theirs, ours = next(((t, o) for t, o in self.prefixes if key.startswith(o)), ("", ""))
        return theirs + key.removeprefix(ours)


def _backbone(prefix: str, names: Iterable[str | int]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{prefix}{name}.", f"backbone.{place}.") for name, place in zip(names, PLACES, strict=True))


def _mmpose(head: str) -> Layout:
    tail = ((f"{head}.deconv_layers.", "deconv."), (f"{head}.final_layer.", "head."))
    return Layout("mmpose", "mmpose", "rgb", "standard", _backbone("backbone.", _STAGES) + tail)


LAYOUTS = (
    Layout(
        "microsoft",
        "Xiao et al.'s code",
        "bgr",
        "standard",
        (*_backbone("", _STAGES), ("deconv_layers.", "deconv."), ("final_layer.", "head.")),
    ),
    _mmpose("keypoint_head"),  # mmpose 0
    _mmpose("head"),  # mmpose 1
    Layout(
        "study",
        "the original study's code",
        "rgb",
        "paper",
        (
            *_backbone("backbone.", PLACES),
            ("deconv.", "deconv."),
            ("topo.conv.", "topo.conv."),
            ("topo.bn.", "topo.norm."),
            ("head.", "head."),
        ),
    ),
)


def unwrap(content: Any) -> State:
    """The state dict in a checkpoint, without the prefix that DataParallel puts before its keys.

    Raises:
        PoseTopoError: there is none, or it holds anything but tensors.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise PoseTopoError(f"holds no state_dict but {type(content).__name__}")
    for key, value in content.items():
        if not (isinstance(key, str) and is_ordinary(value)):
            raise PoseTopoError(f"no state_dict: {str(key)[:60]!r} is {type(value).__name__}, not an ordinary tensor")
    state = {key.removeprefix("module."): value for key, value in content.items()}
    if len(state) < len(content):
        raise PoseTopoError("holds keys both with and without the prefix module.")
    return state


def is_ordinary(value: Any) -> bool:
    """Whether a tensor of real numbers that lie in memory: not sparse, quantised, complex or without content."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return False
    return not (value.is_complex() or value.is_nested)


def recognise(state: Mapping[str, Any]) -> Layout:
    """The layout that knows most of the keys.

    Raises:
        PoseTopoError: none knows any.
    """
    known = [sum(layout.ours(key) is not None for key in state) for layout in LAYOUTS]
    if not max(known):
        names = ", ".join(layout.name for layout in LAYOUTS[:2])
        raise PoseTopoError(f"neither ours nor of a known layout ({names}, study): keys {listed(state)}")
    return LAYOUTS[known.index(max(known))]


def renamed(state: State, layout: Layout) -> State:
    """The same tensors under our names.

    Raises:
        PoseTopoError: keys that the layout does not know.
    """
    if unknown := [key for key in state if layout.ours(key) is None]:
        raise PoseTopoError(f"{layout.name} layout, but with unknown keys {listed(unknown)}")
    return {layout.ours(key) or "": value for key, value in state.items()}


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few of them, and how many more."""
    every = sorted(map(str, names))
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(name[:100] for name in every[:most]) + more


# ---- Networks that other code trained: their conventions turned into ours, by pure functions of a state dict.

# blocks of the four stages, and whether they are bottlenecks (three convolutions)
_RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
_DECONVOLUTIONS = (0, 3, 6)
INPUT_SIZE = 256


@dataclass(frozen=True)
class Foreign:
    """A network from elsewhere in our names, and what was found and assumed of it."""

    layout: Layout
    config: RunConfig  # without data: a state dict names none
    state: State
    notes: tuple[str, ...]  # a line each

    def record(self) -> dict[str, Any]:
        """As result files say it."""
        recipe = self.config.recipe
        return {"layout": self.layout.name, "colours": recipe.colours, "input_size": recipe.input_size}


def convert(content: Any, name: str) -> Foreign:
    """A checkpoint's content, as torch.load gives it, -> a network in our names.

    Whether every weight is there, and of the right shape, is left to whoever fills the network.

    Args:
        name: of the file; the input size stands nowhere else.

    Raises:
        PoseTopoError: no state dict, none of the layouts, or keys that its layout does not know.
    """
    found = unwrap(content)
    layout = recognise(found)
    size, where_from = input_size(name)
    state, changed = to_ours(renamed(found, layout), layout)
    if (heatmaps := _rows(state, "head.weight")) not in (0, joints.K):
        raise PoseTopoError(f"it finds {heatmaps} joints, not MPII's {joints.K}")
    topography = topography_of(state)
    base = PROTOCOLS[layout.protocol]
    sigma = base.sigma * size / base.input_size  # of the targets at that size
    config = RunConfig(
        arch=arch_of(state),
        recipe=replace(base, input_size=size, sigma=sigma, colours=layout.colours),
        data=Data("", "", name=""),
        topography=topography,
    )
    notes = [f"trained elsewhere ({layout.who}), how is not known here", where_from, *changed]
    if topography is not None:
        grid = f"{topography.height} x {topography.width}"
        notes.append(f"its {topography.height * topography.width} topographic channels taken as a grid of {grid}")
    return Foreign(layout, config, with_defaults(state), tuple(notes))


def to_ours(state: State, layout: Layout) -> tuple[State, list[str]]:
    """Weights under our names, as our network wants them, and a line for each change.

    Raises:
        PoseTopoError: the study's layout without its deconvolutions' biases.
    """
    state, folded = fold_biases(state)
    changed = ["its deconvolutions' biases folded into the BatchNorm that follows"] if folded else []
    if layout.name == "study":
        if missing := [f"deconv.{n}.bias" for n in _DECONVOLUTIONS if n not in folded]:
            raise PoseTopoError(f"the study's layout, but without {', '.join(missing)}")
        state = turn_channels(state)
        changed.append(f"its channel k taken as joint (k + 1) mod {joints.K}: the study's code was off by one")
    return state, changed


def _rows(state: State, key: str) -> int:
    """Length of a tensor's first axis; 0 without one."""
    return len(state[key]) if key in state and state[key].ndim else 0


def arch_of(state: Mapping[str, Any]) -> str:
    """The ResNet, by its blocks.

    Raises:
        PoseTopoError: none of the five.
    """
    blocks = tuple(len({key.split(".")[2] for key in state if key.startswith(f"backbone.{n}.")}) for n in PLACES[2:])
    bottleneck = any(key.startswith("backbone.4.") and ".conv3." in key for key in state)
    if (blocks, bottleneck) not in _RESNETS:
        kind = "bottleneck" if bottleneck else "basic"
        known = ", ".join(_RESNETS.values())
        raise PoseTopoError(f"{' '.join(map(str, blocks))} {kind} blocks are none of {known}")
    return _RESNETS[blocks, bottleneck]


def input_size(name: str) -> tuple[int, str]:
    """Side in pixels from a file name such as `pose_resnet_50_384x384.pth.tar`, else 256, and a note that says so.

    Raises:
        PoseTopoError: the name's size is not square, or no multiple of 32.
    """
    sizes = re.findall(r"(?<!\d)(\d{3})x(\d{3})(?!\d)", name)
    if not sizes:
        return INPUT_SIZE, f"input size {INPUT_SIZE} assumed: the file's name holds none"
    height, width = map(int, sizes[-1])
    if height != width or height % 32:
        raise PoseTopoError(f"its name says {height}x{width}: MPII's networks see squares, a multiple of 32 a side")
    return height, f"input size {height}, by the file's name"


def fold_biases(state: State) -> tuple[State, list[int]]:
    """Deconvolutions' biases moved into the mean that the BatchNorm behind subtracts; the places folded.

    (x + b) - mean = x - (mean - b): exact but for rounding, once BatchNorm uses its running mean.

    Raises:
        PoseTopoError: a bias and its mean are of different shapes.
    """
    state, folded = dict(state), []
    for place in _DECONVOLUTIONS:
        mean = state.get(f"deconv.{place + 1}.running_mean")
        bias = state.get(f"deconv.{place}.bias")
        if bias is None or mean is None:
            continue
        if bias.shape != mean.shape or not (bias.is_floating_point() and mean.is_floating_point()):
            raise PoseTopoError(f"the bias of deconvolution {place} does not fit the BatchNorm that follows")
        del state[f"deconv.{place}.bias"]
        state[f"deconv.{place + 1}.running_mean"] = (mean.double() - bias.double()).float()
        folded.append(place)
    return state, folded


def turn_channels(state: State) -> State:
    """Heads of the study: its channel k is joint (k + 1) mod 16, so joint j is its channel j - 1."""
    turned = {key: state[key].roll(1, 0) for key in ("head.weight", "head.bias") if _rows(state, key)}
    return {**state, **turned}


def topography_of(state: State) -> Topography | None:
    """The topographic layer, if there is one. A state dict does not hold the grid: as square as can be, as the
    study's 16 x 16 is."""
    channels = _rows(state, "topo.conv.weight")
    if not channels:
        return None
    grid = Lattice.squarest(channels)
    return Topography(grid.height, grid.width, batch_norm="topo.norm.running_mean" in state)


def with_defaults(state: State) -> State:
    """What older versions of PyTorch, or a BatchNorm without affine parameters, do not save."""
    filled = dict(state)
    for key, mean in state.items():
        if key.endswith(".running_mean"):
            norm = key.removesuffix("running_mean")
            filled.setdefault(f"{norm}num_batches_tracked", torch.tensor(0))
            if norm == "topo.norm.":
                filled.setdefault(f"{norm}weight", torch.ones_like(mean))
                filled.setdefault(f"{norm}bias", torch.zeros_like(mean))
    return filled
