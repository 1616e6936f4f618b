"""`python -m pose_topo.bench.sweep`: measure training steps of several backbones and batch sizes, mainly on a GPU.

For each it measures the network alone on a batch that is ready (the ceiling), the whole loop, their ratio, peak memory
and, on CUDA, how busy the GPU is during the whole loop. JSON goes to stdout, a table to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose_topo.bench.costs import endless, trainer
from pose_topo.bench.timing import machine, side_by_side, utilisation
from pose_topo.core import provenance
from pose_topo.core.devices import pick_device, pick_precision, prepare_device
from pose_topo.data.batches import Batches
from pose_topo.data.crop_store import open_or_build
from pose_topo.data.dataset import present_people
from pose_topo.data.people import CropSettings, CropStore, People
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import PROTOCOLS

IMAGES = 1024  # the fewest images per timing
FEWEST_STEPS = 8


def row(store: CropStore, people: People, config: RunConfig, device: torch.device, *, compiled: bool) -> dict[str, Any]:
    """Measure one backbone with one batch size."""
    size = config.recipe.batch_size
    steps = max(FEWEST_STEPS, IMAGES // size)
    run = trainer(config, device, compiled=compiled)
    batches = Batches(store, people, np.arange(len(people)), config.recipe, device)
    fixed = next(batches.epoch(0, 1, size))
    provenance.forget_peak_memory(device)  # of what was measured before

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
        "peak_memory_mb": {kind: used / 1e6 for kind, used in provenance.peak_memory(device).items()},
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m pose_topo.bench.sweep", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="standard")
    parser.add_argument("--archs", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--people", type=int, default=2048)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compiled", action="store_true", help="under torch.compile")
    options = parser.parse_args()
    recipe, data = PROTOCOLS[options.protocol], Data.at(options.data)
    device = pick_device(options.device, warn=False)
    prepare_device(device, None, deterministic=False)
    rows = []
    with tempfile.TemporaryDirectory(prefix="pose_topo_bench") as work:
        people, _ = present_people(data, Path(work))
        people = people.take(slice(0, options.people))  # type: ignore[arg-type]  # take() accepts what indexes an array
        settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
        store = open_or_build(people, Path(data.img_dir), settings, Path(work), progress=False)
        for arch in options.archs:
            for size in options.batch_sizes:
                config = RunConfig(arch, replace(recipe, batch_size=size), data, Topography())
                rows.append(row(store, people, config, device, compiled=options.compiled))
                line = "  ".join(f"{key} {_short(value)}" for key, value in rows[-1].items())
                print(line, file=sys.stderr, flush=True)
    where = machine(device, pick_precision("auto", device), "tf32")
    print(json.dumps({"machine": where, "rows": rows}, indent=2, sort_keys=True))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
