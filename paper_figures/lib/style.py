"""The look of the figures, the shapes that several figures draw, and saving: the same data give the same bytes.

The bytes are the same for one version of matplotlib (that of the lock file). Other versions draw a little differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from paper_figures.lib.arms import arm_style
from pose_topo.core.files import atomic_path
from pose_topo.study import joints

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches, of a two-column page

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # embed TrueType: text stays text, and publishers do not accept Type 3
    "axes.titlesize": 7.5,
    **dict.fromkeys(("font.size", "axes.labelsize"), 7),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 6.5),
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "image.interpolation": "nearest",
    "savefig.dpi": 300,
}


# The order of the joints in figures: from head to ankle, right beside left, eight per row
JOINT_ORDER: tuple[int, ...] = (
    *(joints.HEAD_TOP, joints.UPPER_NECK, joints.R_SHOULDER, joints.L_SHOULDER),
    *(joints.R_ELBOW, joints.L_ELBOW, joints.R_WRIST, joints.L_WRIST),
    *(joints.THORAX, joints.PELVIS, joints.R_HIP, joints.L_HIP),
    *(joints.R_KNEE, joints.L_KNEE, joints.R_ANKLE, joints.L_ANKLE),
)
SIDE_DASHES: dict[str, Any] = {"right": "-", "left": (0, (1.6, 0.9)), "middle": "-"}


def short(joint: int) -> str:
    """Return the short name of a joint, such as "R ankle"."""
    return joints.NAMES[joint].replace("right ", "R ").replace("left ", "L ")


def panels_width(columns: int) -> float:
    """Return the width in inches of a figure with so many panels side by side."""
    return min(TWO_COLUMNS, 0.6 + 2.15 * columns)


@contextmanager
def applied() -> Iterator[None]:
    """Use this style within the context, without any settings of the user; restore the former settings afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]  # the stub lists every key as a literal
        yield


def new_figure(width: float, height: float, *, constrained: bool = True, **pads: Any) -> Figure:
    """Return an empty figure (size in inches) that needs no display and that pyplot does not know.

    The layout is `constrained`, with `pads` as matplotlib's ConstrainedLayoutEngine takes them, or there is none.
    """
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(**pads) if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, out: Path, name: str) -> None:
    """Write `<out>/<name>.pdf` and `.png` without dates and versions, so that the same data give the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # both files use the same layout
    for suffix, dated in ((".pdf", ("Creator", "Producer", "CreationDate")), (".png", ("Software",))):
        with atomic_path(out / f"{name}{suffix}") as temporary:
            figure.savefig(temporary, metadata=dict.fromkeys(dated))


# ---- shapes that several figures draw

CHANCE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (5, 2, 1, 2))}  # line of an expectation
BAND: dict[str, Any] = {"color": "0.82", "linewidth": 0}  # of permuted grids


def seeds_curve(axes: Axes, x: NDArray[Any], values: NDArray[Any], arm: str) -> None:
    """Draw the mean over seeds of `values` (seeds, n) against `x` (n,), with a band from the smallest to the largest.

    Points at which any seed has no value are left out, because the mean over the other seeds would jump there.
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
    """Return the legend entries of arms."""
    looks = ((arm, arm_style(arm)) for arm in arms)
    return [Line2D([], [], color=one.color, linestyle=one.dashes, marker=one.marker, label=arm) for arm, one in looks]


def chance_handle(label: str) -> Line2D:
    """Return the legend entry of a `CHANCE` line."""
    return Line2D([], [], label=label, **CHANCE)


def letter(axes: Axes, which: int, title: str) -> None:
    """Give a panel its letter and title."""
    axes.set_title(rf"$\mathbf{{{'abcdefghij'[which]}}}$  {title}", loc="left")


def bare(axes: Axes) -> None:
    """Give a map a thin frame and no ticks, because a place on the grid has no unit."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.4)


def parcels(axes: Axes, labels: NDArray[np.int64]) -> None:
    """Draw a map of joint labels (h, w) with lines between different joints. The label -1 (no joint) is white."""
    colors = np.array([*(joints.colour(k) for k in range(len(JOINT_ORDER))), (1.0, 1.0, 1.0)])
    axes.imshow(colors[labels])
    rows, columns = np.nonzero(labels[:, 1:] != labels[:, :-1])
    lines = [[(c + 0.5, r - 0.5), (c + 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(labels[1:] != labels[:-1])
    lines += [[(c - 0.5, r + 0.5), (c + 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=0.5))
    bare(axes)
