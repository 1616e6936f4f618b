"""Compare results: two evaluations over people -> comparison.json; arms over several seeds -> group.json.

A p value within one network says that its grid is not random. A claim about the method needs the training run as its
unit: the difference of two arms of the same seed (the same split, and the same initial weights in shared layers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import sha256_file, write_json
from pose_topo.scoring import intervals
from pose_topo.scoring.intervals import family_wise, paired_test
from pose_topo.scoring.pckh import hits, normalised_errors, scores_at
from pose_topo.scoring.predictions import Record, read_record
from pose_topo.study import joints
from pose_topo.study.results import METRICS, SCHEMAS, Documents, check_one_study, read_document, read_documents

# ---- two evaluations of the same people

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
    counted = ~np.isnan(errors[0])  # labelled joints of people who have a head size
    if not counted.any():
        raise PoseTopoError("nobody in these results has a head size, which PCKh needs: they cannot be compared")
    drawn = intervals.bootstrap(correct, counted, resamples, seed)
    differences = {
        str(threshold): _difference(
            scores_at(errors[0], threshold), scores_at(errors[1], threshold), drawn[2 * k + 1] - drawn[2 * k]
        )
        for k, threshold in enumerate(THRESHOLDS)
    }
    scored = list(joints.SCORED)
    return {
        "people": len(a.joints),
        "joints": int(counted[:, scored].sum()),
        "pckh": differences,
        "won_and_lost": _won_and_lost(*(hits(error, WON_AT)[:, scored] for error in errors)),
        "bootstrap": intervals.settings(resamples, seed),
    }


def _difference(a: dict[str, Any], b: dict[str, Any], resampled: NDArray[np.float64]) -> dict[str, Any]:
    """Both scores, b - a and its interval from resamples (R, 1 + G), for the mean and for each group."""
    bands = intervals.named(resampled)

    def one(first: float | None, second: float | None, band: list[float] | None) -> dict[str, Any]:
        difference = None if first is None or second is None else second - first
        return {"a": first, "b": second, "difference": difference, "interval": band}

    groups = {name: one(a["groups"][name], b["groups"][name], bands["groups"][name]) for name in joints.GROUPS}
    return {"mean": one(a["mean"], b["mean"], bands["mean"]), "groups": groups}


def _won_and_lost(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> dict[str, Any]:
    """The joints that only `b` (won) or only `a` (lost) predicts correctly, and the people with more or fewer in `b`.

    Both are (P, K), True where a joint is correct.
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
    differ |= ~np.isclose(a.head_size, b.head_size, rtol=0, atol=SAME, equal_nan=True)
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
    said = read_document(path, "evaluation") if path.is_file() else {}
    return {
        "name": folder.resolve().name,
        **{key: said.get(key) for key in IDENTITY},
        "predictions_sha256": sha256_file(folder / "predictions.h5"),
    }


# ---- arms over several seeds, each against the control, paired by seed

CONTROL = "control"


@dataclass(frozen=True)
class Run:
    """A results folder that holds an analysis, and an evaluation if PCKh is to be compared."""

    folder: Path
    documents: Documents

    @property
    def analysis(self) -> dict[str, Any]:
        return self.documents["analysis"]

    def number(self, metric: str) -> float | None:
        """The value of a metric. None if its file or its value is missing."""
        kind, keys = METRICS[metric]
        node: Any = self.documents.get(kind)
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        return float(node) if isinstance(node, int | float) else None

    @property
    def departures(self) -> frozenset[str]:
        """The deviations from the protocol, but for the learning rate of the topographic layer, which not all have."""
        deviations = {text for content in self.documents.values() for text in content.get("deviations", ())}
        return frozenset(text for text in deviations if not text.startswith("the topographic layer's"))


