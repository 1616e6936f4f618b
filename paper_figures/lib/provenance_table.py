"""provenance.json for readers: environments, times and memory of runs, and what a claim costs to reproduce."""

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
from pose_topo.study.results import SESSION, Whole, misfit

ENVIRONMENT = {  # key in provenance.json -> title for readers
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
Environment = tuple[tuple[str, str], ...]  # (title, value) pairs


def read_sessions(path: Path) -> list[dict[str, Any]]:
    """Return the sessions of a run from its provenance.json: one, or more if the run was interrupted.

    Raises:
        PoseTopoError: the file is not readable, or a session lacks time, memory or device.
    """
    content = read_json(path)
    if wrong := misfit(content, Whole({"sessions": [SESSION]})) or ("no session" if not content["sessions"] else None):
        raise PoseTopoError(f"{path}: not the provenance of a finished run ({wrong})")
    return content["sessions"]


# ---- the table of the report


@dataclass(frozen=True)
class RunRecord:
    """A run: the letters of the environments it was made in, and its time and memory."""

    name: str
    environments: str
    data: str
    sessions: int
    seconds: float
    memory: int  # bytes
    gpu_memory: int | None


@dataclass(frozen=True)
class ProvenanceTable:
    """All runs, and the environments by letter."""

    runs: tuple[RunRecord, ...]
    environments: dict[str, Environment]

    @property
    def hours(self) -> float:
        """The time of all trainings together."""
        return sum(run.seconds for run in self.runs) / 3600


def load_provenance(files: Sequence[Path]) -> ProvenanceTable:
    """Read provenance.json files. Equal environments share one letter.

    Raises:
        PoseTopoError: a file is missing, or is not the provenance of a finished run.
    """
    letters: dict[Environment, str] = {}
    runs = []
    for name, path in sorted(zip(_names(files), files, strict=True)):
        sessions = read_sessions(path)
        own = [letters.setdefault(_environment(session), _letter(len(letters))) for session in sessions]
        gpu = [session["peak_memory"]["cuda"] for session in sessions if "cuda" in session["peak_memory"]]
        runs.append(
            RunRecord(
                name,
                ", ".join(dict.fromkeys(own)),
                " / ".join(dict.fromkeys(str(session.get("data_sha256"))[:12] for session in sessions)),
                len(sessions),
                sum(session["wall_seconds"] for session in sessions),
                max((session["peak_memory"]["rss"] for session in sessions), default=0),
                max(gpu, default=None),
            )
        )
    return ProvenanceTable(tuple(runs), {letter: environment for environment, letter in letters.items()})


def _environment(session: Mapping[str, Any]) -> Environment:
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
    """Return A, B, ... Z, A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _names(files: Sequence[Path]) -> list[str]:
    """Return the folders of the runs, relative to the folder that holds all of them."""
    folders = [Path(os.path.abspath(path)).parent for path in files]  # noqa: PTH100 (does not resolve links)
    if not folders:
        return []
    root = Path(os.path.commonpath([folder.parent for folder in folders]))
    return [folder.relative_to(root).as_posix() for folder in folders]


# ---- the cost of a claim


@dataclass(frozen=True)
class Cost:
    """What one seed of the arms of a claim costs. `minutes` is their training, one after the other."""

    arms: int
    minutes: float
    memory: int  # bytes, the largest of any run
    gpu_memory: int | None
    hardware: str


def training_cost(runs: Sequence[Run], arms: Iterable[str]) -> Cost | None:
    """Return the cost of one seed of `arms`, as the mean over the seeds of `runs`; None where an arm has no provenance.

    Raises:
        PoseTopoError: a provenance.json is not one.
    """
    sessions: dict[str, list[list[dict[str, Any]]]] = {}  # by arm, for each run
    for arm, group in by_arm(runs).items():
        files = [path for run in group if (path := run.folder / "provenance.json").is_file()]
        sessions[arm] = [read_sessions(path) for path in files]
    known = {arm: sessions.get(arm, []) for arm in arms}
    if not known or not all(known.values()):
        return None
    every = [session for of_arm in known.values() for of_run in of_arm for session in of_run]
    gpu = [peak["cuda"] for session in every if "cuda" in (peak := session["peak_memory"])]
    return Cost(
        len(known),
        sum(fmean(sum(s["wall_seconds"] for s in of_run) for of_run in of_arm) for of_arm in known.values()) / 60,
        max(session["peak_memory"]["rss"] for session in every),
        max(gpu, default=None),
        " / ".join(dict.fromkeys(_hardware(session) for session in every)),
    )


def _hardware(session: Mapping[str, Any]) -> str:
    """Return what a session ran on, as in "AMD EPYC, 2 threads, bf16"."""
    threads = "" if session.get("cuda") else f", {session.get('threads')} threads"
    several = f"{session['processes']} x " if session.get("processes", 1) > 1 else ""
    return f"{several}{session['device']}{threads}, {session.get('precision')}"
