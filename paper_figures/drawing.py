"""What several figures draw alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from paper_figures import style
from paper_figures.arms import arm_style

REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (5, 2, 1, 2))}


def seeds_curve(axes: Axes, x: NDArray[Any], values: NDArray[Any], arm: str) -> None:
    """The mean over seeds of `values` (seeds, n) against `x` (n,), and the band from the least to the largest.

    Points at which a seed has no value are left out: a mean over other seeds would jump there.
    """
    there = np.isfinite(values).all(axis=0)
    if not there.any():
        return
    look, x, values = arm_style(arm), x[there], values[:, there]
    every = max(1, len(x) // 8)
    axes.plot(x, values.mean(axis=0), color=look.color, linestyle=look.dashes, marker=look.marker, markevery=every)
    if len(values) > 1:
        axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=look.color, alpha=0.2, linewidth=0)


def arm_handles(arms: Iterable[str]) -> list[Line2D]:
    """Legend entries of arms."""
    looks = {arm: arm_style(arm) for arm in arms}
    return [
        Line2D([], [], color=look.color, linestyle=look.dashes, marker=look.marker, label=arm)
        for arm, look in looks.items()
    ]


def reference_handle(label: str) -> Line2D:
    """Legend entry of a dash-dotted reference line."""
    return Line2D([], [], label=label, **REFERENCE)


def letter(axes: Axes, which: int, title: str) -> None:
    """A panel's title, with its letter."""
    axes.set_title(rf"$\mathbf{{{'abcdefghij'[which]}}}$  {title}", loc="left")


def bare(axes: Axes) -> None:
    """A map: a thin frame and no ticks, since a cell's place on the grid has no unit."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.4)


def parcels(axes: Axes, labels: NDArray[np.int64]) -> None:
    """A map of joint labels (h, w) with a line between cells of different joints; -1 (no joint) is white."""
    colors = np.array([*(style.joint_color(k) for k in range(len(style.JOINT_ORDER))), (1.0, 1.0, 1.0)])
    axes.imshow(colors[labels])
    rows, columns = np.nonzero(labels[:, 1:] != labels[:, :-1])
    lines = [[(c + 0.5, r - 0.5), (c + 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(labels[1:] != labels[:-1])
    lines += [[(c - 0.5, r + 0.5), (c + 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=0.5))
    bare(axes)
