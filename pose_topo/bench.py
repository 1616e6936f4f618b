"""What each part of the chain costs on this machine: `make bench`. Ratios are of one run: machines are noisy.

Nothing here is a test: a time is printed, never asserted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pose_topo import provenance
from pose_topo.config import TOPO_LOSSES, Data, Recipe, RunConfig, Topography
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.crop_store import CropStore, open_or_build
from pose_topo.data.crops import CropSettings, read_photograph
from pose_topo.data.dataset import present_people
from pose_topo.data.people import People, head_size
from pose_topo.devices import autocast, pick_device, pick_precision, seed_everything
from pose_topo.evaluation.evaluate import BATCH
from pose_topo.evaluation.inference import predict
from pose_topo.evaluation.pckh import score
from pose_topo.lattice import Lattice
from pose_topo.models.pose import build_model
from pose_topo.models.regularizers import spatial_loss
from pose_topo.protocols import PROTOCOLS
from pose_topo.training.meter import Meter
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.steps import train_epoch

STEPS = 12


def quiet(_text: str) -> None:
    """Status lines have no place among the numbers."""


def milliseconds(action: Callable[[], Any], device: torch.device, times: int = 3) -> float:
    """The median time of `action`, after one call to warm up."""
    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken[1:])


def crops_cost(people: People, img_dir: Path, settings: CropSettings, work: Path) -> tuple[dict[str, float], CropStore]:
    """Decoding every photograph once, against building the store (which decodes them too), one worker each."""
    names = list(dict.fromkeys(people.names))
    cpu = torch.device("cpu")
    decode = milliseconds(lambda: [read_photograph(img_dir / name) for name in names], cpu)
    caches = iter(work / f"cache{k}" for k in range(10))

    def build() -> CropStore:
        return open_or_build(people, img_dir, settings, next(caches), workers=1, progress=False, say=quiet)

    built = milliseconds(build, cpu)
    cost = {
        "photographs": len(names),
        "people_per_photograph": len(people) / len(names),
        "decode_ms_per_person": decode / len(people),
        "crop_build_ms_per_person": built / len(people),
        "crop_build_over_decode": built / decode,
    }
    return cost, build()


def batch_cost(store: CropStore, people: People, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Making batches, without and with the standard augmentation."""
    cost = {}
    for augment in ("none", "standard"):
        batches = Batches(store, people, _rows(people), replace(recipe, augment=augment), device)  # type: ignore[arg-type]
        spent = milliseconds(lambda b=batches: list(b.epoch(0, 1, recipe.batch_size)), device)
        cost[f"batch_{augment}_ms_per_person"] = spent / len(people)
    return cost


