"""What a part of the study costs before it is begun: `make plan`.

    tools/plan.py DATA VARIANT/ARCH/ARM-sSEED...

Times are people x epochs over the images/s that `python -m pose_topo.bench.sweep` measured (docs/benchmarks/); a
backbone that was not measured there has no time.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import torch

from pose_topo.data.people import CropSettings
from pose_topo.data.splits import TOMPSON_SIZES
from pose_topo.models.pose import build_model
from pose_topo.study.config import Data as DataPaths
from pose_topo.study.config import RunConfig, Topography
from pose_topo.study.protocols import PROTOCOLS

MEASURED = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
ANNOTATED = 28_883  # people of MPII that are cropped, those of neither side of Tompson's split among them
PAPER_PEOPLE = 11_000  # about so many are alone in their photograph, with 12 joints or more
VALIDATION = 1 / 3  # of a training step's time: the forward pass alone
ADAM = 3  # weights and two moments in last.pt; best.pt holds the weights once more


def speeds() -> dict[str, dict[tuple[str, int, int], tuple[float, float]]]:
    """hardware -> (arch, input, batch) -> images/s and peak GPU memory in GB, of every sweep that was recorded."""
    found = {}
    for path in sorted(MEASURED.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in content.get("rows", []) if not row["compiled"]]
        if rows:
            found[content["machine"]["device"]] = {
                (row["arch"], row["input"], row["batch"]): (
                    row["images_per_s"],
                    row["peak_memory_mb"].get("cuda", row["peak_memory_mb"]["rss"]) / 1e3,
                )
                for row in rows
            }
    return found


def people(data: Path, protocol: str) -> tuple[int, int]:
    """How many are trained on and held out."""
    manifest = data / "manifest.json"
    share = PROTOCOLS[protocol].val_split
    name = data.name.removeprefix("synthetic-")
    if manifest.is_file() or (name != data.name and name.isdigit()):
        total = json.loads(manifest.read_text(encoding="utf-8"))["people"] if manifest.is_file() else int(name)
        return round(total * (1 - share)), round(total * share)
    if protocol == "paper":
        return round(PAPER_PEOPLE * (1 - share)), round(PAPER_PEOPLE * share)
    return TOMPSON_SIZES["train"][0], TOMPSON_SIZES["val"][0]


def cropped(data: Path, protocol: str) -> int:
    """Of how many people a crop is stored."""
    admitted = sum(people(data, protocol))
    return ANNOTATED if admitted == sum(side[0] for side in TOMPSON_SIZES.values()) else admitted


def parameters(arch: str) -> int:
    """Of the topographic network."""
    with torch.device("meta"):
        model = build_model(RunConfig(arch, PROTOCOLS["standard"], DataPaths.at("mpii"), Topography()))
    return sum(p.numel() for p in model.parameters())


def main(data: Path, cells: list[str]) -> None:
    """Print the plan."""
    parts = Counter(tuple(cell.split("/")[:2]) for cell in cells)
    measured, hours, untold, disk = speeds(), Counter(), Counter(), 0.0
    print(f"{len(cells)} runs on {data}:")
    for (variant, arch), runs in parts.items():
        protocol = variant.partition("-")[0]
        recipe = PROTOCOLS[protocol]
        epochs = int(found[1]) if (found := re.search(r"-e(\d+)", variant)) else recipe.epochs
        train, val = people(data, protocol)
        seen = runs * epochs * (train + VALIDATION * val)
        disk += runs * 4 * (ADAM + 1) * parameters(arch) / 1e9
        line = f"  {variant}, {arch}: {runs} runs of {epochs} epochs, {train:,} people to train on, {val:,} held out"
        for device, rates in measured.items():
            found = rates.get((arch, recipe.input_size, recipe.batch_size))
            if found:
                hours[device] += seen / found[0] / 3600
                line += f"; {seen / found[0] / 3600:.1f} h and {found[1]:.1f} GB on {device}"
            else:
                untold[device] += runs
                line += f"; not measured on {device}"
        print(line)
    protocols = {variant.partition("-")[0] for variant, _ in parts}
    stores = {(cropped(data, p), PROTOCOLS[p].framing, PROTOCOLS[p].input_size) for p in protocols}
    disk += sum(count * CropSettings(framing, size, False).side ** 2 * 3 / 1e9 for count, framing, size in stores)
    for device, spent in hours.items():
        but = f", and {untold[device]} runs that were not measured" if untold[device] else ""
        print(f"training, one after another: {spent:.1f} h on {device}{but}")
    print(f"disk: {disk:.0f} GB for checkpoints and crops, besides the photographs")
    print("evaluation, analysis and figures: minutes a run, without a GPU")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
