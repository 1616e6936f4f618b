"""Fill a network with the weights that it starts from: an ImageNet backbone, or a trained pose network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import sha256_file
from pose_topo.models.pose import SimpleBaseline
from pose_topo.study import runs
from pose_topo.study.backbones import backbone
from pose_topo.study.config import RunConfig

TAKEN = ("backbone.", "deconv.")  # of a pose network. The topographic layer and the head start at random


def load_start(model: SimpleBaseline, config: RunConfig, path: Path) -> dict[str, str]:
    """Fill a network with the weights that its recipe starts from, in place.

    Args:
        config: says whether the file holds ImageNet weights or a pose network.
        path: the file: `download.weights.start_file(config)`.

    Returns:
        For provenance.json: "file", its name; "sha256"; and "source", the address where a verified file is published,
        the option of a file that was given, or "released".

    Raises:
        PoseTopoError: the file is not readable, or its weights do not fit the network.
    """
    if config.recipe.start == "imagenet":
        state = _kept(_read_state_dict(path), backbone(config.arch).parts)
        target: torch.nn.Module = model.backbone
        source = "--weights" if config.weights else backbone(config.arch).weights_url
    else:
        start = runs.load_checkpoint(path)
        if start.config.arch != config.arch:
            raise PoseTopoError(
                f"{path} is a {start.config.arch}, not a {config.arch}: give --arch {start.config.arch}, or another "
                "--start (imagenet, none)"
            )
        state = {key: value for key, value in start.model.items() if key.startswith(TAKEN)}
        own = {key: value for key, value in model.state_dict().items() if not key.startswith(TAKEN)}
        target, state = model, own | state
        source = "--start" if config.recipe.start == "network" else "released"
    if broken := [key for key, value in state.items() if isinstance(value, Tensor) and not value.isfinite().all()]:
        raise PoseTopoError(f"{path}: weights are not finite: {broken[0]}")
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise PoseTopoError(f"{path} does not fit {config.arch}: {str(error).splitlines()[-1].strip()[:160]}") from None
    return {"file": path.name, "sha256": sha256_file(path), "source": source}


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = runs.read_content(path)
    except PoseTopoError as error:
        raise PoseTopoError(f"{path} is not a state_dict ({error})") from None
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise PoseTopoError(f"{path} is not a state_dict")
    return content


def _kept(state: dict[str, Tensor], parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights of some parts of torchvision's model, under their names in a Sequential of these parts."""
    kept = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part in parts:
            kept[f"{parts.index(part)}.{rest}"] = value
    return kept