def analyze_group(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Compare every arm with the control over seeds; write group.json to `out`.

    Args:
        folders: Results folders, each with an analysis.json and, for PCKh, an evaluation.json.

    Raises:
        PoseTopoError: A folder holds no analysis, or its files contradict each other.
        UsageError: The runs cannot be compared, two are of the same arm and seed, or there is no control.
    """
    runs = [_read(Path(folder)) for folder in folders]
    _check_comparable(runs)
    arms = _by_arm(runs)
    if CONTROL not in arms or len(arms) < 2:
        raise UsageError(
            f"--group compares arms with the control: give its results and others (here: {', '.join(arms)})"
        )
    first = runs[0].analysis
    result = {
        "schema": SCHEMAS["group"],
        "kind": "group",
        "arch": first["arch"],
        "protocol": first["protocol"],
        "as_protocol": all(run.analysis.get("as_protocol") is True for run in runs),
        "interval": f"t, {intervals.LEVEL:g}%, n - 1 degrees of freedom",
        "test": "sign flips, two-sided",
        "arms": {arm: _describe(by_seed) for arm, by_seed in arms.items()},
        "comparisons": {
            f"{arm} - {CONTROL}": _against_control(by_seed, arms[CONTROL])
            for arm, by_seed in arms.items()
            if arm != CONTROL
        },
    }
    write_json(out / "group.json", result)
    return result


def _read(folder: Path) -> Run:
    if not (folder / "analysis.json").is_file():
        raise PoseTopoError(f"{folder} holds no analysis.json: --group takes the folders that pose-topo analyze wrote")
    run = Run(folder, read_documents(folder))
    if lacking := [key for key in ("arm", "seed", "grid") if run.analysis.get(key) is None]:
        raise PoseTopoError(f"{folder}: its analysis.json names no {' and no '.join(lacking)}: only runs are compared")
    return run


def _check_comparable(runs: Sequence[Run]) -> None:
    """Refuse runs that differ in more than arm and seed. The grid of a baseline is arbitrary and may differ."""
    grids = [run.analysis["grid"] for run in runs if run.analysis.get("model") != "baseline"]
    further = {"grids": [f"{grid['height']} x {grid['width']}" for grid in grids]}
    check_one_study([{"analysis": run.analysis} for run in runs], further)
    for run in runs[1:]:
        if apart := runs[0].departures ^ run.departures:
            raise UsageError(
                f"{runs[0].folder} and {run.folder} were not made alike ({' and '.join(sorted(apart))}): "
                "give runs of the same settings"
            )


def _by_arm(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    """arm -> seed -> run, both ascending."""
    arms: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.analysis["arm"], run.analysis["seed"])):
        arm, seed = run.analysis["arm"], run.analysis["seed"]
        if seed in arms.setdefault(arm, {}):
            raise UsageError(f"{arms[arm][seed].folder} and {run.folder} are both {arm}, seed {seed}: give one")
        arms[arm][seed] = run
    return arms


def _describe(by_seed: dict[int, Run]) -> dict[str, Any]:
    """Mean and sd of every metric over the seeds of one arm."""
    metrics = {}
    for metric in METRICS:
        values = [value for run in by_seed.values() if (value := run.number(metric)) is not None]
        several = len(values) > 1
        metrics[metric] = {
            "n": len(values),
            "mean": float(np.mean(values)) if values else None,
            "sd": float(np.std(values, ddof=1)) if several else None,
            "reason": None if several else f"{len(values)} seeds with this number",
        }
    return {"seeds": list(by_seed), "metrics": metrics}


def _against_control(arm: dict[int, Run], control: dict[int, Run]) -> dict[str, Any]:
    """The paired differences of every metric, and the seeds without a partner.

    `p_max` corrects for the number of metrics. It is None for a metric that not all shared seeds have.
    """
    shared = [seed for seed in arm if seed in control]
    metrics: dict[str, Any] = {}
    for metric in METRICS:
        pairs = {seed: (arm[seed].number(metric), control[seed].number(metric)) for seed in shared}
        values = {seed: one - two for seed, (one, two) in pairs.items() if one is not None and two is not None}
        metrics[metric] = {
            **asdict(paired_test(list(values.values()))),
            "seeds": list(values),
            "differences": list(values.values()),
            "p_max": None,
        }
    whole = [metric for metric, found in metrics.items() if shared and found["seeds"] == shared]
    if whole:
        corrected = family_wise(np.array([metrics[metric]["differences"] for metric in whole]))
        for metric, p in zip(whole, corrected, strict=True):
            metrics[metric]["p_max"] = float(p)
    shares = [
        one / two
        for seed in shared
        if (one := arm[seed].number("I")) is not None and (two := control[seed].number("I_rearranged"))
    ]
    return {
        "seeds": shared,
        "seeds_without_partner": sorted(set(arm) ^ set(control)),
        "metrics": metrics,
        "I_over_best": float(np.mean(shares)) if shares else None,
        "I_over_best_reason": None if shares else "no seed with I here and a rearranged I of the control",
    }
