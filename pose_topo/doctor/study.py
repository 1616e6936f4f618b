"""What the study needs on disk: room, the data, the ImageNet weights; and whether anything is sent anywhere."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path

from pose_topo.data.sources.catalog import TARGETS
from pose_topo.data.sources.plan import Job, Step, free_bytes, human, plan
from pose_topo.data.sources.weights import cache_folder, weights_path
from pose_topo.doctor.finding import Finding

DEMO_BYTES = 2_000_000_000  # rendered photographs, crops, three runs
CROP_BYTES = 20_000_000_000  # 28,883 people x 448 x 448 x 3, and about 11,000 x 256 x 256 x 3 (`paper`)
RUN_BYTES = 41_000_000_000  # 132 runs of 0.25 to 0.55 GB, as `make plan` counts: weights, and Adam's two moments
ARCHS = ("resnet18", "resnet34", "resnet50")  # of the study


def judge(data: Path, profile: str) -> list[Finding]:
    """Findings on disk, data, weights and wandb."""
    if profile == "demo":
        return [
            _disk({data: DEMO_BYTES}),
            Finding("data", "the demo renders its own"),
            Finding("weights", "the demo starts from none"),
            _wandb(os.environ),
        ]
    steps = plan(TARGETS["mpii"], Job(data))
    needs = {data: sum(step.disk() for step in steps), cache_folder(): CROP_BYTES, Path("runs"): RUN_BYTES}
    return [_disk(needs), _data(data, steps), _weights(), _wandb(os.environ)]


def _disk(needs: Mapping[Path, int]) -> Finding:
    """`needs`: bytes wanted below each folder; folders on one disk are counted together."""
    disks: dict[int, list[Path]] = {}
    for folder in needs:
        disks.setdefault(_device(folder), []).append(folder)
    short, told = False, []
    for folders in disks.values():
        need, free = sum(needs[folder] for folder in folders), free_bytes(folders[0])
        short |= free < need
        names = ", ".join(str(folder) for folder in folders)
        told.append(f"{human(free)} free and {human(need)} needed for {names}")
    return Finding("disk", "; ".join(told) + (": make room" if short else ""), "FAIL" if short else "ok")


def _device(folder: Path) -> int:
    """The disk of a folder, which need not exist yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place.stat().st_dev


def _data(data: Path, steps: list[Step]) -> Finding:
    wrong = [f"{step.remote.target} {step.why}" for step in steps if step.why]
    if wrong:
        return Finding("data", f"{data}: {'; '.join(wrong)}; `pose-topo download mpii --data {data}`", "FAIL")
    return Finding("data", f"{data}: {', '.join(step.remote.target for step in steps)} are there and verified")


def _weights() -> Finding:
    """ImageNet weights: a training fetches what is missing, which needs a network."""
    missing = [arch for arch in ARCHS if weights_path(arch) is None]
    if missing:
        fetch = "; ".join(f"pose-topo download weights --arch {arch}" for arch in missing)
        return Finding("weights", f"not in {cache_folder()}: {', '.join(missing)}; `{fetch}`", "FAIL")
    return Finding("weights", f"{', '.join(ARCHS)} are there and verified")


def _wandb(environment: Mapping[str, str]) -> Finding:
    try:
        version = importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError:
        return Finding("wandb", "not installed: everything but --wandb works", "note")
    mode = environment.get("WANDB_MODE", "online")
    return Finding("wandb", f"{version}, asked for nothing unless --wandb is given (then {mode})")
