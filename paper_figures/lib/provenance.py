"""Provenance for readers: the environments that runs were made in, and each run's time and memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from paper_figures.lib.results import Run, by_arm
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json

ENVIRONMENT = {  # provenance.json's key -> what a reader calls it
    "commit": "commit",
    "lock_sha256": "lock (sha256)",
    "pose_topo": "pose_topo",
    "python": "Python",
    "torch": "torch",
    "cuda": "CUDA",
    "driver": "driver",
    "device": "device",
    "processes": "processes",
    "threads": "CPU threads",
    "precision": "precision",
    "tf32": "TF32",
}


@dataclass(frozen=True)
class Origin:
    """A run: which environments its sessions had (letters), and what it took."""

    name: str
    environments: str
    data: str
    sessions: int
    seconds: float
    memory: int
    gpu_memory: int | None


@dataclass(frozen=True)
class Origins:
    """All runs, and per environment its letter with (title, value) pairs."""

    runs: tuple[Origin, ...]
    environments: dict[str, tuple[tuple[str, str], ...]]

    @property
    def hours(self) -> float:
        """All training together."""
        return sum(run.seconds for run in self.runs) / 3600


def load_origins(files: Sequence[Path]) -> Origins:
    """Read provenance.json files; environments that are alike get one letter, in the order they come.

    Raises:
        PoseTopoError: a file is missing or no finished run's provenance.
    """
    letters: dict[tuple[tuple[str, str], ...], str] = {}
    runs = []
    for name, path in sorted(zip(_names(files), files, strict=True)):
        sessions = read_sessions(path)
        own = [letters.setdefault(_environment(session), _letter(len(letters))) for session in sessions]
        gpu = [session["peak_memory"]["cuda"] for session in sessions if "cuda" in session["peak_memory"]]
        runs.append(
            Origin(
                name,
                ", ".join(dict.fromkeys(own)),
                " / ".join(dict.fromkeys(str(session.get("data_sha256"))[:12] for session in sessions)),
                len(sessions),
                sum(session["wall_seconds"] for session in sessions),
                max((session["peak_memory"]["rss"] for session in sessions), default=0),
                max(gpu, default=None),
            )
        )
    return Origins(tuple(runs), {letter: environment for environment, letter in letters.items()})


def _environment(session: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for key, title in ENVIRONMENT.items():
        value = session.get(key)
        if value is None or (key == "processes" and value == 1):
            continue
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        if key == "commit":
            changed = session.get("dirty")  # null: unknown
            text += "" if changed is None else ", with uncommitted changes" if changed else ", clean"
        found.append((title, text))
    return tuple(found)


def _letter(number: int) -> str:
    """A, B, ... Z, A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _names(files: Sequence[Path]) -> list[str]:
    """Runs by where their folders differ: nothing of the path above them."""
    folders = [Path(os.path.abspath(path)).parent for path in files]  # noqa: PTH100 (links stay as they are)
    if not folders:
        return []
    root = Path(os.path.commonpath([folder.parent for folder in folders]))
    return [folder.relative_to(root).as_posix() for folder in folders]


# ---- What a claim costs to reproduce, from the provenance of the reference runs: minutes, memory, hardware.


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
