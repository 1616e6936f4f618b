"""docs/benchmarks.md's tables, from the JSON that `make bench` and `python -m pose_topo.bench.sweep` wrote there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from paper_figures.claims.judging import REFERENCE, Results, judge_all, load_reference
from paper_figures.claims.model import load_study
from paper_figures.lib import captions, command
from paper_figures.lib.results import Run, by_arm, load
from paper_figures.lib.tables import Column, Row, Table, grid, to_markdown
from paper_figures.tables import losses as table_losses
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, write_text

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


# ---- The numbers in README and docs, from the committed reference results: `python -m paper_figures.docs`.
#
# A page holds `<!-- made: NAME -->` and `<!-- /made -->`; the function of that name in `SECTIONS` writes what stands
# between. A test fails while a page says other than the files.

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/regularizers.md", "docs/benchmarks.md")
_SECTION = re.compile(r"(<!-- made: (\S+) -->\n)(.*?)(<!-- /made -->)", re.S)

MEASURES: tuple[tuple[str, str, Column], ...] = (  # file, key, column
    ("evaluation", "pckh.0.5.mean", Column("pckh", "PCKh@0.5", 1)),
    ("evaluation", "pckh.0.1.mean", Column("pckh_fine", "PCKh@0.1", 1)),
    ("analysis", "moran.mean_I", Column("I", "Moran's I of |w|, mean over joints", 3)),
    ("analysis", "moran_measures.normalised.mean_I", Column("I_n", "the same, each channel's gain divided out", 3)),
    ("analysis", "moran.p_mean", Column("p", "p of the mean I (largest of the seeds)", 4, largest=True)),
    ("analysis", "parcellation.contiguity", Column("contiguity", "contiguity", 2)),
    ("analysis", "parcellation.null_mean", Column("contiguity_null", "contiguity, labels permuted", 2)),
    ("analysis", "neighbour_correlation.neighbours", Column("near", "correlation of neighbours", 2)),
    ("analysis", "neighbour_correlation.all_pairs", Column("all", "correlation of all pairs", 2)),
    ("analysis", "health.participation_ratio", Column("pr", "participation ratio of the weights", 1)),
    ("analysis", "health.mean_row_norm", Column("norm", "mean row norm", 3)),
    ("analysis", "topo_lr_mult", Column("m", "learning-rate multiplier of the layer", None)),
    ("analysis", "lambda", Column("l", "lambda", None)),
)
SHARE = Column("share", "as a share of the control's best I", 2)


def reference(profile: str) -> list[Run]:
    """The committed runs of a profile.

    Raises:
        PoseTopoError: there are none.
    """
    runs = load(sorted(path for path in (REFERENCE / profile).glob("*") if path.is_dir()))
    if not runs:
        raise PoseTopoError(f"{REFERENCE / profile}: no reference results")
    return runs


def results(profile: str) -> str:
    """Measures downwards, arms across, and what they are of."""
    runs = reference(profile)
    share = table_losses.share_of_best(runs)
    rows = [
        Row(
            arm,
            {c.key: tuple(run.number(file, key) for run in group) for file, key, c in MEASURES}
            | {SHARE.key: tuple(map(share, group))},
        )
        for arm, group in by_arm(runs).items()
    ]
    columns = [c for *_, c in MEASURES]
    place = 1 + next(i for i, c in enumerate(columns) if c.key == "I_n")
    table = to_markdown(grid(Table((*columns[:place], SHARE, *columns[place:]), tuple(rows), transposed=True)))
    people = captions.count(runs, "evaluation", "people")
    expected = captions.fixed(float(runs[0].value("analysis", "moran.expected")), 4)
    note = f"Mean ± standard deviation over seeds; {people} held-out people; E[I] = {expected}."
    return f"{table}\n{note} {captions.about(runs)}\n"


def alone() -> Run:
    """The reference run that had its GPU for itself."""
    return next(run for run in reference("synthetic") if (run.arm, run.seed) == ("baseline", 0))


def sweep() -> str:
    """The table of the losses, and its caption."""
    runs = reference("sweep")
    return f"{to_markdown(grid(table_losses.build(runs)))}\n{table_losses.caption(runs)}\n"


def verdicts() -> str:
    """How the claims that need no new run come out on the reference results."""
    study = load_study()
    committed = load_reference(study)
    judged = judge_all(study, Results([], committed, itself=True))
    lines = ["| claim | on the reference runs |", "|---|---|"]
    lines += [
        f"| {one.claim.profile.id}: {one.claim.statement} | **{one.verdict}** |"
        for one in judged
        if one.claim.kind == "order" and committed.get(one.claim.profile.id)
    ]
    return "\n".join(lines) + "\n"


SECTIONS: dict[str, Callable[[], str]] = {
    "demo": lambda: results("demo"),
    "synthetic": lambda: results("synthetic"),
    "sweep": sweep,
    "verdicts": verdicts,
    "steps": lambda: steps("h200-steps"),
    "time": lambda: against_time(alone()),
    "losses": lambda: losses("epyc-2-cores-demo"),
    "bench": lambda: bench("epyc-2-cores-demo", "epyc-2-cores-standard"),
}


def filled(text: str) -> str:
    """A page with all its sections made anew.

    Raises:
        PoseTopoError: a section nobody knows.
    """

    def make(match: re.Match[str]) -> str:
        if match[2] not in SECTIONS:
            raise PoseTopoError(f"no section {match[2]!r}: one of {', '.join(SECTIONS)}")
        return f"{match[1]}{SECTIONS[match[2]]()}{match[4]}"

    return _SECTION.sub(make, text)


def main() -> int:
    """The command. Returns the exit code."""

    def action() -> int:
        for page in PAGES:
            before = (ROOT / page).read_text(encoding="utf-8")
            after = filled(before)
            if after != before:
                write_text(ROOT / page, after)
                print(f"written: {page}")
        return 0

    return command.guarded("readme", action)


if __name__ == "__main__":
    raise SystemExit(main())
