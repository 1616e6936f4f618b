"""Strength maps: |head weight| of every joint over the grid, network below network (analysis.npz)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from paper_figures.lib import captions, command, style
from paper_figures.lib.results import Run, first_of_each
from paper_figures.lib.style import bare
from pose_topo.study import joints

NAME = "strength_maps"
COLUMNS = 8


def draw(runs: list[Run]) -> Figure:
    """Two rows of eight joints for each network that has a grid."""
    shown = _with_grid(runs)
    rows = -(-joints.K // COLUMNS)
    figure = style.new_figure(style.TWO_COLUMNS, 2.12 * len(shown))
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, run in zip(parts, shown, strict=True):
        part.suptitle(f"{run.arm}", x=0.01, ha="left", fontsize=7.5, fontweight="bold")
        axes = part.subplots(rows, COLUMNS).ravel()
        for place, joint in zip(axes, style.JOINT_ORDER, strict=True):
            strength = run.maps["strength"][joint]
            place.imshow(strength / (strength.max() or 1.0), cmap="viridis", vmin=0, vmax=1)
            place.set_title(_title(run, joint), fontsize=5.8, pad=2)
            bare(place)
        bar = part.colorbar(axes[0].images[0], ax=axes.tolist(), shrink=0.8, aspect=22, pad=0.01)
        bar.set_label("|head weight| / map's maximum", fontsize=6.5)
    return figure


def _with_grid(runs: list[Run]) -> list[Run]:
    """One run an arm; baselines only if there is nothing else."""
    shown = first_of_each(runs)
    return [run for run in shown if run.value("analysis", "model") != "baseline"] or shown


def _title(run: Run, joint: int) -> str:
    value = run.number("analysis", f"moran.per_joint.{joints.NAMES[joint]}.I")
    return style.short(joint) + (f" {captions.fixed(value, 2)}" if value is not None else ", no I")


def caption(runs: list[Run]) -> str:
    """What is shown and how it is scaled."""
    shown = _with_grid(runs)
    return (
        "|Head weight| of each joint over the channel grid, each map scaled to its own maximum (the arms differ in "
        "scale), neither smoothed nor rearranged. Beside each name: Moran's I "
        f"({captions.same(shown, 'analysis', 'moran.weights')} weights; E[I] = "
        f"{float(np.mean([run.value('analysis', 'moran.expected') for run in shown])):.4f}); mean I of these networks: "
        f"{captions.per_arm(shown, 'analysis', 'moran.mean_I', 3)}. "
        f"Shown: {captions.seeds_of(shown)}. {captions.about(shown)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("analysis", "maps"), draw, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
