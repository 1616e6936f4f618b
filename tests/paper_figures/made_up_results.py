"""Made-up results folders as docs/results.md describes them: smooth maps for `topo`, noise for the other arms."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from pose_topo.study import joints
from pose_topo.study.results import HARMS, SCHEMAS

SIDE, EPOCHS, IMAGES, CROP = 16, 8, 150, 96
SCORE = {"baseline": 80.0, "control": 79.0, "topo": 77.5}
METRICS = (
    *("epoch", "train_loss", "train_heatmap_loss", "topo_loss", "lambda", "val_loss", "val_pckh", "moran_i"),
    *("contiguity", "mean_row_norm", "participation_ratio", "lr", "images_per_s", "seconds"),
)
DEMO = "small protocol: 96 px, no augmentation"
RADII = (1.0, 2.0, 3.0, 4.0)
FASTER = "the topographic layer's learning rate is 10 times that of the rest (the study: 1)"
_rows, _columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
DISTANCE = np.hypot(_rows[:, None] - _rows, _columns[:, None] - _columns)
QUEEN = (DISTANCE > 0) & (DISTANCE < 1.5)
UPPER = np.triu_indices(SIDE * SIDE, 1)


def write_study(
    root: Path, arms: tuple[str, ...] = tuple(SCORE), seeds: tuple[int, ...] = (1, 2), **given: Any
) -> list[Path]:
    """Write one folder per run below `root`. `given` is passed to `write_run`."""
    return [write_run(root / f"{arm}-s{seed}", arm, seed, **given) for arm in arms for seed in seeds]


def write_run(
    folder: Path, arm: str, seed: int, *, data: str = "synthetic", protocol: str = "small", lesions: bool = False,
    robustness: bool = False,
) -> Path:  # fmt: skip
    """Write all files of one run."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, *arm.encode()])
    identity: dict[str, Any] = {
        "schema": SCHEMAS["analysis"],
        "checkpoint_sha256": f"{arm}{seed}",
        "data_sha256": f"data{seed}",
        "arm": arm,
        "seed": seed,
        "arch": "resnet50" if data == "mpii" else "resnet18",
        "protocol": protocol,
        "epochs": EPOCHS,
        "as_protocol": True,
        "deviations": [DEMO] if arm == "baseline" else [DEMO, FASTER],
    }
    evaluation: dict[str, Any] = (
        _evaluation(arm, rng) | identity | {"kind": "evaluation", "schema": SCHEMAS["evaluation"], "data": data}
    )
    evaluation["settings"]["split"] = "tompson" if data == "mpii" else "random"
    numbers, maps = _analysis(arm, rng)
    numbers |= setting(arm, protocol)
    dump(folder / "evaluation.json", evaluation)
    if lesions:
        numbers |= {"lesions": _lesions(arm, rng), "lesions_reason": None}
    dump(folder / "analysis.json", numbers | identity | {"kind": "analysis"})
    np.savez_compressed(folder / "analysis.npz", allow_pickle=False, **maps)
    if robustness:
        found = _robustness(arm, rng) | identity | setting(arm, protocol)
        dump(folder / "robustness.json", found | {"kind": "robustness", "schema": SCHEMAS["robustness"]})
    _metrics(folder / "metrics.csv", arm, rng, evaluation["pckh"]["0.5"]["mean"])
    np.savez_compressed(folder / "examples.npz", allow_pickle=False, **_examples(np.random.default_rng(seed), rng))
    return folder


