"""Training: loss, spatial loss, validation PCKh, Moran's I and contiguity over epochs (metrics.csv)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from paper_figures.lib import captions, style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.style import CHANCE, arm_handles, chance_handle, letter, seeds_curve

PANELS = (
    ("train_heatmap_loss", "Training heatmap loss", "loss"),
    ("topo_loss", "Topographic loss", "loss, without λ"),
    ("val_pckh", "Validation {score}", "correct joints (%)"),
    ("moran_i", "Moran's I", "mean over joints"),
    ("contiguity", "Contiguity of the parcellation", "like neighbours (share)"),
)


def draw(runs: list[Run]) -> Figure:
    """Draw five panels and a legend."""
    figure = style.new_figure(style.TWO_COLUMNS, 3.6, w_pad=0.07)
    axes = figure.subplots(2, 3).ravel()
    arms = by_arm(runs)
    for which, (column, title, label) in enumerate(PANELS):
        for arm, group in arms.items():
            seeds_curve(axes[which], *_curves(group, column), arm)
        letter(axes[which], which, title.format(score=captions.validation_score(runs)))
        axes[which].set(xlabel="epoch", ylabel=label)
        axes[which].xaxis.get_major_locator().set_params(integer=True)
        axes[which].margins(x=0.04)
    if any((_curves(group, "topo_loss")[1] > 0).any() for group in arms.values()):
        axes[1].set_yscale("log")
    handles = arm_handles(arms)
    expected = next((run.number("analysis", "moran.expected") for run in runs if "analysis" in run.json), None)
    if expected is not None:
        axes[3].axhline(expected, **CHANCE)
        handles.append(chance_handle("E[I], no topography"))
    axes[5].axis("off")
    axes[5].legend(handles=handles, loc="center left")
    return figure


def _curves(group: Sequence[Run], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs (n,) that any seed reached, and the column (seeds, n), NaN where a seed did not reach one."""
    epochs = sorted({epoch for run in group for epoch in run.metrics["epoch"]})
    values = np.full((len(group), len(epochs)), np.nan)
    for row, run in zip(values, group, strict=True):
        found = run.metrics.get(column, np.full(len(run.metrics["epoch"]), np.nan))
        row[np.searchsorted(epochs, run.metrics["epoch"])] = found
    return np.array(epochs), values


def caption(runs: list[Run]) -> str:
    """Give the score after the last epoch, and say what is shown."""

    def final(run: Run) -> float:
        return float(run.metrics["val_pckh"][-1])

    score = captions.validation_score(runs)
    last = captions.each_arm(runs, lambda group: captions.spread(map(final, group), 1))
    epochs = sorted({len(run.metrics["epoch"]) for run in runs})
    return (
        f"**{score} after the last epoch: {captions.means(runs, final, 1)}.** Training over "
        f"{' or '.join(map(str, epochs))} epochs: heatmap loss on the training people, spatial loss (log scale, "
        f"without its weight λ), {score} of the held-out people, Moran's I of the |head weight| maps averaged over "
        f"joints, and contiguity of the parcellation. {score} after the last epoch, without flip test: {last}. "
        f"{captions.SEED_NOTE} {captions.about(runs)}"
    )


TRAINING_CURVES = PaperFigure(
    name="training_curves",
    place=20,
    title="Training",
    about="loss, PCKh, Moran's I and contiguity by epoch",
    needs=("metrics",),
    draw=draw,
    caption=caption,
)
