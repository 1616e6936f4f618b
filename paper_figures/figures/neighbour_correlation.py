"""Neighbour correlation: its map, and its histogram against all pairs, arm beside arm (analysis.npz)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figures.lib import captions, command, style
from paper_figures.lib.arms import arm_style
from paper_figures.lib.results import Run, first_of_each
from paper_figures.lib.style import bare, letter

NAME = "neighbour_correlation"
ALL_PAIRS = {"color": "black", "linewidth": 0.9, "linestyle": (0, (3, 1.2))}


def draw(runs: list[Run]) -> Figure:
    """Maps above, histograms below; one scale for all arms."""
    shown = first_of_each(runs)
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


def caption(runs: list[Run]) -> str:
    """What is shown, with every seed's means."""
    shown = first_of_each(runs)
    dead = ", ".join(f"{run.arm} {int(np.isnan(run.maps['neighbour_map']).sum())}" for run in shown)
    return (
        "Pearson correlation of channels' mean activations over "
        f"{captions.count(runs, 'analysis', 'images')} held-out people. Top: each channel's mean correlation with its "
        f"{captions.same(shown, 'analysis', 'grid.neighbours')} grid neighbours "
        f"(crosses: no live channel or neighbour; {dead}). "
        f"Bottom: densities for neighbour pairs (filled) and all pairs (dashed), with their means. "
        f"Shown: {captions.seeds_of(shown)}. "
        f"Means, neighbours: {captions.per_arm(runs, 'analysis', 'neighbour_correlation.neighbours', 3)}; all pairs: "
        f"{captions.per_arm(runs, 'analysis', 'neighbour_correlation.all_pairs', 3)}."
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("analysis", "maps"), draw, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
