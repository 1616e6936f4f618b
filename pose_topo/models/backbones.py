"""ImageNet weights for the backbone, never silently random."""

from __future__ import annotations

from pathlib import Path

import torch

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import cache_folder, sha256_file
from pose_topo.download.weights import fetch_weights, weights_remote
from pose_topo.models.pose import SimpleBaseline
from pose_topo.study.config import RunConfig


def load_imagenet(model: SimpleBaseline, config: RunConfig, cache: Path | None) -> dict[str, str]:
    """Fill the backbone: from `config.weights`, else the verified cache, else by download.

    Returns:
        "file", its name; "sha256"; and "source", where a verified file is published, or "--weights" for one that was
        given: for the run's provenance.

    Raises:
        PoseTopoError: the weights are not to be had, or do not fit.
    """
    path = imagenet_file(config, cache)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file fails in many ways
        raise PoseTopoError(f"{path} is not a state_dict ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(state, dict):
        raise PoseTopoError(f"{path} is not a state_dict")
    ours = _renamed(state)
    try:
        model.backbone.load_state_dict(ours)
    except RuntimeError as error:
        raise PoseTopoError(f"{path} does not fit {config.arch}: {str(error).splitlines()[-1].strip()[:160]}") from None
    source = "--weights" if config.weights else weights_remote(config.arch).urls[0]
    return {"file": path.name, "sha256": sha256_file(path), "source": source}


def imagenet_file(config: RunConfig, cache: Path | None) -> Path:
    """Where a run's ImageNet weights lie, fetching them if need be.

    Raises:
        PoseTopoError: they are not to be had: the line says how to fetch them by hand.
    """
    if not config.weights:
        return fetch_weights(config.arch, cache_folder(cache)).path
    path = Path(config.weights)
    if not path.is_file():
        raise PoseTopoError(
            f"--weights {path}: no such file; give a torchvision {config.arch} state_dict, or --no-pretrained"
        )
    return path


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's names -> places in the Sequential of its children; the classifier is left out."""
    children = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    renamed = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first in children:
            renamed[f"{children.index(first)}.{rest}"] = value
    return renamed
