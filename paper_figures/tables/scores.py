"""Tables of scores: PCKh by arm, the official metric beside that of the original study (both evaluation.json), and
robustness (robustness.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paper_figures.lib import captions
from paper_figures.lib.command import PaperTable
from paper_figures.lib.results import Run, by_arm, measure, shared
from paper_figures.lib.tables import Cell, Column, Row, Table, by_measure
from pose_topo.scoring import published as literature
from pose_topo.scoring.intervals import PairedTest, paired_test
from pose_topo.study import joints
from pose_topo.study.results import HARMS

PCKH: dict[str, Column] = {  # key in evaluation.json -> column
    **{f"pckh.0.5.groups.{group}": Column(group, group, 1) for group in joints.GROUPS},
    "pckh.0.5.mean": Column("mean_0.5", "Mean@0.5", 1),
    "pckh.0.1.mean": Column("mean_0.1", "Mean@0.1", 1),
    "pckh.0.11.mean": Column("mean_0.11", "Mean@0.11", 1),
    "auc": Column("auc", "AUC", 1),
    "legacy.pckh": Column("legacy", "Legacy", 1),
}
PCK: dict[str, Column] = {  # the same where nobody's head size is annotated
    **{f"pck.groups.{group}": Column(group, group, 1) for group in joints.GROUPS},
    "pck.mean": Column("mean_pck", "Mean@0.2", 1),
    "legacy.pckh": PCKH["legacy.pckh"],
}
METRICS: dict[str, Column] = {
    "pckh.0.5.mean": Column("pckh", "PCKh@0.5, official", 1),
    "legacy.pckh_labelled": Column("legacy_labelled", "Legacy, labelled joints", 1),
    "legacy.pckh": Column("legacy", "Legacy, as the study counts", 1),
    "legacy.unlabelled": Column("unlabelled", "Unlabelled joints", 0),
    "legacy.head_ratio.median": Column("head_ratio_median", "Head size, legacy / official, median", 2),
    "legacy.head_ratio.mean": Column("head_ratio_mean", "The same, mean", 2),
}


def _table(runs: list[Run], columns: dict[str, Column]) -> Table:
    return by_measure(runs, {column: measure("evaluation", key) for key, column in columns.items()})


def build_pckh(runs: list[Run]) -> Table:
    """Return one row per arm, followed by the published results of the backbone."""
    shared(runs, lambda run: run.value("evaluation", "settings"), "settings (decoding, flip test, framing or split)")
    table = _table(runs, PCK if captions.validation_score(runs) == "PCK@0.2" else PCKH)
    return replace(table, rows=(*table.rows, *published(runs)))


def published(runs: Sequence[Run]) -> list[Row]:
    """Return the published results of the backbone, or none unless they are of the people who are scored here."""
    if not all(literature.same_people(run.value("evaluation", "settings")) for run in runs):
        return []
    archs = {run.arch for run in runs}
    return [
        Row(
            f"{line.label} (published, MPII val)",
            {column.key: (line.values.get(column.key),) for column in PCKH.values()},
            extra={"source": line.source},
        )
        for line in literature.rows()
        if line.arch in archs
    ]


def caption_pckh(runs: list[Run]) -> str:
    """Say what the columns are, how the people were scored, and where published rows come from."""
    settings = runs[0].value("evaluation", "settings")
    people = captions.count(runs, "evaluation", "people")
    if captions.validation_score(runs) == "PCK@0.2":
        what = (
            f"PCK (%) of {people} held-out people, by joint group at 0.2 of the torso, from the left shoulder to the "
            "right hip. There is no PCKh, because nobody's head size is annotated. Mean pools the labelled joints. "
        )
    else:
        what = (
            f"PCKh (%) of {people} held-out people with {captions.count(runs, 'evaluation', 'joints')} labelled "
            f"joints, by joint group at 0.5 of the head size ({head_size(runs)}). Means "
            "pool the labelled joints, without pelvis and thorax. Mean@0.11 is what several papers print as @0.1. AUC "
            "is the area under the mean from 0 to 0.5, in % of the largest possible. "
        )
    text = (
        f"{what}Legacy is the metric of the original study, which is not PCKh. Settings: decoding "
        f"{settings['decode']}, flip test {'on' if settings['flip_test'] else 'off'}, framing {settings['framing']}, "
        f"split {settings['split']}. ± is the standard deviation over seeds. {captions.about(runs)}"
    )
    sources = dict.fromkeys(f"{row.label}: {row.extra['source']}" for row in published(runs))
    return text + (f" Published by others, who trained in their own way: {'; '.join(sources)}." if sources else "")


TABLE_PCKH = PaperTable(
    name="table_pckh",
    place=30,
    title="PCKh",
    about="PCKh by joint group, with published results",
    needs=("evaluation",),
    build=build_pckh,
    caption=caption_pckh,
    every_arm=True,
)


def head_size(runs: Sequence[Run]) -> str:
    """Return what the head size of these runs is, for a caption."""
    lengths = [run.json["evaluation"].get("reference_lengths") for run in runs]  # earlier results have head boxes
    if not all(about and about["pckh"]["length"] == "head segment" for about in lengths):
        return "official: 0.6 of the diagonal of the head box"
    without = captions.count(runs, "evaluation", "reference_lengths.pckh.without")
    return f"the head segment, from upper neck to head top; {without} people without it are not scored"


def caption_metrics(runs: list[Run]) -> str:
    """Say how the two metrics differ, in principle and in these runs."""
    official = captions.per_arm(runs, "evaluation", "pckh.0.5.mean", 1)
    reasons = dict.fromkeys(r for run in runs if (r := run.value("evaluation", "legacy.reason")))
    return (
        f"Two metrics (%) of the same predictions for {captions.count(runs, 'evaluation', 'people')} held-out people. "
        f"Official PCKh@0.5 pools {captions.count(runs, 'evaluation', 'joints')} labelled joints, without pelvis and "
        f"thorax; a joint is correct within half a head size ({head_size(runs)}). Legacy is the metric of the original "
        "study and is not PCKh: its head size is the distance from the right wrist to the left shoulder "
        f"({captions.spread((run.number('evaluation', 'legacy.head_ratio.median') for run in runs), 2)} times the "
        "official one in the median), joints are compared on a coarse grid of the squeezed image, all 16 joints count, "
        f"and an unlabelled joint ({captions.count(runs, 'evaluation', 'legacy.unlabelled')} of them) counts as if it "
        "lay in the corner. The column of labelled joints leaves these out. The two metrics must not be compared with "
        f"each other. Official: {official}. ± is the standard deviation over "
        f"seeds.{''.join(f' No legacy number: {reason}.' for reason in reasons)} {captions.about(runs)}"
    )


TABLE_METRICS = PaperTable(
    name="table_metrics",
    place=150,
    title="Official and legacy metric",
    about="official PCKh beside the metric of the original study",
    needs=("evaluation",),
    build=lambda runs: _table(runs, METRICS),
    caption=caption_metrics,
    every_arm=True,
)


# ---- robustness

AREAS = {"intact": "Intact"} | {f"harms.{harm}.relative": title for harm, (title, _) in HARMS.items()}


def build_robustness(runs: list[Run]) -> Table:
    """Return one column per arm. Each measure has two rows: its value, and p against the control over seeds."""
    columns = [Column("pairs", "Seeds that the control also has", None), Column("smallest_p", "Smallest possible p", 3)]
    for key, title in reversed(AREAS.items()):
        p = Column(f"{key}_p", "p against the control", 3)
        columns = [Column(key, title, 1 if key == "intact" else 3), p, *columns]
    rows = []
    for arm, group in by_arm(runs).items():
        tests = {key: against_control(runs, arm, key) for key in AREAS}
        numbers = {f"{key}_p": test.p for key, test in tests.items()}
        numbers |= {"pairs": tests["intact"].n or None, "smallest_p": tests["intact"].smallest_p}
        values: dict[str, tuple[Cell, ...]] = {key: (number,) * len(group) for key, number in numbers.items()}
        values |= {key: tuple(run.number("robustness", key) for run in group) for key in AREAS}
        rows.append(Row(arm, values, tuple(run.seed for run in group)))
    return Table(tuple(columns), tuple(rows), transposed=True)


def against_control(runs: Sequence[Run], arm: str, key: str) -> PairedTest:
    """Return the test of the differences of an arm from the control of the same seed. The control itself has none."""
    numbers = {(run.arm, run.seed): run.number("robustness", key) for run in runs}
    pairs = [(own, numbers.get(("control", seed))) for (name, seed), own in numbers.items() if name == arm != "control"]
    return paired_test([own - other for own, other in pairs if own is not None and other is not None])


def caption_robustness(runs: list[Run]) -> str:
    """Say what the rows are, and how small p can be."""
    score = captions.same(runs, "robustness", "score")
    ranges = "; ".join(
        f"{title.lower()} 0 to {runs[0].value('robustness', f'harms.{harm}.levels')[-1]['level']:g}, {unit}"
        for harm, (title, unit) in HARMS.items()
    )
    return (
        f"Robustness of {captions.count(runs, 'robustness', 'images')} held-out people's {score}, without further "
        f"training. Intact: {score} (%). Other rows: the area under the curve of {score} over the levels of a harm, by "
        "the trapezoidal rule, as a share of the intact score (1: the harm costs nothing; robustness.json also has the "
        f"area itself). Ranges of the levels: {ranges}. p: two-sided sign-flip test of the differences from the "
        "control of the same seed; one training run is one observation. With n seeds p is at least 2 / 2^n, which the "
        f"last row shows. ± is the standard deviation over seeds. {captions.about(runs)}"
    )


TABLE_ROBUSTNESS = PaperTable(
    name="table_robustness",
    place=126,
    title="Area under the curves of robustness",
    about="robustness by arm, with tests over seeds",
    needs=("robustness",),
    build=build_robustness,
    caption=caption_robustness,
)
