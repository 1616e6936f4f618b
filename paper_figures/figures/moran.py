"""Moran's I of the |head weight| map of each joint, by arm, with the permutation band and E[I] (analysis.json)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paper_figures.lib import captions, style
from paper_figures.lib.arms import arm_style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, by_arm, known, measure
from pose_topo.study import joints

LEVEL = 0.05  # markers are filled where q is below it
BAND = {"color": "0.88", "linewidth": 0}  # lighter than style.BAND: arms are drawn on it
KEYS = (  # I and its q of each joint; then the mean I and its p
    *((f"moran.per_joint.{joints.NAMES[k]}.I", f"moran.per_joint.{joints.NAMES[k]}.q") for k in style.JOINT_ORDER),
    ("moran.mean_I", "moran.p_mean"),
)


def draw(runs: list[Run]) -> Figure:
    """Draw joints along the x axis, one point per seed, a bar at their mean; the mean over joints comes last."""
    figure = style.new_figure(style.TWO_COLUMNS, 2.7)
    axes = figure.subplots()
    low, high = _band(runs)
    if low is not None and high is not None:
        axes.axhspan(low, high, zorder=0, **BAND)
    axes.axhline(_expected(runs), zorder=1, **style.CHANCE)
    arms = by_arm(runs)
    reach = min(0.09 * (len(arms) - 1), 0.36)  # half the width that the arms of one joint take
    offsets = np.linspace(-reach, reach, len(arms))
    places = [*range(joints.K), joints.K + 0.6]
    for offset, (arm, group) in zip(offsets, arms.items(), strict=True):
        for place, (I, test) in zip(places, KEYS, strict=True):  # noqa: E741
            points = [(run.number("analysis", I), run.number("analysis", test)) for run in group]
            _points(axes, place + offset, arm, points)
    axes.axvline(joints.K - 0.2, color="0.6", linewidth=0.6)
    names = [*(style.short(k) for k in style.JOINT_ORDER), "mean"]
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel="Moran's I of |head weight|", xlim=(-0.6, places[-1] + 0.6))
    handles = _handles(arms)
    columns = len(handles) if len(handles) <= 8 else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, columnspacing=1.1, handlelength=1.8)
    return figure


def _points(axes: Axes, x: float, arm: str, points: list[tuple[float | None, float | None]]) -> None:
    """Draw the values of the seeds at one place, filled where they are significant, and a bar at their mean."""
    look = arm_style(arm)
    there = [(value, q) for value, q in points if value is not None]
    size = 3.6 if len(there) < 4 else 2.8
    for value, q in there:
        fill = look.color if q is not None and q < LEVEL else "white"
        axes.plot(x, value, look.marker, markersize=size, color=look.color, markerfacecolor=fill, markeredgewidth=0.7)
    if len(there) > 1:
        mean = float(np.mean([value for value, _ in there]))
        axes.plot([x - 0.08, x + 0.08], [mean, mean], color=look.color, linewidth=1.4, zorder=2)


def _handles(arms: Iterable[str]) -> list[Line2D | Patch]:
    significant: dict[str, Any] = {"color": "0.3", "marker": "o", "linestyle": ""}
    dots = style.arm_handles(arms)
    for dot in dots:
        dot.set_linestyle("")
    return [
        *dots,
        Line2D([], [], label=f"q < {LEVEL:g}", **significant),
        Line2D([], [], label=f"q ≥ {LEVEL:g}", markerfacecolor="white", **significant),
        style.chance_handle("E[I]"),
        Patch(label="95% under permutation", **BAND),
    ]


def _expected(runs: Sequence[Run]) -> float:
    return float(np.mean([run.value("analysis", "moran.expected") for run in runs]))


def _band(runs: Sequence[Run]) -> tuple[float | None, float | None]:
    """Return the widest band of the runs."""
    lows, highs = (known(runs, measure("analysis", f"moran.null_{end}")) for end in ("low", "high"))
    return min(lows, default=None), max(highs, default=None)


def caption(runs: list[Run]) -> str:
    """Give the mean I and how many joints have an ordered map, say what is shown and how it was tested."""

    def ordered(run: Run) -> float:
        tests = (run.number("analysis", f"moran.per_joint.{name}.q") for name in joints.NAMES)
        return sum(q is not None and q < LEVEL for q in tests)

    tests = measure("analysis", "moran.p_mean")
    largest = captions.each_arm(runs, lambda group: captions.spread([max(known(group, tests), default=None)], 4))
    low, high = _band(runs)
    band = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else "none"
    return (
        f"**Mean Moran's I: {captions.means(runs, measure('analysis', 'moran.mean_I'), 3)}. Joints whose map is "
        f"ordered (q < {LEVEL:g}, of {joints.K}, mean over seeds): {captions.means(runs, ordered, 1)}.** Moran's I of "
        f"the |head weight| maps ({captions.same(runs, 'analysis', 'moran.weights')} weights), for each joint and "
        "averaged over joints. There is one point per seed and a bar at their mean. Line: E[I] = "
        f"{_expected(runs):.4f}. Grey: the middle 95% of the I of single maps when the channels are permuted ({band}, "
        f"the widest band of the runs). Filled markers: q < {LEVEL:g} (one-sided test, "
        f"{captions.same(runs, 'analysis', 'moran.permutations')} permutations of the channels that all joints share, "
        "Benjamini-Hochberg over the joints; for the mean, its p). Mean I: "
        f"{captions.per_arm(runs, 'analysis', 'moran.mean_I', 3)}. p of the mean I, the largest of the seeds: "
        f"{largest}. A p value within one network says that its grid is "
        "not random. A statement about the method needs several seeds. |w| mixes the tuning of a channel with its "
        f"gain.{captions.baseline_note(runs)} {captions.about(runs)}"
    )


MORAN = PaperFigure(
    name="moran",
    place=70,
    title="Moran's I of each joint",
    about="Moran's I of each joint, with the permutation band",
    needs=("analysis",),
    draw=draw,
    caption=caption,
)
