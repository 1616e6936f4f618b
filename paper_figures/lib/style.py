"""How the study's figures look, and how they are saved so that the same data give the same bytes.

The byte-identity holds for one version of matplotlib (the lock's); another one draws a little differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from paper_figures.lib.arms import arm_style
from pose_topo.core.files import atomic_path
from pose_topo.study import joints

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches, of a two-column page
RGB = tuple[float, float, float]

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # embed TrueType: text stays text, and publishers refuse Type 3
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "image.interpolation": "nearest",
    "savefig.dpi": 300,
}


# Joints as figures list them: head to ankle, right beside left, eight to a row
JOINT_ORDER: tuple[int, ...] = (
    *(joints.HEAD_TOP, joints.UPPER_NECK, joints.R_SHOULDER, joints.L_SHOULDER),
    *(joints.R_ELBOW, joints.L_ELBOW, joints.R_WRIST, joints.L_WRIST),
    *(joints.THORAX, joints.PELVIS, joints.R_HIP, joints.L_HIP),
    *(joints.R_KNEE, joints.L_KNEE, joints.R_ANKLE, joints.L_ANKLE),
)
SIDES = {"right": "#E69F00", "left": "#56B4E9", "middle": "#CC79A7"}
SIDE_DASHES: dict[str, Any] = {"right": "-", "left": (0, (1.6, 0.9)), "middle": "-"}
_PAIRS = {  # one hue a pair of joints: dark for right, light for left
    "shoulder": ("#0B62A4", "#8CC4F0"),
    "elbow": ("#1B7F4B", "#9BDDB0"),
    "wrist": ("#5E3C99", "#B9A5E2"),
    "hip": ("#B8860B", "#F5D480"),
    "knee": ("#B5301A", "#F4A582"),
    "ankle": ("#D01C8B", "#F7B8DE"),
}
_MIDDLE = {joints.HEAD_TOP: 0.10, joints.UPPER_NECK: 0.36, joints.THORAX: 0.62, joints.PELVIS: 0.84}  # grey levels


def joint_color(joint: int) -> RGB:
    """A joint's colour: greys for the middle, dark (right) and light (left) of one hue for a pair."""
    if joint in _MIDDLE:
        return _MIDDLE[joint], _MIDDLE[joint], _MIDDLE[joint]
    right, left = _PAIRS[joints.NAMES[joint].split()[-1]]
    return to_rgb(right if joints.side(joint) == "right" else left)


def short(joint: int) -> str:
    """A joint's name for narrow places: "R ankle"."""
    return joints.NAMES[joint].replace("right ", "R ").replace("left ", "L ")


def panels_width(columns: int) -> float:
    """Inches, of a figure with so many panels beside each other."""
    return min(TWO_COLUMNS, 0.6 + 2.15 * columns)


@contextmanager
def applied() -> Iterator[None]:
    """Within, matplotlib has this style and nothing of the user's own settings; afterwards, what it had."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure (inches) that needs no display and is in no global list."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, out: Path, name: str) -> None:
    """Write `<out>/<name>.pdf` and `.png` without dates or versions in them: same data, same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, the same for both
    with atomic_path(out / f"{name}.pdf") as path:
        figure.savefig(path, metadata={"Creator": None, "Producer": None, "CreationDate": None})
    with atomic_path(out / f"{name}.png") as path:
        figure.savefig(path, metadata={"Software": None})


# ---- What several figures draw alike.

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
    colors = np.array([*(joint_color(k) for k in range(len(JOINT_ORDER))), (1.0, 1.0, 1.0)])
    axes.imshow(colors[labels])
    rows, columns = np.nonzero(labels[:, 1:] != labels[:, :-1])
    lines = [[(c + 0.5, r - 0.5), (c + 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(labels[1:] != labels[:-1])
    lines += [[(c - 0.5, r + 0.5), (c + 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=0.5))
    bare(axes)
