"""What a claim costs to reproduce, from the provenance of the reference runs: minutes, memory, hardware."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from paper_figures.results import Run, by_arm
from pose_topo.errors import PoseTopoError
from pose_topo.files import read_json


@dataclass(frozen=True)
class Cost:
    """Of one seed of the arms a claim compares. `minutes` is their training, one after the other."""

    arms: int
    minutes: float
    memory: int  # bytes, the largest of any run
    gpu_memory: int | None
    hardware: str


def training_cost(runs: Sequence[Run], arms: Iterable[str]) -> Cost | None:
    """The cost of one seed of `arms` as the mean over the seeds of `runs`; None where an arm's provenance is missing.

    Raises:
        PoseTopoError: a provenance.json is not one.
    """
    found = {arm: [s for run in group if (s := sessions(run.folder))] for arm, group in by_arm(runs).items()}
    chosen = {arm: found.get(arm) for arm in arms}
    if not chosen or not all(chosen.values()):
        return None
    known = {arm: of_arm for arm, of_arm in chosen.items() if of_arm}
    every = [session for of_arm in known.values() for of_run in of_arm for session in of_run]
    gpu = [peak["cuda"] for session in every if "cuda" in (peak := session["peak_memory"])]
    return Cost(
        len(known),
        sum(fmean(sum(s["wall_seconds"] for s in of_run) for of_run in of_arm) for of_arm in known.values()) / 60,
        max(session["peak_memory"]["rss"] for session in every),
        max(gpu, default=None),
        " / ".join(dict.fromkeys(hardware(session) for session in every)),
    )


def sessions(folder: Path) -> list[dict[str, Any]]:
    """The sessions of a run (one, unless it was interrupted); none without provenance.json.

    Raises:
        PoseTopoError: the file is not readable or says nothing of time and memory.
    """
    path = folder / "provenance.json"
    return read_sessions(path) if path.is_file() else []


def read_sessions(path: Path) -> list[dict[str, Any]]:
    """The sessions of a provenance.json. Raises as `sessions`."""
    content = read_json(path)
    try:
        found = content["sessions"]
        if all({"wall_seconds", "peak_memory", "device"} <= set(session) for session in found):
            return found
    except (TypeError, KeyError):
        pass
    raise PoseTopoError(f"{path}: not the provenance of a finished run")


def hardware(session: dict[str, Any]) -> str:
    """What a session ran on: "AMD EPYC, 2 threads, bf16"."""
    threads = "" if session.get("cuda") else f", {session.get('threads')} threads"
    several = f"{session['processes']} x " if session.get("processes", 1) > 1 else ""
    return f"{several}{session['device']}{threads}, {session.get('precision')}"