def dump(path: Path, value: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")


def edit(folder: Path, name: str, key: tuple[str, ...], value: Any) -> None:
    """Change one value of a JSON file in place."""
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    node = content
    for part in key[:-1]:
        node = node[part]
    node[key[-1]] = value
    dump(folder / name, content)


def setting(arm: str, protocol: str = "small") -> dict[str, Any]:
    """Return what an arm's name says of its settings, as analysis.json has them."""
    if arm == "baseline":
        return {"topo_loss": None, "lambda": None, "topo_lr_mult": None, "permuted": None}
    parts = {key: re.search(rf"-{key}([0-9.]+)", arm) for key in "lm"}
    loss = re.sub(r"-(l[0-9.]+|m[0-9.]+|permuted|\d+x\d+|rook)", "", arm)
    return {
        "topo_loss": "weight-similarity" if loss in ("topo", "control") else loss,
        "lambda": 0.0 if arm == "control" else float(parts["l"][1]) if parts["l"] else 0.5,
        "topo_lr_mult": float(parts["m"][1]) if parts["m"] else 10.0 if protocol == "small" else 1.0,
        "permuted": arm.endswith("permuted"),
    }


def smoothness(arm: str) -> float:
    """Return the width, in channels, of the smooth fields that the maps of an arm are made of; 0 is noise."""
    given = setting(arm)
    if not given["lambda"] or given["permuted"]:
        return 0.0
    return 1.1 * (given["lambda"] / 0.5) ** 0.12 * (0.8 if given["topo_lr_mult"] == 1 else 1.0)


def _evaluation(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    def scores(base: float) -> dict[str, Any]:
        per_joint = {name: base + 8 * np.cos(k) + rng.normal() for k, name in enumerate(joints.NAMES)}
        groups = {
            name: float(np.mean([per_joint[joints.NAMES[k]] for k in group])) for name, group in joints.GROUPS.items()
        }
        return {"mean": base + float(rng.normal(0, 0.4)), "groups": groups, "joints": per_joint}

    base = SCORE.get(arm, 78.0)
    top = base + float(rng.normal(0, 0.3))
    return {
        "people": 617,
        "joints": 9_213,
        "settings": {
            "decode": "dark",
            "flip_test": True,
            "framing": "person",
            "input_size": 96,
            "split": "random",
            "split_mismatch": None,
            "precision": "fp32",
        },
        "pckh": {"0.5": scores(base), "0.1": scores(base / 4), "0.11": scores(base / 3.6)},
        "auc": 0.55 * top,
        "curve": {"thresholds": [0.0, 0.25, 0.5], "mean": [0.0, 0.6 * top, top]},
        "intervals": {"method": "percentile bootstrap over people", "level": 95.0, "resamples": 4000, "seed": 0}
        | {threshold: _interval(mean) for threshold, mean in (("0.5", base), ("0.1", base / 4))},
        "legacy": {
            "pckh": base + 2,
            "pckh_labelled": base + 6,
            "reason": None,
            "threshold": 0.5,
            "unlabelled": 660,
            "head_ratio": {"mean": 2.42, "median": 2.4, "people": 600},
        },
        "rendered": True,
    }


def _interval(mean: float) -> dict[str, Any]:
    return {"mean": [mean - 1, mean + 1], "groups": {name: [mean - 2, mean + 2] for name in joints.GROUPS}}


def _analysis(arm: str, rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, NDArray]]:
    smooth = smoothness(arm)
    strength = np.abs(_fields(rng, joints.K, smooth) + 0.25 * rng.normal(size=(joints.K, SIDE, SIDE)))
    matrix = np.corrcoef(
        _fields(rng, IMAGES, smooth).reshape(IMAGES, -1).T + 0.4 * rng.normal(size=(IMAGES, 1)).T.mean()
    )
    labels = strength.argmax(0)
    near, every = matrix[np.triu(QUEEN)], matrix[UPPER]
    alphas = [round(0.1 * n, 1) for n in range(1, 10)]
    chosen = [DISTANCE[UPPER][every >= alpha] for alpha in alphas]
    known = None if arm == "baseline" else True
    numbers = {
        "grid": {"height": SIDE, "width": SIDE, "neighbours": 8, "torus": False},
        "model": "topo" if known else "baseline",
        "images": 617,
        **setting(arm),
        "moran": _moran(strength),
        "moran_measures": {
            "normalised": _moran(strength / np.linalg.norm(strength, axis=0)),
            "activity": _moran(strength),
        },
        "moran_sensitivity": {
            weights: {measure: _moran(strength) for measure in ("strength", "normalised", "activity")}
            for weights in ("queen_row", "rook", "rook_row")
        },
        "parcellation": _parcellation(labels),
        "neighbour_correlation": {"neighbours": float(near.mean()), "all_pairs": float(every.mean()), "reason": None},
        "correlation_distance": _decay(bool(smooth)),
        "tuning_distance": _decay(bool(smooth)),
        "coactivation": {
            "chance": float(DISTANCE[UPPER].mean()),
            "alphas": alphas,
            "distance": [float(d.mean()) if d.size else None for d in chosen],
            "pairs": [int(d.size) for d in chosen],
            "reason": None if all(d.size for d in chosen) else "no distance where no pair is correlated so highly",
        },
        "activations": {"dead_channels": 1, "effective_dimensionality": 4.3 if smooth else 30.0, "reason": None},
        "wiring": _wiring(bool(smooth)),
        **_beyond(bool(smooth)),
        "controls": _controls(bool(smooth)),
        "lesions": None,
        "lesions_reason": "not asked for: --lesions",
        "health": {
            "mean_row_norm": 0.31 if smooth else 1.41,
            "neighbour_cosine": 0.9 if smooth else 0.01,
            "all_pairs_cosine": 0.2 if smooth else 0.01,
            "participation_ratio": 1 + 239 * np.exp(-3.6 * smooth) * (1 + 0.1 * rng.random()),
            "weight_similarity": 0.0012 if smooth else 3.97,
        },
    }
    order = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    return numbers, {"labels": labels, "strength": strength, "arrangement": order, **_correlations(matrix)}


def _fields(rng: np.random.Generator, count: int, smooth: float) -> NDArray[np.float64]:
    noise = rng.normal(size=(count, SIDE, SIDE))
    if not smooth:
        return noise
    fields = gaussian_filter(noise, (0, smooth, smooth))
    return fields / fields.std()


def _moran(strength: NDArray[np.float64]) -> dict[str, Any]:
    z = strength.reshape(joints.K, -1)
    z = z - z.mean(1, keepdims=True)
    found = (SIDE * SIDE / QUEEN.sum()) * np.einsum("ki,ij,kj->k", z, QUEEN, z) / (z**2).sum(1)
    expected = -1 / (SIDE * SIDE - 1)
    score = (found - expected) / 0.0323
    p = np.maximum(norm.sf(score), 1e-4)
    q = np.minimum(1.0, p * joints.K / (p.argsort().argsort() + 1))
    return {
        "measure": "|w|",
        "channels": SIDE * SIDE,
        "weights": "queen, bounded, binary",
        "expected": expected,
        "permutations": 9999,
        "per_joint": {
            name: dict(zip(("I", "z", "p", "q", "p_max"), map(float, values), strict=True))
            for name, *values in zip(joints.NAMES, found, score, p, q, q, strict=True)
        },
        "mean_I": float(found.mean()),
        "p_mean": max(1e-4, float(norm.sf((found.mean() - expected) / 0.008))),
        "null_low": expected - 0.061,
        "null_high": expected + 0.066,
        "reason": None,
    }


def _parcellation(labels: NDArray[np.int64]) -> dict[str, Any]:
    same = np.concatenate([(labels[1:] == labels[:-1]).ravel(), (labels[:, 1:] == labels[:, :-1]).ravel()])
    units = np.bincount(labels.ravel(), minlength=joints.K)
    return {
        "contiguity": float(same.mean()),
        "null_mean": 0.0633,
        "null_sd": 0.0112,
        "z": float((same.mean() - 0.0633) / 0.0112),
        "p": 1e-4 if same.mean() > 0.1 else 0.3,
        "components": int((~same).sum() // 2),
        "joints_with_units": int((units > 0).sum()),
        "components_null_mean": 222.0,
        "components_null_sd": 4.0,
        "components_p": 0.001 if same.mean() > 0.1 else 0.3,
        "units": dict(zip(joints.NAMES, units.tolist(), strict=True)),
        "region_sizes": {
            name: [count] if count else [] for name, count in zip(joints.NAMES, units.tolist(), strict=True)
        },
        "join_count_z": dict.fromkeys(joints.NAMES, 6.0 if same.mean() > 0.1 else 0.1),
        "reason": None,
    }


def _decay(smooth: bool) -> dict[str, Any]:
    return {
        "spearman": -0.5 if smooth else 0.001,
        "mantel_p": 0.001 if smooth else 0.4,
        "smoothness": 0.48 if smooth else 0.002,
        "smoothness_p": 0.001 if smooth else 0.4,
        "reason": None,
    }


def _wiring(smooth: bool) -> dict[str, Any]:
    length = 4.9 if smooth else 6.1
    return {
        "unit": "cells",
        "permutations": 999,
        "per_joint": {name: {"length": length, "null_mean": 6.1, "p": 0.001} for name in joints.NAMES},
        "mean": length,
        "null_mean": 6.1,
        "null_sd": 0.02,
        "p_mean": 0.001 if smooth else 0.4,
        "reason": None,
    }


def _beyond(smooth: bool) -> dict[str, Any]:
    """Return the order of directions and responses, and of the body on the grid."""
    tests = {"p_joints": 0.01, "p_shifted": 0.002, "reason": None}
    names = [*(f"near {name}" for name in joints.NAMES), "elbow flexed", "knee flexed", "upright", "visible"]
    found = {"I": 0.4 if smooth else -0.01, "z": 9.0, "p": 0.001, "q": 0.001, "p_max": 0.001}
    of_images = {"mean_I": 0.6 if smooth else 0.01, "p_mean": 0.001, "null_low": -0.06, "null_high": 0.06}

    def table(*values: float) -> list[dict[str, Any]]:
        removed = (0, 1, 2, 4)
        return [
            {"removed": n, "share": 0.9 - n / 8, "I": value, "p": 0.001}
            for n, value in zip(removed, values, strict=True)
        ]

    return {
        "body": {
            "permutations": 999,
            "twins": {"ratio": 0.8 if smooth else 1.0, **tests},
            "hops": {"spearman": 0.1, **tests},
        },
        "single_images": {
            "permutations": 999,
            **{name: {**of_images, "reason": None} for name in ("raw", "standardised")},
        },
        "selectivity": {
            "permutations": 9999,
            "channels": SIDE * SIDE,
            "expected": -0.0039,
            "mean_I_joints": found["I"],
            "reason": None,
            "conditions": {name: {**found, "responses": [120, 480], "reason": None} for name in names},
        },
        "directions": {
            "permutations": 999,
            "participation_ratio": 1.6 if smooth else 46.0,
            "trained": table(0.91, 0.89, 0.82, 0.76) if smooth else table(0.001, -0.001, -0.002, -0.003),
            "smoothed": {"width": 1.6, "table": table(0.82, 0.8, 0.79, 0.75)} if smooth else None,
            "collapsed": {"table": table(0.03, 0.03, 0.04, 0.0)} if smooth else None,
            "reason": None if smooth else "the control has no larger participation ratio than this network",
        },
    }


def _controls(smooth: bool) -> dict[str, Any]:
    chance = {"strength": -0.004, "normalised": -0.003, "activity": -0.005}
    return {
        "permuted_grid": {
            "seed": 1,
            "mean_I": chance,
            "p_mean": dict.fromkeys(chance, 0.5),
            "contiguity": 0.063,
            "neighbours": 0.2,
            "all_pairs": 0.2,
            "reason": None,
        },
        "rearranged": {
            "weights": "queen, bounded, binary",
            "mean_I": 0.58 if smooth else 0.43,
            "steps": 30720,
            "share": 0.7 if smooth else -0.01,
            "reason": None,
        },
        "untrained": None,
        "untrained_reason": "not asked for: --untrained",
        "against": None,
        "against_reason": "not asked for: --control",
    }


def _lesions(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return lesions whose specificity grows with the disc where maps are smooth, and is at chance elsewhere."""
    gain = 3.0 if smoothness(arm) else 0.0
    radii = []
    for place, radius in enumerate(RADII):
        other = 0.8 * radius**1.5
        found = gain * (place + 1) / len(RADII) + float(rng.normal(0, 0.15))
        radii.append(
            {"radius": radius, "channels": float([4.8, 12.1, 25.3, 41.0][place]), "damage": other + found / 16}
            | {"null_damage": other, "null_damage_sd": 0.2, "specificity": found, "null_mean": 0.02, "null_sd": 0.2}
            | {"p": 0.01 if gain else 0.4, "own": other + found, "other": other, "null_own": other + 0.02}
            | {"null_other": other, "reason": None}
        )
    return {
        **{"people": 617, "threshold": 0.5, "decode": "argmax", "flip_test": False, "intact": SCORE.get(arm, 78.0) - 1},
        **{"centres": 16, "permuted_grids": 99, "smallest_p": 0.01, "radii": radii, "by_mean": radii},
    }


def _robustness(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return curves that fall, for smooth maps more slowly."""
    intact, rate = SCORE.get(arm, 78.0), 1.2 if smoothness(arm) else 1.8
    harms = {}
    for harm, (_, unit) in HARMS.items():
        scores = [intact, *(intact * np.exp(-rate * share) + rng.normal(0, 0.3) for share in (0.25, 0.5, 1.0))]
        area = float(np.trapezoid(scores, [0, 0.25, 0.5, 1]))
        harms[harm] = {
            **{"unit": unit, "draws": 1, "area": area, "area_interval": [area - 1, area + 1], "reason": None},
            **{"relative": area / intact, "relative_interval": [area / intact - 0.01, area / intact + 0.01]},
            "levels": [
                {"level": level, "pckh": float(score), "interval": [float(score) - 1, float(score) + 1]}
                for level, score in zip((0.0, 10.0, 20.0, 40.0), scores, strict=True)
            ],
        }
    return {
        **{"model": "baseline" if arm == "baseline" else "topo", "images": 617, "images_sha256": None},
        **{"settings": {"decode": "dark", "flip_test": True, "precision": "fp32"}, "score": "PCKh@0.5"},
        **{"intact": intact, "harms": harms},
    }


def _correlations(matrix: NDArray[np.float64]) -> dict[str, NDArray]:
    every, apart = matrix[UPPER], np.floor(DISTANCE[UPPER] + 0.5)
    edges = np.linspace(-1, 1, 41)
    near = np.where(QUEEN, matrix, 0).sum(1) / QUEEN.sum(1)
    near[37] = np.nan  # a dead channel
    bins = np.unique(apart)
    count = np.array([(apart == b).sum() for b in bins])
    width = 2 * every.std() / np.sqrt(count)
    return {
        "neighbour_map": near.reshape(SIDE, SIDE),
        "correlation_bins": edges,
        "correlation_neighbours": np.histogram(matrix[np.triu(QUEEN)], edges, density=True)[0],
        "correlation_all": np.histogram(every, edges, density=True)[0],
        "distance_bins": bins,
        "correlation_by_distance": np.array([every[apart == b].mean() for b in bins]),
        "band_low": every.mean() - width,
        "band_high": every.mean() + width,
        "tuning_by_distance": np.array([every[apart == b].mean() for b in bins]),
        "tuning_band_low": every.mean() - width,
        "tuning_band_high": every.mean() + width,
    }


def _metrics(path: Path, arm: str, rng: np.random.Generator, final: float) -> None:
    done = np.arange(1, EPOCHS + 1) / EPOCHS
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, METRICS, lineterminator="\n")
        writer.writeheader()
        for epoch, share in enumerate(done, 1):
            loss = 0.004 * np.exp(-3 * share) * (1 + 0.05 * rng.normal())
            row = {"epoch": epoch, "train_loss": loss, "train_heatmap_loss": loss, "val_loss": loss, "lr": 1e-3}
            row |= {"val_pckh": final * (1 - np.exp(-4 * share)) / (1 - np.exp(-4)), "seconds": 20.0}
            row["images_per_s"] = 100.0 + epoch
            if arm != "baseline":
                rises = arm != "control"
                row |= {"topo_loss": 4 * np.exp(-8 * share) if rises else 4.1, "lambda": setting(arm)["lambda"]}
                row |= {"moran_i": 0.42 * share**2 if rises else 0.003 * rng.normal()}
                row |= {"contiguity": 0.07 + 0.4 * share if rises else 0.07, "mean_row_norm": 1.0}
            writer.writerow(row)


def _examples(people: np.random.Generator, rng: np.random.Generator) -> dict[str, NDArray]:
    shape = {
        0: (-9, 40),
        1: (-8, 25),
        2: (-6, 8),
        3: (6, 8),
        4: (9, 24),
        5: (12, 40),
        6: (0, 8),
        7: (0, -16),
        8: (0, -21),
    }
    shape |= {9: (0, -36), 10: (-26, 4), 11: (-20, -5), 12: (-10, -16), 13: (10, -16), 14: (20, -24), 15: (27, -36)}
    base = np.array([shape[k] for k in range(joints.K)], float)
    true = CROP / 2 + base + people.normal(0, 2.5, (8, joints.K, 2))
    labelled = people.random((8, joints.K)) < 0.95
    crops = people.integers(60, 120, (8, CROP, CROP, 3), dtype=np.uint8)
    for crop, points in zip(crops, true, strict=True):
        color = people.integers(60, 255, 3).tolist()
        for first, second in joints.LIMBS:
            cv2.line(crop, points[first].astype(int).tolist(), points[second].astype(int).tolist(), color, 8)
        cv2.circle(crop, (points[8:10].mean(0)).astype(int).tolist(), 8, color, -1)
    predicted = true + rng.normal(0, 2.0, true.shape)
    predicted[0, joints.L_WRIST] += 20
    return {
        "crops": crops,
        "predicted": predicted,
        "true": true,
        "labelled": labelled,
        "confidence": rng.random((8, joints.K)),
    }
