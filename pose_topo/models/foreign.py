"""Convert the checkpoints of other code: Xiao et al.'s (Microsoft), mmpose's, and the original study's.

They hold the same network under other names. A `Layout` maps their names to ours, and is recognised by the names alone.
All of them normalise an input with ImageNet's mean and standard deviation by channel position. Xiao et al.'s code feeds
BGR, so there the mean of red is subtracted from blue. Everything here is a pure function of a state dict.
docs/elsewhere.md describes what is converted and what is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from pose_topo.core.errors import PoseTopoError
from pose_topo.models.pose import build_backbone
from pose_topo.study import joints
from pose_topo.study.backbones import BACKBONES, RESNET
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import PROTOCOLS

State = dict[str, Tensor]

INPUT_SIZE = 256  # if the file name does not say it
DECONVOLUTIONS = (0, 3, 6)  # places in `deconv`; a BatchNorm and a ReLU follow each
PLACES = {part: place for place, part in enumerate(RESNET) if part not in ("relu", "maxpool")}  # those with weights


@dataclass(frozen=True)
class Layout:
    """How other code names the parts of the network, and how it trained it."""

    name: str
    author: str  # whose code it is, for messages
    colours: Literal["rgb", "bgr"]  # the order of the channels of an input
    protocol: str  # whose recipe is the closest
    prefixes: tuple[tuple[str, str], ...]  # pairs of their prefix of a key and ours

    def ours(self, key: str) -> str | None:
        """Our name of one of their keys; None if the layout has no such key."""
        return next((ours + key[len(theirs) :] for theirs, ours in self.prefixes if key.startswith(theirs)), None)

    def theirs(self, key: str) -> str:
        """Their name of one of our keys; the key itself if they have no such key."""
        return next((theirs + key[len(ours) :] for theirs, ours in self.prefixes if key.startswith(ours)), key)


def _backbone(prefix: str, *, by_place: bool = False) -> tuple[tuple[str, str], ...]:
    """Prefixes of a ResNet whose parts are named as in torchvision, or by their place."""
    return tuple((f"{prefix}{place if by_place else part}.", f"backbone.{place}.") for part, place in PLACES.items())


def _tail(prefix: str) -> tuple[tuple[str, str], ...]:
    return (f"{prefix}deconv_layers.", "deconv."), (f"{prefix}final_layer.", "head.")


_STUDY = (("deconv.", "deconv."), ("topo.conv.", "topo.conv."), ("topo.bn.", "topo.norm."), ("head.", "head."))
LAYOUTS = (
    Layout("microsoft", "Xiao et al.'s code", "bgr", "standard", _backbone("") + _tail("")),
    Layout("mmpose", "mmpose", "rgb", "standard", _backbone("backbone.") + _tail("keypoint_head.")),  # mmpose 0
    Layout("mmpose", "mmpose", "rgb", "standard", _backbone("backbone.") + _tail("head.")),  # mmpose 1
    Layout("study", "the original study's code", "rgb", "paper", _backbone("backbone.", by_place=True) + _STUDY),
)


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """A network that other code trained."""

    layout: Layout
    config: RunConfig  # scores it as its authors would; without data, which a state dict does not name
    state: State  # its weights under our names
    notes: tuple[str, ...]  # what was found, changed or assumed, one line each

    def record(self) -> dict[str, Any]:
        """The entry "checkpoint" of result files."""
        recipe = self.config.recipe
        return {"layout": self.layout.name, "colours": recipe.colours, "input_size": recipe.input_size}


def convert(content: Any, name: str) -> ConvertedCheckpoint:
    """Convert the content of a checkpoint file to a network under our names.

    It is not checked whether all weights are there and have the right shapes: whoever fills the network does that.

    Args:
        content: what torch.load returned.
        name: the name of the file, which may state the input size.

    Raises:
        PoseTopoError: there is no state dict, its layout is not known, or the layout does not have all of its keys.
    """
    found = unwrap(content)
    layout = recognise(found)
    size, size_note = input_size(name)
    state, changes = _to_ours(found, layout)
    if (heatmaps := _rows(state, "head.weight")) not in (0, joints.K):
        raise PoseTopoError(f"it predicts {heatmaps} joints, not MPII's {joints.K}")
    notes, topography = [f"trained elsewhere ({layout.author}), how is not known here", size_note, *changes], None
    if channels := _rows(state, "topo.conv.weight"):
        # a state dict does not name the grid; for the study's 256 channels the squarest one is its 16 x 16
        grid = Lattice.squarest(channels)
        topography = Topography(grid.height, grid.width, batch_norm="topo.norm.running_mean" in state)
        notes.append(f"its {channels} topographic channels taken as a grid of {grid.height} x {grid.width}")
    base = PROTOCOLS[layout.protocol]
    sigma = base.sigma * size / base.input_size  # the targets' width grows with the input
    config = RunConfig(
        arch=_arch(state),
        recipe=replace(base, input_size=size, sigma=sigma, colours=layout.colours),
        data=Data("", "", name=""),
        topography=topography,
    )
    return ConvertedCheckpoint(layout, config, _with_defaults(state), tuple(notes))


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
    """Whether a value is a dense tensor of real numbers: not sparse, quantised, complex, nested or on "meta"."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return not (value.is_quantized or value.is_meta or value.is_complex() or value.is_nested)


