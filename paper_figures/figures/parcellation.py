"""Parcellation: which joint each channel of the grid serves most, arm beside arm (analysis.npz)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paper_figures.lib import captions, command, style
from paper_figures.lib.results import Run, first_of_each
from paper_figures.lib.style import bare, parcels
from pose_topo.study import joints

NAME = "parcellation"


def draw(runs: list[Run]) -> Figure:
    """A map an arm and the joints' colours."""
    shown = first_of_each(runs)
    width = min(1.85, (style.TWO_COLUMNS - 1.45) / len(shown))
    figure = style.new_figure(width * len(shown) + 1.45, width + 0.52)
    *axes, key = figure.subplots(1, len(shown) + 1, width_ratios=[*[width] * len(shown), 1.4])
    for place, run in zip(axes, shown, strict=True):
        parcels(place, run.maps["labels"])
        place.set_title(run.arm)
        place.set_xlabel(_measured(run))
    _key(key)
    return figure


def _measured(run: Run) -> str:
    found, null = (run.number("analysis", f"parcellation.{key}") for key in ("contiguity", "null_mean"))
    if found is None:
        return "no contiguity"
    return f"contiguity {captions.fixed(found, 2)}" + (
        f"\n(chance {captions.fixed(null, 2)})" if null is not None else ""
    )


def _key(axes: Axes) -> None:
    """Swatches: a row for each pair of joints, right (dark) beside left (light); then the middle ones."""
    bare(axes)
    axes.axis("off")
    axes.set(xlim=(0, 5.4), ylim=(11.2, -0.9))
    axes.text(0.5, -0.3, "right", ha="center", fontsize=6)
    axes.text(1.6, -0.3, "left", ha="center", fontsize=6)
    pairs = [(joints.NAMES[r].split()[-1], (r, r_left)) for r, r_left in _pairs()]
    middle = [(joints.NAMES[k], (k,)) for k in style.JOINT_ORDER if joints.side(k) == "middle"]
    for row, (name, members) in enumerate(pairs + middle):
        for place, joint in enumerate(members):
            axes.add_patch(Rectangle((0.05 + 1.1 * place, row + 0.08), 0.9, 0.8, color=style.joint_color(joint)))
        axes.text(2.3, row + 0.5, name, va="center", fontsize=6.5)


def _pairs() -> list[tuple[int, int]]:
    order = style.JOINT_ORDER
    return sorted(joints.FLIP_PAIRS, key=lambda pair: order.index(pair[0]))


def caption(runs: list[Run]) -> str:
    """What is shown, with every seed's contiguity."""
    shown = first_of_each(runs)
    return (
        f"Parcellation of the channel grid ({captions.same(shown, 'analysis', 'grid.height')} x "
        f"{captions.same(shown, 'analysis', 'grid.width')}): each channel has the colour of the joint with the largest "
        f"|head weight|. Shown: {captions.seeds_of(shown)}. Contiguity, the share of rook neighbours of one joint: "
        f"{captions.per_arm(runs, 'analysis', 'parcellation.contiguity', 3)}; with the labels permuted: "
        f"{captions.per_arm(runs, 'analysis', 'parcellation.null_mean', 3)}; connected parcels: "
        f"{captions.per_arm(runs, 'analysis', 'parcellation.components', 0)}; joints that own a channel: "
        f"{captions.per_arm(runs, 'analysis', 'parcellation.joints_with_units', 0)} of {joints.K}."
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("analysis", "maps"), draw, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
