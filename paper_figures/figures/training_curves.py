"""Training: loss, topographic loss, validation PCKh, Moran's I and contiguity over epochs (metrics.csv)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from paper_figures.lib import captions, command, style
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.style import REFERENCE, arm_handles, letter, reference_handle, seeds_curve

NAME = "training_curves"
PANELS = (
    ("train_heatmap_loss", "Training heatmap loss", "loss"),
    ("topo_loss", "Topographic loss", "loss, without λ"),
    ("val_pckh", "Validation PCKh@0.5", "correct joints (%)"),
    ("moran_i", "Moran's I", "mean over joints"),
    ("contiguity", "Contiguity of the parcellation", "like neighbours (share)"),
)


def draw(runs: list[Run]) -> Figure:
    """Five panels and a legend."""
    figure = style.new_figure(style.TWO_COLUMNS, 3.6)
    figure.get_layout_engine().set(w_pad=0.07)  # type: ignore[union-attr]
    axes = figure.subplots(2, 3).ravel()
    arms = by_arm(runs)
    for which, (column, title, label) in enumerate(PANELS):
        for arm, group in arms.items():
            seeds_curve(axes[which], *_curves(group, column), arm)
        letter(axes[which], which, title)
        axes[which].set(xlabel="epoch", ylabel=label)
        axes[which].xaxis.get_major_locator().set_params(integer=True)
        axes[which].margins(x=0.04)
    if any((_curves(group, "topo_loss")[1] > 0).any() for group in arms.values()):
        axes[1].set_yscale("log")
    expected = _expected(runs)
    if expected is not None:
        axes[3].axhline(expected, **REFERENCE)
    extra = [reference_handle("E[I], no topography")] if expected is not None else []
    axes[5].axis("off")
    axes[5].legend(handles=[*arm_handles(arms), *extra], loc="center left")
    return figure


def _curves(group: Sequence[Run], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs (n,) and the column (seeds, n) over the epochs that any seed reached; NaN where one did not."""
    epochs = sorted({epoch for run in group for epoch in run.metrics["epoch"]})
    values = np.full((len(group), len(epochs)), np.nan)
    for row, run in zip(values, group, strict=True):
        found = run.metrics.get(column, np.full(len(run.metrics["epoch"]), np.nan))
        row[np.searchsorted(epochs, run.metrics["epoch"])] = found
    return np.array(epochs), values


def _expected(runs: Sequence[Run]) -> float | None:
    """E[I], where an analysis says it."""
    return next((run.number("analysis", "moran.expected") for run in runs if "analysis" in run.json), None)


def caption(runs: list[Run]) -> str:
    """What is shown and the last epoch's numbers."""
    last = ", ".join(
        f"{arm} {captions.spread((float(run.metrics['val_pckh'][-1]) for run in group), 1)}"
        for arm, group in by_arm(runs).items()
    )
    epochs = sorted({len(run.metrics["epoch"]) for run in runs})
    return (
        f"Training over {' or '.join(map(str, epochs))} epochs: heatmap loss on the training people, topographic loss "
        f"(log scale, before its weight λ), PCKh@0.5 on held-out people, mean Moran's I of the joints' "
        "|head weight| maps, and contiguity of the parcellation. "
        f"PCKh@0.5 after the last epoch, without flip test: {last}. "
        f"{captions.SEED_NOTE} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("metrics",), draw, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
