"""Compare two evaluations of the same people, with paired intervals; write comparison.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, sha256_file, write_json
from pose_topo.scoring import intervals
from pose_topo.scoring.pckh import hits, normalised_errors, scores_at
from pose_topo.scoring.predictions import Record, read_record
from pose_topo.study import joints
from pose_topo.study.results import SCHEMAS

THRESHOLDS = (0.5, 0.1)
WON_AT = 0.5
SAME = 1e-6  # pixels: the same annotation read by the same code
IDENTITY = ("arm", "seed", "arch", "protocol", "epochs", "data", "settings", "checkpoint_sha256")


def compare_results(first: Path, second: Path, out: Path | None = None) -> dict[str, Any]:
    """Compare two results folders of `pose-topo evaluate`; write comparison.json to `out` if it is given.

    Raises:
        PoseTopoError: A folder holds no results, or they are not of the same people.
    """
    a, b = (read_record(_predictions(folder)) for folder in (first, second))
    result = {
        "schema": SCHEMAS["comparison"],
        "kind": "comparison",
        "a": _identity(first),
        "b": _identity(second),
        **compare(*same_people(a, b, first, second)),
    }
    if out is not None:
        write_json(out / "comparison.json", result)
    return result


def compare(a: Record, b: Record, resamples: int = intervals.RESAMPLES, seed: int = intervals.SEED) -> dict[str, Any]:
    """PCKh of `b` minus PCKh of `a` in percentage points, with intervals over people, and what `b` won and lost."""
    errors = [normalised_errors(record.found, a.joints, a.labelled, a.head_size) for record in (a, b)]
    correct = [hits(error, threshold) for threshold in THRESHOLDS for error in errors]
    drawn = intervals.bootstrap(correct, a.labelled, resamples, seed)
    differences = {
        str(threshold): _difference(
            scores_at(errors[0], threshold), scores_at(errors[1], threshold), drawn[2 * k + 1] - drawn[2 * k]
        )
        for k, threshold in enumerate(THRESHOLDS)
    }
    scored = list(joints.SCORED)
    return {
        "people": len(a.joints),
        "joints": int(a.labelled[:, scored].sum()),
        "pckh": differences,
        "won_and_lost": _won_and_lost(*(hits(error, WON_AT)[:, scored] for error in errors)),
        "bootstrap": intervals.settings(resamples, seed),
    }


def _difference(a: dict[str, Any], b: dict[str, Any], resampled: NDArray[np.float64]) -> dict[str, Any]:
    """Both scores, b - a and its interval, for the mean and for each group.

    Args:
        resampled: (R, 1 + G), the differences of the resamples.
    """
    bands = intervals.named(resampled)

    def one(first: float | None, second: float | None, band: list[float] | None) -> dict[str, Any]:
        difference = None if first is None or second is None else second - first
        return {"a": first, "b": second, "difference": difference, "interval": band}

    groups = {name: one(a["groups"][name], b["groups"][name], bands["groups"][name]) for name in joints.GROUPS}
    return {"mean": one(a["mean"], b["mean"], bands["mean"]), "groups": groups}


def _won_and_lost(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> dict[str, Any]:
    """The joints that only `b` (won) or only `a` (lost) predicts correctly, and the people with more or fewer in `b`.

    Args:
        a, b: (P, K), True where a joint is correct.
    """
    more = b.sum(1) - a.sum(1)
    return {
        "threshold": WON_AT,
        "joints": {"won": int((b & ~a).sum()), "lost": int((a & ~b).sum())},
        "people": {"won": int((more > 0).sum()), "lost": int((more < 0).sum()), "tied": int((more == 0).sum())},
    }


def same_people(a: Record, b: Record, first: Path, second: Path) -> tuple[Record, Record]:
    """Both records with their people in the same order.

    Raises:
        PoseTopoError: They hold different people, or different annotations.
    """
    refusal = f"{first} and {second} cannot be compared: "
    if len(a.joints) != len(b.joints):
        raise PoseTopoError(f"{refusal}{len(a.joints):,} people against {len(b.joints):,}; evaluate both on one split")
    if a.who is not None and b.who is not None:
        first_order, second_order = (np.lexsort(who.T[::-1]) for who in (a.who, b.who))
        others = int((a.who[first_order] != b.who[second_order]).any(axis=1).sum())
        if others:
            raise PoseTopoError(f"{refusal}at least {others:,} people are others; evaluate both on one split")
        a, b = a.take(first_order), b.take(second_order)
    apart = np.abs(a.joints - b.joints).max(-1) > SAME
    differ = (a.labelled != b.labelled).any(1) | (apart & a.labelled & b.labelled).any(1)
    differ |= np.abs(a.head_size - b.head_size) > SAME
    if differ.any():
        raise PoseTopoError(
            f"{refusal}{int(differ.sum()):,} of {len(differ):,} people have other true joints or head boxes; "
            "evaluate both on one data set"
        )
    return a, b


def _predictions(folder: Path) -> Path:
    path = folder / "predictions.h5"
    if not path.is_file():
        what = "a run, not its results" if (folder / "config.json").is_file() else "no results folder"
        raise PoseTopoError(
            f"{folder} is {what} (no predictions.h5): give the folder that `pose-topo evaluate` wrote (out/<run name>)"
        )
    return path


def _identity(folder: Path) -> dict[str, Any]:
    """The entries that identify the results of a folder, without its path."""
    path = folder / "evaluation.json"
    said = read_json(path) if path.is_file() else {}
    return {
        "name": folder.resolve().name,
        **{key: said.get(key) for key in IDENTITY},
        "predictions_sha256": sha256_file(folder / "predictions.h5"),
    }
