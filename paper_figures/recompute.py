"""Numbers of the result files worked out again from the arrays that lie beside them, by other means than the stages'.

Whoever edits a number, or measures with another version than drew the maps, is found without any training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paper_figures.results import Run


def mean_moran(run: Run) -> float | None:
    """Mean Moran's I of the joints' strength maps: queen neighbours, binary, bounded grid.

    I = (C / S0) * sum_ij w_ij z_i z_j / sum_i z_i^2 (Moran 1950), here by shifting the map onto its neighbours.
    """
    if not run.has("maps"):
        return None
    maps = run.maps["strength"]  # (K, h, w)
    z = maps - maps.mean((1, 2), keepdims=True)
    height, width = z.shape[1:]
    products, pairs = np.zeros(len(z)), 0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):  # each pair of neighbours once
        here = z[:, : height - down, max(0, -right) : width - max(0, right)]
        there = z[:, down:, max(0, right) : width + min(0, right)]
        products += (here * there).sum((1, 2))
        pairs += here[0].size
    squares = (z**2).sum((1, 2))
    varies = squares > 0  # a map without variance has no I
    return float((height * width / pairs * products[varies] / squares[varies]).mean()) if varies.any() else None


def curve_area(run: Run) -> float | None:
    """AUC as the mean of the PCKh curve's neighbouring points, %."""
    curve = run.value("evaluation", "curve")
    score, at = np.array(curve["mean"]), np.array(curve["thresholds"])
    return float(((score[1:] + score[:-1]) / 2 * np.diff(at)).sum() / (at[-1] - at[0]))


RECOMPUTED: dict[str, Callable[[Run], float | None]] = {"mean_moran": mean_moran, "curve_area": curve_area}
