"""`python -m pose_topo.bench` measures every part; `python -m pose_topo.bench steps` measures training steps alone.

The second command takes several backbones and batch sizes, and is mainly meant for a GPU. For each it measures the
network alone on a batch that is ready (the ceiling), the whole loop, their ratio, peak memory and, on CUDA, how busy
the GPU is during the whole loop. Both print JSON to stdout and a table to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose_topo.bench import costs
from pose_topo.bench.costs import endless, milliseconds, side_by_side, trainer, utilisation
from pose_topo.core.errors import PoseTopoError, guarded
from pose_topo.core.log import log
from pose_topo.core.machine import (
    forget_peak_memory,
    peak_memory,
    pick_device,
    pick_precision,
    prepare_device,
    provenance,
)
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.crop_store import open_or_build
from pose_topo.data.dataset import present_people
from pose_topo.data.people import CropSettings, CropStore, People
from pose_topo.study import joints
from pose_topo.study.config import Data, RunConfig, Topography, to_dict
from pose_topo.study.protocols import PROTOCOLS

IMAGES = 1024  # the fewest images per timing of `steps`
FEWEST_STEPS = 8


def machine(device: torch.device, precision: str, *more: str) -> dict[str, Any]:
    """The machine and the software that something is measured with, and `more` entries of its provenance."""
    origin = provenance(device, precision, "", 0)
    kept = ("commit", "device", "cuda", "driver", "torch", "python", "threads", "precision", *more)
    return {key: origin[key] for key in kept}


def seconds_per_step(config: RunConfig, device: torch.device, steps: int = 3) -> float:
    """The time of a training step on random pictures: the median of three times `steps` steps."""
    recipe = config.recipe
    size, cells = recipe.batch_size, recipe.heatmap_size
    images = torch.randn(size, 3, recipe.input_size, recipe.input_size, device=device)
    batch = Batch(
        images.contiguous(memory_format=torch.channels_last),
        torch.zeros(size, joints.K, cells, cells, device=device),
        torch.ones(size, joints.K, device=device),
        np.arange(size),
    )
    run = trainer(config, device)
    return milliseconds(lambda: run([batch] * steps), device) / steps / 1e3


# ---- two programs on the same cores

_STEPS = """
from pose_topo.commands.app import share_cores
if {shared}: share_cores()
import json, sys, torch
from pose_topo.bench.__main__ import seconds_per_step
from pose_topo.study.config import RunConfig, from_dict
config = from_dict(RunConfig, json.loads(sys.argv[1]))
print(config.recipe.batch_size / seconds_per_step(config, torch.device("cpu")))
"""


def sharing_cost(config: RunConfig) -> dict[str, float]:
    """images/s of a training on the CPU alone and beside a second one, with `share_cores` and with torch's defaults."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    found = {}
    for name, shared in (("shared", True), ("default", False)):
        command = [sys.executable, "-c", _STEPS.format(shared=shared), json.dumps(to_dict(config))]
        for count in (1, 2):
            pipe = subprocess.PIPE
            running = [subprocess.Popen(command, stdout=pipe, env=environment, text=True) for _ in range(count)]
            rates = [float(process.communicate()[0]) for process in running]
            found[f"cores_{name}_{'alone' if count == 1 else 'each_of_two'}_images_per_s"] = sum(rates) / count
    return found


# ---- every part


def measure(
    data: Data,
    config: RunConfig,
    count: int,
    work: Path,
    *,
    score: int | None = None,
    compiled: bool = False,
) -> dict[str, Any]:
    """Measure every part.

    Args:
        count: the first so many people of the data set are used.
        score: how many of them are scored; None for all.
        work: a folder for crop stores.
        compiled: also measure torch.compile.

    Returns:
        "machine", "setting", and the numbers of `costs`.
    """
    device = pick_device(config.device, warn=False)
    everyone, _ = present_people(data, work / "cache")
    recipe = config.recipe
    count = min(count, len(everyone)) // recipe.batch_size * recipe.batch_size  # whole batches only
    if not count:
        raise PoseTopoError(f"{data.mat_path}: fewer people than a batch of {recipe.batch_size}")
    people = everyone.take(np.arange(count))
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    photographs = Path(data.img_dir)
    log.info("measuring: crops")
    found, store = costs.crops_cost(people, photographs, settings, work)
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "photographs of 720p and 1080p": lambda: costs.sized_crops_cost(everyone, photographs, settings, work),
        "batches": lambda: costs.batch_cost(store, people, recipe, device),
        "training": lambda: costs.step_cost(store, people, photographs, config, device, compiled=compiled),
        "evaluation": lambda: costs.evaluation_cost(store, people, config, device, score or len(people)),
        "robustness": lambda: costs.robustness_cost(store, people, config, device),
        "audit": lambda: costs.audit_cost(photographs, device),
        "spatial losses": lambda: costs.spatial_loss_cost(device),
        "two programs on the same cores": lambda: sharing_cost(config),
    }
    for name, part in parts.items():
        log.info(f"measuring: {name}")
        found |= part()
    setting = {"arch": config.arch, "protocol": recipe.protocol, "input": recipe.input_size, "batch": recipe.batch_size}
    where = machine(device, pick_precision(config.precision, device))
    return {"machine": where, "setting": setting | {"people": len(people)}, **found}


