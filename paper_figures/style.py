"""How the study's figures look, and how they are saved so that the same data give the same bytes.

The byte-identity holds for one version of matplotlib (the lock's); another one draws a little differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from pose_topo import joints
from pose_topo.files import atomic_path

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
