"""The original study's own PCKh, reimplemented so that a reader sees what the difference in metric alone makes.

It differs from PCKh in four ways: joints are compared on the 64 x 64 grid of the squeezed photograph; "head size" is
the distance from the right wrist to the left shoulder (its channel order was off by one), without the factor 0.6; an
unlabelled joint counts, as if it lay at (0, 0); and the mean runs over all 16 joints. docs/metrics.md measures each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.scoring.decoding import argmax_cells
from pose_topo.study import joints

GRID = 64
THRESHOLD = 0.5


def compute_pckh_from_heatmaps(predicted: Tensor, target: Tensor, threshold: float = THRESHOLD) -> float:
    """The study's PCKh of heatmaps (B, 16, H, W) against targets, in 0..1: the highest cell of each, its corner."""
    size = torch.tensor([predicted.shape[-1], predicted.shape[-2]], dtype=torch.float64)
    cells = [argmax_cells(maps.float().cpu())[0].double() / size for maps in (predicted, target)]
    return float(_within(cells[0].numpy(), cells[1].numpy(), threshold).mean())


def legacy_hits(
    predicted: NDArray, truth: NDArray, labelled: NDArray, sizes: NDArray, threshold: float = THRESHOLD
) -> NDArray[np.bool_]:
    """The same of any prediction: (P, 16) True where the study would count the joint as found.

    Equal to `compute_pckh_from_heatmaps` wherever the predictions are those of a squeezed photograph's cells. Those of
    a person crop are finer and may leave the photograph: they are cut to the study's cell, at the border to the last.

    Args:
        predicted, truth: (P, 16, 2) 0-based pixels of the photograph.
        sizes: (P, 2) width and height of each photograph.
    """
    found, true = (
        np.trunc(GRID * (np.where(keep, points, 0.0) + 0.5) / sizes[:, None])  # int(): towards zero
        for points, keep in ((predicted, True), (truth, labelled[..., None]))
    )
    # the highest cell of an empty target map, which an unlabelled joint has, and one outside the photograph
    there = labelled & ((true >= 0) & (true < GRID)).all(-1)
    return _within(np.clip(found, 0, GRID - 1), np.where(there[..., None], true, 0.0), threshold)


def legacy_pckh(
    predicted: NDArray, truth: NDArray, labelled: NDArray, sizes: NDArray, threshold: float = THRESHOLD
) -> float:
    """The mean of `legacy_hits`, in percent."""
    return 100.0 * float(legacy_hits(predicted, truth, labelled, sizes, threshold).mean())


def head_ratio(truth: NDArray, labelled: NDArray, head_size: NDArray) -> dict[str, Any]:
    """The study's "head size" over PCKh's, both in pixels, of the people who have both (a typical one is 2.4)."""
    both = labelled[:, joints.R_WRIST] & labelled[:, joints.L_SHOULDER] & (head_size > 0)
    ratio = _head(truth[both]) / head_size[both]
    known = {"mean": float(ratio.mean()), "median": float(np.median(ratio))} if ratio.size else {}
    return {"mean": None, "median": None, **known, "people": int(both.sum())}


def legacy_report(
    predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray, sizes: NDArray | None
) -> dict[str, Any]:
    """What `evaluation.json` says of the study's own number; `sizes` (P, 2) None: it cannot be had.

    pckh: as the study counts; pckh_labelled: its unit and grid, labelled joints alone.
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
    """(P, 16) within `threshold` head sizes, in whatever unit predictions and truth (P, 16, 2) share."""
    error = np.linalg.norm(predicted - truth, axis=-1)
    return error <= threshold * _head(truth)[:, None]


def _head(truth: NDArray) -> NDArray[np.float64]:
    """(P,) the distance of the study's channels 9 and 12, from right wrist to left shoulder."""
    return np.linalg.norm(truth[:, joints.R_WRIST] - truth[:, joints.L_SHOULDER], axis=-1)