def step_cost(store: CropStore, people: People, config: RunConfig, device: torch.device) -> dict[str, float]:
    """A training step on a batch that is there already (the ceiling), and with its batch made for it."""
    recipe = config.recipe
    precision = pick_precision(config.precision, device)
    seed_everything(0)
    model = build_model(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    batches = Batches(store, people, _rows(people), recipe, device)
    steps = min(STEPS, len(people) // recipe.batch_size)
    fixed = next(batches.epoch(0, 1, recipe.batch_size))

    def run(source: Iterable[Batch]) -> None:
        train_epoch(
            model, optimizer, source, recipe, precision=precision, strength=0.5, rate=lambda _: 1e-4, first_step=0,
            meter=Meter(device),
        )  # fmt: skip

    def first(count: int) -> Iterable[Batch]:
        return (batch for batch, _ in zip(batches.epoch(0, 1, recipe.batch_size), range(count), strict=False))

    ceiling = milliseconds(lambda: run([fixed] * steps), device) / steps
    full = milliseconds(lambda: run(first(steps)), device) / steps
    return {
        "step_model_only_ms": ceiling,
        "step_full_ms": full,
        "step_share_outside_model": max(0.0, 1 - ceiling / full),
        "images_per_s_model_only": 1e3 * recipe.batch_size / ceiling,
        "images_per_s_full": 1e3 * recipe.batch_size / full,
    }


def evaluation_cost(store: CropStore, people: People, config: RunConfig, device: torch.device) -> dict[str, float]:
    """Scoring people with the flip test, against the two forward passes alone on a batch that is there already.

    The ceiling is measured before and after, since a machine's speed drifts.
    """
    recipe = config.recipe
    precision = pick_precision(config.precision, device)
    seed_everything(0)
    model = build_model(config).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    size = min(BATCH, len(people))
    rows = _rows(people)[: len(people) // size * size]
    batches = Batches(store, people, rows, recipe, device)
    fixed = next(batches.in_order(size)).images

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(2 * len(rows) // size):
            with autocast(device, precision):
                model(fixed)

    def find() -> tuple[Any, Any, Any]:
        return predict(
            model, batches.in_order(size), batches.input_to_photo(), flip_test=True, decode_by=recipe.decode,
            sigma=recipe.sigma, precision=precision,
        )  # fmt: skip

    def judge(found: Any, where: Any) -> None:
        seen = people.take(where)
        score(found, seen.joints, seen.labelled, head_size(seen.head_box))

    found, _, where = find()
    before = milliseconds(forward, device)
    inference = milliseconds(find, device)
    ceiling = (before + milliseconds(forward, device)) / 2
    scoring = milliseconds(lambda: judge(found, where), torch.device("cpu"))
    return {
        "evaluation_images_per_s_model_only": 1e3 * len(rows) / ceiling,
        "evaluation_images_per_s": 1e3 * len(rows) / (inference + scoring),
        "evaluation_score_ms": scoring,
        "evaluation_over_model_only": ceiling / (inference + scoring),
    }


def spatial_loss_cost(device: torch.device) -> dict[str, float]:
    """Forward and backward of each spatial loss alone: 256 inputs to a 16 x 16 grid, 16 pictures of 32 x 32 cells."""
    lattice = Lattice(16, 16)
    weight = torch.randn(256, 256, 1, 1, device=device, requires_grad=True)
    maps = torch.randn(16, 256, 32, 32, device=device).relu_().to(memory_format=torch.channels_last).requires_grad_()

    def run(name: str) -> None:
        read = weight if TOPO_LOSSES[name] == "weights" else maps
        torch.autograd.grad(spatial_loss(name, lattice, weight, maps), read)

    return {f"loss_{name}_ms": milliseconds(lambda n=name: run(n), device, 9) for name in TOPO_LOSSES}


def _rows(people: People) -> Any:
    import numpy as np

    return np.arange(len(people))


def measure(data: Data, config: RunConfig, count: int, work: Path) -> dict[str, Any]:
    """All of it, on the first `count` people of a data set; stores are built below `work`."""
    device = pick_device(config.device, quiet)
    people, _ = present_people(data, quiet, work / "cache")
    people = people.take(slice(0, count))  # type: ignore[arg-type]
    recipe = config.recipe
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    crops, store = crops_cost(people, Path(data.img_dir), settings, work)
    origin = provenance.collect(device, pick_precision(config.precision, device), "", 0)
    kept = ("device", "cuda", "driver", "torch", "python", "threads", "precision")
    setting = {"arch": config.arch, "protocol": recipe.protocol, "input": recipe.input_size, "batch": recipe.batch_size}
    return {
        "machine": {key: origin[key] for key in kept},
        "setting": setting | {"people": len(people)},
        **crops,
        **batch_cost(store, people, recipe, device),
        **step_cost(store, people, config, device),
        **evaluation_cost(store, people, config, device),
        **spatial_loss_cost(device),
    }


def table(result: dict[str, Any]) -> str:
    """The numbers, one a line."""
    head = [f"{key}: {value}" for part in ("machine", "setting") for key, value in result[part].items()]
    return "\n".join(["; ".join(head), *(f"{v:>12.3f}  {k}" for k, v in result.items() if isinstance(v, int | float))])


def main() -> None:
    """The command: JSON on stdout, the table on stderr."""
    parser = argparse.ArgumentParser(prog="python -m pose_topo.bench", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="demo")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--people", type=int, default=192)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = PROTOCOLS[options.protocol]
    if options.batch_size:
        recipe = replace(recipe, batch_size=options.batch_size)
    data = Data.at(options.data)
    config = RunConfig("topo", options.arch, recipe, data, Topography(), device=options.device)
    work = Path(tempfile.mkdtemp(prefix="pose_topo_bench"))
    try:
        result = measure(data, config, options.people, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(result, indent=2, sort_keys=True))
    print(table(result), file=sys.stderr)


if __name__ == "__main__":
    main()
