"""What the metric makes: official PCKh beside the original study's own number, by arm (evaluation.json)."""

from __future__ import annotations

from collections.abc import Sequence

from paper_figures.lib import captions, command
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.tables import Column, Row, Table

NAME = "table_metrics"
MEASURES: dict[str, Column] = {  # where evaluation.json holds it -> the column
    "pckh.0.5.mean": Column("pckh", "PCKh@0.5, official", 1),
    "legacy.pckh_labelled": Column("legacy_labelled", "Legacy, labelled joints", 1),
    "legacy.pckh": Column("legacy", "Legacy, as the study counts", 1),
    "legacy.unlabelled": Column("unlabelled", "Unlabelled joints", 0),
    "legacy.head_ratio.median": Column("head_ratio_median", "Head size, legacy / official, median", 2),
    "legacy.head_ratio.mean": Column("head_ratio_mean", "The same, mean", 2),
}


def build(runs: list[Run]) -> Table:
    """An arm a row."""
    rows = [
        Row(
            arm,
            {column.key: tuple(run.number("evaluation", key) for run in group) for key, column in MEASURES.items()},
            tuple(run.seed for run in group),
        )
        for arm, group in by_arm(runs).items()
    ]
    return Table(tuple(MEASURES.values()), tuple(rows))


def caption(runs: list[Run]) -> str:
    """How the two numbers differ, and by how much here."""
    official = captions.per_arm(runs, "evaluation", "pckh.0.5.mean", 1)
    reasons = dict.fromkeys(r for run in runs if (r := run.value("evaluation", "legacy.reason")))
    return (
        f"The same predictions of {captions.count(runs, 'evaluation', 'people')} held-out people, two metrics (%). "
        f"Official PCKh@0.5 pools {captions.count(runs, 'evaluation', 'joints')} labelled joints but pelvis and "
        "thorax, within half a head size (0.6 of the head box's diagonal). Legacy, the original study's own number, "
        "is no PCKh: its head size is the distance from the right wrist to the left shoulder "
        f"({captions.spread((run.number('evaluation', 'legacy.head_ratio.median') for run in runs), 2)} times the "
        "official one in the median), joints are compared on a coarse grid of the squeezed picture, all 16 "
        "joints count, and an unlabelled joint "
        f"({captions.count(runs, 'evaluation', 'legacy.unlabelled')} of them) counts as if it lay in the corner; the "
        "column of labelled joints leaves those out. The two must not be compared with each other; "
        f"official: {official}. ± is the standard deviation over seeds."
        f"{''.join(f' No legacy number: {reason}.' for reason in reasons)} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.table(NAME, __doc__, ("evaluation",), build, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
