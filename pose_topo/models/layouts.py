"""How other code names the parts of the same network, and how it feeds it: three layouts, told apart by their keys.

All three normalise with ImageNet's mean and deviation, channel by channel as they lie: Xiao et al.'s code feeds BGR,
and takes red's mean from blue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pose_topo.errors import PoseTopoError

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
