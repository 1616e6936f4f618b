"""Differences between arms that share their seeds: is it the method, or the draw?

A p value within one network says that its grid is not random. A claim about the method has the training run as its
unit: the difference of two arms of the same seed (same split, same initial weights where they share layers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pose_topo.core import schemas
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import read_json, write_json
from pose_topo.stages.terminal import show

Array = NDArray[np.float64]

LEVEL = 0.95
_EXACT = 16  # seeds up to which every pattern of signs is tried
_DRAWS = 99_999
_TIE = 1e-10


@dataclass(frozen=True)
class Paired:
    """n differences: `mean`, `sd`, their t interval `low`..`high`, the two-sided sign-flip `p`.

    `smallest_p` is the least p that n differences can give, whatever they are. A value that n does not allow is None
    and `reason` says why.
    """

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    smallest_p: float | None
    reason: str | None


def compare(differences: Sequence[float]) -> Paired:
    """Mean, 95% t interval (n - 1 degrees of freedom) and sign-flip test of paired differences.

    The sign-flip test asks nothing of the distribution but that, without an effect, each difference is as likely to be
    negative (Fisher 1935; Pesarin 2001). With n seeds it cannot give less than 2 / 2^n: .0625 for 5, .031 for 6.
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if n == 0:
        return Paired(0, None, None, None, None, None, None, "no seed that both arms have")
    mean, (p, smallest) = float(values.mean()), sign_flip(values)
    if n == 1:
        return Paired(1, mean, None, None, None, p, smallest, "one pair has no spread")
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / n**0.5
    return Paired(n, mean, sd, mean - half, mean + half, p, smallest, None)


def sign_flip(differences: Array) -> tuple[float, float]:
    """Two-sided p of the mean of n differences under flips of their signs, and the smallest p there can be.

    Exact over all 2^n patterns up to n = 16, beyond that with 99,999 random ones (seed 0) and the observed one.
    """
    n = len(differences)
    if n <= _EXACT:
        patterns = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        drawn = np.random.default_rng(0).integers(0, 2, (_DRAWS, n))
        patterns = np.concatenate([np.ones((1, n)), 1.0 - 2.0 * drawn])
    flipped = np.abs(patterns @ differences)
    reached = flipped >= abs(differences.sum()) - _TIE * np.abs(differences).sum()
    return float(reached.mean()), (2 / 2**n if n <= _EXACT else 1 / (_DRAWS + 1))


# ---- Several seeds together: results folders -> group.json, every arm against the control, paired by seed.

CONTROL = "control"

# name -> file and the keys of the number in it
METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "I": ("analysis", ("moran", "mean_I")),
    "I_normalised": ("analysis", ("moran_measures", "normalised", "mean_I")),
    "I_activity": ("analysis", ("moran_measures", "activity", "mean_I")),
    "I_rearranged": ("analysis", ("controls", "rearranged", "mean_I")),
    "contiguity": ("analysis", ("parcellation", "contiguity")),
    "regions": ("analysis", ("parcellation", "components")),
    "neighbour_correlation": ("analysis", ("neighbour_correlation", "neighbours")),
    "smoothness": ("analysis", ("correlation_distance", "smoothness")),
    "wiring": ("analysis", ("wiring", "mean")),
    "effective_dimensionality": ("analysis", ("activations", "effective_dimensionality")),
    "participation_ratio": ("analysis", ("health", "participation_ratio")),
    "mean_row_norm": ("analysis", ("health", "mean_row_norm")),
    "PCKh@0.5": ("evaluation", ("pckh", "0.5", "mean")),
    "PCKh@0.1": ("evaluation", ("pckh", "0.1", "mean")),
    "AUC": ("evaluation", ("auc",)),
}


