"""Training steps: the network alone, the whole loop, and the loop that public code has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from pose_topo import provenance
from pose_topo.bench.plain import PlainLoop
from pose_topo.bench.timing import side_by_side
from pose_topo.config import RunConfig
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.crop_store import CropStore
from pose_topo.data.people import People
from pose_topo.devices import pick_precision, prepare_device, seed_everything
from pose_topo.models.pose import build_model
from pose_topo.training.meter import Meter
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.steps import train_epoch

STEPS = 12


def step_cost(
    store: CropStore, people: People, img_dir: Path, config: RunConfig, device: torch.device, *, compiled: bool = False
) -> dict[str, float]:
    """A training step on a batch that is there already (the ceiling), with its batch made for it, and in the plain
    loop; `compiled`: also the ceiling under torch.compile."""
    recipe = config.recipe
    prepare_device(device, None, deterministic=False)
    batches = Batches(store, people, np.arange(len(people)), recipe, device)
    steps = min(STEPS, batches.steps(recipe.batch_size))
    fixed = next(batches.epoch(0, 1, recipe.batch_size))
    ours = trainer(config, device)
    ours(islice(batches.epoch(0, 1, recipe.batch_size), steps))
    peak = provenance.peak_memory(device)  # before there is a second network
    plain = PlainLoop(people, img_dir, config, device)
    actions = {
        "model_only": lambda: ours([fixed] * steps),
        "full": lambda: ours(islice(batches.epoch(0, 1, recipe.batch_size), steps)),
        "plain": lambda: plain.run(steps),
    }
    if compiled:
        faster = trainer(config, device, compiled=True)
        actions["compiled"] = lambda: faster([fixed] * steps)
    spent = {name: time / steps for name, time in side_by_side(actions, device).items()}
    cost = {f"step_{name}_ms": time for name, time in spent.items()}
    cost |= {f"images_per_s_{name}": 1e3 * recipe.batch_size / time for name, time in spent.items()}
    cost |= {
        "full_over_ceiling": spent["model_only"] / spent["full"],
        "full_over_plain": spent["plain"] / spent["full"],
    }
    if compiled:
        cost["compiled_over_model_only"] = spent["model_only"] / spent["compiled"]
    return cost | {f"peak_{kind}_mb": size / 1e6 for kind, size in peak.items()}


def trainer(config: RunConfig, device: torch.device, compiled: bool = False) -> Callable[[Iterable[Batch]], None]:
    """What trains a new network on batches, as the training loop does."""
    seed_everything(0)
    model = build_model(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        model.compile()
    optimizer, precision = make_optimizer(model, config.recipe), pick_precision(config.precision, device)

    def run(batches: Iterable[Batch]) -> None:
        train_epoch(
            model, optimizer, batches, config.recipe, precision=precision, strength=0.5, rate=lambda _: 1e-4,
            first_step=0, meter=Meter(device),
        )  # fmt: skip

    return run
