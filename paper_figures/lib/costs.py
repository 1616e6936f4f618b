"""What things cost, for readers: times and memory of runs (provenance.json), and the recorded benchmarks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from paper_figures.lib.results import Run
from paper_figures.lib.tables import pipe
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json
from pose_topo.study.results import SESSION, Whole, misfit

RECORDED = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
ENVIRONMENT = (  # keys in provenance.json
    *("commit", "lock_sha256", "pose_topo", "python", "torch", "cuda", "driver", "device", "processes", "threads"),
    *("precision", "tf32"),
)
TITLES = {"lock_sha256": "lock (sha256)", "python": "Python", "cuda": "CUDA", "threads": "CPU threads", "tf32": "TF32"}


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
    environments: dict[str, str]

    @property
    def hours(self) -> float:
        """The time of all trainings together."""
        return sum(run.seconds for run in self.runs) / 3600


def load_provenance(files: Sequence[Path]) -> ProvenanceTable:
    """Read provenance.json files. Equal environments share one letter.

    Raises:
        PoseTopoError: a file is missing, or is not the provenance of a finished run.
    """
    letters: dict[str, str] = {}
    runs = []
    names = [folder.as_posix() for folder in below([path.parent for path in files])]
    for name, path in sorted(zip(names, files, strict=True)):
        sessions = read_sessions(path)
        own = [letters.setdefault(_environment(session), _letter(len(letters))) for session in sessions]
        runs.append(
            RunRecord(
                name,
                ", ".join(dict.fromkeys(own)),
                " / ".join(dict.fromkeys(str(session.get("data_sha256"))[:12] for session in sessions)),
                len(sessions),
                sum(session["wall_seconds"] for session in sessions),
                *_peaks(sessions),
            )
        )
    return ProvenanceTable(tuple(runs), {letter: environment for environment, letter in letters.items()})


def _peaks(sessions: Sequence[Mapping[str, Any]]) -> tuple[int, int | None]:
    """Return the largest memory of some sessions in bytes: of the process, and on the GPU."""
    peaks = [session["peak_memory"] for session in sessions]
    return max(peak["rss"] for peak in peaks), max((peak["cuda"] for peak in peaks if "cuda" in peak), default=None)


def _environment(session: Mapping[str, Any]) -> str:
    """Return what a session was made with, as in "commit 0123abc, clean; Python 3.11.7; device AMD EPYC"."""
    found = []
    for key in ENVIRONMENT:
        value = session.get(key)
        if value is None or (key == "processes" and value == 1):
            continue
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        if key == "commit":
            changed = session.get("dirty")  # null: unknown
            text += "" if changed is None else ", with uncommitted changes" if changed else ", clean"
        found.append(f"{TITLES.get(key, key)} {text}")
    return "; ".join(found)


def _letter(number: int) -> str:
    """Return A, B, ... Z, A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def below(folders: Sequence[Path], root: Path | None = None) -> list[Path]:
    """Return the folders relative to `root`, or if one lies elsewhere, to the folder that holds all of them."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100 (does not resolve links)
    top = Path(os.path.abspath(root)) if root else None  # noqa: PTH100
    if paths and (top is None or not all(path.is_relative_to(top) for path in paths)):
        top = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(top or "") for path in paths]


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
    known: dict[str, list[list[dict[str, Any]]]] = {arm: [] for arm in arms}  # the sessions of each run
    for run in runs:
        if run.arm in known and (path := run.folder / "provenance.json").is_file():
            known[run.arm].append(read_sessions(path))
    if not known or not all(known.values()):
        return None
    every = [session for of_arm in known.values() for of_run in of_arm for session in of_run]
    return Cost(
        len(known),
        sum(fmean(sum(s["wall_seconds"] for s in of_run) for of_run in of_arm) for of_arm in known.values()) / 60,
        *_peaks(every),
        " / ".join(dict.fromkeys(map(_hardware, every))),
    )


def _hardware(session: Mapping[str, Any]) -> str:
    """Return what a session ran on, as in "AMD EPYC, 2 threads, bf16"."""
    threads = "" if session.get("cuda") else f", {session.get('threads')} threads"
    several = f"{session['processes']} x " if session.get("processes", 1) > 1 else ""
    return f"{several}{session['device']}{threads}, {session.get('precision')}"


# ---- the recorded benchmarks (docs/benchmarks/*.json) as Markdown


def recorded(name: str) -> dict[str, Any]:
    """Return the content of docs/benchmarks/<name>.json."""
    return read_json(RECORDED / f"{name}.json")


def machine(content: Mapping[str, Any]) -> str:
    """Return the machine of a benchmark in one line."""
    known = content["machine"]
    parts = [known["device"], *(f"{key} {known[key]}" for key in ("driver", "cuda", "torch", "python") if known[key])]
    commit = [f"commit {known['commit'][:7]}"] if known.get("commit") else []
    return ", ".join([*parts, f"{known['threads']} CPU threads", known["precision"], *commit])


def steps() -> str:
    """Return training steps by backbone and batch size."""
    content = recorded("h200-steps")
    head = ["network", "batch", "images/s", "the network alone", "share of it", "GPU busy", "peak GPU memory"]
    rows = [
        [
            f"{row['arch']}, {row['input']} px",
            str(row["batch"]),
            f"{row['images_per_s']:,.0f}",
            f"{row['images_per_s_ceiling']:,.0f}",
            f"{row['full_over_ceiling']:.2f}",
            f"{row['gpu_utilisation_percent']:.0f}%" if "gpu_utilisation_percent" in row else "–",
            f"{row['peak_memory_mb'].get('cuda', 0) / 1e3:.1f} GB",
        ]
        for row in content["rows"]
    ]
    return f"{pipe(head, rows)}\n{machine(content)}.\n"


BENCH = {  # key in the JSON file -> title for readers
    "decode_ms_per_person": "decoding the JPEG files, ms per person",
    "crop_build_over_decode": "building the crop store (one worker), relative to the decoding that it includes",
    "people_per_photograph": "people per photograph",
    "720p_crop_build_over_decode": "the same, photographs of 1280 x 720, all cores",
    "1080p_crop_build_over_decode": "the same, photographs of 1920 x 1080, all cores",
    "720p_people_per_photograph": "people per photograph there, as in MPII",
    "batch_standard_ms_per_person": "a batch with the standard augmentation, ms per person",
    "batch_standard_one_thread_ms_per_person": "the same on one thread",
    "images_per_s_model_only": "training, the network alone on a fixed batch (the ceiling), images/s",
    "images_per_s_full": "the whole training loop, images/s",
    "full_over_ceiling": "the whole training loop, share of the ceiling",
    "images_per_s_plain": "plain loop (OpenCV per image, fp32, contiguous, `loss.item()` at every step), images/s",
    "full_over_plain": "the whole training loop, speed relative to the plain loop",
    "compiled_over_model_only": "the network alone under `torch.compile`, relative speed",
    "evaluation_people": "evaluation with flip test, people",
    "evaluation_images_per_s": "evaluation with flip test, images/s",
    "evaluation_over_model_only": "evaluation, share of the speed of its two forward passes",
    "robustness_people": "`analyze --robustness`, people",
    "robustness_s": "`analyze --robustness`, seconds",
    "audit_weights_s": "`audit` of 512 channels, from the weights alone, seconds",
    "audit_pictures": "`audit` with a readout of 1,000 outputs and photographs: photographs",
    "audit_pictures_s": "the same, seconds",
    "peak_rss_mb": "peak memory of the process, MB",
}


def bench() -> str:
    """Return one column per recorded `make bench`."""
    contents = [recorded(name) for name in ("epyc-2-cores-small", "epyc-2-cores-standard")]
    settings = [content["setting"] for content in contents]
    titles = [f"{s['protocol']}: {s['arch']}, {s['input']} px, batch {s['batch']}" for s in settings]
    losses = sorted({key for content in contents for key in content if key.startswith("loss_")})
    keys = BENCH | {key: f"spatial loss `{key[5:-3]}` and its gradient, ms" for key in losses}
    rows = [
        [title, *(_short(content[key]) if key in content else "–" for content in contents)]
        for key, title in keys.items()
        if any(key in content for content in contents)
    ]
    return f"{pipe(['', *titles], rows)}\n{machine(contents[0])}; {settings[0]['people']} rendered people.\n"


def _short(value: float) -> str:
    """Return a number with three digits and without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def losses() -> str:
    """Return what each spatial loss costs in a training step."""
    content = recorded("epyc-2-cores-small")
    cost = {key[5:-3]: value for key, value in content.items() if key.startswith("loss_")}
    step = content["step_full_ms"]
    rows = [
        [f"`{loss}`", f"{ms:.1f}", f"{ms / step:.1%}"] for loss, ms in sorted(cost.items(), key=lambda item: item[1])
    ]
    return f"{pipe(['', 'ms', 'of a step of the protocol small'], rows)}\n{machine(content)}.\n"


