"""Build a backbone, and fill it with ImageNet weights. `study/backbones.py` has the list of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchvision
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import sha256_file
from pose_topo.study.backbones import backbone
from pose_topo.study.config import RunConfig

if TYPE_CHECKING:
    from pose_topo.models.pose import SimpleBaseline


def build_backbone(arch: str) -> nn.Sequential:
    """The parts of torchvision's model `arch`, with random weights: (B, 3, H, W) -> (B, channels, H/stride, W/stride).

    The whole classifier is built first, so that the random numbers that follow do not depend on what is left out.

    Raises:
        UsageError: an unknown backbone.
    """
    parts = backbone(arch).parts
    classifier = getattr(torchvision.models, arch)(weights=None)
    return nn.Sequential(*(getattr(classifier, part) for part in parts))


def load_imagenet(model: SimpleBaseline, config: RunConfig, path: Path) -> dict[str, str]:
    """Fill a network's backbone with ImageNet weights, in place.

    Args:
        config: names the backbone, and says whether the file was given by the user.
        path: the file of the weights: `download.weights.imagenet_file(config)`.

    Returns:
        For provenance.json: "file", its name; "sha256"; and "source", the address where a verified file is published,
        or "--weights" for a file that was given.

    Raises:
        PoseTopoError: the file is not a state_dict, or does not fit the backbone.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on a file that it did not write
        raise PoseTopoError(f"{path} is not a state_dict ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(state, dict):
        raise PoseTopoError(f"{path} is not a state_dict")
    try:
        model.backbone.load_state_dict(_kept(state, backbone(config.arch).parts))
    except RuntimeError as error:
        raise PoseTopoError(f"{path} does not fit {config.arch}: {str(error).splitlines()[-1].strip()[:160]}") from None
    source = "--weights" if config.weights else backbone(config.arch).weights_url
    return {"file": path.name, "sha256": sha256_file(path), "source": source}


def _kept(state: dict[str, Tensor], parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights of some parts of torchvision's model, under their names in a Sequential of these parts."""
    kept = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part in parts:
            kept[f"{parts.index(part)}.{rest}"] = value
    return kept
