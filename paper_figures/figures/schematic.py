"""The schematic: both networks, the grid of channels and the spatial loss (analysis.json, evaluation.json).

The axes cover the whole figure and their unit is an inch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from paper_figures.lib import style
from paper_figures.lib.arms import arm_style
from paper_figures.lib.command import PaperFigure
from paper_figures.lib.results import Run
from pose_topo.study import joints
from pose_topo.study.backbones import BACKBONES, HEATMAP_STRIDE, Backbone
from pose_topo.study.config import DECONV_CHANNELS
from pose_topo.study.lattice import Lattice

HEIGHT = 3.0  # inches
ROWS = {"baseline": 2.35, "topo": 0.78}  # y of the middle of each network
UNDER = 0.46  # from the middle down to the text
ZOOM = 1.66  # the longer side of the grid
DARK, GREY, BLUE, GREEN, NEAR = "#4D4D4D", "#D9D9D9", "#A9C7E8", "#BFE3D0", "#F6B98F"
SMALL = 6.5  # points
FORMULAS = {"weight-similarity": r"$\lambda\,\frac{1}{|E|}\sum_{(i,j)\in E}\,\Vert w_i-w_j\Vert^2$"}
Place = tuple[float, float]
PERSON: Mapping[int, Place] = {  # joints of the stick figure, who waves, in a unit square
    **{joints.HEAD_TOP: (0.5, 0.92), joints.UPPER_NECK: (0.5, 0.76), joints.THORAX: (0.5, 0.7)},
    **{joints.R_SHOULDER: (0.38, 0.69), joints.R_ELBOW: (0.27, 0.56), joints.R_WRIST: (0.3, 0.4)},
    **{joints.L_SHOULDER: (0.62, 0.69), joints.L_ELBOW: (0.75, 0.76), joints.L_WRIST: (0.82, 0.92)},
    **{joints.PELVIS: (0.5, 0.43), joints.R_HIP: (0.43, 0.42), joints.L_HIP: (0.57, 0.42)},
    **{joints.R_KNEE: (0.38, 0.25), joints.R_ANKLE: (0.36, 0.07), joints.L_KNEE: (0.64, 0.26)},
    **{joints.L_ANKLE: (0.62, 0.07)},
}


def person(axes: Axes, left: float, y: float, side: float) -> None:
    """Draw a stick figure on a light image."""
    axes.add_patch(Rectangle((left, y - side / 2), side, side, facecolor="#F2F2F2", edgecolor=DARK, linewidth=0.6))
    at = {k: (left + side * px, y + side * (py - 0.5)) for k, (px, py) in PERSON.items()}
    for first, second in joints.LIMBS:
        axes.plot(*np.transpose([at[first], at[second]]), color=DARK, linewidth=1.6, solid_capstyle="round")
    head = np.mean([at[joints.HEAD_TOP], at[joints.UPPER_NECK]], axis=0)
    axes.plot(*head, "o", color=DARK, markersize=6.5)


def heatmap(axes: Axes, left: float, y: float, side: float, peak: Place, order: int) -> None:
    """Draw a heatmap with its peak at a place of the unit square. A larger `order` lies in front."""
    rows, columns = np.mgrid[0:24, 0:24] / 23
    blob = np.exp(-((columns - peak[0]) ** 2 + (1 - rows - peak[1]) ** 2) / (2 * 0.08**2))
    low, high = y - side / 2, y + side / 2
    axes.imshow(blob, extent=(left, left + side, low, high), cmap="cividis", zorder=order, aspect="auto")
    frame = {"facecolor": "none", "edgecolor": "white", "linewidth": 0.7, "zorder": order + 0.5}
    axes.add_patch(Rectangle((left, low), side, side, **frame))


def slab(axes: Axes, left: float, y: float, high: float, thick: float, color: str) -> None:
    """Draw feature maps or a layer as a slab: its height stands for their size, its thickness for their number."""
    low, top = y - high / 2, y + high / 2
    back = np.array([0.11, 0.073]) * high  # from the front to the back, to the upper right
    front = np.array([(left, low), (left + thick, low), (left + thick, top), (left, top)])
    upper = [front[3], front[2], front[2] + back, front[3] + back]
    side = [front[1], front[1] + back, front[2] + back, front[2]]
    for face in (front, upper, side):
        axes.add_patch(Polygon(face, facecolor=color, edgecolor=DARK, linewidth=0.5, joinstyle="round"))


def sheet(axes: Axes, left: float, y: float, size: Place, cells: tuple[int, int], color: str) -> None:
    """Draw a grid of `cells` (rows, columns) of channels in perspective; `size` is its width and height."""
    width, high = size
    shift = np.array([width, 0.5 * width])  # of the right edge
    bottom = np.array([left, y - high / 2 - 0.25 * width])
    up = np.array([0, high])
    top = bottom + up
    corners = [bottom, bottom + shift, top + shift, top]
    axes.add_patch(Polygon(corners, facecolor="#FBE3D2", edgecolor=color, linewidth=0.8))
    rows = [bottom + up * share for share in np.linspace(0, 1, cells[0] + 1)[1:-1]]
    columns = [bottom + shift * share for share in np.linspace(0, 1, cells[1] + 1)[1:-1]]
    lines = [(p, p + shift) for p in rows] + [(p, p + up) for p in columns]
    axes.add_collection(LineCollection(lines, colors=color, linewidths=0.3))


def arrow(axes: Axes, start: float, stop: float, y: float) -> None:
    """Draw a short arrow to the right."""
    look = {"arrowstyle": "-|>", "mutation_scale": 5, "color": DARK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch((start, y), (stop, y), **look))


def note(axes: Axes, x: float, y: float, *lines: str) -> None:
    """Write small lines of text, from `y` downwards."""
    axes.text(x, y, "\n".join(lines), ha="center", va="top", fontsize=SMALL, linespacing=1.25)


# ---- the networks


@dataclass(frozen=True)
class Network:
    """The numbers in the schematic. `side` is None where no evaluation gives the size of the input."""

    backbone: Backbone
    lattice: Lattice
    loss: str
    side: int | None

    def size(self, stride: int, channels: int) -> str:
        """Return the size of feature maps at a stride: "32 × 32 × 256", or "S/4 × S/4 × 256"."""
        side = str(self.side // stride) if self.side else "S" if stride == 1 else f"S/{stride}"
        return f"{side} × {side} × {channels}"


def network(runs: Sequence[Run]) -> Network:
    """Return the numbers of the arm `topo`, or else of the first run."""
    run = next((run for run in runs if run.arm == "topo"), runs[0])
    grid = (run.value("analysis", f"grid.{key}") for key in ("height", "width", "neighbours", "torus"))
    side = run.value("evaluation", "settings.input_size") if run.has("evaluation") else None
    return Network(BACKBONES[run.arch], Lattice(*grid), run.value("analysis", "topo_loss"), side)


def draw(runs: list[Run]) -> Figure:
    """Draw the baseline above, the topographic network below, and the grid at the right."""
    figure = style.new_figure(style.TWO_COLUMNS, HEIGHT, constrained=False)
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
    """Draw input, backbone and deconvolutions. Returns their right end."""
    person(axes, 0.1, y, 0.62)
    note(axes, 0.41, y - UNDER, "picture", net.size(1, 3))
    arrow(axes, 0.77, 0.92, y)
    for place, (high, thick) in enumerate(((0.78, 0.07), (0.6, 0.1), (0.42, 0.13), (0.24, 0.17))):
        slab(axes, 0.98 + 0.19 * place, y, high, thick, GREY)
    note(axes, 1.36, y - UNDER, net.backbone.title, net.size(net.backbone.stride, net.backbone.channels))
    arrow(axes, 1.82, 1.96, y)
    deconvolutions = net.backbone.deconvolutions
    for place in range(deconvolutions):
        slab(axes, 2.02 + 0.26 * place, y, 0.32 + 0.2 * place, 0.13, BLUE)
    end = 2.02 + 0.26 * deconvolutions
    note(axes, end - 0.36, y - UNDER, f"{deconvolutions} deconvolutions", net.size(HEATMAP_STRIDE, DECONV_CHANNELS))
    return end + 0.06


def _grid_layer(axes: Axes, net: Network, x: float, y: float) -> float:
    """Draw the topographic layer. Returns its right end."""
    arrow(axes, x, x + 0.14, y)
    lattice = net.lattice
    sheet(axes, x + 0.3, y, (0.42, 0.62), (lattice.height, lattice.width), arm_style("topo").color)
    name = f"1 × 1 onto {lattice.height} × {lattice.width}"
    note(axes, x + 0.51, y - UNDER, name, net.size(HEATMAP_STRIDE, lattice.channels))
    return x + 0.82


def _head(axes: Axes, net: Network, x: float, y: float) -> None:
    """Draw the head and some of its heatmaps."""
    arrow(axes, x, x + 0.14, y)
    slab(axes, x + 0.22, y, 0.72, 0.05, GREEN)
    note(axes, x + 0.26, y + 0.62, "head, 1 × 1")
    arrow(axes, x + 0.42, x + 0.56, y)
    for place, joint in enumerate((joints.L_WRIST, joints.HEAD_TOP, joints.R_KNEE)):
        heatmap(axes, x + 0.62 + 0.14 * place, y + 0.12 - 0.12 * place, 0.5, PERSON[joint], 2 + place)
    note(axes, x + 1.01, y - UNDER, "heatmaps", net.size(HEATMAP_STRIDE, joints.K))


def _grid(axes: Axes, net: Network) -> None:
    """Draw the grid with a channel and its neighbours, and the loss between them."""
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
    """Say how the two networks differ, and describe them in words."""
    net = network(runs)
    lattice = net.lattice
    size = f"{net.side} x {net.side} px" if net.side else "S x S px"
    return (
        f"**The topographic network is the baseline with one more layer, whose {lattice.channels} channels lie on a "
        f"{lattice.height} x {lattice.width} grid.** The networks. a: the baseline has {net.backbone.title}, "
        f"{net.backbone.deconvolutions} deconvolutions to {DECONV_CHANNELS} channels, and a 1 x 1 convolution (the "
        f"head) to one heatmap for each of {joints.K} joints. The input has {size}. b: the topographic network has "
        f"another 1 x 1 convolution before the head; its {lattice.channels} channels lie on a {lattice.height} x "
        f"{lattice.width} grid. c: this grid ({lattice.name}), with a channel and its neighbours; E is the set of all "
        f"{len(lattice.edges())} pairs of neighbours. The spatial loss ({net.loss}) makes neighbours alike. The "
        "control is network b with λ = 0. Sizes: height x width x channels."
    )


SCHEMATIC = PaperFigure(
    name="schematic",
    place=10,
    title="The network and its grid",
    about="the networks and the grid",
    needs=("grid",),
    draw=draw,
    caption=caption,
    every_arm=True,
)
