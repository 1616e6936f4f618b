"""Short texts beside points, where they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

SIZE = 5.5  # points
_GAPS = (4.5, 8.0, 12.0)  # from the point to the text, in points
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_WIDE, _HIGH = 0.64, 0.85  # of a letter, in its size
_DARKER = 0.5  # light colours must be legible as text
_MARKER = 3.0  # half a marker, in points


def place_labels(
    axes: Axes, labels: Sequence[tuple[float, float, str, str]], occupied: Sequence[tuple[float, float]]
) -> None:
    """Write each (x, y, text, colour) beside its place, at the first of 24 offsets that covers least.

    Args:
        labels, occupied: in data units; no text should cover a place that is occupied.
    """
    if not labels:
        return
    scale = 72.0 / axes.figure.dpi  # display units -> points
    marks = axes.transData.transform(occupied) * scale
    frame = axes.get_window_extent().get_points() * scale
    taken: list[NDArray[np.float64]] = []
    for x, y, text, color in labels:
        point = axes.transData.transform((x, y)) * scale
        half = np.array([_WIDE * len(text), _HIGH]) * SIZE / 2
        offsets = [np.array(side) * (half + gap - _MARKER / 2) for gap in _GAPS for side in _SIDES]
        best = min(offsets, key=lambda offset: _cost(point + offset, half, marks, taken, frame))
        taken.append(np.stack([point + best - half, point + best + half]))
        style = {
            "fontsize": SIZE,
            "ha": "center",
            "va": "center",
            "color": tuple(_DARKER * c for c in to_rgb(color)),
            "zorder": 6,
        }
        axes.annotate(text, (x, y), xytext=tuple(best), textcoords="offset points", **style)


def _cost(
    centre: NDArray[np.float64],
    half: NDArray[np.float64],
    marks: NDArray[np.float64],
    taken: Sequence[NDArray[np.float64]],
    frame: NDArray[np.float64],
) -> float:
    """How much a text of this half size covers: marks, other texts (which weigh more), the frame's outside."""
    low, high = centre - half, centre + half
    covered = (np.abs(marks - centre) < half + _MARKER).all(axis=1).sum()
    shared = [np.clip(np.minimum(high, box[1]) - np.maximum(low, box[0]), 0, None).prod() for box in taken]
    outside = (low < frame[0]).any() or (high > frame[1]).any()
    return float(covered + 4 * sum(area > 0 for area in shared) + 10 * outside)
