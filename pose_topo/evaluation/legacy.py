"""The original study's own PCKh, reimplemented so that a reader sees what the difference in metric alone makes.

It differs from PCKh in four ways: joints are compared on the 64 x 64 grid of the squeezed photograph; "head size" is
the distance from the right wrist to the left shoulder (its channel order was off by one), without the factor 0.6; an
unlabelled joint counts, as if it lay at (0, 0); and the mean runs over all 16 joints.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo import joints
from pose_topo.evaluation.decoding import argmax_cells

GRID = 64
THRESHOLD = 0.5


def compute_pckh_from_heatmaps(predicted: Tensor, target: Tensor, threshold: float = THRESHOLD) -> float:
    """The study's PCKh of heatmaps (B, 16, H, W) against targets, in 0..1: the highest cell of each, its corner."""
    size = torch.tensor([predicted.shape[-1], predicted.shape[-2]], dtype=torch.float64)
    cells = [argmax_cells(maps.float().cpu())[0].double() / size for maps in (predicted, target)]
    return float(_share(cells[0].numpy(), cells[1].numpy(), threshold).mean())


def legacy_pckh(
    predicted: NDArray, truth: NDArray, labelled: NDArray, sizes: NDArray, threshold: float = THRESHOLD
) -> float:
    """The same of any prediction, in percent.

    Args:
        predicted, truth: (P, 16, 2) pixels of the photograph.
        sizes: (P, 2) width and height of each photograph.
    """
    cells = np.trunc(GRID * np.stack([predicted, np.where(labelled[..., None], truth, 0.0)]) / sizes[:, None]) / GRID
    cells[1][~labelled] = 0.0
    return 100.0 * float(_share(cells[0], cells[1], threshold).mean())


def _share(predicted: NDArray, truth: NDArray, threshold: float) -> NDArray[np.float64]:
    """(P,) share of the 16 joints within `threshold` head sizes, normalised coordinates (P, 16, 2)."""
    head = np.linalg.norm(truth[:, joints.R_WRIST] - truth[:, joints.L_SHOULDER], axis=-1)
    error = np.linalg.norm(predicted - truth, axis=-1)
    return (error <= threshold * head[:, None]).mean(-1)
