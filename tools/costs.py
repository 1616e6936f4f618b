"""What a part of the study costs: hours, disk and memory before it starts, and the minutes of a demo on this machine.

    tools/costs.py plan [NAME=VALUE ...]           print how many runs there are, and their hours, disk and memory
    tools/costs.py expect FILE [NAME=VALUE ...]    time a few training steps; write what each target will take to FILE
    tools/costs.py took FILE [NAME=VALUE ...]      write how long each step of a finished demo took to FILE

The settings NAME=VALUE are the variables of the Makefile. All three need the installed packages.
"""

# ruff: noqa: E402  # share_cores() stands between the imports

from __future__ import annotations

import os
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from study import ROOT, Rules, recorded, run

from pose_topo.commands.app import share_cores

share_cores()  # before torch is imported, which the next lines do

import torch

from pose_topo.bench.__main__ import machine, seconds_per_step
from pose_topo.core.files import read_json, write_json, write_text
from pose_topo.core.machine import pick_device, pick_precision, prepare_device
from pose_topo.data.people import CropSettings
from pose_topo.data.splits import TOMPSON_SIZES
from pose_topo.models.pose import build_model
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.plan import Study
from pose_topo.study.protocols import PROTOCOLS

# ---- hours, disk and memory

BENCHMARKS = ROOT / "docs" / "benchmarks"
ANNOTATED = 28_883  # people of MPII that are cropped, including those on neither side of Tompson's split
LSPET_PEOPLE = 10_000
PAPER_PEOPLE = 11_000  # people who are alone in their photograph and have at least 12 joints, roughly
VALIDATION = 1 / 3  # the time of a forward pass relative to a training step
ADAM = 3  # last.pt holds the weights and two moments; best.pt holds the weights once more


def speeds() -> dict[str, dict[tuple[str, int, int], tuple[float, float]]]:
    """Return, for each machine of docs/benchmarks, (backbone, input, batch) -> images/s and peak memory in GB."""
    found: dict[str, dict[tuple[str, int, int], tuple[float, float]]] = defaultdict(dict)
    for path in sorted(BENCHMARKS.glob("*.json")):
        content = read_json(path)
        rates = found[content["machine"]["device"]]
        for row in (row for row in content.get("rows", []) if not row["compiled"]):
            memory = row["peak_memory_mb"].get("cuda", row["peak_memory_mb"]["rss"])
            rates[row["arch"], row["input"], row["batch"]] = (row["images_per_s"], memory / 1e3)
        if "images_per_s_full" in content:
            key = tuple(content["setting"][name] for name in ("arch", "input", "batch"))
            rates[key] = (content["images_per_s_full"], content["peak_rss_mb"] / 1e3)
    return found


def people(data: Path, protocol: str) -> tuple[int, int]:
    """Return how many people are trained on and held out."""
    share = PROTOCOLS[protocol].val_split
    manifest = data / "manifest.json"
    if manifest.is_file():
        total = read_json(manifest)["people"]
    elif rendered := re.fullmatch(r"synthetic-(\d+)", data.name):
        total = int(rendered[1])
    elif protocol == "photographs":
        return round(LSPET_PEOPLE * (1 - 2 * share)), round(LSPET_PEOPLE * share)  # a third part is for tuning
    elif protocol == "paper":
        total = PAPER_PEOPLE
    else:
        return TOMPSON_SIZES["train"][0], TOMPSON_SIZES["val"][0]
    return round(total * (1 - share)), round(total * share)


def crop_bytes(data: Path, protocol: str) -> tuple[str, int, int]:
    """Return the framing and input size of the crops of a protocol, which name a store, and the bytes of the store."""
    recipe, count = PROTOCOLS[protocol], sum(people(data, protocol))
    if count == sum(side[0] for side in TOMPSON_SIZES.values()):
        count = ANNOTATED
    side = CropSettings(recipe.framing, recipe.input_size, False).side
    return recipe.framing, recipe.input_size, count * side**2 * 3


def parameters(arch: str) -> int:
    """Return the number of parameters of the topographic network."""
    with torch.device("meta"):
        model = build_model(RunConfig(arch, PROTOCOLS["standard"], Data.at("mpii"), Topography()))
    return sum(p.numel() for p in model.parameters())


