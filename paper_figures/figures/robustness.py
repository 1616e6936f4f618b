"""Robustness: the score of each arm while its weights, inputs or channels are harmed (robustness.json)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from paper_figures.lib import captions, style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, by_arm, known, measure, shared
from pose_topo.study.results import HARMS

COLUMNS = 4  # of two rows; the legend is in the place of the last panel


def draw(runs: list[Run]) -> Figure:
    """Draw one panel per harm, with one curve per arm."""
    arms = by_arm(runs)
    figure = style.new_figure(style.TWO_COLUMNS, 3.3)
    rows = -(-(len(HARMS) + 1) // COLUMNS)
    panels = figure.subplots(rows, COLUMNS, sharey=True).ravel()
    for which, (harm, (title, unit)) in enumerate(HARMS.items()):
        axes, name = panels[which], f"levels of {harm} in robustness.json: make both again"
        levels = shared(runs, partial(_points, harm=harm, key="level"), name)
        for arm, group in arms.items():
            scores = [_points(run, harm, "pckh") for run in group]
            style.seeds_curve(axes, np.array(levels, dtype=float), np.array(scores, dtype=float), arm)  # NaN for null
        style.letter(axes, which, title)
        axes.set(xlabel=unit, ylim=(0, None))
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
    for axes in panels[::COLUMNS]:
        axes.set_ylabel(f"{_score(runs)} (%)")
    for axes in panels[len(HARMS) :]:
        axes.set_axis_off()
    panels[len(HARMS)].legend(handles=style.arm_handles(arms), loc="center left")
    return figure


def _points(run: Run, harm: str, key: str) -> list[float | None]:
    return [point[key] for point in run.value("robustness", f"harms.{harm}.levels")]


def _score(runs: Sequence[Run]) -> str:
    return captions.same(runs, "robustness", "score")


def _finding(runs: Sequence[Run]) -> str:
    """Name the harms in which the arms differ most and least."""
    left: dict[str, dict[str, float]] = {}  # by harm and arm, the mean relative area
    for harm in HARMS:
        for arm, group in by_arm(runs).items():
            if areas := known(group, measure("robustness", f"harms.{harm}.relative")):
                left.setdefault(harm, {})[arm] = sum(areas) / len(areas)
    if not left:
        return "No joint is correct in the intact networks."
    spans = {harm: max(shares.values()) - min(shares.values()) for harm, shares in left.items()}
    most, least = (
        f"{HARMS[harm][0].lower()}: " + ", ".join(f"{arm} {captions.fixed(v, 2)}" for arm, v in left[harm].items())
        for harm in (max(spans, key=spans.__getitem__), min(spans, key=spans.__getitem__))
    )
    return (
        f"The share of the intact {_score(runs)} that is left, averaged over the range of a harm, differs most "
        f"between the arms for {most}; and least for {least}."
    )


def caption(runs: list[Run]) -> str:
    """Give the finding, say what is done to the networks, and give the relative area of each harm and arm."""
    areas = "; ".join(
        f"{title.lower()}: {captions.per_arm(runs, 'robustness', f'harms.{harm}.relative', 2)}"
        for harm, (title, _) in HARMS.items()
    )
    draws = {harm: captions.same(runs, "robustness", f"harms.{harm}.draws") for harm in HARMS}
    return (
        f"**{_finding(runs)}** {_score(runs)} of {captions.count(runs, 'robustness', 'images')} held-out people, "
        f"without further training. a: Gaussian noise on the weights of every convolution ({draws['weight_noise']} "
        "draws); the statistics of BatchNorm stay. b: Gaussian blur. c: Gaussian noise on the inputs; all arms see the "
        "same noise. d: each colour moves towards its mean over the input. e to g: channels before the head are "
        "silenced: the territories of the joints with the fewest channels first, the smallest head weights first, and "
        f"at random ({draws['prune_random']} draws). Area under the curve as a share of the intact score (1: no harm), "
        f"by arm: {areas}. {captions.SEED_NOTE} {captions.about(runs)}"
    )


ROBUSTNESS = PaperFigure(
    name="robustness",
    place=124,
    title="Robustness",
    about="PCKh while weights, inputs or channels are harmed",
    needs=("robustness",),
    draw=draw,
    caption=caption,
)
