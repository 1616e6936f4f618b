"""Lesions: what silencing a disc of the grid costs the joint that owns the disc, and the others (analysis.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paper_figures.lib import captions, style
from paper_figures.lib.arms import arm_style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, by_arm, shared

NULL = {"color": "0.35", "linewidth": 0.9}
DEVIATIONS = 2  # half the width of the band, in standard deviations of the permuted grids
DAMAGE = {"own": ("o", (0, (4, 1.2))), "other": ("s", (0, (1, 1)))}  # marker, and dashes of the permuted grids


def draw(runs: list[Run]) -> Figure:
    """Draw one column per arm: damage to the own joint and to the others above, specificity below."""
    arms = by_arm(runs)
    figure = style.new_figure(style.panels_width(len(arms)), 3.9)
    axes = figure.subplots(2, len(arms), sharex=True, sharey="row", squeeze=False)
    for which, (arm, group) in enumerate(arms.items()):
        radii = shared(group, lambda run: [entry["radius"] for entry in _entries(run)], "lesion radii")
        _damage(axes[0, which], radii, group, arm)
        _specificity(axes[1, which], radii, group, arm)
        style.letter(axes[0, which], which, arm)
        axes[1, which].set(xlabel="radius (channels)", xticks=radii)
    axes[0, 0].set_ylim(bottom=min(0.0, axes[0, 0].get_ylim()[0]))
    axes[0, 0].set_ylabel(f"loss of {_score(runs)}\n(points)")
    axes[1, 0].set_ylabel("specificity\n(points)")
    ncols = min(3, max(1, len(arms) - 1))  # as many as the width of the figure holds
    figure.legend(handles=_handles(), loc="outside upper center", ncols=ncols, columnspacing=1.4)
    return figure


def _damage(axes: Axes, radii: list[float], group: Sequence[Run], arm: str) -> None:
    color = arm_style(arm).color
    for key, (marker, dashes) in DAMAGE.items():
        fill = color if key == "own" else "white"
        axes.plot(radii, _stack(group, f"null_{key}").mean(axis=0), linestyle=dashes, **NULL)
        values = _stack(group, key)
        axes.plot(radii, values.mean(axis=0), color=color, marker=marker, markerfacecolor=fill, markeredgewidth=0.8)
        axes.vlines(radii, values.min(axis=0), values.max(axis=0), color=color, linewidth=0.8)


def _specificity(axes: Axes, radii: list[float], group: Sequence[Run], arm: str) -> None:
    mean, sd = _stack(group, "null_mean"), _stack(group, "null_sd")
    axes.fill_between(radii, (mean - DEVIATIONS * sd).min(axis=0), (mean + DEVIATIONS * sd).max(axis=0), **style.BAND)
    look, values = arm_style(arm), _stack(group, "specificity")
    axes.axhline(0, color="0.6", linewidth=0.5)
    axes.plot(radii, values.mean(axis=0), color=look.color, linestyle=look.dashes, marker=look.marker)
    axes.vlines(radii, values.min(axis=0), values.max(axis=0), color=look.color, linewidth=0.8)


def _entries(run: Run) -> list[dict[str, Any]]:
    return run.value("analysis", "lesions.radii")


def _score(runs: Sequence[Run]) -> str:
    """Return the name of the score: PCK@0.2 stands for PCKh@0.5 where nobody's head size is annotated."""
    return "PCK@0.2" if runs[0].number("analysis", "lesions.threshold") == 0.2 else "PCKh@0.5"


def _stack(group: Sequence[Run], key: str) -> np.ndarray:
    """Return an array (seeds, radii), NaN for null."""
    return np.array([[entry[key] for entry in _entries(run)] for run in group], dtype=float)


def _handles() -> list[Line2D | Patch]:
    (own, own_null), (other, other_null) = DAMAGE.values()
    return [
        Line2D([], [], color="0.2", marker=own, label="joint that owns the disc"),
        Line2D([], [], linestyle=own_null, label="the same, permuted grids", **NULL),
        Line2D([], [], color="0.2", marker=other, markerfacecolor="white", label="the other joints"),
        Line2D([], [], linestyle=other_null, label="the same, permuted grids", **NULL),
        Patch(label=f"specificity, permuted grids: mean ± {DEVIATIONS} sd", **style.BAND),
    ]


def caption(runs: list[Run]) -> str:
    """Give the specificity of the largest lesions, say how it is measured, and give it and p at each radius."""
    largest = _entries(runs[0])[-1]
    means = captions.means(runs, lambda run: _entries(run)[-1]["specificity"], 1)
    found = captions.each_arm(runs, _specificity_text, "; ")
    radii = ", ".join(f"{entry['radius']:g} ({entry['channels']:.0f} channels)" for entry in _entries(runs[0]))
    people = captions.count(runs, "analysis", "lesions.people")
    return (
        f"**What silencing a disc of {largest['channels']:.0f} channels costs the joint that owns it beyond the other "
        f"joints, in points of {_score(runs)}: {means}.** "
        f"Discs of the grid are silenced at {captions.same(runs, 'analysis', 'lesions.centres')} places, with radius "
        f"{radii}. Top: loss of {_score(runs)} over {people} held-out people, "
        "for the joint that owns the disc (most of its channels serve it) and, on average, for the others. Bottom: "
        "specificity, the difference of the two after the mean loss of each joint over all lesions was subtracted. "
        f"Null: the same discs on {captions.same(runs, 'analysis', 'lesions.permuted_grids')} grids with permuted "
        "channels (grey: the widest band of the seeds). Specificity and p (one-sided, the largest of the seeds; the "
        f"smallest possible is {captions.same(runs, 'analysis', 'lesions.smallest_p')}) by radius: {found}. "
        "Points are means over seeds and bars their range. The head was never trained with silenced channels; this "
        f"also holds for the null.{captions.baseline_note(runs)} {captions.about(runs)}"
    )


def _specificity_text(group: Sequence[Run]) -> str:
    """Return "0.4 (0.3 to 0.5) p 0.05, ..." for the radii of one arm."""
    columns = zip(_stack(group, "specificity").T, _stack(group, "p").T, strict=True)
    return ", ".join(f"{captions.spread(column, 1)} p {captions.spread([p.max()], 2)}" for column, p in columns)


LESIONS = PaperFigure(
    name="lesions",
    place=120,
    title="Lesions of the grid",
    about="what lesions of the grid cost, and which joint",
    needs=("lesions",),
    draw=draw,
    caption=caption,
)
