"""Correlation of channels against their distance on the grid, with permutation bands (analysis.npz)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paper_figures.lib import captions, command, style
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.style import letter, seeds_curve
from pose_topo.core.errors import PoseTopoError

NAME = "correlation_distance"
BAND = {"color": "0.82", "linewidth": 0}


def draw(runs: list[Run]) -> Figure:
    """A panel an arm, one scale."""
    arms = by_arm(runs)
    columns = len(arms) if len(arms) <= 4 else -(-len(arms) // 2)
    rows = -(-len(arms) // columns)
    figure = style.new_figure(style.panels_width(columns), 0.4 + 1.7 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for which, (arm, group) in enumerate(arms.items()):
        distance = _distances(group)
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


def _distances(group: Sequence[Run]) -> np.ndarray:
    first = group[0].maps["distance_bins"]
    if any(not np.array_equal(first, run.maps["distance_bins"]) for run in group):
        raise PoseTopoError(f"the seeds of {group[0].arm} have different distance bins: other grids?")
    return first


def _stack(group: Sequence[Run], name: str) -> np.ndarray:
    return np.stack([run.maps[name] for run in group])


def caption(runs: list[Run]) -> str:
    """What is shown, with the nearest and the farthest bin."""
    ends = []
    for arm, group in by_arm(runs).items():
        near = captions.spread((float(run.maps["correlation_by_distance"][0]) for run in group), 2)
        far = captions.spread((float(run.maps["correlation_by_distance"][-1]) for run in group), 2)
        ends.append(f"{arm} {near} and {far}")
    first = runs[0].maps["distance_bins"]
    return (
        f"Mean correlation of channel pairs over {captions.count(runs, 'analysis', 'images')} held-out people, against "
        "their distance on the grid (rounded to whole steps). Grey: the middle 95% when channels are permuted (the "
        f"widest of the seeds). At distance {first[0]:g} and {first[-1]:g}: {'; '.join(ends)}. {captions.SEED_NOTE}"
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("analysis", "maps"), draw, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
