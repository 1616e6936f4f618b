"""PCKh: the share of labelled joints that are predicted within a fraction of the head size (Andriluka et al. 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.scoring import intervals
from pose_topo.study import joints

THRESHOLDS = (0.5, 0.1, 0.11)
WITH_INTERVALS = (0.5, 0.1)
PCK_AT = 0.2  # torso lengths
CURVE = np.arange(51) / 100


def normalised_errors(predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray) -> NDArray[np.float64]:
    """Distance / head size, (P, K). NaN where the joint is not labelled, or the person has no head size.

    Args:
        predicted, truth, labelled: As for `pckh`, of K joints.
        head_size: (P,), or another unit in pixels. NaN for a person whose annotation has none.

    Raises:
        PoseTopoError: The shapes differ, a prediction is not finite, or a head size is not positive.
    """
    if predicted.shape != truth.shape or labelled.shape != truth.shape[:2]:
        raise PoseTopoError(f"predictions {predicted.shape} and true joints {truth.shape} are not of the same people")
    if not np.isfinite(predicted).all():
        raise PoseTopoError(f"{int((~np.isfinite(predicted)).sum())} predicted coordinates are not finite")
    if (head_size <= 0).any():
        raise PoseTopoError(f"{int((head_size <= 0).sum())} head sizes are not positive")
    truth = np.where(labelled[..., None], truth, 0.0)
    distance = np.hypot(*np.moveaxis(predicted.astype(float) - truth, -1, 0))
    return np.where(labelled, distance / head_size[:, None], np.nan)


def hits(errors: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Whether each joint is labelled and predicted within `threshold` head sizes, (P, K)."""
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
    """PCKh at one threshold from `normalised_errors` (P, K), with the return value of `pckh`."""
    shares, mean = percentages(hits(errors, threshold).sum(0), (~np.isnan(errors)).sum(0))
    per_joint = [_defined(share) for share in shares.tolist()]
    return {
        "mean": _defined(float(mean)),
        "groups": {name: _mean([per_joint[k] for k in group]) for name, group in joints.GROUPS.items()},
        "joints": dict(zip(joints.NAMES, per_joint, strict=True)),
    }


def percentages(correct: NDArray, labelled: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentages of each joint, (..., K), and of all joints that PCKh counts together, (...), from counts per joint.

    NaN where nothing is labelled.
    """
    scored = list(joints.SCORED)
    return _percentage(correct, labelled), _percentage(correct[..., scored].sum(-1), labelled[..., scored].sum(-1))


def _percentage(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.where(whole > 0, 100.0 * part / np.maximum(whole, 1), np.nan)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def curve(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pooled mean at the thresholds 0, .01, ..., .5, in percent, (51,). NaN without labelled joints."""
    scored = errors[:, list(joints.SCORED)]
    scored = np.sort(scored[~np.isnan(scored)])
    if not scored.size:
        return np.full(len(CURVE), np.nan)
    return 100.0 * np.searchsorted(scored, CURVE, side="right") / scored.size


def auc(values: NDArray[np.float64]) -> float:
    """The area under a `curve` (51,) by the trapezoidal rule, normalised to 0..100. NaN without labelled joints."""
    return float(((values[1:] + values[:-1]) / 2).mean())


def score(
    predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray, resamples: int = intervals.RESAMPLES
) -> dict[str, Any]:
    """All scores with their bootstrap intervals, with the keys of `evaluation.json`."""
    errors = normalised_errors(predicted, truth, labelled, head_size)
    scores = {str(threshold): scores_at(errors, threshold) for threshold in THRESHOLDS}
    scores["0.11"]["note"] = 'what part of the literature calls "@0.1" (index 11 of 0, .01, ...)'
    values = curve(errors)
    drawn = intervals.bootstrap([hits(errors, t) for t in WITH_INTERVALS], ~np.isnan(errors), resamples)
    bands = {str(t): intervals.named(each) for t, each in zip(WITH_INTERVALS, drawn, strict=True)}
    return {
        "pckh": scores,
        "auc": _defined(auc(values)),
        "curve": None if np.isnan(values).any() else {"thresholds": CURVE.tolist(), "mean": values.tolist()},
        "intervals": {**intervals.settings(resamples), **bands},
        "people": len(errors),
        "joints": int((~np.isnan(errors)).sum()),
    }


def pck(
    predicted: NDArray, truth: NDArray, labelled: NDArray, torso: NDArray, resamples: int = intervals.RESAMPLES
) -> dict[str, Any]:
    """PCK@0.2: the percentage of labelled joints that are predicted within 0.2 torso lengths.

    This is PCK of Yang & Ramanan (2013) with the length of the torso as its unit, as it is used on LSP.

    Args:
        predicted, truth, labelled: As for `pckh`.
        torso: (P,), from the left shoulder to the right hip, in pixels. NaN for a person whose annotation has none.

    Returns:
        The entry "pck" of `evaluation.json`: the return value of `pckh`, with the bootstrap interval.
    """
    errors = normalised_errors(predicted, truth, labelled, torso)
    (drawn,) = intervals.bootstrap([hits(errors, PCK_AT)], ~np.isnan(errors), resamples)
    return {"threshold": PCK_AT, **scores_at(errors, PCK_AT), "interval": intervals.named(drawn)}
