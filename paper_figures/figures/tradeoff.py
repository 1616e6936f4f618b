"""The trade-off: PCKh@0.5 against Moran's I over losses and lambdas, and which layers collapsed (result files)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from paper_figures.lib import captions, style
from paper_figures.lib.arms import arm_style, family
from paper_figures.lib.command import NothingToShowError, PaperFigure
from paper_figures.lib.results import Run, by_arm, known, measure, shared

MORAN, NORMALISED = ("analysis", "moran.mean_I"), ("analysis", "moran_measures.normalised.mean_I")
PCKH, DIRECTIONS = ("evaluation", "pckh.0.5.mean"), ("analysis", "health.participation_ratio")
PANELS = (  # x, y and their labels
    (MORAN, PCKH, "Accuracy against I of |w|", "Moran's I of |head weight|", "PCKh@0.5 (%)"),
    (NORMALISED, PCKH, "The same without gain", "Moran's I of normalised |head weight|", "PCKh@0.5 (%)"),
    (MORAN, DIRECTIONS, "Collapse", "Moran's I of |head weight|", "participation ratio of the layer"),
)

STEP = 5.0  # points of PCKh: the margin below the control, and the unit of the ticks
COMPRESSION = 10  # of the axis below its floor
MARKER = {"markersize": 5, "markeredgecolor": "black", "markeredgewidth": 0.4}


@dataclass(frozen=True)
class Point:
    """One arm in one panel: the values (seeds,) of x and y."""

    arm: str
    weight: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def mean(self) -> tuple[float, float]:
        return float(self.x.mean()), float(self.y.mean())

    @property
    def places(self) -> list[tuple[float, float]]:
        """The places that no label should cover: the mean, and the ends of its bars."""
        x, y = self.mean
        return [(x, y), (self.x.min(), y), (self.x.max(), y), (x, self.y.min()), (x, self.y.max())]


def draw(runs: list[Run]) -> Figure:
    """Draw three panels and a legend. Each loss has a colour and a marker; a line joins its points by lambda.

    Raises:
        NothingToShowError: no run has a topographic layer, or none has a PCKh.
    """
    mapped = with_grid(runs)
    if all(run.number(*PCKH) is None for run in mapped):
        raise NothingToShowError("no run has a PCKh (nobody's head size is annotated)", [run.folder for run in runs])
    figure = style.new_figure(style.TWO_COLUMNS, 5.0, w_pad=0.08, h_pad=0.08)
    axes, drawn = figure.subplots(2, 2).ravel(), []
    for which, (x, y, title, x_label, y_label) in enumerate(PANELS):
        points = [point for group in by_arm(mapped).values() if (point := _point(group, x, y)) is not None]
        place = axes[which]
        if y == DIRECTIONS:
            place.set_yscale("log")
            place.yaxis.set_major_formatter("{x:g}")
        elif values := known((run for run in runs if run not in mapped), measure(*PCKH)):
            # the level of the baseline, which has no I to show because its grid is arbitrary
            look = arm_style("baseline")
            place.axhline(float(np.mean(values)), color=look.color, linestyle=look.dashes, linewidth=1.0, zorder=1)
        for name in dict.fromkeys(family(point.arm) for point in points):
            _series(place, [point for point in points if family(point.arm) == name])
        place.set(xlabel=x_label, ylabel=y_label)
        place.margins(0.1)
        if y == PCKH and (floor := floor_of(runs)) is not None:
            _compress_below(place, floor)
        style.letter(place, which, title)
        drawn.append(points)
    axes[3].axis("off")
    axes[3].legend(handles=_handles(runs, mapped), loc="center left", title="number at a point: λ", alignment="left")
    figure.draw_without_rendering()  # labels need the positions of the points in the final layout
    for place, points in zip(axes, drawn, strict=False):
        labelled = [(*point.mean, f"{point.weight:g}", arm_style(point.arm).color) for point in points if point.weight]
        place_labels(place, labelled, [one for point in points for one in point.places])
    return figure


def with_grid(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with a topographic layer.

    Raises:
        NothingToShowError: there is none.
    """
    mapped = [run for run in runs if run.has("grid")]
    if not mapped:
        raise NothingToShowError("no run has a topographic layer", [run.folder for run in runs])
    return mapped


