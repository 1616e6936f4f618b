"""A network as the measures see it: its grid, the layer that lies on it, and the weights in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pose_topo.config import RunConfig
from pose_topo.devices import seed_everything
from pose_topo.lattice import Lattice
from pose_topo.models.pose import SimpleBaseline, TopoModel, build_model
from pose_topo.models.weights import load_imagenet

Array = NDArray[np.float64]


def grid_of(model: SimpleBaseline) -> Lattice:
    """The lattice of the layer; for a baseline its channels in an arbitrary, as square as possible, arrangement."""
    if isinstance(model, TopoModel):
        return model.topo.lattice
    return Lattice.squarest(model.head.in_channels)


def mapped_layer(model: SimpleBaseline) -> nn.Module:
    """The layer whose channels lie on the grid."""
    return model.topo if isinstance(model, TopoModel) else model.deconv


def head_weight(model: SimpleBaseline) -> Array:
    """Weights (K, C) of the 1x1 head."""
    return model.head.weight.detach().double().cpu().numpy()[:, :, 0, 0]


def layer_weight(model: SimpleBaseline) -> Array:
    """Incoming weights (C, D) of the channels on the grid: the topographic layer's, or the last deconvolution's."""
    weight = model.topo.conv.weight if isinstance(model, TopoModel) else model.deconv[6].weight.transpose(0, 1)  # type: ignore[operator]
    return weight.detach().double().cpu().flatten(1).numpy()  # type: ignore[union-attr]


def untrained(config: RunConfig, cache: Path | None, say: Callable[[str], None]) -> SimpleBaseline:
    """The network as its training found it: the run's seed, and ImageNet weights where the run took them.

    Raises:
        PoseTopoError: the ImageNet weights are not to be had.
    """
    seed_everything(config.seed)
    model = build_model(config)
    if config.recipe.pretrained:
        load_imagenet(model, config, cache, say)
    return model.eval()
