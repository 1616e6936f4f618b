"""Moran's I of every joint with its inference, as `analysis.json` holds it: for each measure, under each weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography import correlation, inference, moran, parcellation
from pose_topo.topography import correlation as coactivation
from pose_topo.topography import parcellation as wiring
from pose_topo.topography import weight_statistics as health
from pose_topo.topography import weight_statistics as strength
from pose_topo.topography.rearrangement import rearrange
from pose_topo.topography.weight_statistics import Strength

Array = NDArray[np.float64]


def all_tables(measures: dict[str, Strength], lattice: Lattice, permutations: int) -> dict[str, Any]:
    """The keys `moran` (|w| under the primary weights), `moran_measures` (the other measures under them) and
    `moran_sensitivity` (all measures under the other weights)."""
    (_, primary), *others = moran.weight_sets(lattice).items()
    main, *further = [(key, table(each, *primary, permutations)) for key, each in measures.items()]
    return {
        "moran": main[1],
        "moran_measures": dict(further),
        "moran_sensitivity": {
            weights_key: {key: table(each, *weights, permutations) for key, each in measures.items()}
            for weights_key, weights in others
        },
    }


def table(strength: Strength, weights_name: str, weights: Array, permutations: int) -> dict[str, Any]:
    """One measure under one set of weights (C, C). Channels without the measure are taken out of the grid."""
    live = strength.live
    weights = weights[np.ix_(live, live)]
    test = moran.moran_test(strength.maps, weights, permutations)
    columns = {"I": test.I, "z": test.z, "p": test.p, "q": test.q, "p_max": test.p_max}
    low, high = test.null_band
    return {
        "measure": strength.name,
        "weights": weights_name,
        "channels": len(live),
        "expected": test.expected,
        "permutations": permutations,
        "per_joint": {
            name: {key: float(values[k]) for key, values in columns.items()} for k, name in enumerate(joints.NAMES)
        },
        "mean_I": test.mean_i,
        "p_mean": test.p_mean,
        "null_low": low,
        "null_high": high,
        "reason": _reason(test.I, test.z, weights),
    }


def _reason(observed: Array, z: Array, weights: Array) -> str | None:
    """Why numbers of a table are null; None where none is."""
    if weights.sum() == 0:
        return "the grid has no neighbouring channels"
    missing = [name for name, value in zip(joints.NAMES, observed, strict=True) if np.isnan(value)]
    if missing:
        return f"no I where a map does not vary or is not finite: {', '.join(missing)}"
    if np.isnan(z).any():
        return "no z where I is the same for every permutation"
    return None


# ---- What the measures say where there is nothing to find, or all there could be: the controls of one network.

_SEED = 1  # not that of the permutations behind the p values: the permuted grid is not one of them


def brief(head: Array, activations: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    """The few numbers by which a control is read, from weights (K, C) and spatial means (N, C).

    `mean_I` and `p_mean` by measure, under the primary weights.
    """
    weights = moran.weights(moran.primary(lattice))
    means, p = {}, {}
    for key, each in strength.measures(head, activations).items():
        here = weights[np.ix_(each.live, each.live)]
        observed = moran.morans_i(each.maps, here)
        means[key] = inference.mean_of_defined(observed)
        p[key] = inference.p_of_mean(observed, moran.permutation_null(each.maps, here, permutations))
    label = parcellation.labels(head)
    near, every = correlation.pair_means(correlation.pearson(activations), lattice)
    values = (*means.values(), parcellation.contiguity(label, lattice), near)
    return {
        "mean_I": means,
        "p_mean": p,
        "contiguity": parcellation.contiguity(label, lattice),
        "neighbours": near,
        "all_pairs": every,
        "reason": "no neighbouring channels that vary" if None in values else None,
    }


def permuted_grid(head: Array, activations: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    """`brief` with the network's channels thrown onto the grid at random: everything should be at chance."""
    order = np.random.default_rng(_SEED).permutation(lattice.channels)
    return {"seed": _SEED, **brief(head[:, order], activations[:, order], lattice, permutations)}


def rearranged(head: Array, lattice: Lattice) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The largest mean I of |w| that moving this network's channels reaches, and the order (h, w) that has it.

    The arrangement follows from the weights alone: no picture decides it, so there is nothing to hold out.
    """
    grid = moran.primary(lattice)
    found = rearrange(np.abs(head), moran.weights(grid))
    if found is None:
        order, reason = np.arange(lattice.channels), "no head weight varies over a grid with neighbours"
        numbers = {"mean_I": None, "share": None, "steps": None, "reason": reason}
    else:
        order = found.order
        numbers = {"mean_I": found.best, "steps": found.steps, **_share(found.before, found.best, "share")}
    return {"weights": moran.weights_name(grid), **numbers}, order.reshape(lattice.height, lattice.width)


def against(mean: float | None, control: dict[str, Any]) -> dict[str, Any]:
    """I as a share of the best I of the control's channels.

    Args:
        mean: mean I of |w| of this network.
        control: `arm`, `seed` and `best_I` of the control.
    """
    return {**control, **_share(mean, control["best_I"], "I_over_best")}


def _share(part: float | None, whole: float | None, name: str) -> dict[str, Any]:
    if part is None or whole is None:
        return {name: None, "reason": "there is no I on one side"}
    if whole <= 0:
        return {name: None, "reason": "no arrangement has an I above 0"}
    return {name: part / whole, "reason": None}


# ---- All measures of one network, from arrays to the numbers of `analysis.json` and the maps of `analysis.npz`.

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
        **all_tables(strength.measures(head, activations), lattice, permutations),
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
