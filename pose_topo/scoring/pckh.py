"""PCKh: the share of labelled joints predicted within a fraction of the head size (Andriluka et al. 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.scoring import intervals
from pose_topo.study import joints

THRESHOLDS = (0.5, 0.1, 0.11)
NOTES = {0.11: 'what part of the literature calls "@0.1" (index 11 of 0, .01, ...)'}
WITH_INTERVALS = (0.5, 0.1)
CURVE = np.arange(51) / 100


def normalised_errors(predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray) -> NDArray[np.float64]:
    """Distance / head size, (P, K); NaN where the joint is not labelled.

    Args:
        predicted, truth: (P, K, 2) pixels of the photograph.
        labelled: (P, K) bool.
        head_size: (P,) 0.6 x diagonal of the head box, pixels.

    Raises:
        PoseTopoError: shapes differ, a prediction is not finite, or a head size is not positive.
    """
    if predicted.shape != truth.shape or labelled.shape != truth.shape[:2]:
        raise PoseTopoError(f"predictions {predicted.shape} and true joints {truth.shape} are not of the same people")
    if not np.isfinite(predicted).all():
        raise PoseTopoError(f"{int((~np.isfinite(predicted)).sum())} predicted coordinates are not finite")
    if not (head_size > 0).all():
        raise PoseTopoError(f"{int((~(head_size > 0)).sum())} people have no head size, PCKh's unit")
    truth = np.where(labelled[..., None], truth, 0.0)
    distance = np.hypot(*np.moveaxis(predicted.astype(float) - truth, -1, 0))
    return np.where(labelled, distance / head_size[:, None], np.nan)


def hits(errors: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """(P, K) True: labelled and found within `threshold` head sizes."""
    return np.where(np.isnan(errors), np.inf, errors) <= threshold


def pckh(
    predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray, threshold: float = 0.5
) -> dict[str, Any]:
    """PCKh at one threshold: the percentage of labelled joints that are predicted within `threshold` head sizes.

    Args:
        predicted: (P, 16, 2), joints in pixels of the photograph, in MPII's order.
        truth: (P, 16, 2), the annotated joints in the same pixels. Unlabelled ones may be NaN.
        labelled: (P, 16), bool.
        head_size: (P,), 0.6 times the diagonal of the head box, in pixels.
        threshold: a fraction of the head size.

    Returns:
        `mean` (pooled over all labelled joints but pelvis and thorax), `groups` (the mean of left and right) and
        `joints`, in percent. None where no joint is labelled.

    Raises:
        PoseTopoError: shapes differ, a prediction is not finite, or a head size is not positive.
    """
    return scores_at(normalised_errors(predicted, truth, labelled, head_size), threshold)


def scores_at(errors: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """Scores in percent at one threshold, from `normalised_errors` (P, K).

    Returns:
        mean: pooled over the labelled joints that are neither pelvis nor thorax; groups: mean of left and right;
        joints. None where no joint is labelled.
    """
    correct = hits(errors, threshold).sum(0)  # (K,)
    count = (~np.isnan(errors)).sum(0)
    per_joint = [100.0 * c / n if n else None for c, n in zip(correct.tolist(), count.tolist(), strict=True)]
    scored = list(joints.SCORED)
    total = int(count[scored].sum())
    return {
        "mean": 100.0 * int(correct[scored].sum()) / total if total else None,
        "groups": {name: _mean([per_joint[k] for k in group]) for name, group in joints.GROUPS.items()},
        "joints": dict(zip(joints.NAMES, per_joint, strict=True)),
    }


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def curve(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pooled mean at the thresholds 0, .01, ... .5, in percent, (51,); NaN without labelled joints."""
    scored = errors[:, list(joints.SCORED)]
    scored = np.sort(scored[~np.isnan(scored)])
    if not scored.size:
        return np.full(len(CURVE), np.nan)
    return 100.0 * np.searchsorted(scored, CURVE, side="right") / scored.size


def auc(errors: NDArray[np.float64]) -> float | None:
    """Area under `curve` by trapezoids, normalised to 0..100."""
    values = curve(errors)
    if np.isnan(values).any():
        return None
    return float(((values[1:] + values[:-1]) / 2).mean())


def score(
    predicted: NDArray,
    truth: NDArray,
    labelled: NDArray,
    head_size: NDArray,
    *,
    resamples: int = intervals.RESAMPLES,
    seed: int = intervals.SEED,
) -> dict[str, Any]:
    """Everything of the above, with bootstrap intervals, keyed as `evaluation.json` wants it."""
    errors = normalised_errors(predicted, truth, labelled, head_size)
    scores: dict[str, Any] = {}
    for threshold in THRESHOLDS:
        scores[str(threshold)] = scores_at(errors, threshold)
        if threshold in NOTES:
            scores[str(threshold)]["note"] = NOTES[threshold]
    return {
        "pckh": scores,
        "auc": auc(errors),
        "curve": _named_curve(errors),
        "intervals": _intervals(errors, resamples, seed),
        "people": len(errors),
        "joints": int((~np.isnan(errors)).sum()),
    }


def _named_curve(errors: NDArray[np.float64]) -> dict[str, list[float]] | None:
    values = curve(errors)
    if np.isnan(values).any():
        return None
    return {"thresholds": CURVE.tolist(), "mean": values.tolist()}


def _intervals(errors: NDArray[np.float64], resamples: int, seed: int) -> dict[str, Any]:
    found = intervals.bootstrap([hits(errors, t) for t in WITH_INTERVALS], ~np.isnan(errors), resamples, seed)
    by_threshold = {str(t): intervals.named(values) for t, values in zip(WITH_INTERVALS, found, strict=True)}
    return {**intervals.settings(resamples, seed), **by_threshold}
