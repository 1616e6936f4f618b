"""The two networks and the channels' grid: what is trained, in one picture (analysis.json, evaluation.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paper_figures import command, style
from paper_figures.arms import arm_style
from paper_figures.results import Run
from paper_figures.sketch import PERSON, arrow, heatmap, note, person, sheet, slab
from pose_topo import joints
from pose_topo.config import (
    BACKBONE_CHANNELS,
    BACKBONE_STRIDE,
    DECONV_CHANNELS,
    DECONVOLUTIONS,
    HEATMAP_STRIDE,
    TOPO_LOSSES,
)
from pose_topo.lattice import Lattice

NAME = "schematic"
HEIGHT = 3.0  # inches, as everything below
ROWS = {"baseline": 2.35, "topo": 0.78}  # the middle of each network
UNDER = 0.46  # from there down to the text
GREY, BLUE, GREEN, NEAR = "#D9D9D9", "#A9C7E8", "#BFE3D0", "#F6B98F"
ZOOM = 1.66  # the longer side of the grid
FORMULAS = {"weight-similarity": r"$\lambda\,\frac{1}{|E|}\sum_{(i,j)\in E}\,\Vert w_i-w_j\Vert^2$"}  # the study's


@dataclass(frozen=True)
class Network:
    """What the picture says of the networks; `side` is None where no evaluation names the input's size."""

    arch: str
    lattice: Lattice
    loss: str
    side: int | None

    @property
    def backbone(self) -> str:
        return self.arch.replace("resnet", "ResNet-")

    def size(self, stride: int, channels: int) -> str:
        """Maps behind so much stride: "32 × 32 × 256", or "S/4 × S/4 × 256"."""
        side = str(self.side // stride) if self.side else "S" if stride == 1 else f"S/{stride}"
        return f"{side} × {side} × {channels}"


def network(runs: Sequence[Run]) -> Network:
    """That of the arm `topo`, else of the first run."""
    run = next((run for run in runs if run.arm == "topo"), runs[0])
    grid = (run.value("analysis", f"grid.{key}") for key in ("height", "width", "neighbours", "torus"))
    side = run.value("evaluation", "settings.input_size") if run.has("evaluation") else None
    return Network(run.arch, Lattice(*grid), run.value("analysis", "topo_loss"), side)


def draw(runs: list[Run]) -> Figure:
    """The baseline above, the topographic network below, the grid at the right."""
    figure = style.new_figure(style.TWO_COLUMNS, HEIGHT, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    net = network(runs)
    for which, (name, y) in enumerate(ROWS.items()):
        end = _trunk(axes, net, y)
        end = _grid_layer(axes, net, end, y) if name == "topo" else end
        _head(axes, net, end, y)
        axes.text(0.08, y + 0.56, rf"$\mathbf{{{'ab'[which]}}}$  {name}", fontsize=8, va="center")
    _grid(axes, net)
    axes.set(xlim=(0, style.TWO_COLUMNS), ylim=(0, HEIGHT))
    axes.axis("off")
    return figure


def _trunk(axes: Axes, net: Network, y: float) -> float:
    """Picture, backbone and deconvolutions; their right end."""
    person(axes, 0.1, y, 0.62)
    note(axes, 0.41, y - UNDER, "picture", net.size(1, 3))
    arrow(axes, 0.77, 0.92, y)
    for place, (high, thick) in enumerate(((0.78, 0.07), (0.6, 0.1), (0.42, 0.13), (0.24, 0.17))):
        slab(axes, 0.98 + 0.19 * place, y, high, thick, GREY)
    note(axes, 1.36, y - UNDER, net.backbone, net.size(BACKBONE_STRIDE, BACKBONE_CHANNELS[net.arch]))
    arrow(axes, 1.82, 1.96, y)
    for place in range(DECONVOLUTIONS):
        slab(axes, 2.02 + 0.26 * place, y, 0.32 + 0.2 * place, 0.13, BLUE)
    end = 2.02 + 0.26 * DECONVOLUTIONS
    note(axes, end - 0.36, y - UNDER, f"{DECONVOLUTIONS} deconvolutions", net.size(HEATMAP_STRIDE, DECONV_CHANNELS))
    return end + 0.06


def _grid_layer(axes: Axes, net: Network, x: float, y: float) -> float:
    """The topographic layer; its right end."""
    arrow(axes, x, x + 0.14, y)
    lattice = net.lattice
    sheet(axes, x + 0.3, y, (0.42, 0.62), (lattice.height, lattice.width), arm_style("topo").color)
    name = f"1 × 1 onto {lattice.height} × {lattice.width}"
    note(axes, x + 0.51, y - UNDER, name, net.size(HEATMAP_STRIDE, lattice.channels))
    return x + 0.82


def _head(axes: Axes, net: Network, x: float, y: float) -> None:
    """The head and some of its heatmaps."""
    arrow(axes, x, x + 0.14, y)
    slab(axes, x + 0.22, y, 0.72, 0.05, GREEN)
    note(axes, x + 0.26, y + 0.62, "head, 1 × 1")
    arrow(axes, x + 0.42, x + 0.56, y)
    for place, joint in enumerate((joints.L_WRIST, joints.HEAD_TOP, joints.R_KNEE)):
        heatmap(axes, x + 0.62 + 0.14 * place, y + 0.12 - 0.12 * place, 0.5, PERSON[joint], 2 + place)
    note(axes, x + 1.01, y - UNDER, "heatmaps", net.size(HEATMAP_STRIDE, joints.K))


def _grid(axes: Axes, net: Network) -> None:
    """The grid itself: a channel, its neighbours, the loss between them."""
    lattice, color = net.lattice, arm_style("topo").color
    cell = ZOOM / max(lattice.height, lattice.width)
    left, top = style.TWO_COLUMNS - 0.1 - (ZOOM + cell * lattice.width) / 2, HEIGHT - 0.24
    chosen = (lattice.height - 1) // 2 * lattice.width + (lattice.width - 1) // 2
    near = {int(other) for edge in lattice.edges() if chosen in edge for other in edge} - {chosen}
    at = np.divmod(np.arange(lattice.channels), lattice.width)
    middles = np.stack([left + cell * (at[1] + 0.5), top - cell * (at[0] + 0.5)], axis=1)
    faces = [color if c == chosen else NEAR if c in near else "white" for c in range(lattice.channels)]
    cells = [Rectangle((x - cell / 2, y - cell / 2), cell, cell) for x, y in middles]
    axes.add_collection(PatchCollection(cells, facecolors=faces, edgecolors="0.6", linewidths=0.4))
    lines = [middles[[chosen, channel]] for channel in sorted(near)]
    axes.add_collection(LineCollection(lines, colors="black", linewidths=0.6))
    centre, low = style.TWO_COLUMNS - 0.1 - ZOOM / 2, top - cell * lattice.height
    axes.text(centre, HEIGHT - 0.1, r"$\mathbf{c}$  the grid of b's channels", fontsize=8, va="center", ha="center")
    kind = "queen" if lattice.neighbours == 8 else "rook"
    note(axes, centre, low - 0.08, f"a channel and its {len(near)} {kind} neighbours")
    note(axes, centre, low - 0.33, f"spatial loss ({net.loss}):" if net.loss in FORMULAS else "spatial loss:")
    formula = FORMULAS.get(net.loss, rf"$\lambda$ · {net.loss}")
    axes.text(centre, low - 0.46, formula, ha="center", va="top", fontsize=8)


def caption(runs: list[Run]) -> str:
    """The numbers of the picture in words."""
    net = network(runs)
    lattice = net.lattice
    size = f"{net.side} x {net.side} px" if net.side else "S x S px"
    return (
        f"The networks. a: the baseline: {net.backbone}, {DECONVOLUTIONS} deconvolutions to {DECONV_CHANNELS} "
        f"channels, and a 1 x 1 convolution, the head, to one heatmap for each of {joints.K} joints; a picture has "
        f"{size}. b: the topographic network has another 1 x 1 convolution before the head, whose {lattice.channels} "
        f"channels lie on a {lattice.height} x {lattice.width} grid. c: that grid ({lattice.name}), a channel and its "
        f"neighbours; E are all {len(lattice.edges())} pairs of neighbours. The spatial loss ({net.loss}) makes the "
        f"{TOPO_LOSSES.get(net.loss, 'weights')} of neighbours alike; the control is b with λ = 0. "
        "Sizes: height x width x channels."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("grid",), draw, caption, argv, every_arm=True)


if __name__ == "__main__":
    raise SystemExit(main())
