"""Compare each spatial loss and its gradient with the heatmap loss: the table in docs/regularizers.md.

    .venv/bin/python tools/loss_scales.py --data DATA [--steps N]

Print the loss, and the length of its gradient divided by that of the heatmap loss, in the weights of the topographic
layer and in all parameters. They are computed on one batch of the recipe of the protocol small (ResNet-18, 128 px, 16
people, fp32, seed 0) in an untrained network, and in one that was trained N steps without a spatial loss. Lambda
multiplies both.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch

from pose_topo.core.machine import seed_everything
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.crop_store import open_or_build
from pose_topo.data.dataset import present_people
from pose_topo.data.people import CropSettings
from pose_topo.models.pose import TopoModel, build_model
from pose_topo.models.regularizers import LOSSES, spatial_loss
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import SMALL
from pose_topo.training.epoch import train_steps
from pose_topo.training.optimisation import heatmap_loss, learning_rate, make_optimizer
from pose_topo.training.state import Meter

CPU = torch.device("cpu")


def lengths(model: TopoModel, loss: torch.Tensor) -> tuple[float, float]:
    """The length of the gradient in the weights of the topographic layer, and in all parameters."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    gradients = {id(p): g for p, g in zip(parameters, found, strict=True) if g is not None}
    every = torch.stack([g.norm() for g in gradients.values()]).norm()
    return gradients[id(model.topo.conv.weight)].norm().item(), every.item()


def rows(model: TopoModel, batch: Batch) -> list[str]:
    """A line about the heatmap loss, and one row per spatial loss."""
    model.train()
    maps, features = model(batch.images, with_features=True)
    heatmap = heatmap_loss(maps, batch.targets, batch.mask, SMALL.loss, SMALL.mask_unlabelled)
    layer, every = lengths(model, heatmap)
    silent = int((features.amax((0, 2, 3)) <= 0).sum())
    lines = [
        f"heatmap loss {heatmap.item():.3g}, its gradient {layer:.3g} in the layer, {every:.3g} in all; "
        f"{silent} of {features.shape[1]} channels silent"
    ]
    for name in LOSSES:
        loss = spatial_loss(name, model.topo.lattice, model.topo.conv.weight, features)
        mine, all_of_it = lengths(model, loss)
        lines.append(f"| `{name}` | {loss.item():.3g} | {mine / layer:.3g} | {all_of_it / every:.3g} |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--steps", type=int, default=60)
    chosen = parser.parse_args(arguments)
    config = RunConfig("resnet18", SMALL, Data.at(chosen.data), Topography(weight=0.0))
    with tempfile.TemporaryDirectory() as work:
        people, _ = present_people(config.data, Path(work))
        settings = CropSettings(SMALL.framing, SMALL.input_size, SMALL.antialias)
        store = open_or_build(people, Path(config.data.img_dir), settings, Path(work), workers=1, progress=False)
        batches = Batches(store, people, np.arange(len(people)), SMALL, CPU)
        seed_everything(0)
        model = build_model(config)
        assert isinstance(model, TopoModel)
        fixed = next(batches.epoch(0, 1, SMALL.batch_size))
        print("untrained", *rows(model, fixed), sep="\n")
        endless = chain.from_iterable(batches.epoch(0, epoch, SMALL.batch_size) for epoch in count(1))
        once, optimizer = replace(SMALL, epochs=1), make_optimizer(model, SMALL)
        steps = train_steps(
            model, optimizer, endless, SMALL, precision="fp32", spatial_lambda=0.0,
            rate=lambda step: learning_rate(once, step, chosen.steps), first_step=0, meter=Meter(CPU),
        )  # fmt: skip
        deque(islice(steps, chosen.steps), maxlen=0)
        print(f"after {chosen.steps} steps without a spatial loss", *rows(model, fixed), sep="\n")


if __name__ == "__main__":
    main()
