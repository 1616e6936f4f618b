"""Training steps: the network alone, the whole loop, and the loop that public code has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch

from pose_topo import provenance
from pose_topo.bench.plain import PlainLoop
from pose_topo.bench.timing import side_by_side
from pose_topo.bench.utilisation import utilisation
from pose_topo.config import RunConfig
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.crop_store import CropStore
from pose_topo.data.people import People
from pose_topo.devices import pick_precision, prepare_device, seed_everything
from pose_topo.models.pose import build_model
from pose_topo.training.meter import Meter
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.steps import train_epoch

STEPS = 12  # timed at a time on a CPU ...
CUDA_STEPS = 60  # ... and on a GPU, where the wait at their end is one for all of them
PLAIN_PEOPLE = 384  # that the plain loop serves at a time, at most: on a GPU it is far behind


def step_cost(
    store: CropStore, people: People, img_dir: Path, config: RunConfig, device: torch.device, *, compiled: bool = False
) -> dict[str, float]:
    """A training step on a batch that is there already (the ceiling), with its batch made for it, and in the plain
    loop; `compiled`: also the ceiling under torch.compile."""
    recipe, size = config.recipe, config.recipe.batch_size
    prepare_device(device, None, deterministic=False)
    provenance.forget_peak_memory(device)  # of what was measured before
    batches = Batches(store, people, np.arange(len(people)), recipe, device)
    steps = CUDA_STEPS if device.type == "cuda" else STEPS
    fixed = next(batches.epoch(0, 1, size))
    ours = trainer(config, device)
    ours(endless(batches, size, steps))
    peak = provenance.peak_memory(device)  # before there is a second network
    busy = utilisation(lambda: ours(endless(batches, size, steps)), device)
    plain, few = PlainLoop(people, img_dir, config, device), max(1, min(steps, PLAIN_PEOPLE // size))
    actions = {
        "model_only": lambda: ours([fixed] * steps),
        "full": lambda: ours(endless(batches, size, steps)),
        "plain": lambda: plain.run(few),
    }
    if compiled:
        faster = trainer(config, device, compiled=True)
        actions["compiled"] = lambda: faster([fixed] * steps)
    taken = side_by_side(actions, device)
    spent = {name: time / (few if name == "plain" else steps) for name, time in taken.items()}
    cost = {f"step_{name}_ms": time for name, time in spent.items()}
    cost |= {f"images_per_s_{name}": 1e3 * size / time for name, time in spent.items()}
    cost |= {
        "full_over_ceiling": spent["model_only"] / spent["full"],
        "full_over_plain": spent["plain"] / spent["full"],
    }
    if compiled:
        cost["compiled_over_model_only"] = spent["model_only"] / spent["compiled"]
    return cost | busy | {f"peak_{kind}_mb": bytes_ / 1e6 for kind, bytes_ in peak.items()}


def endless(batches: Batches, size: int, steps: int) -> Iterator[Batch]:
    """Batches of so many steps, epoch after epoch."""
    return islice(chain.from_iterable(batches.epoch(0, epoch, size) for epoch in count(1)), steps)


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
