"""`python -m pose_topo.bench`: measure every part, and print the numbers as JSON and as a table."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose_topo import bench
from pose_topo.bench.costs import (
    batch_cost,
    crops_cost,
    evaluation_cost,
    sized_crops_cost,
    spatial_loss_cost,
    step_cost,
)
from pose_topo.bench.timing import machine
from pose_topo.core.devices import pick_device, pick_precision
from pose_topo.core.errors import PoseTopoError, one_line
from pose_topo.core.log import log, show_messages
from pose_topo.data.dataset import present_people
from pose_topo.data.people import CropSettings
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import PROTOCOLS


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
    found, store = crops_cost(people, photographs, settings, work)
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "photographs of 720p and 1080p": lambda: sized_crops_cost(everyone, photographs, settings, work),
        "batches": lambda: batch_cost(store, people, recipe, device),
        "training": lambda: step_cost(store, people, photographs, config, device, compiled=compiled),
        "evaluation": lambda: evaluation_cost(store, people, config, device, score or len(people)),
        "spatial losses": lambda: spatial_loss_cost(device),
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


def main() -> None:
    """Run the command: JSON goes to stdout, the table to stderr."""
    parser = argparse.ArgumentParser(prog="python -m pose_topo.bench", description=bench.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="demo")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--people", type=int, default=192)
    parser.add_argument("--score", type=int, help="people to score, repeated if there are fewer [default: --people]")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--compiled", action="store_true", help="also measure torch.compile (a minute more)")
    options = parser.parse_args()
    show_messages()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = PROTOCOLS[options.protocol]
    given = {"batch_size": options.batch_size, "input_size": options.input_size}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value})
    data = Data.at(options.data)
    config = RunConfig(options.arch, recipe, data, Topography(), device=options.device)
    work = Path(tempfile.mkdtemp(prefix="pose_topo_bench"))
    try:
        result = measure(data, config, options.people, work, score=options.score, compiled=options.compiled)
    except PoseTopoError as error:
        line, code = one_line(error)
        print(line, file=sys.stderr)
        sys.exit(code)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(result, indent=2, sort_keys=True))
    print(table(result), file=sys.stderr)


if __name__ == "__main__":
    main()