def recognise(state: Mapping[str, Any]) -> Layout:
    """The layout that has the most of the keys.

    Raises:
        PoseTopoError: no layout has any.
    """
    known = [sum(layout.ours(key) is not None for key in state) for layout in LAYOUTS]
    if not max(known):
        names = ", ".join(dict.fromkeys(layout.name for layout in LAYOUTS))
        raise PoseTopoError(f"neither ours nor of a known layout ({names}): keys {listed(state)}")
    return LAYOUTS[known.index(max(known))]


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few names in alphabetical order, and how many more there are."""
    every = sorted(map(str, names))
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(name[:100] for name in every[:most]) + more


def input_size(name: str) -> tuple[int, str]:
    """The side of the input in pixels, and a note that says where it is from: 384 for `pose_resnet_50_384x384.pth.tar`.

    Raises:
        PoseTopoError: the size in the name is not square, or not a multiple of 32.
    """
    sizes = re.findall(r"(?<!\d)(\d{3})x(\d{3})(?!\d)", name)
    if not sizes:
        return INPUT_SIZE, f"input size {INPUT_SIZE} assumed: the file's name holds none"
    height, width = map(int, sizes[-1])
    if height != width or height % 32:
        raise PoseTopoError(
            f"its name says {height}x{width}: only squares with sides that are multiples of 32 are known"
        )
    return height, f"input size {height}, by the file's name"


def _to_ours(state: State, layout: Layout) -> tuple[State, list[str]]:
    """The weights under our names and as our network needs them, and a line for each change.

    Raises:
        PoseTopoError: the layout does not have all of the keys, or its deconvolutions should have biases but do not.
    """
    if unknown := [key for key in state if layout.ours(key) is None]:
        raise PoseTopoError(f"{layout.name} layout, but with unknown keys {listed(unknown)}")
    state, folded = fold_biases({layout.ours(key) or "": value for key, value in state.items()})
    changes = ["its deconvolutions' biases folded into the BatchNorm that follows"] if folded else []
    if layout.name == "study":
        if missing := [f"deconv.{place}.bias" for place in DECONVOLUTIONS if place not in folded]:
            raise PoseTopoError(f"the study's layout, but without {', '.join(missing)}")
        state = turn_channels(state)
        changes.append(f"its channel k taken as joint (k + 1) mod {joints.K}: the study's code was off by one")
    return state, changes


def fold_biases(state: State) -> tuple[State, list[int]]:
    """Subtract the bias of each deconvolution from the running mean of the BatchNorm that follows.

    (x + b) - mean = x - (mean - b), which is exact except for rounding while BatchNorm uses its running mean.

    Returns:
        The weights without these biases, and the places of the deconvolutions that had one.

    Raises:
        PoseTopoError: a bias and its running mean have different shapes.
    """
    state, folded = dict(state), []
    for place in DECONVOLUTIONS:
        of_mean, of_bias = f"deconv.{place + 1}.running_mean", f"deconv.{place}.bias"
        if of_mean in state and of_bias in state:
            mean, bias = state[of_mean], state.pop(of_bias)
            if bias.shape != mean.shape or not (bias.is_floating_point() and mean.is_floating_point()):
                raise PoseTopoError(f"the bias of deconvolution {place} does not fit the BatchNorm that follows")
            state[of_mean] = (mean.double() - bias.double()).float()
            folded.append(place)
    return state, folded


def turn_channels(state: State) -> State:
    """Put the heatmaps of the study in MPII's order: its channel k is joint (k + 1) mod 16."""
    turned = {key: state[key].roll(1, 0) for key in ("head.weight", "head.bias") if _rows(state, key)}
    return {**state, **turned}


def _rows(state: State, key: str) -> int:
    """The length of a tensor's first axis; 0 if there is no such tensor."""
    return len(state[key]) if key in state and state[key].ndim else 0


def _arch(state: State) -> str:
    """The backbone whose weights have the most similar names. The names that differ are found when it is filled."""
    names = {key.removeprefix("backbone.") for key in state if key.startswith("backbone.")}
    return min(BACKBONES, key=lambda arch: len(names ^ _names(arch)))


@lru_cache
def _names(arch: str) -> frozenset[str]:
    with torch.device("meta"):  # names need no numbers
        return frozenset(build_backbone(arch).state_dict())


def _with_defaults(state: State) -> State:
    """Add what older versions of PyTorch, or a BatchNorm without scale and offset, do not save."""
    filled = dict(state)
    for key in state:
        if key.endswith(".running_mean"):
            filled.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    if (mean := state.get("topo.norm.running_mean")) is not None:
        filled.setdefault("topo.norm.weight", torch.ones_like(mean))
        filled.setdefault("topo.norm.bias", torch.zeros_like(mean))
    return filled