def floor_of(runs: Sequence[Run]) -> float | None:
    """Return the PCKh below which the axis is compressed, or None where no arm is far below the control.

    Without it, networks that fail at the task would press all others into one line.
    """
    anchor = known((run for run in runs if run.arm == "control"), measure(*PCKH))
    if not anchor:
        return None
    floor = STEP * float((np.mean(anchor) - STEP) // STEP)
    return floor if min(known(with_grid(runs), measure(*PCKH))) < floor - 2 * STEP else None


def _compress_below(axes: Axes, floor: float) -> None:
    """Compress the axis below `floor`, and mark where the compression begins."""

    def squeezed(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(y < floor, floor + (y - floor) / COMPRESSION, y)

    def widened(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(y < floor, floor + (y - floor) * COMPRESSION, y)

    low, high = axes.dataLim.y0, axes.dataLim.y1
    axes.set_yscale("function", functions=(squeezed, widened))
    axes.set_ylim(low - COMPRESSION, high + 1)
    axes.set_yticks([*np.arange(0, floor, 4 * STEP), *np.arange(floor, high + 1, 2)])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.axhline(floor, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    look = {"fontsize": 5, "color": "0.4", "ha": "right", "va": "top", "textcoords": "offset points"}
    text, at = f"below {floor:g}: compressed {COMPRESSION}x", (1, floor)
    axes.annotate(text, at, xycoords=("axes fraction", "data"), xytext=(-2, -2), **look)


def _point(group: Sequence[Run], x: tuple[str, str], y: tuple[str, str]) -> Point | None:
    """Return the seeds of an arm that have both numbers, or None where no seed has."""
    weight = shared(group, lambda run: run.number("analysis", "lambda") or 0.0, "lambdas")
    pairs = [(run.number(*x), run.number(*y)) for run in group]
    both = np.array([pair for pair in pairs if None not in pair], dtype=float)
    return Point(group[0].arm, weight, *both.T) if both.size else None


def _series(axes: Axes, points: list[Point]) -> None:
    """Draw one loss: a marker at the mean of each lambda, and bars over the range of the seeds."""
    points = sorted(points, key=lambda point: point.weight)
    look = arm_style(points[0].arm)
    axes.plot(*np.transpose([point.mean for point in points]), color=look.color, linewidth=0.7, alpha=0.6, zorder=2)
    for point in points:
        x, y = point.mean
        reach = [[[v - a.min()], [a.max() - v]] for v, a in ((x, point.x), (y, point.y))]
        axes.errorbar(x, y, reach[1], reach[0], ecolor=look.color, elinewidth=0.7, fmt="none", zorder=3)
        axes.plot(x, y, look.marker, color=look.color, zorder=4, **MARKER)


def _handles(runs: Sequence[Run], mapped: Sequence[Run]) -> list[Line2D]:
    """Return the legend entries: one per loss, and the level of the baseline."""
    handles = []
    for name in dict.fromkeys(family(run.arm) for run in mapped):
        loss = next(run.value("analysis", "topo_loss") for run in mapped if family(run.arm) == name)
        look, label = arm_style(name), f"topo ({loss})" if name == "topo" else name
        label += " (λ = 0)" if name == "control" else ""
        handles.append(Line2D([], [], color=look.color, marker=look.marker, linewidth=0.7, label=label, **MARKER))
    if len(mapped) < len(runs):
        look = arm_style("baseline")
        handles.append(Line2D([], [], color=look.color, linestyle=look.dashes, label="baseline (level of PCKh)"))
    return handles


# ---- labels beside points

SIZE = 5.5  # points
_GAPS = (4.5, 8.0, 12.0)  # from the point to the text, in points
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_WIDE, _HIGH = 0.64, 0.85  # of a letter, relative to its size
_DARKER = 0.5  # so that light colours are legible as text
_MARKER = 3.0  # half a marker, in points


def place_labels(
    axes: Axes, labels: Sequence[tuple[float, float, str, str]], occupied: Sequence[tuple[float, float]]
) -> None:
    """Write each text beside its point, at the first of 24 offsets that covers least.

    Args:
        labels: (x, y, text, colour) in data units.
        occupied: places (x, y) in data units that no text should cover.
    """
    if not labels:
        return
    scale = 72.0 / axes.figure.dpi  # display units -> points
    marks = axes.transData.transform(occupied) * scale
    frame = axes.get_window_extent().get_points() * scale
    taken: list[NDArray[np.float64]] = []  # low and high corners of the texts so far
    for x, y, text, color in labels:
        point = axes.transData.transform((x, y)) * scale
        half = np.array([_WIDE * len(text), _HIGH]) * SIZE / 2
        offsets = np.array([np.array(side) * (half + gap - _MARKER / 2) for gap in _GAPS for side in _SIDES])
        centres = point + offsets  # (24, 2)
        low, high = centres - half, centres + half
        # how much a text covers at each of them: marks, other texts, which weigh more, and what is outside
        covered = (np.abs(marks - centres[:, None]) < half + _MARKER).all(axis=-1).sum(axis=-1)
        texts = sum((np.minimum(high, box[1]) > np.maximum(low, box[0])).all(axis=-1) for box in taken)
        outside = ((low < frame[0]) | (high > frame[1])).any(axis=-1)
        best = offsets[np.argmin(covered + 4 * texts + 10 * outside)]
        taken.append(np.stack([point + best - half, point + best + half]))
        look = {"fontsize": SIZE, "ha": "center", "va": "center", "color": tuple(_DARKER * c for c in to_rgb(color))}
        axes.annotate(text, (x, y), xytext=tuple(best), textcoords="offset points", zorder=6, **look)


def _finding(runs: list[Run]) -> str:
    """Compare the arm with the highest I with the control."""
    arms = by_arm(with_grid(runs))
    numbers = {arm: known(group, measure(*MORAN)) for arm, group in arms.items()}
    means = {arm: sum(values) / len(values) for arm, values in numbers.items() if values}
    top = max(means, key=means.__getitem__, default=None)
    shown = [run for arm in dict.fromkeys(("control", top)) if arm in arms for run in arms[arm]]
    return (
        f"The control and the arm with the highest Moran's I: {captions.means(shown, measure(*MORAN), 3)}; "
        f"their PCKh@0.5: {captions.means(shown, measure(*PCKH), 1)}."
    )


def caption(runs: list[Run]) -> str:
    """Give the finding, say what is shown, and give the numbers of the control and of the study's arm."""
    mapped = with_grid(runs)
    arms = by_arm(mapped)
    counts = sorted({len(group) for group in arms.values()})
    anchors = [run for name in ("control", "topo") for run in arms.get(name, [])]
    losses = {run.value("analysis", "topo_loss") for run in mapped if run.number("analysis", "lambda")}
    weights = {run.number("analysis", "lambda") for run in mapped} - {0}
    floor = floor_of(runs)
    scale = "" if floor is None else f"Below a PCKh of {floor:g} the axis is compressed {COMPRESSION} times. "
    return (
        f"**{_finding(runs)}** Accuracy and topography under {len(losses)} spatial "
        f"loss{'es' if len(losses) != 1 else ''} at {len(weights)} weight{'s' if len(weights) != 1 else ''} λ "
        f"({len(arms)} arms, {' or '.join(map(str, counts))} seed{'s' if counts != [1] else ''} each). a: PCKh@0.5 of "
        "held-out people against Moran's I of the |head weight| maps, averaged over joints. b: the same, with the gain "
        "of each channel divided out, because |w| mixes gain and tuning. c: the participation ratio (how many "
        "directions the weights of the layer use) on a log scale; near 1 the layer has collapsed, however high its I. "
        "Points are means over seeds and bars their range; lines join the λ of one loss. The control (λ = 0) is the "
        f"point of comparison{'' if 'control' in arms else ' and is missing here'}. {scale}Mean I: "
        f"{captions.per_arm(anchors, *MORAN, 3)}; normalised: {captions.per_arm(anchors, *NORMALISED, 3)}; PCKh@0.5: "
        f"{captions.per_arm(anchors, *PCKH, 1)}; participation ratio: {captions.per_arm(anchors, *DIRECTIONS, 1)}. "
        f"{captions.about(runs)}"
    )


TRADEOFF = PaperFigure(
    name="tradeoff",
    place=130,
    title="Accuracy against topography",
    about="PCKh against Moran's I, over lambda and losses",
    needs=("analysis", "evaluation"),
    draw=draw,
    caption=caption,
    every_arm=True,
)
