"""What the schematic is drawn with: slabs, sheets, pictures and arrows on axes whose unit is an inch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from pose_topo import joints

DARK = "#4D4D4D"
SMALL = 6.5  # points
Place = tuple[float, float]
PERSON: Mapping[int, Place] = {  # joints of somebody who waves, in a unit square: of the picture alone
    **{joints.HEAD_TOP: (0.5, 0.92), joints.UPPER_NECK: (0.5, 0.76), joints.THORAX: (0.5, 0.7)},
    **{joints.R_SHOULDER: (0.38, 0.69), joints.R_ELBOW: (0.27, 0.56), joints.R_WRIST: (0.3, 0.4)},
    **{joints.L_SHOULDER: (0.62, 0.69), joints.L_ELBOW: (0.75, 0.76), joints.L_WRIST: (0.82, 0.92)},
    **{joints.PELVIS: (0.5, 0.43), joints.R_HIP: (0.43, 0.42), joints.L_HIP: (0.57, 0.42)},
    **{joints.R_KNEE: (0.38, 0.25), joints.R_ANKLE: (0.36, 0.07), joints.L_KNEE: (0.64, 0.26)},
    **{joints.L_ANKLE: (0.62, 0.07)},
}


def person(axes: Axes, left: float, y: float, side: float) -> None:
    """A stick figure on a light picture."""
    axes.add_patch(Rectangle((left, y - side / 2), side, side, facecolor="#F2F2F2", edgecolor=DARK, linewidth=0.6))
    at = {k: (left + side * px, y + side * (py - 0.5)) for k, (px, py) in PERSON.items()}
    for first, second in joints.LIMBS:
        axes.plot(*np.transpose([at[first], at[second]]), color=DARK, linewidth=1.6, solid_capstyle="round")
    head = np.mean([at[joints.HEAD_TOP], at[joints.UPPER_NECK]], axis=0)
    axes.plot(*head, "o", color=DARK, markersize=6.5)


def heatmap(axes: Axes, left: float, y: float, side: float, peak: Place, order: int) -> None:
    """A heatmap with its peak at a place of the unit square; a larger `order` lies in front."""
    rows, columns = np.mgrid[0:24, 0:24] / 23
    blob = np.exp(-((columns - peak[0]) ** 2 + (1 - rows - peak[1]) ** 2) / (2 * 0.08**2))
    low, high = y - side / 2, y + side / 2
    axes.imshow(blob, extent=(left, left + side, low, high), cmap="cividis", zorder=order, aspect="auto")
    frame = {"facecolor": "none", "edgecolor": "white", "linewidth": 0.7, "zorder": order + 0.5}
    axes.add_patch(Rectangle((left, low), side, side, **frame))


def slab(axes: Axes, left: float, y: float, high: float, thick: float, color: str) -> None:
    """Feature maps, or a layer: its height for their side, its thickness for their number."""
    low, top = y - high / 2, y + high / 2
    back = np.array([0.11, 0.073]) * high  # from the front to the back, to the upper right
    front = np.array([(left, low), (left + thick, low), (left + thick, top), (left, top)])
    upper = [front[3], front[2], front[2] + back, front[3] + back]
    side = [front[1], front[1] + back, front[2] + back, front[2]]
    for face in (front, upper, side):
        axes.add_patch(Polygon(face, facecolor=color, edgecolor=DARK, linewidth=0.5, joinstyle="round"))


def sheet(axes: Axes, left: float, y: float, size: Place, cells: tuple[int, int], color: str) -> None:
    """A grid of channels (rows, columns), turned away at the right; `size` is its width and height."""
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
    """A short arrow to the right."""
    look = {"arrowstyle": "-|>", "mutation_scale": 5, "color": DARK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch((start, y), (stop, y), **look))


def note(axes: Axes, x: float, y: float, *lines: str) -> None:
    """Small lines of text, from `y` downwards."""
    axes.text(x, y, "\n".join(lines), ha="center", va="top", fontsize=SMALL, linespacing=1.25)
