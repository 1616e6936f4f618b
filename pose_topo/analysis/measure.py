"""All measures of one network, from arrays to the numbers of `analysis.json` and the maps of `analysis.npz`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo import joints
from pose_topo.analysis import (
    coactivation,
    correlation,
    health,
    inference,
    moran_tables,
    parcellation,
    strength,
    wiring,
)
from pose_topo.lattice import Lattice

Array = NDArray[np.float64]

_SLOW = 999  # permutations at most where each of them costs more than a gather


def measure(
    head: Array, activations: Array, lattice: Lattice, permutations: int
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """All measures of one network: numbers for the JSON and maps for the figures.

    Args:
        head: (K, C) weights of the 1x1 head.
        activations: (N, C) spatial means.
    """
    shape = (lattice.height, lattice.width)
    size = np.abs(head)
    label = parcellation.labels(size)
    matrix = correlation.pearson(activations)
    edges, near_density, all_density = correlation.histograms(matrix, lattice)
    active = correlation.over_distance(matrix, lattice, min(permutations, _SLOW))
    tuned = correlation.over_distance(correlation.pearson(size), lattice, min(permutations, _SLOW))
    numbers = {
        **moran_tables.all_tables(strength.measures(head, activations), lattice, permutations),
        "parcellation": _parcellation(label, lattice, permutations),
        "neighbour_correlation": _neighbour_correlation(matrix, lattice),
        "correlation_distance": _decay(active),
        "tuning_distance": _decay(tuned),
        "coactivation": _coactivation(matrix, lattice),
        "activations": _activations(activations, matrix),
        "wiring": _wiring(size, lattice, min(permutations, _SLOW)),
    }
    maps = {
        "labels": label.reshape(shape),
        "strength": size.reshape(len(head), *shape),
        "neighbour_map": correlation.neighbour_map(matrix, lattice),
        "correlation_bins": edges,
        "correlation_neighbours": near_density,
        "correlation_all": all_density,
        "distance_bins": active.bins,
        "correlation_by_distance": active.correlation,
        "band_low": active.low,
        "band_high": active.high,
        "tuning_by_distance": tuned.correlation,
        "tuning_band_low": tuned.low,
        "tuning_band_high": tuned.high,
    }
    return numbers, maps


def _parcellation(label: NDArray[np.int64], lattice: Lattice, permutations: int) -> dict[str, Any]:
    null = parcellation.contiguity_null(label, lattice, permutations)
    regions = parcellation.component_null(label, lattice, min(permutations, _SLOW))
    owned, found = parcellation.units(label), parcellation.contiguity(label, lattice)
    sizes = parcellation.components(label, lattice)
    together = parcellation.join_count_z(label, lattice)
    return {
        "contiguity": found,
        "null_mean": null.mean if null else None,
        "null_sd": null.sd if null else None,
        "z": (found - null.mean) / null.sd if null and null.sd > 0 and found is not None else None,
        "p": null.p if null else None,
        "components": parcellation.component_count(label, lattice),
        "components_null_mean": regions.mean if regions else None,
        "components_null_sd": regions.sd if regions else None,
        "components_p": regions.p if regions else None,
        "joints_with_units": int((owned > 0).sum()),
        "units": dict(zip(joints.NAMES, owned.tolist(), strict=True)),
        "region_sizes": {name: sizes.get(k, []) for k, name in enumerate(joints.NAMES)},
        "join_count_z": dict(zip(joints.NAMES, together, strict=True)),
        "reason": _parcellation_reason(null, together),
    }


def _parcellation_reason(null: parcellation.LabelNull | None, together: list[float | None]) -> str | None:
    if null is None:
        return "no two neighbouring channels with a label"
    if null.sd == 0:
        return "no z: contiguity is the same for every permutation of the labels"
    if None in together:
        return "no join-count z for joints with fewer than two channels"
    return None


def _neighbour_correlation(matrix: Array, lattice: Lattice) -> dict[str, Any]:
    near, every = correlation.pair_means(matrix, lattice)
    reason = "no two neighbouring channels that are alive" if near is None else None
    return {"neighbours": near, "all_pairs": every, "reason": reason}


def _decay(decay: correlation.Decay) -> dict[str, Any]:
    values = {
        "spearman": decay.spearman,
        "mantel_p": decay.mantel_p,
        "smoothness": decay.smoothness,
        "smoothness_p": decay.smoothness_p,
    }
    missing = None in values.values()
    return {**values, "reason": "too few channels that vary, or all alike, or at one distance" if missing else None}


def _coactivation(matrix: Array, lattice: Lattice) -> dict[str, Any]:
    together = coactivation.distances(matrix, lattice)
    reason = None
    if together.chance is None:
        reason = "the grid is a single channel"
    elif 0 in together.pairs:
        reason = "no distance where no pair is correlated so highly"
    return {
        "chance": together.chance,
        "alphas": together.alphas,
        "distance": together.distance,
        "pairs": together.pairs,
        "reason": reason,
    }


def _activations(activations: Array, matrix: Array) -> dict[str, Any]:
    dimensions = health.effective_dimensionality(activations)
    return {
        "dead_channels": int(np.isnan(np.diagonal(matrix)).sum()),
        "effective_dimensionality": dimensions,
        "reason": "no channel varies over the pictures, or one is not finite" if dimensions is None else None,
    }


def _wiring(size: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    observed = wiring.lengths(size, lattice)
    null = wiring.permutation_null(size, lattice, permutations)
    shorter = inference.p_values(-observed, -null)
    known = ~np.isnan(observed)
    means = null[:, known].mean(axis=1) if known.any() else np.full(permutations, np.nan)
    return {
        "unit": "cells",
        "permutations": permutations,
        "per_joint": {
            name: {"length": float(observed[k]), "null_mean": float(null[:, k].mean()), "p": float(shorter[k])}
            for k, name in enumerate(joints.NAMES)
        },
        "mean": inference.mean_of_defined(observed),
        "null_mean": float(means.mean()),
        "null_sd": float(means.std()),
        "p_mean": inference.p_of_mean(-observed, -null),
        "reason": None if known.all() else "no length for a joint without weights or with one that is not finite",
    }
