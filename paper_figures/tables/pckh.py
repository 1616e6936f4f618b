"""PCKh by arm: joint groups at 0.5, means at 0.5, 0.1 and 0.11, AUC; on MPII, published rows of the backbone."""

from __future__ import annotations

from collections.abc import Sequence

from paper_figures.lib import captions, command
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.tables import Column, Row, Table
from pose_topo.core.errors import PoseTopoError
from pose_topo.scoring import published as literature
from pose_topo.study import joints

NAME = "table_pckh"
KEYS = {  # the column's key -> where evaluation.json holds it
    **{group: f"pckh.0.5.groups.{group}" for group in joints.GROUPS},
    "mean_0.5": "pckh.0.5.mean",
    "mean_0.1": "pckh.0.1.mean",
    "mean_0.11": "pckh.0.11.mean",
    "auc": "auc",
    "legacy": "legacy.pckh",
}
TITLES = {"mean_0.5": "Mean@0.5", "mean_0.1": "Mean@0.1", "mean_0.11": "Mean@0.11", "auc": "AUC", "legacy": "Legacy"}


def build(runs: list[Run]) -> Table:
    """Arms first, then what others published for the backbone."""
    if len({str(run.value("evaluation", "settings")) for run in runs}) > 1:
        raise PoseTopoError("the evaluations have different settings (decoding, flip test, framing or split)")
    columns = tuple(Column(key, TITLES.get(key, key), 1) for key in KEYS)
    rows = [
        Row(
            arm,
            {key: tuple(run.number("evaluation", where) for run in group) for key, where in KEYS.items()},
            tuple(run.seed for run in group),
        )
        for arm, group in by_arm(runs).items()
    ]
    return Table(columns, (*rows, *published(runs)))


def published(runs: Sequence[Run]) -> list[Row]:
    """Published rows of the runs' backbone; none unless the people scored are those that the publications scored."""
    if not all(literature.same_people(run.value("evaluation", "settings")) for run in runs):
        return []
    archs = {run.arch for run in runs}
    return [
        Row(
            f"{line.label} (published, MPII val)",
            {key: (line.values.get(key),) for key in KEYS},
            extra={"source": line.source},
        )
        for line in literature.rows()
        if line.arch in archs
    ]


def caption(runs: list[Run]) -> str:
    """What the columns are, how it was scored, where published rows come from."""
    settings = runs[0].value("evaluation", "settings")
    text = (
        f"PCKh (%) of {captions.count(runs, 'evaluation', 'people')} held-out people with "
        f"{captions.count(runs, 'evaluation', 'joints')} labelled joints, by joint group "
        "at 0.5 of the head size (official: 0.6 of the head box's diagonal); means pool the labelled joints "
        "but pelvis and thorax. Mean@0.11 is what several papers print as @0.1; "
        "AUC: area under the mean from 0 to 0.5, in % of the largest; Legacy: the original study's own metric, "
        "which is no PCKh. "
        f"Settings: decoding {settings['decode']}, flip test {'on' if settings['flip_test'] else 'off'}, framing "
        f"{settings['framing']}, split {settings['split']}. ± is the standard deviation over seeds. "
        f"{captions.about(runs)}"
    )
    sources = dict.fromkeys(f"{row.label}: {row.extra['source']}" for row in published(runs))
    return text + (f" Published by others, under their own training: {'; '.join(sources)}." if sources else "")


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.table(NAME, __doc__, ("evaluation",), build, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
