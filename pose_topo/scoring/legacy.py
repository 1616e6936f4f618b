"""The original study's own metric, reimplemented to show what the difference in metric alone makes.

It differs from PCKh in four ways. Joints are compared on the 64 x 64 grid of the squeezed photograph. The "head size"
is the distance from the right wrist to the left shoulder (the study's channel order was off by one), without the factor
0.6. An unlabelled joint counts, as if it were at (0, 0). The mean is over all 16 joints. docs/metrics.md measures the
effect of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints

GRID = 64
THRESHOLD = 0.5


def legacy_hits(
    predicted: NDArray, truth: NDArray, labelled: NDArray, sizes: NDArray, threshold: float = THRESHOLD
) -> NDArray[np.bool_]:
    """Whether the study would count each joint as correct, (P, 16).

    The study compares the highest cells of heatmaps. For predictions that are cells of a squeezed photograph, the
    result is the same. Predictions from a person crop are finer and may lie outside the photograph: they are rounded to
    the study's cell, and at the border to the last cell.

    Args:
        predicted, truth: (P, 16, 2), 0-based pixels of the photograph.
        labelled: (P, 16), bool.
        sizes: (P, 2), width and height of each photograph.
        threshold: A fraction of the study's head size.
    """
    found, true = (
        np.trunc(GRID * (np.where(keep, points, 0.0) + 0.5) / sizes[:, None])  # as int(): towards zero
        for points, keep in ((predicted, True), (truth, labelled[..., None]))
    )
    # unlabelled joints and joints outside the photograph have an empty target map, whose highest cell is (0, 0)
    drawn = labelled & ((true >= 0) & (true < GRID)).all(-1)
    return _within(np.clip(found, 0, GRID - 1), np.where(drawn[..., None], true, 0.0), threshold)


def head_ratio(truth: NDArray, labelled: NDArray, head_size: NDArray) -> dict[str, Any]:
    """The ratio of the study's "head size" to PCKh's, for the people who have both. It is about 2.4 on MPII."""
    both = labelled[:, joints.R_WRIST] & labelled[:, joints.L_SHOULDER] & (head_size > 0)
    ratio = _head(truth[both]) / head_size[both]
    known = {"mean": float(ratio.mean()), "median": float(np.median(ratio))} if ratio.size else {}
    return {"mean": None, "median": None, **known, "people": int(both.sum())}


def legacy_report(
    predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray, sizes: NDArray | None
) -> dict[str, Any]:
    """The entry `legacy` of `evaluation.json`.

    `pckh` counts as the study does. `pckh_labelled` has the study's unit and grid, but only labelled joints. Both are
    None if `sizes` (P, 2) is None.
    """
    report = {
        "pckh": None,
        "pckh_labelled": None,
        "reason": "the sizes of the photographs are not known",
        "threshold": THRESHOLD,
        "unlabelled": int((~labelled).sum()),
        "head_ratio": head_ratio(truth, labelled, head_size),
    }
    if sizes is None or not len(sizes):
        return report
    right = legacy_hits(predicted, truth, labelled, sizes)
    return report | {
        "pckh": 100.0 * float(right.mean()),
        "pckh_labelled": 100.0 * float(right[labelled].mean()) if labelled.any() else None,
        "reason": None,
    }


def _within(predicted: NDArray, truth: NDArray, threshold: float) -> NDArray[np.bool_]:
    """Whether joints are within `threshold` head sizes, (P, 16). Predictions and truth (P, 16, 2) share any unit."""
    error = np.linalg.norm(predicted - truth, axis=-1)
    return error <= threshold * _head(truth)[:, None]


def _head(truth: NDArray) -> NDArray[np.float64]:
    """The distance (P,) from the right wrist to the left shoulder: the study's channels 9 and 12."""
    return np.linalg.norm(truth[:, joints.R_WRIST] - truth[:, joints.L_SHOULDER], axis=-1)
