"""The numbers in README and docs, from the committed reference results: `python -m paper_figures.readme`.

A page holds `<!-- made: NAME -->` and `<!-- /made -->`; what stands between is written by the function of that name in
`SECTIONS`. A test fails while a page says other than the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from paper_figures import bench_tables, captions, command, table_losses
from paper_figures.claims import load_study
from paper_figures.judging import REFERENCE, Results, judge_all, load_reference
from paper_figures.results import Run, by_arm, load
from paper_figures.tables import Column, Row, Table, grid, to_markdown
from pose_topo.errors import PoseTopoError
from pose_topo.files import write_text

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
    "steps": lambda: bench_tables.steps("h200-steps"),
    "time": lambda: bench_tables.against_time(alone()),
    "losses": lambda: bench_tables.losses("epyc-2-cores-demo"),
    "bench": lambda: bench_tables.bench("epyc-2-cores-demo", "epyc-2-cores-standard"),
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
