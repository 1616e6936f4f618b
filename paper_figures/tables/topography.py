"""Topography by arm: Moran's I, contiguity, correlation, health of the layer, and what it was trained with."""

from __future__ import annotations

from collections.abc import Sequence

from paper_figures.lib import captions, command
from paper_figures.lib.arms import REFERENCE
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.tables import Column, Row, Table

NAME = "table_topography"
ABOVE = "I_above_control"  # the one column that needs two runs
MEASURES: dict[str, Column] = {  # where analysis.json holds it -> the column
    "moran.mean_I": Column("mean_I", "Moran's I, mean over joints", 3),
    "moran.expected": Column("expected_I", "E[I]", 4),
    "moran.p_mean": Column("p_mean", "p of the mean I (largest of the seeds)", 4, largest=True),
    ABOVE: Column(ABOVE, "I above the control of the same seed", 3),
    "parcellation.contiguity": Column("contiguity", "Contiguity", 3),
    "parcellation.null_mean": Column("contiguity_null", "Contiguity, labels permuted", 3),
    "neighbour_correlation.neighbours": Column("correlation_neighbours", "Correlation, neighbours", 3),
    "neighbour_correlation.all_pairs": Column("correlation_all_pairs", "Correlation, all pairs", 3),
    "health.participation_ratio": Column("participation_ratio", "Participation ratio of the weights", 1),
    "health.mean_row_norm": Column("mean_row_norm", "Mean row norm", 3),
    "health.weight_similarity": Column("weight_similarity", "Weight-similarity loss", 4),
    "topo_lr_mult": Column("topo_lr_mult", "Learning-rate multiplier of the layer", None),
    "lambda": Column("lambda", "λ", None),
}


def build(runs: list[Run]) -> Table:
    """Measures downwards, arms across."""
    controls = {run.seed: run.number("analysis", "moran.mean_I") for run in runs if run.arm == "control"}
    rows = [
        Row(
            arm,
            {column.key: tuple(_value(run, key, controls) for run in group) for key, column in MEASURES.items()},
            tuple(run.seed for run in group),
        )
        for arm, group in by_arm(runs).items()
    ]
    return Table(tuple(MEASURES.values()), tuple(rows), transposed=True)


def _value(run: Run, key: str, controls: dict[int, float | None]) -> float | None:
    if key != ABOVE:
        return run.number("analysis", key)
    own, control = run.number("analysis", "moran.mean_I"), controls.get(run.seed)
    if own is None or control is None or run.arm == "control" or run.arm.endswith(REFERENCE):
        return None
    return own - control


def caption(runs: list[Run]) -> str:
    """What the rows are."""
    return (
        f"Topography of the channel grid, measured over {captions.count(runs, 'analysis', 'images')} held-out people. "
        f"Moran's I of the |head weight| maps with {captions.same(runs, 'analysis', 'moran.weights')} weights; "
        f"p one-sided, {captions.same(runs, 'analysis', 'moran.permutations')} permutations of the channels. "
        "Contiguity: share of rook neighbours whose channels serve the same joint. Participation ratio, row norm "
        "and weight similarity are of the layer on the grid (of the last deconvolution for a baseline); that loss "
        "falls when weights merely shrink, hence norm and ratio stand beside it. "
        "± is the standard deviation over seeds."
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.table(NAME, __doc__, ("analysis",), build, caption, argv, every_arm=False)


if __name__ == "__main__":
    raise SystemExit(main())