def analyze_group(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Compare every arm with the control over seeds; write group.json to `out`.

    Args:
        folders: results folders, each with an analysis.json and, for PCKh, an evaluation.json.

    Raises:
        PoseTopoError: a folder holds no analysis, its files contradict each other, or two are of the same run.
        UsageError: the runs cannot be compared, or there is no control.
    """
    found = [_read(Path(folder)) for folder in folders]
    _check_one_study(found)
    by_arm = _by_arm(found)
    if CONTROL not in by_arm or len(by_arm) < 2:
        raise UsageError(
            f"--group compares arms with the control: give its results and others (here: {', '.join(by_arm)})"
        )
    first = found[0]["analysis"]
    result = {
        "schema": schemas.GROUP,
        "kind": "group",
        "arch": first["arch"],
        "protocol": first["protocol"],
        "as_protocol": all(run["analysis"].get("as_protocol") is True for run in found),
        "interval": f"t, {LEVEL:.0%}, n - 1 degrees of freedom",
        "test": "sign flips, two-sided",
        "arms": {arm: _describe(runs) for arm, runs in by_arm.items()},
        "comparisons": {
            f"{arm} - {CONTROL}": _compare(runs, by_arm[CONTROL]) for arm, runs in by_arm.items() if arm != CONTROL
        },
    }
    write_json(out / "group.json", result)
    return result


def _read(folder: Path) -> dict[str, Any]:
    """A results folder: its documents by kind, and where they lie."""
    if not (folder / "analysis.json").is_file():
        raise PoseTopoError(f"{folder} holds no analysis.json: --group takes the folders that pose-topo analyze wrote")
    run: dict[str, Any] = {"folder": folder}
    for kind in ("analysis", "evaluation"):
        path = folder / f"{kind}.json"
        if not path.is_file():
            continue
        run[kind] = content = read_json(path)
        schema = schemas.OF_RUN[kind]
        if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != (kind, schema):
            raise PoseTopoError(f"{path} is not a schema {schema} {kind} file: make it anew")
    for key in ("arm", "seed", "arch", "protocol", "checkpoint_sha256", "data_sha256"):
        if len({content.get(key) for kind, content in run.items() if kind != "folder"}) > 1:
            raise PoseTopoError(f"{folder}: evaluation.json and analysis.json differ in {key}: make both anew")
    if lacking := [key for key in ("arm", "seed", "grid") if run["analysis"].get(key) is None]:
        raise PoseTopoError(f"{folder}: its analysis.json names no {' and no '.join(lacking)}: only runs are compared")
    return run


def _check_one_study(found: Sequence[dict[str, Any]]) -> None:
    """Refuse runs of different protocols, backbones, grids, settings or, within a seed, data."""
    documents = [run["analysis"] for run in found]
    mapped = [content for content in documents if content.get("model") != "baseline"]  # its grid is arbitrary
    for what, values in (
        ("protocols", {str(content.get("protocol")) for content in documents}),
        ("backbones", {str(content.get("arch")) for content in documents}),
        ("grids", {f"{c['grid']['height']} x {c['grid']['width']}" for c in mapped}),
    ):
        if len(values) > 1:
            raise UsageError(f"the results are of different {what} ({', '.join(sorted(values))}): give one")
    for run in found[1:]:
        if apart := _departures(found[0]) ^ _departures(run):
            both = f"{found[0]['folder']} and {run['folder']}"
            raise UsageError(
                f"{both} were not made alike ({' and '.join(sorted(apart))}): give runs of the same settings"
            )
    hashes: dict[Any, set[str]] = {}
    for content in documents:
        hashes.setdefault(content["seed"], set()).add(f"{content['data_sha256']} {content.get('images_sha256')}")
    for seed, several in hashes.items():
        if len(several) > 1:
            raise UsageError(f"the arms of seed {seed} were measured on different data or splits (data_sha256)")


def _departures(run: dict[str, Any]) -> frozenset[str]:
    """Where a run's files say that it departs from its protocol, but for the topographic layer's learning rate, which
    networks without the layer have not."""
    said = {text for kind in ("analysis", "evaluation") for text in run.get(kind, {}).get("deviations", ())}
    return frozenset(text for text in said if not text.startswith("the topographic layer's"))


def _by_arm(found: Iterable[dict[str, Any]]) -> dict[str, dict[int, dict[str, Any]]]:
    """arm -> seed -> run, both ascending."""
    arms: dict[str, dict[int, dict[str, Any]]] = {}
    for run in sorted(found, key=lambda run: (run["analysis"]["arm"], run["analysis"]["seed"])):
        arm, seed = run["analysis"]["arm"], run["analysis"]["seed"]
        if seed in arms.setdefault(arm, {}):
            raise UsageError(f"{arms[arm][seed]['folder']} and {run['folder']} are both {arm}, seed {seed}: give one")
        arms[arm][seed] = run
    return arms


def _number(run: dict[str, Any], metric: str) -> float | None:
    """A metric of a run; None where its file or number is not there."""
    kind, keys = METRICS[metric]
    node: Any = run.get(kind)
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return float(node) if isinstance(node, int | float) else None


def _describe(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Mean and sd over the seeds of one arm, of every metric."""
    metrics = {}
    for metric in METRICS:
        values = [value for run in runs.values() if (value := _number(run, metric)) is not None]
        metrics[metric] = {
            "n": len(values),
            "mean": float(np.mean(values)) if values else None,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "reason": None if len(values) > 1 else f"{len(values)} seeds with this number",
        }
    return {"seeds": list(runs), "metrics": metrics}


def _compare(arm: dict[int, dict[str, Any]], control: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Paired differences of every metric, and which seeds have no partner."""
    shared = [seed for seed in arm if seed in control]
    metrics: dict[str, Any] = {}
    for metric in METRICS:
        pairs = {seed: (_number(arm[seed], metric), _number(control[seed], metric)) for seed in shared}
        values = {seed: one - two for seed, (one, two) in pairs.items() if one is not None and two is not None}
        metrics[metric] = {
            **asdict(compare(list(values.values()))),
            "seeds": list(values),
            "differences": list(values.values()),
        }
    share = [
        one / two
        for seed in shared
        if (one := _number(arm[seed], "I")) is not None and (two := _number(control[seed], "I_rearranged"))
    ]
    return {
        "seeds": shared,
        "seeds_without_partner": sorted(set(arm) ^ set(control)),
        "metrics": metrics,
        "I_over_best": float(np.mean(share)) if share else None,
        "I_over_best_reason": None if share else "no seed with I here and a rearranged I of the control",
    }


def table(result: dict[str, Any]) -> str:
    """The differences as a person reads them on a terminal."""
    lines = []
    for name, comparison in result["comparisons"].items():
        lines.append(f"{name}, seeds {', '.join(map(str, comparison['seeds'])) or 'none'} ({result['interval']})")
        for metric, found in comparison["metrics"].items():
            if found["n"]:
                lines.append(
                    f"  {metric:<25}{show(found['mean']):>9}  [{show(found['low'])}, {show(found['high'])}]  "
                    f"p {show(found['p'], 4)} (n {found['n']}, p at least {show(found['smallest_p'], 4)})"
                )
        lines.append(f"  I / best I of the control  {show(comparison['I_over_best'])}")
    return "\n".join(lines)
