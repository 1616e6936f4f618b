"""Robustness: the score of each arm while its weights, inputs or channels are harmed (robustness.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_figures.lib import captions, style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.style import letter
from pose_topo.core.errors import PoseTopoError
from pose_topo.study.results import HARMS

COLUMNS = 4  # of two rows; the legend is in the place of the last panel


def draw(runs: list[Run]) -> Figure:
    """Draw one panel per harm, with one curve per arm."""
    arms = by_arm(runs)
    figure = style.new_figure(style.TWO_COLUMNS, 3.3)
    rows = -(-(len(HARMS) + 1) // COLUMNS)
    panels = figure.subplots(rows, COLUMNS, sharey=True).ravel()
    for which, (harm, (title, unit)) in enumerate(HARMS.items()):
        levels, axes = _levels(runs, harm), panels[which]
        for arm, group in arms.items():
            style.seeds_curve(axes, levels, _scores(group, harm), arm)
        letter(axes, which, title)
        axes.set(xlabel=unit, ylim=(0, None))
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
    for axes in panels[::COLUMNS]:
        axes.set_ylabel(f"{_score(runs)} (%)")
    for axes in panels[len(HARMS) :]:
        axes.set_axis_off()
    panels[len(HARMS)].legend(handles=style.arm_handles(arms), loc="center left")
    return figure


def _points(run: Run, harm: str) -> list[dict[str, Any]]:
    return run.value("robustness", f"harms.{harm}.levels")


def _levels(runs: Sequence[Run], harm: str) -> NDArray[np.float64]:
    """The levels of a harm, (n,).

    Raises:
        PoseTopoError: the runs have different levels.
    """
    found = [[point["level"] for point in _points(run, harm)] for run in runs]
    if other := [run for run, levels in zip(runs, found, strict=True) if levels != found[0]]:
        raise PoseTopoError(
            f"{runs[0].folder} and {other[0].folder}: robustness.json has different levels of {harm}: make both again"
        )
    return np.array(found[0], dtype=float)


def _scores(group: Sequence[Run], harm: str) -> NDArray[np.float64]:
    """The scores of one arm, (seeds, levels), NaN for null."""
    return np.array([[point["pckh"] for point in _points(run, harm)] for run in group], dtype=float)


def _score(runs: Sequence[Run]) -> str:
    return captions.same(runs, "robustness", "score")


def _left(runs: Sequence[Run], harm: str) -> dict[str, float]:
    """The mean relative area of each arm that has one."""
    found = {
        arm: [value for run in group if (value := run.number("robustness", f"harms.{harm}.relative")) is not None]
        for arm, group in by_arm(runs).items()
    }
    return {arm: sum(values) / len(values) for arm, values in found.items() if values}


def finding(runs: list[Run]) -> str:
    """Name the harms in which the arms differ most and least."""
    spans = {harm: max(left.values()) - min(left.values()) for harm in HARMS if (left := _left(runs, harm))}
    if not spans:
        return "No joint is correct in the intact networks."
    most, least = max(spans, key=lambda harm: spans[harm]), min(spans, key=lambda harm: spans[harm])
    words = {
        harm: f"{HARMS[harm][0].lower()}: "
        + ", ".join(f"{arm} {captions.fixed(value, 2)}" for arm, value in _left(runs, harm).items())
        for harm in (most, least)
    }
    return (
        f"The share of the intact {_score(runs)} that is left, averaged over the range of a harm, differs most "
        f"between the arms for {words[most]}; and least for {words[least]}."
    )


def caption(runs: list[Run]) -> str:
    """Say what is done to the networks, and give the relative area of each harm and arm."""
    areas = "; ".join(
        f"{title.lower()}: {captions.per_arm(runs, 'robustness', f'harms.{harm}.relative', 2)}"
        for harm, (title, _) in HARMS.items()
    )
    draws = {harm: captions.same(runs, "robustness", f"harms.{harm}.draws") for harm in HARMS}
    return (
        f"{_score(runs)} of {captions.count(runs, 'robustness', 'images')} held-out people, without further training. "
        f"a: Gaussian noise on the weights of every convolution ({draws['weight_noise']} draws); the statistics of "
        "BatchNorm stay. b: Gaussian blur. c: Gaussian noise on the inputs; all arms see the same noise. d: each "
        "colour moves towards its mean over the input. e to g: channels before the head are silenced: the territories "
        "of the joints with the fewest channels first, the smallest head weights first, and at random "
        f"({draws['prune_random']} draws). Area under the curve as a share of the intact score (1: no harm), "
        f"by arm: {areas}. {captions.SEED_NOTE} {captions.about(runs)}"
    )


ROBUSTNESS = PaperFigure(
    name="robustness",
    place=124,
    title="Robustness",
    about="PCKh while weights, inputs or channels are harmed",
    needs=("robustness",),
    draw=draw,
    finding=finding,
    caption=caption,
)
