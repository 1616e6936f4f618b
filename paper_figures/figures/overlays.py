"""Overlays: predicted and annotated skeletons of the same held-out people, one row per arm (examples.npz)."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from paper_figures.lib import captions, style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, one_run_per_arm
from paper_figures.lib.style import bare
from pose_topo.core.errors import PoseTopoError
from pose_topo.study import joints

TRUE: dict[str, Any] = {  # with a rim, so that it is seen on white clothes and on white paper
    "color": "white",
    "linewidth": 0.6,
    "path_effects": [withStroke(linewidth=1.2, foreground="0.25")],
}
PEOPLE = 6  # columns; more would be too small on a page


def draw(runs: list[Run]) -> Figure:
    """Draw one row per arm and one column per person."""
    shown = _comparable(one_run_per_arm(runs))
    columns = min(PEOPLE, len(shown[0].examples["crops"]))
    side = (style.TWO_COLUMNS - 0.25) / PEOPLE
    size = side * columns + 0.25, side * len(shown) + 0.3
    figure = style.new_figure(*size, w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, run in zip(axes, shown, strict=True):
        line[0].set_ylabel(run.arm, fontsize=7.5)
        for person, place in enumerate(line):
            _overlay(place, run, person)
    figure.legend(handles=_handles(), loc="outside upper center", ncols=5)
    return figure


def _overlay(axes: Axes, run: Run, person: int) -> None:
    """Draw one crop, with the limbs of which both joints are annotated and therefore scored."""
    crop, labelled = run.examples["crops"][person], run.examples["labelled"][person]
    axes.imshow(crop, interpolation="antialiased")
    bare(axes)
    for first, second in joints.LIMBS:
        if labelled[first] and labelled[second]:
            axes.plot(*run.examples["true"][person][[first, second]].T, **TRUE)
    for first, second in joints.LIMBS:
        if labelled[first] and labelled[second]:
            _limb(axes, run.examples["predicted"][person][[first, second]], joints.limb_side(first, second), 1.7)
    axes.set(xlim=(-0.5, crop.shape[1] - 0.5), ylim=(crop.shape[0] - 0.5, -0.5))


def _limb(axes: Axes, ends: NDArray[np.float64], side: joints.Side, width: float) -> None:
    """Draw a limb with a dark rim, so that it is seen on any photograph."""
    axes.plot(*ends.T, color="black", linewidth=width + 0.8, alpha=0.55, solid_capstyle="round")
    colour, dashes = joints.SIDE_COLOURS[side], style.SIDE_DASHES[side]
    axes.plot(*ends.T, color=colour, linewidth=width, linestyle=dashes, dash_capstyle="butt")


def _handles() -> list[Line2D]:
    predicted = [
        Line2D(
            [],
            [],
            color=joints.SIDE_COLOURS[side],
            linestyle=style.SIDE_DASHES[side],
            linewidth=2.2,
            label=f"predicted, {side}",
        )
        for side in joints.SIDE_COLOURS
    ]
    return [*predicted, Line2D([], [], label="annotated", **TRUE)]


def _comparable(shown: list[Run]) -> list[Run]:
    """Check that all arms show the same people, and return the runs."""
    first = shown[0].examples["crops"]
    for run in shown[1:]:
        if not np.array_equal(first, run.examples["crops"]):
            raise PoseTopoError(
                f"{shown[0].folder} and {run.folder} hold examples of different people: give arms of one seed"
            )
    return shown


def finding(runs: list[Run]) -> str:
    """Give the scores of the networks."""
    scored = [run for run in one_run_per_arm(runs) if "evaluation" in run.json]
    scores = captions.means(scored, lambda run: run.number("evaluation", "pckh.0.5.mean"), 1)
    return f"Predicted joints of held-out people; PCKh@0.5 of these networks: {scores or captions.NO_VALUE}."


def caption(runs: list[Run]) -> str:
    """Say what is shown, and give the scores of the networks."""
    shown = one_run_per_arm(runs)
    people = min(PEOPLE, len(shown[0].examples["crops"]))
    scored = [run for run in shown if "evaluation" in run.json]
    scores = captions.per_arm(scored, "evaluation", "pckh.0.5.mean", 1)
    return (
        f"{people} held-out people, the same in every row. They are spread evenly over the held-out people and not "
        "chosen by their results. Thick lines: predicted (orange and solid: right side of the body; blue and dashed: "
        "left; rose: middle). Thin white lines: annotated, hidden below the prediction where the two agree. "
        "Limbs of which a joint is not annotated are not scored and not drawn. "
        f"Networks of {captions.seeds_of(shown)}; their PCKh@0.5 over "
        f"{captions.count(scored, 'evaluation', 'people')} held-out people: {scores}. {captions.about(shown)}"
    )


OVERLAYS = PaperFigure(
    name="overlays",
    place=40,
    title="Predictions",
    about="held-out people with predicted joints",
    needs=("examples",),
    draw=draw,
    finding=finding,
    caption=caption,
)