def sharing() -> str:
    """Return the speed of a training alone and beside another one on the same cores."""
    content = recorded("epyc-2-cores-sharing")
    rows = [
        [title, *(f"{content[f'cores_{name}_{how}_images_per_s']:.1f}" for how in ("alone", "each_of_two"))]
        for name, title in (("shared", "as `pose-topo` sets it"), ("default", "PyTorch's defaults"))
    ]
    head = ["OpenMP's threads", "alone, images/s", "each of two, images/s"]
    return f"{pipe(head, rows)}\n{machine(content)}; protocol {content['setting']['protocol']}.\n"


STEPS = {  # step of the Make rules -> title for readers
    "data": "rendering the people",
    "show": "the first picture",
    "train": "training one of the three networks",
    "evaluate": "evaluating one of them",
    "analyze": "analyzing one of them",
    "draw": "all figures and tables",
    "claims": "the claims",
    "report": "the report",
}


def took() -> str:
    """Return how long each step of the demo took, one column per machine."""
    contents = [recorded(path.stem) for path in sorted(RECORDED.glob("demo-*-took.json"))]
    rows = [
        [title, *(f"{content['seconds'][step]:.0f} s" for content in contents)]
        for step, title in STEPS.items()
        if all(step in content["seconds"] for content in contents)
    ]
    rows.append(["**`make demo`**", *(f"**{content['total'] / 60:.1f} min**" for content in contents)])
    return pipe(["", *(content["about"] for content in contents)], rows)
