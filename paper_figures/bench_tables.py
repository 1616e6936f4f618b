"""docs/benchmarks.md's tables, from the JSON that `make bench` and `python -m pose_topo.bench.sweep` wrote there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paper_figures.results import Run
from pose_topo.files import read_json

RECORDED = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


def machine(content: dict[str, Any]) -> str:
    """One line: what it ran on."""
    known = content["machine"]
    parts = [known["device"], *(f"{key} {known[key]}" for key in ("driver", "cuda", "torch", "python") if known[key])]
    commit = [f"commit {known['commit'][:7]}"] if known.get("commit") else []
    return ", ".join([*parts, f"{known['threads']} CPU threads", known["precision"], *commit])


def _pipe(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def steps(name: str) -> str:
    """Training steps by backbone and batch size: docs/benchmarks/<name>.json."""
    content = read_json(RECORDED / f"{name}.json")
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
    return f"{_pipe(head, rows)}\n{machine(content)}.\n"


def against_time(run: Run) -> str:
    """Validation PCKh by seconds of training, from a run's metrics.csv."""
    metrics, spent, rows = run.metrics, 0.0, []
    for place, epoch in enumerate(metrics["epoch"]):
        spent += metrics["seconds"][place]
        rows.append([f"{epoch:.0f}", f"{spent:.0f}", f"{metrics['val_pckh'][place]:.1f}"])
    return _pipe(["epoch", "seconds", "PCKh@0.5"], rows)


def _short(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


DATA = {  # key of the JSON -> what a reader calls it
    "decode_ms_per_person": "decoding the JPEGs, ms a person",
    "crop_build_over_decode": "building the crop store, decoding included, one worker: times the decoding",
    "people_per_photograph": "people a photograph",
    "720p_crop_build_over_decode": "the same, photographs of 1280 x 720, all cores",
    "1080p_crop_build_over_decode": "the same, photographs of 1920 x 1080, all cores",
    "720p_people_per_photograph": "people a photograph there, as in MPII",
    "batch_standard_ms_per_person": "a batch with the standard augmentation, ms a person",
    "batch_standard_one_thread_ms_per_person": "the same on one thread",
    "images_per_s_model_only": "training, the network alone on a batch that is there (the ceiling), images/s",
    "images_per_s_full": "the whole loop, images/s",
    "full_over_ceiling": "the whole loop, share of the ceiling",
    "images_per_s_plain": "plain loop (per-image OpenCV samples, fp32, contiguous, `loss.item()` a step), images/s",
    "full_over_plain": "the whole loop, times as fast as the plain one",
    "compiled_over_model_only": "the network alone under `torch.compile`, times as fast",
    "evaluation_people": "evaluation with flip test, people",
    "evaluation_images_per_s": "images/s",
    "evaluation_over_model_only": "share of the two forward passes alone",
    "peak_rss_mb": "peak memory of the process, MB",
}


def bench(*names: str) -> str:
    """One column a recorded `make bench`: docs/benchmarks/<name>.json."""
    contents = [read_json(RECORDED / f"{name}.json") for name in names]
    settings = [content["setting"] for content in contents]
    titles = [f"{s['protocol']}: {s['arch']}, {s['input']} px, batch {s['batch']}" for s in settings]
    losses = sorted({key for content in contents for key in content if key.startswith("loss_")})
    keys = DATA | {key: f"spatial loss `{key[5:-3]}` and its gradient, ms" for key in losses}
    rows = [
        [title, *(_short(content[key]) if key in content else "–" for content in contents)]
        for key, title in keys.items()
        if any(key in content for content in contents)
    ]
    return f"{_pipe(['', *titles], rows)}\n{machine(contents[0])}; {settings[0]['people']} rendered people.\n"


def losses(name: str) -> str:
    """What each spatial loss costs a step: docs/benchmarks/<name>.json."""
    content = read_json(RECORDED / f"{name}.json")
    cost = {key[5:-3]: value for key, value in content.items() if key.startswith("loss_")}
    step = content["step_full_ms"]
    rows = [
        [f"`{loss}`", f"{ms:.1f}", f"{ms / step:.1%}"] for loss, ms in sorted(cost.items(), key=lambda item: item[1])
    ]
    return f"{_pipe(['', 'ms', 'of the step of the demo'], rows)}\n{machine(content)}.\n"