def print_plan(study: Study) -> None:
    """Print what the runs of this study cost. Times are people x epochs / (images/s), by the speeds in docs/benchmarks;
    a backbone that was not measured has no time."""
    runs, data = study.runs(), Path(study.data)
    groups = Counter((run.recipe, run.protocol, run.arch) for run in runs)
    measured, hours, unmeasured, disk = speeds(), defaultdict(float), Counter(), 0.0
    print(f"{len(runs)} runs on {data}:")
    for (name, protocol, arch), count in groups.items():
        recipe = PROTOCOLS[protocol]
        epochs = int(study.epochs or recipe.epochs)
        train, val = people(data, protocol)
        disk += count * 4 * (ADAM + 1) * parameters(arch) / 1e9
        line = f"  {name}, {arch}: {count} runs of {epochs} epochs, {train:,} people to train on, {val:,} held out"
        for device, rates in measured.items():
            if found := rates.get((arch, recipe.input_size, recipe.batch_size)):
                spent = count * epochs * (train + VALIDATION * val) / found[0] / 3600
                hours[device] += spent
                line += f"; {spent:.1f} h and {found[1]:.1f} GB on {device}"
            else:
                unmeasured[device] += count
                line += f"; not measured on {device}"
        print(line)
    disk += sum(size for *_, size in {crop_bytes(data, protocol) for _, protocol, _ in groups}) / 1e9
    for device, spent in hours.items():
        but = f", without {unmeasured[device]} runs that were not measured" if unmeasured[device] else ""
        print(f"training, one run after another: {spent:.1f} h on {device}{but}")
    print(f"disk: {disk:.0f} GB for checkpoints and crops, besides the photographs")
    released = sum(read_json(ROOT / "docs" / "release.json").values())  # without runs of one's own
    released += sum(count * 4 * parameters(arch) for (_, _, arch), count in groups.items())
    print(f"release (make release): {released / 1e9:.1f} GB with the weights of all runs")
    print("evaluation, analysis and figures: minutes per run, without a GPU")


# ---- how long it takes


def step_time(study: Study) -> float:
    """Time a training step of this part of the study on this machine, in seconds."""
    device = pick_device(study.devices[0], warn=False)
    prepare_device(device, None, deterministic=False)
    config = RunConfig(study.backbones[0], PROTOCOLS[study.protocol], Data.at(study.data), Topography())
    return seconds_per_step(config, device)


def write_expected(path: Path, study: Study) -> None:
    """Write `seconds target` lines: how long each target will take here. Everything is as much slower than the record
    as a training step is, and a training also takes the steps that the recorded one did not have."""
    past, here = recorded()[study.protocol], step_time(study)
    slower = here / past["seconds_per_step"]
    steps = people(Path(study.data), study.protocol)[0] * int(study.epochs or past["epochs"]) / past["batch_size"]
    more = (steps - past["steps"]) * here
    lines = [
        f"{past['seconds'].get(step, 0.0) * slower + (more if step == 'train' else 0.0):.1f} {target}\n"
        for target, step in Rules(study, finished=False).targets.items()
    ]
    write_text(path, "".join(lines))
    minutes = sum(float(line.split()[0]) for line in lines) / 60
    print(f"make {study.name}: about {minutes:.0f} min on this machine ({past['batch_size'] / here:.0f} images/s)")


def write_took(path: Path, study: Study) -> None:
    """Write how long each step took, for one run, from the times of the files of a demo that ran without a pause."""
    rules = Rules(study, finished=False)
    times = sorted((Path(target).stat().st_mtime, step) for target, step in rules.targets.items())
    started = Path(rules.expected).stat().st_mtime if rules.expected else float("nan")
    seconds: dict[str, list[float]] = defaultdict(list)
    for (before, _), (after, step) in zip([(started, ""), *times], times, strict=False):
        seconds[step].append(after - before)
    recipe, device = PROTOCOLS[study.protocol], pick_device("auto", warn=False)
    epochs, trained = int(study.epochs or recipe.epochs), people(Path(study.data), study.protocol)[0]
    where = machine(device, pick_precision("auto", device))
    held = os.environ.get("ONEDNN_MAX_CPU_ISA")  # oneDNN can be held to the instructions of an older processor
    usual = "with AVX512-BF16" if where["precision"] == "bf16" else "without bf16"
    instructions = f"with {held} only" if held else usual
    content = {
        "about": f"{where['threads']} cores of an {where['device']} {instructions}",
        "protocol": study.protocol,
        "epochs": epochs,
        "batch_size": recipe.batch_size,
        "steps": trained * epochs / recipe.batch_size,
        "seconds_per_step": step_time(study),
        "seconds": {step: sum(values) / len(values) for step, values in seconds.items()},
        "runs": len(rules.runs),
        "total": times[-1][0] - started,
        "machine": where,
    }
    write_json(path, content)


def main(study: Study, *words: str) -> None:
    """Run the command that the words name."""
    match words:
        case ["plan"]:
            print_plan(study)
        case ["expect", file]:
            write_expected(Path(file), study)
        case ["took", file]:
            write_took(Path(file), study)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    run(main)
