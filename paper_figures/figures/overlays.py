"""Overlays: predicted and annotated skeletons of the same held-out people, one row per arm (examples.npz)."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from paper_figures.lib import captions, style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, measure, one_run_per_arm, shared
from pose_topo.study import joints

TRUE: dict[str, Any] = {  # with a rim, so that it is seen on white clothes and on white paper
    "color": "white",
    "linewidth": 0.6,
    "path_effects": [withStroke(linewidth=1.2, foreground="0.25")],
}
PEOPLE = 6  # columns; more would be too small on a page


def draw(runs: list[Run]) -> Figure:
    """Draw one row per arm and one column per person."""
    shown = one_run_per_arm(runs)
    shared(shown, lambda run: run.examples["crops"].tobytes(), "people in their examples: give arms of one seed")
    columns = min(PEOPLE, len(shown[0].examples["crops"]))
    side = (style.TWO_COLUMNS - 0.25) / PEOPLE
    size = side * columns + 0.25, side * len(shown) + 0.3
    figure = style.new_figure(*size, w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, run in zip(axes, shown, strict=True):
        line[0].set_ylabel(run.arm, fontsize=7.5)
        for person, place in enumerate(line):
            _overlay(place, run, person)
    handles = [
        Line2D([], [], color=color, linestyle=style.SIDE_DASHES[side], linewidth=2.2, label=f"predicted, {side}")
        for side, color in joints.SIDE_COLOURS.items()
    ]
    handles.append(Line2D([], [], label="annotated", **TRUE))
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def _overlay(axes: Axes, run: Run, person: int) -> None:
    """Draw one crop, with the limbs of which both joints are annotated and therefore scored."""
    crop, labelled = run.examples["crops"][person], run.examples["labelled"][person]
    axes.imshow(crop, interpolation="antialiased")
    style.bare(axes)
    limbs = [limb for limb in joints.LIMBS if labelled[list(limb)].all()]
    for limb in limbs:
        axes.plot(*run.examples["true"][person][list(limb)].T, **TRUE)
    for limb in limbs:
        x, y = run.examples["predicted"][person][list(limb)].T
        axes.plot(x, y, color="black", linewidth=2.5, alpha=0.55, solid_capstyle="round")  # a rim, for any photograph
        side = joints.limb_side(*limb)
        colour, dashes = joints.SIDE_COLOURS[side], style.SIDE_DASHES[side]
        axes.plot(x, y, color=colour, linewidth=1.7, linestyle=dashes, dash_capstyle="butt")
    axes.set(xlim=(-0.5, crop.shape[1] - 0.5), ylim=(crop.shape[0] - 0.5, -0.5))


def caption(runs: list[Run]) -> str:
    """Give the scores of the networks, and say what is shown."""
    shown = one_run_per_arm(runs)
    people = min(PEOPLE, len(shown[0].examples["crops"]))
    scored = [run for run in shown if "evaluation" in run.json]
    means = captions.means(scored, measure("evaluation", "pckh.0.5.mean"), 1) or captions.NO_VALUE
    scores = captions.per_arm(scored, "evaluation", "pckh.0.5.mean", 1)
    return (
        f"**Predicted joints of held-out people; PCKh@0.5 of these networks: {means}.** {people} held-out people, the "
        "same in every row. They are spread evenly over the held-out people and not chosen by their results. Thick "
        "lines: predicted (orange and solid: right side of the body; blue and dashed: left; rose: middle). Thin white "
        "lines: annotated, hidden below the prediction where the two agree. Limbs of which a joint is not annotated "
        f"are not scored and not drawn. Networks of {captions.seeds_of(shown)}; their PCKh@0.5 over "
        f"{captions.count(scored, 'evaluation', 'people')} held-out people: {scores}. {captions.about(shown)}"
    )


OVERLAYS = PaperFigure(
    name="overlays",
    place=40,
    title="Predictions",
    about="held-out people with predicted joints",
    needs=("examples",),
    draw=draw,
    caption=caption,
)
