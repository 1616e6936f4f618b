"""The body on the grid: where the territories of left and right twins lie, and distance on the grid by distance on
the body (analysis.npz)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_figures.lib import captions, style
from paper_figures.lib.arms import arm_style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, by_arm, one_run_per_arm
from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography.parcellation import body_hops, territory_distances, twin_ratio

FAINT = 0.35  # opacity of the territories below the lines


def draw(runs: list[Run]) -> Figure:
    """Draw the territories with lines between twins, one panel per arm; below, both statistics over seeds."""
    shown = one_run_per_arm(runs)
    figure = style.new_figure(style.TWO_COLUMNS, 4.3)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.15, 1])[:, 0]
    for which, (axes, run) in enumerate(zip(above.subplots(1, len(shown), squeeze=False)[0], shown, strict=True)):
        _twins_on_grid(axes, run.maps["labels"])
        style.letter(axes, which, run.arm)
    left, right = below.subplots(1, 2, width_ratios=[1, 1.2])
    _ratios(left, runs)
    style.letter(left, len(shown), "left and right twins")
    _distances(right, runs)
    style.letter(right, len(shown) + 1, "on the grid and on the body")
    below.legend(handles=style.arm_handles(by_arm(runs)), loc="outside lower center", ncols=6)
    return figure


def _twins_on_grid(axes: Axes, labels: NDArray[np.int64]) -> None:
    """Draw faint territories, and a line between the centres of the territories of each pair of twins."""
    style.parcels(axes, labels)
    axes.images[0].set_alpha(FAINT)
    for pair in joints.FLIP_PAIRS:
        places = [np.argwhere(labels == joint) for joint in pair]
        if not all(map(len, places)):
            continue
        (y0, x0), (y1, x1) = (place.mean(axis=0) for place in places)
        axes.plot([x0, x1], [y0, y1], color="0.2", linewidth=0.9, zorder=3)
        for joint, x, y in ((pair[0], x0, y0), (pair[1], x1, y1)):
            axes.plot(x, y, "o", color=joints.colour(joint), markeredgecolor="0.1", markersize=4.5, zorder=4)


def _apart(run: Run) -> NDArray[np.float64]:
    labels = run.maps["labels"]
    return territory_distances(labels.ravel(), Lattice(*labels.shape))


def twins(run: Run) -> float:
    """The distance of left and right twins, divided by that of other pairs of joints (`twin_ratio`)."""
    return twin_ratio(_apart(run))


def _ratios(axes: Axes, runs: Sequence[Run]) -> None:
    arms = by_arm(runs)
    axes.axhline(1, color="0.6", linewidth=0.6)
    for place, (arm, group) in enumerate(arms.items()):
        values, look = np.array([twins(run) for run in group]), arm_style(arm)
        across = place + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.array([float(place)])
        axes.plot(across, values, linestyle="none", marker=look.marker, color=look.color, markersize=4)
        axes.hlines(np.nanmean(values) if np.isfinite(values).any() else np.nan, place - 0.3, place + 0.3, look.color)
    axes.set_xticks(range(len(arms)), list(arms), rotation=20 if len(arms) > 4 else 0)
    axes.set(xlim=(-0.6, len(arms) - 0.4), ylabel="distance of twins /\nof other pairs")


def _distances(axes: Axes, runs: Sequence[Run]) -> None:
    """Draw the mean distance of two territories by the number of limbs between their joints."""
    hops = body_hops()
    steps = np.arange(1, int(hops.max()) + 1)
    for arm, group in by_arm(runs).items():
        values = [[_mean(apart[hops == step]) for step in steps] for apart in map(_apart, group)]
        style.seeds_curve(axes, steps, np.array(values), arm)
    axes.set(xlabel="limbs between two joints", ylabel="distance of their\nterritories (cells)", xticks=steps)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def caption(runs: list[Run]) -> str:
    """Give the relative distance of twins, say what is shown, and give both statistics over seeds."""
    ratios = captions.each_arm(runs, lambda group: captions.spread(map(twins, group), 2), "; ")
    return (
        "**Distance on the grid of left and right twins, divided by that of other pairs of joints: "
        f"{captions.means(runs, twins, 2)}.** "
        "Top: the territories of the joints (faint), and a line between the centres of the territories of left and "
        f"right twins. Shown: {captions.seeds_of(one_run_per_arm(runs))}. Bottom left: the mean distance between "
        f"channels of twins, divided by that of all other pairs of joints; 1 means that twins lie no nearer. {ratios}. "
        "Bottom right: the mean distance between channels of two joints by the number of limbs between the joints on "
        f"the body. {captions.SEED_NOTE} The seeds 0 to 5 of the protocol small suggested the claim about twins, and "
        f"later seeds judge it.{captions.baseline_note(runs)} {captions.about(runs)}"
    )


BODY_MAP = PaperFigure(
    name="body_map",
    place=65,
    title="The body on the grid",
    about="left and right twins on the grid, and the body's own distances",
    needs=("analysis", "maps"),
    draw=draw,
    caption=caption,
)
