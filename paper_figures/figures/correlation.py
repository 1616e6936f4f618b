"""Correlation of channels and the grid: of neighbours, by distance, and how far apart co-active channels lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from paper_figures.lib import captions, style
from paper_figures.lib.arms import arm_style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Measure, Run, by_arm, known, measure, one_run_per_arm, shared
from paper_figures.lib.style import BAND, CHANCE, arm_handles, bare, chance_handle, letter, seeds_curve

ALL_PAIRS = {"color": "black", "linewidth": 0.9, "linestyle": (0, (3, 1.2))}


# ---- neighbour_correlation


def draw_neighbours(runs: list[Run]) -> Figure:
    """Draw a map per arm above, histograms below; all arms have one scale."""
    shown = one_run_per_arm(runs)
    width = style.panels_width(len(shown))
    side = min(1.5, (width - 1.3) / len(shown))  # of a map
    figure = style.new_figure(width, side + 2.2)
    axes = figure.subplots(2, len(shown), squeeze=False, height_ratios=[side, 1.1])
    values = np.concatenate([run.maps["neighbour_map"].ravel() for run in shown])
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    for which, run in enumerate(shown):
        grid = run.maps["neighbour_map"]
        axes[0, which].imshow(grid, cmap="cividis", vmin=min(0.0, values.min()), vmax=values.max())
        for row, column in np.argwhere(np.isnan(grid)):
            axes[0, which].plot(column, row, "x", color="black", markersize=2.5)
        bare(axes[0, which])
        letter(axes[0, which], which, run.arm)
        _histogram(axes[1, which], run)
    top = 1.04 * max(place.get_ylim()[1] for place in axes[1]) / 1.05
    for place in axes[1]:
        place.set_ylim(0, top)
    for place in axes[1, 1:]:
        place.tick_params(labelleft=False)
    figure.colorbar(
        axes[0, 0].images[0], ax=axes[0].tolist(), label="mean correlation\nwith grid neighbours", shrink=0.9
    )
    axes[1, 0].set_ylabel("density")
    return figure


def _histogram(axes: Axes, run: Run) -> None:
    look, bins = arm_style(run.arm), run.maps["correlation_bins"]
    axes.stairs(run.maps["correlation_neighbours"], bins, color=look.color, fill=True, alpha=0.35)
    axes.stairs(run.maps["correlation_neighbours"], bins, color=look.color, linewidth=0.9)
    axes.stairs(run.maps["correlation_all"], bins, **ALL_PAIRS)
    handles = [
        Line2D([], [], color=look.color, linewidth=3, alpha=0.6, label=_label(run, "neighbours", "neighbours")),
        Line2D([], [], label=_label(run, "all_pairs", "all pairs"), **ALL_PAIRS),
    ]
    axes.set(xlabel="correlation", xlim=(-1, 1), xticks=(-1, 0, 1))
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), handlelength=1.3, handletextpad=0.5)


def _label(run: Run, key: str, name: str) -> str:
    value = run.number("analysis", f"neighbour_correlation.{key}")
    return name if value is None else f"{name} {captions.fixed(value, 2)}"


def caption_neighbours(runs: list[Run]) -> str:
    """Give the mean correlations of neighbours and of all pairs, say what is shown, and give the means over seeds."""
    shown = one_run_per_arm(runs)
    dead = ", ".join(f"{run.arm} {int(np.isnan(run.maps['neighbour_map']).sum())}" for run in shown)
    near, every = (
        captions.means(runs, measure("analysis", f"neighbour_correlation.{key}"), 2)
        for key in ("neighbours", "all_pairs")
    )
    return (
        f"**Mean correlation of grid neighbours: {near}; of all pairs of channels: {every}.** Pearson correlation of "
        f"the channels' mean activations over {captions.count(runs, 'analysis', 'images')} held-out people. Top: mean "
        f"correlation of each channel with its {captions.same(shown, 'analysis', 'grid.neighbours')} grid neighbours. "
        f"Crosses mark channels that are dead or have only dead neighbours ({dead}). Bottom: density of the "
        "correlation over pairs of neighbours (filled) and over all pairs (dashed), with the means. Shown: "
        f"{captions.seeds_of(shown)}. Means over neighbours: "
        f"{captions.per_arm(runs, 'analysis', 'neighbour_correlation.neighbours', 3)}; over all pairs: "
        f"{captions.per_arm(runs, 'analysis', 'neighbour_correlation.all_pairs', 3)}.{captions.baseline_note(runs)} "
        f"{captions.about(runs)}"
    )


NEIGHBOURS = PaperFigure(
    name="neighbour_correlation",
    place=90,
    title="Correlation of grid neighbours",
    about="correlation of grid neighbours: map and histogram",
    needs=("analysis", "maps"),
    draw=draw_neighbours,
    caption=caption_neighbours,
)


# ---- correlation_distance


def draw_distance(runs: list[Run]) -> Figure:
    """Draw one panel per arm; all panels have one scale."""
    arms = by_arm(runs)
    columns = len(arms) if len(arms) <= 4 else -(-len(arms) // 2)
    rows = -(-len(arms) // columns)
    figure = style.new_figure(style.panels_width(columns), 0.4 + 1.7 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for which, (arm, group) in enumerate(arms.items()):
        bins = "distance bins: were they made on different grids?"
        distance = np.array(shared(group, lambda run: run.maps["distance_bins"].tolist(), bins))
        low, high = _stack(group, "band_low").min(axis=0), _stack(group, "band_high").max(axis=0)
        there = np.isfinite(low) & np.isfinite(high)
        axes[which].fill_between(distance[there], low[there], high[there], **BAND)
        seeds_curve(axes[which], distance, _stack(group, "correlation_by_distance"), arm)
        letter(axes[which], which, arm)
        axes[which].set(xlabel="distance on the grid (channels)", ylabel="mean correlation")
        axes[which].label_outer()
    for place in axes[len(arms) :]:
        place.axis("off")
    band = Patch(label="middle 95% when channels are permuted", **BAND)
    figure.legend(handles=[band], loc="outside upper center")
    return figure


def _stack(group: Sequence[Run], name: str) -> NDArray[np.float64]:
    return np.stack([run.maps[name] for run in group])


def _at(place: int) -> Measure:
    return lambda run: float(run.maps["correlation_by_distance"][place])


def caption_distance(runs: list[Run]) -> str:
    """Give the correlation at the smallest and the largest distance, and say what is shown."""
    near, far = (captions.means(runs, _at(place), 2) for place in (0, -1))
    ends = captions.each_arm(
        runs, lambda group: " and ".join(captions.spread(map(_at(place), group), 2) for place in (0, -1)), "; "
    )
    first = runs[0].maps["distance_bins"]
    return (
        f"**Mean correlation at distance {first[0]:g}: {near}; at distance {first[-1]:g}: {far}.** "
        f"Mean correlation of pairs of channels over {captions.count(runs, 'analysis', 'images')} held-out people, "
        "against their distance on the grid, rounded to whole steps. Grey: the middle 95% when the channels are "
        f"permuted (the widest band of the seeds). At distance {first[0]:g} and {first[-1]:g}: {ends}. "
        f"{captions.SEED_NOTE}{captions.baseline_note(runs)} {captions.about(runs)}"
    )


DISTANCE = PaperFigure(
    name="correlation_distance",
    place=100,
    title="Correlation against distance",
    about="correlation against distance on the grid",
    needs=("analysis", "maps"),
    draw=draw_distance,
    caption=caption_distance,
)


# ---- coactivation


def draw_coactivation(runs: list[Run]) -> Figure:
    """Draw the mean distance of co-active pairs above, and the number of these pairs below."""
    arms = by_arm(runs)
    figure = style.new_figure(style.ONE_COLUMN, 3.6)
    distance, pairs = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    for arm, group in arms.items():
        seeds_curve(distance, _alphas(runs), _by_alpha(group, "distance"), arm)
        counts = _by_alpha(group, "pairs")
        seeds_curve(pairs, _alphas(runs), np.where(counts > 0, counts, np.nan), arm)
    for chance in _chances(runs):
        distance.axhline(chance, **CHANCE)
    distance.set_ylim(bottom=0)
    distance.set_ylabel("mean distance on\nthe grid (channels)")
    pairs.set(xlabel="correlation at least α", ylabel="pairs", yscale="log")
    letter(distance, 0, "Distance of co-active pairs")
    letter(pairs, 1, "Pairs behind it")
    handles = [*arm_handles(arms), chance_handle("chance")]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, -(-len(handles) // 2)), columnspacing=1.0)
    return figure


def _alphas(runs: Sequence[Run]) -> NDArray[np.float64]:
    name = "co-activation thresholds (coactivation.alphas)"
    return np.array(shared(runs, lambda run: run.value("analysis", "coactivation.alphas"), name))


def _by_alpha(group: Sequence[Run], key: str) -> NDArray[np.float64]:
    """Return an array (seeds, alphas), NaN for null."""
    return np.array([run.value("analysis", f"coactivation.{key}") for run in group], dtype=float)


def _chances(runs: Sequence[Run]) -> list[float]:
    return sorted(set(known(runs, measure("analysis", "coactivation.chance"))))


def caption_coactivation(runs: list[Run]) -> str:
    """Give the distance at the middle threshold, say what is shown, and give the number of pairs at every threshold."""
    alphas = _alphas(runs)
    middle = len(alphas) // 2
    found = captions.means(runs, lambda run: run.value("analysis", "coactivation.distance")[middle], 2)
    chance = captions.means(runs, measure("analysis", "coactivation.chance"), 2)
    counts = captions.each_arm(
        runs, lambda group: ", ".join(f"{mean:,.0f}" for mean in _by_alpha(group, "pairs").mean(axis=0)), "; "
    )
    return (
        f"**Mean distance of pairs that correlate at {alphas[middle]:g} or more: {found}; of all pairs: {chance}.** "
        "Mean distance on the grid of the pairs of channels whose activations correlate at α or more over "
        f"{captions.count(runs, 'analysis', 'images')} held-out people. Chance is the mean distance of all pairs: "
        f"{', '.join(f'{value:.3f}' for value in _chances(runs))}. There is no point where no pair reaches α. Pairs "
        f"(mean over seeds) at α = {', '.join(f'{alpha:g}' for alpha in alphas)}: {counts}. An offset that all "
        "channels share in an image raises every correlation and moves the distance at every α towards chance, so this "
        "figure should be read together with the correlation against distance. "
        f"{captions.SEED_NOTE}{captions.baseline_note(runs)} {captions.about(runs)}"
    )


COACTIVATION = PaperFigure(
    name="coactivation",
    place=110,
    title="Distance of co-active channels",
    about="distance of co-active channels",
    needs=("analysis",),
    draw=draw_coactivation,
    caption=caption_coactivation,
)
