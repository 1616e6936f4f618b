"""Networks that other code trained: their conventions turned into ours, by pure functions of a state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from pose_topo import joints
from pose_topo.config import Data, RunConfig, Topography
from pose_topo.errors import PoseTopoError
from pose_topo.lattice import Lattice
from pose_topo.models.layouts import PLACES, Layout, State, recognise, renamed, unwrap
from pose_topo.protocols import PROTOCOLS

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
        model="topo" if topography else "baseline",
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