def table(result: dict[str, Any]) -> str:
    """The numbers, one per line."""
    head = [f"{key}: {value}" for part in ("machine", "setting") for key, value in result[part].items()]
    return "\n".join(["; ".join(head), *(f"{v:>12.3f}  {k}" for k, v in result.items() if isinstance(v, int | float))])


def _parser(command: str, protocol: str) -> argparse.ArgumentParser:
    """A parser of the options that both commands have."""
    parser = argparse.ArgumentParser(prog=command, description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default=protocol)
    parser.add_argument("--device", default="auto")
    return parser


def measure_parts(arguments: Sequence[str]) -> None:
    """Run `python -m pose_topo.bench`."""
    parser = _parser("python -m pose_topo.bench", "small")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--people", type=int, default=192)
    parser.add_argument("--score", type=int, help="people to score, repeated if there are fewer [default: --people]")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--compiled", action="store_true", help="also measure torch.compile (a minute more)")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = PROTOCOLS[options.protocol]
    given = {"batch_size": options.batch_size, "input_size": options.input_size}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value})
    data = Data.at(options.data)
    config = RunConfig(options.arch, recipe, data, Topography(), device=options.device)
    with tempfile.TemporaryDirectory(prefix="pose_topo_bench", ignore_cleanup_errors=True) as work:
        result = measure(data, config, options.people, Path(work), score=options.score, compiled=options.compiled)
    print(json.dumps(result, indent=2, sort_keys=True))
    print(table(result), file=sys.stderr)


# ---- training steps of several backbones and batch sizes


def row(store: CropStore, people: People, config: RunConfig, device: torch.device, *, compiled: bool) -> dict[str, Any]:
    """Measure one backbone with one batch size."""
    size = config.recipe.batch_size
    steps = max(FEWEST_STEPS, IMAGES // size)
    run = trainer(config, device, compiled=compiled)
    batches = Batches(store, people, np.arange(len(people)), config.recipe, device)
    fixed = next(batches.epoch(0, 1, size))
    forget_peak_memory(device)  # of what was measured before

    def whole() -> None:
        run(endless(batches, size, steps))

    spent = side_by_side({"ceiling": lambda: run([fixed] * steps), "full": whole}, device)
    return {
        "arch": config.arch,
        "protocol": config.recipe.protocol,
        "input": config.recipe.input_size,
        "batch": size,
        "compiled": compiled,
        "images_per_s": 1e3 * steps * size / spent["full"],
        "images_per_s_ceiling": 1e3 * steps * size / spent["ceiling"],
        "full_over_ceiling": spent["ceiling"] / spent["full"],
        **utilisation(whole, device),
        "peak_memory_mb": {kind: used / 1e6 for kind, used in peak_memory(device).items()},
    }


def measure_steps(arguments: Sequence[str]) -> None:
    """Run `python -m pose_topo.bench steps`."""
    parser = _parser("python -m pose_topo.bench steps", "standard")
    parser.add_argument("--archs", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--people", type=int, default=2048)
    parser.add_argument("--compiled", action="store_true", help="under torch.compile")
    options = parser.parse_args(arguments)
    recipe, data = PROTOCOLS[options.protocol], Data.at(options.data)
    device = pick_device(options.device, warn=False)
    prepare_device(device, None, deterministic=False)
    rows = []
    with tempfile.TemporaryDirectory(prefix="pose_topo_bench") as work:
        people, _ = present_people(data, Path(work))
        people = people.take(slice(0, options.people))  # type: ignore[arg-type]  # take() accepts what indexes an array
        settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
        store = open_or_build(people, Path(data.img_dir), settings, Path(work), progress=False)
        for arch, size in product(options.archs, options.batch_sizes):
            config = RunConfig(arch, replace(recipe, batch_size=size), data, Topography())
            rows.append(row(store, people, config, device, compiled=options.compiled))
            shown = {key: f"{v:.4g}" if isinstance(v, float) else v for key, v in rows[-1].items()}
            print("  ".join(f"{key} {value}" for key, value in shown.items()), file=sys.stderr, flush=True)
    where = machine(device, pick_precision("auto", device), "tf32")
    print(json.dumps({"machine": where, "rows": rows}, indent=2, sort_keys=True))


def main() -> None:
    """Run the command that is asked for."""
    given = [argument for argument in sys.argv[1:] if argument != "--debug"]
    measure = (lambda: measure_steps(given[1:])) if given[:1] == ["steps"] else lambda: measure_parts(given)
    if code := guarded("pose-topo: error", measure):
        sys.exit(code)


if __name__ == "__main__":
    main()
