"""Maps over the channel grid: the joint that each channel serves most, and the head weights of each joint."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paper_figures.lib import captions, style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run, measure, one_run_per_arm
from pose_topo.study import joints

COLUMNS = 8  # maps of head weights side by side


def draw_parcellation(runs: list[Run]) -> Figure:
    """Draw one map per arm, and a key to the colours of the joints."""
    shown = one_run_per_arm(runs)
    width = min(1.85, (style.TWO_COLUMNS - 1.45) / len(shown))
    figure = style.new_figure(width * len(shown) + 1.45, width + 0.52)
    *axes, key = figure.subplots(1, len(shown) + 1, width_ratios=[*[width] * len(shown), 1.4])
    for place, run in zip(axes, shown, strict=True):
        style.parcels(place, run.maps["labels"])
        place.set_title(run.arm)
        place.set_xlabel(_contiguity(run))
    _color_key(key)
    return figure


def _contiguity(run: Run) -> str:
    found, chance = (run.number("analysis", f"parcellation.{key}") for key in ("contiguity", "null_mean"))
    if found is None:
        return "no contiguity"
    beside = "" if chance is None else f"\n(chance {captions.fixed(chance, 2)})"
    return f"contiguity {captions.fixed(found, 2)}{beside}"


def _color_key(axes: Axes) -> None:
    """Draw a row of swatches for each pair of joints, right (dark) beside left (light), then the middle joints."""
    style.bare(axes)
    axes.axis("off")
    axes.set(xlim=(0, 5.4), ylim=(11.2, -0.9))
    axes.text(0.5, -0.3, "right", ha="center", fontsize=6)
    axes.text(1.6, -0.3, "left", ha="center", fontsize=6)
    order = style.JOINT_ORDER
    pairs = sorted(joints.FLIP_PAIRS, key=lambda pair: order.index(pair[0]))
    rows = [(joints.NAMES[pair[0]].split()[-1], tuple(pair)) for pair in pairs]
    rows += [(joints.NAMES[k], (k,)) for k in order if joints.side(k) == "middle"]
    for row, (name, members) in enumerate(rows):
        for place, joint in enumerate(members):
            axes.add_patch(Rectangle((0.05 + 1.1 * place, row + 0.08), 0.9, 0.8, color=joints.colour(joint)))
        axes.text(2.3, row + 0.5, name, va="center", fontsize=6.5)


def caption_parcellation(runs: list[Run]) -> str:
    """Give the contiguity and what chance gives, say what is shown, and give the contiguity over seeds."""
    shown = one_run_per_arm(runs)
    found, chance = (
        captions.means(runs, measure("analysis", f"parcellation.{key}"), 2) for key in ("contiguity", "null_mean")
    )
    return (
        f"**Share of neighbours on the grid that serve the same joint: {found}; with permuted labels: {chance}.** "
        f"Parcellation of the channel grid ({captions.same(shown, 'analysis', 'grid.height')} x "
        f"{captions.same(shown, 'analysis', 'grid.width')}). Each channel has the colour of the joint with the largest "
        f"|head weight|. Shown: {captions.seeds_of(shown)}. Contiguity (the share of pairs of rook neighbours that "
        f"serve the same joint): {captions.per_arm(runs, 'analysis', 'parcellation.contiguity', 3)}; with permuted "
        f"labels: {captions.per_arm(runs, 'analysis', 'parcellation.null_mean', 3)}. Connected parcels: "
        f"{captions.per_arm(runs, 'analysis', 'parcellation.components', 0)}. Joints that own at least one channel: "
        f"{captions.per_arm(runs, 'analysis', 'parcellation.joints_with_units', 0)} of {joints.K}."
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


PARCELLATION = PaperFigure(
    name="parcellation",
    place=50,
    title="Which joint each channel serves",
    about="which joint each channel serves, on the grid",
    needs=("analysis", "maps"),
    draw=draw_parcellation,
    caption=caption_parcellation,
)


def draw_strength_maps(runs: list[Run]) -> Figure:
    """Draw two rows of eight joints for each network that has a grid."""
    shown = _with_grid(runs)
    rows = -(-joints.K // COLUMNS)
    figure = style.new_figure(style.TWO_COLUMNS, 2.12 * len(shown))
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, run in zip(parts, shown, strict=True):
        part.suptitle(run.arm, x=0.01, ha="left", fontsize=7.5, fontweight="bold")
        axes = part.subplots(rows, COLUMNS).ravel()
        for place, joint in zip(axes, style.JOINT_ORDER, strict=True):
            strength = run.maps["strength"][joint]
            place.imshow(strength / (strength.max() or 1.0), cmap="viridis", vmin=0, vmax=1)
            I = run.number("analysis", f"moran.per_joint.{joints.NAMES[joint]}.I")  # noqa: E741
            title = style.short(joint) + (f" {captions.fixed(I, 2)}" if I is not None else ", no I")
            place.set_title(title, fontsize=5.8, pad=2)
            style.bare(place)
        bar = part.colorbar(axes[0].images[0], ax=axes.tolist(), shrink=0.8, aspect=22, pad=0.01)
        bar.set_label("|head weight| / map's maximum", fontsize=6.5)
    return figure


def _with_grid(runs: list[Run]) -> list[Run]:
    """Return one run per arm. Baselines are left out unless there is nothing else."""
    shown = one_run_per_arm(runs)
    return [run for run in shown if run.value("analysis", "model") != "baseline"] or shown


def caption_strength_maps(runs: list[Run]) -> str:
    """Give the mean I of the networks that are shown, and say what is shown and how it is scaled."""
    shown = _with_grid(runs)
    mean_I = captions.means(shown, measure("analysis", "moran.mean_I"), 3)
    return (
        f"**Mean Moran's I of these maps of joints: {mean_I}.** |Head weight| of each joint over the channel grid. "
        "Each map is scaled to its own maximum, because the arms differ in scale; the maps are neither smoothed nor "
        f"rearranged. Beside each name: Moran's I ({captions.same(shown, 'analysis', 'moran.weights')} weights; E[I] = "
        f"{float(np.mean([run.value('analysis', 'moran.expected') for run in shown])):.4f}). Mean I of these networks: "
        f"{captions.per_arm(shown, 'analysis', 'moran.mean_I', 3)}. Shown: {captions.seeds_of(shown)}. "
        f"{captions.about(shown)}"
    )


STRENGTH_MAPS = PaperFigure(
    name="strength_maps",
    place=60,
    title="Head weights on the grid",
    about="head weights of each joint, on the grid",
    needs=("analysis", "maps"),
    draw=draw_strength_maps,
    caption=caption_strength_maps,
)
