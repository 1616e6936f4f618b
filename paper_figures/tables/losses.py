"""The sweep: every network with a topographic layer, by loss, weight and multiplier (evaluation and analysis)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paper_figures.lib import captions, command
from paper_figures.lib.arms import MAIN, family
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.tables import Cell, Column, Row, Table

NAME = "table_losses"


def _analysis(key: str) -> Callable[[Run], Cell]:
    return lambda run: run.number("analysis", key)


def loss(run: Run) -> str:
    """The spatial loss of a run; nothing for a control, which has none."""
    return run.value("analysis", "topo_loss") if run.number("analysis", "lambda") else ""


def cosine_excess(run: Run) -> float | None:
    """How much more alike the weights of neighbours are than those of any two channels."""
    near, every = (run.number("analysis", f"health.{key}_cosine") for key in ("neighbour", "all_pairs"))
    return None if near is None or every is None else near - every


def share_of_best(runs: Sequence[Run]) -> Callable[[Run], Cell]:
    """I of a run as a share of what sorting the channels of the control of its seed reaches
    (analysis/rearrangement.py); nothing where there is no such control."""
    best = {run.seed: run.number("analysis", "controls.rearranged.mean_I") for run in runs if run.arm == "control"}

    def share(run: Run) -> Cell:
        own, most = run.number("analysis", "moran.mean_I"), best.get(run.seed)
        return own / most if own is not None and most else None

    return share


COLUMNS: tuple[tuple[Column, Callable[[Run], Cell]], ...] = (
    (Column("lambda", "λ", None), _analysis("lambda")),
    (Column("topo_lr_mult", "Rate ×", None), _analysis("topo_lr_mult")),
    (Column("mean_I", "I of |w|", 3), _analysis("moran.mean_I")),
    (Column("mean_I_normalised", "I normalised", 3), _analysis("moran_measures.normalised.mean_I")),
    (Column("mean_I_activity", "I activity", 3), _analysis("moran_measures.activity.mean_I")),
    (Column("contiguity", "Contiguity", 3), _analysis("parcellation.contiguity")),
    (Column("pckh", "PCKh@0.5", 1), lambda run: run.number("evaluation", "pckh.0.5.mean")),
    (Column("participation_ratio", "Particip. ratio", 1), _analysis("health.participation_ratio")),
    (Column("mean_row_norm", "Row norm", 3), _analysis("health.mean_row_norm")),
    (Column("cosine_excess", "Cosine excess", 3), cosine_excess),
)
COUNT = Column("n", "Seeds", None)
SHARE = Column("share_of_best", "I / best", 2)


def build(runs: list[Run]) -> Table:
    """An arm a row, in the order loss, lambda."""
    columns = [*COLUMNS[:3], (SHARE, share_of_best(runs)), *COLUMNS[3:]]
    rows = [
        Row(
            arm,
            {column.key: tuple(measure(run) for run in group) for column, measure in columns}
            | {COUNT.key: (len(group),) * len(group)},
            tuple(run.seed for run in group),
            {"loss": loss(group[0])},
        )
        for arm, group in by_arm(runs).items()
    ]
    heads = [column for column, _ in columns]
    return Table((*heads[:2], COUNT, *heads[2:]), tuple(rows))


def caption(runs: list[Run]) -> str:
    """What the columns are."""
    first = runs[0]
    return (
        f"Networks with a topographic layer on a {captions.same(runs, 'analysis', 'grid.height')} x "
        f"{captions.same(runs, 'analysis', 'grid.width')} grid, by spatial loss ({_losses(runs)}), its weight λ and "
        "the learning-rate multiplier of the layer (rate ×). I: Moran's I, mean over joints, "
        f"of |head weight|, of |head weight| with each channel's gain divided out, and of |head weight| times the "
        f"standard deviation of the channel's activation "
        f"({captions.same(runs, 'analysis', 'moran.weights')} weights; E[I] = "
        f"{captions.fixed(float(first.value('analysis', 'moran.expected')), 4)}). I / best: I of |head weight| as a "
        "share of what sorting the channels of the control of the same seed reaches. Participation ratio: directions "
        "that the layer's weights use; near 1 the layer has collapsed, however high its I. Row norm: mean length of "
        "a channel's weights. Cosine excess: mean cosine of the weights of grid neighbours less that of all pairs. "
        f"± is the standard deviation over seeds. {captions.about(runs)}"
    )


def _losses(runs: Sequence[Run]) -> str:
    """Which loss `topo` stands for; the other arms say theirs."""
    study = sorted({loss(run) for run in runs if family(run.arm) in MAIN} - {""})
    return f"topo: {', '.join(study)}; others by name" if study else "by name"


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.table(NAME, __doc__, ("grid", "evaluation"), build, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
