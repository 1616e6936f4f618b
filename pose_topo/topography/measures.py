"""All measures of one network: from its weights and activations to the numbers of `analysis.json`.

`all_measures` computes the measures. The controls are values to compare them with: the measures of a permuted grid,
which has no map (`permuted_grid`), and Moran's I of a nearly optimal arrangement (`rearranged`). If a number is None,
the key `reason` in the same dictionary, or in the one that contains it, says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography import correlation, inference, moran, parcellation, responses, weight_statistics
from pose_topo.topography.rearrangement import rearrange
from pose_topo.topography.weight_statistics import ChannelMaps, channel_maps

Array = NDArray[np.float64]

_MAX_EXPENSIVE = 999  # the largest number of permutations for measures whose permutations are expensive


def all_measures(
    head: Array, activations: Array, lattice: Lattice, permutations: int
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """All measures of one network: numbers for `analysis.json`, and maps for `analysis.npz`.

    Args:
        head: (K, C), the weights of the 1x1 head.
        activations: (N, C), the spatial mean of each channel's output for each of N people.
        lattice: The grid of the C channels.
        permutations: The number of permutations of each test; at most 999 are used for expensive measures.
    """
    shape, few = (lattice.height, lattice.width), min(permutations, _MAX_EXPENSIVE)
    size = np.abs(head)
    label = parcellation.labels(size)
    matrix = correlation.pearson(activations)
    edges, near_density, all_density = correlation.histograms(matrix, lattice)
    active = correlation.over_distance(matrix, lattice, few)
    tuned = correlation.over_distance(correlation.pearson(size), lattice, few)
    numbers = {
        **moran_tables(channel_maps(head, activations), lattice, permutations),
        "parcellation": _parcellation(label, lattice, permutations),
        "neighbour_correlation": _neighbour_correlation(matrix, lattice),
        "correlation_distance": _decay(active),
        "tuning_distance": _decay(tuned),
        "coactivation": correlation.coactivation(matrix, lattice),
        "activations": _activations(activations, matrix),
        "wiring": _wiring(size, lattice, few),
        "body": parcellation.body_map(size, lattice, few),
        "single_images": responses.single_images(activations, lattice, few),
    }
    return numbers, {
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


# ---- Moran's I of each joint with its inference


def moran_tables(measures: dict[str, ChannelMaps], lattice: Lattice, permutations: int) -> dict[str, Any]:
    """Moran's I of every measure under all neighbour weights.

    Returns:
        A dictionary with keys of `analysis.json`. `moran`: |w| under the primary neighbour weights. `moran_measures`:
        the other measures under the primary ones. `moran_sensitivity`: all measures under the other neighbour weights.
    """
    tables = {
        where: {key: moran_table(each, *weights, permutations) for key, each in measures.items()}
        for where, weights in moran.weight_sets(lattice).items()
    }
    primary = tables.pop("queen")
    return {"moran": primary.pop("strength"), "moran_measures": primary, "moran_sensitivity": tables}


def moran_table(measure: ChannelMaps, weights_name: str, weights: Array, permutations: int) -> dict[str, Any]:
    """Moran's I of one measure under one set of neighbour weights (C, C), per joint and as a mean over joints.

    Only the channels in `measure.live`, for which the measure is defined, are used.
    """
    test, reason = measure.test(weights, permutations), None
    if weights[np.ix_(measure.live, measure.live)].sum() == 0:
        reason = "the grid has no neighbouring channels"
    elif missing := [name for name, value in zip(joints.NAMES, test.I, strict=True) if np.isnan(value)]:
        reason = f"no I where a map does not vary or is not finite: {', '.join(missing)}"
    elif np.isnan(test.z).any():
        reason = "no z where I is the same for every permutation"
    return {
        "measure": measure.name,
        "weights": weights_name,
        "channels": len(measure.live),
        "expected": test.expected,
        "permutations": permutations,
        "per_joint": test.rows(joints.NAMES),
        **test.overall(),
        "reason": reason,
    }


# ---- The other measures


def _parcellation(label: NDArray[np.int64], lattice: Lattice, permutations: int) -> dict[str, Any]:
    contiguity = parcellation.contiguity(label, lattice)
    null = parcellation.contiguity_null(label, lattice, permutations)
    z = None if contiguity is None or null.mean is None or not null.sd else (contiguity - null.mean) / null.sd
    regions = parcellation.component_null(label, lattice, min(permutations, _MAX_EXPENSIVE))
    join_count_z = parcellation.join_count_z(label, lattice)
    units, sizes = parcellation.units(label), parcellation.components(label, lattice)
    if null.sd is None:
        reason = "no two neighbouring channels with a label"
    elif null.sd == 0:
        reason = "no z: contiguity is the same for every permutation of the labels"
    else:
        reason = "no join-count z for joints with fewer than two channels" if None in join_count_z else None
    return {
        "contiguity": contiguity,
        "null_mean": null.mean,
        "null_sd": null.sd,
        "z": z,
        "p": null.p,
        "components": parcellation.component_count(label, lattice),
        "components_null_mean": regions.mean,
        "components_null_sd": regions.sd,
        "components_p": regions.p,
        "joints_with_units": int((units > 0).sum()),
        "units": dict(zip(joints.NAMES, units.tolist(), strict=True)),
        "region_sizes": {name: sizes.get(k, []) for k, name in enumerate(joints.NAMES)},
        "join_count_z": dict(zip(joints.NAMES, join_count_z, strict=True)),
        "reason": reason,
    }


def _neighbour_correlation(matrix: Array, lattice: Lattice) -> dict[str, Any]:
    near, every = correlation.pair_means(matrix, lattice)
    reason = "no two neighbouring channels that vary" if near is None else None
    return {"neighbours": near, "all_pairs": every, "reason": reason}


def _decay(decay: correlation.Decay) -> dict[str, Any]:
    values = {key: getattr(decay, key) for key in ("spearman", "mantel_p", "smoothness", "smoothness_p")}
    missing = None in values.values()
    reason = "too few channels vary, or all correlations or all distances are equal" if missing else None
    return {**values, "reason": reason}


def _activations(activations: Array, matrix: Array) -> dict[str, Any]:
    dimensions = weight_statistics.effective_dimensionality(activations)
    return {
        "dead_channels": int(np.isnan(np.diagonal(matrix)).sum()),
        "effective_dimensionality": dimensions,
        "reason": "no channel varies over the images, or a channel is not finite" if dimensions is None else None,
    }


def _wiring(size: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    observed = parcellation.wiring_lengths(size, lattice)
    null = parcellation.wiring_null(size, lattice, permutations)
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


# ---- Controls

_GRID_SEED = 1  # not the seed of the permutation tests: the permuted grid must not be one of their permutations


def brief(head: Array, activations: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    """The numbers that are reported for a control, from head weights (K, C) and spatial means (N, C).

    `mean_I` and `p_mean` have one entry per measure, under the primary neighbour weights.
    """
    weights = moran.weights(moran.primary(lattice))
    tests = {key: measure.test(weights, permutations) for key, measure in channel_maps(head, activations).items()}
    means = {key: test.mean_i for key, test in tests.items()}
    contiguity = parcellation.contiguity(parcellation.labels(head), lattice)
    near, every = correlation.pair_means(correlation.pearson(activations), lattice)
    return {
        "mean_I": means,
        "p_mean": {key: test.p_mean for key, test in tests.items()},
        "contiguity": contiguity,
        "neighbours": near,
        "all_pairs": every,
        "reason": "no neighbouring channels that vary" if None in (*means.values(), contiguity, near) else None,
    }


def permuted_grid(head: Array, activations: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    """`brief` with the channels at random places of the grid. All numbers should be at chance level."""
    order = np.random.default_rng(_GRID_SEED).permutation(lattice.channels)
    return {"seed": _GRID_SEED, **brief(head[:, order], activations[:, order], lattice, permutations)}


def rearranged(head: Array, lattice: Lattice) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The largest mean I of |w| that a search finds by moving the channels, and the order (h, w) that reaches it.

    The search need not find the global maximum. It uses only the weights and no people, so no people are held out.
    """
    grid = moran.primary(lattice)
    best = rearrange(np.abs(head), moran.weights(grid))
    if best is None:
        order, reason = np.arange(lattice.channels), "no head weight varies over a grid with neighbours"
        numbers = {"mean_I": None, "share": None, "steps": None, "reason": reason}
    else:
        order = best.order
        numbers = {"mean_I": best.best, "steps": best.steps, **_share(best.before, best.best, "share")}
    return {"weights": moran.weights_name(grid), **numbers}, order.reshape(lattice.height, lattice.width)


def control_reference(mean: float | None, control: dict[str, Any]) -> dict[str, Any]:
    """The mean I of |w| of this network divided by the best I of a control with `arm`, `seed` and `best_I`."""
    return {**control, **_share(mean, control["best_I"], "I_over_best")}


def _share(part: float | None, whole: float | None, name: str) -> dict[str, Any]:
    if part is None or whole is None:
        return {name: None, "reason": "one of the two I is not defined"}
    if whole <= 0:
        return {name: None, "reason": "no arrangement has an I above 0"}
    return {name: part / whole, "reason": None}


# ---- Any layer of any network, for the audit

_DIRECTIONS = 8  # leading directions of the weights
_MANY_MAPS = 64  # the tests of more maps have at most _MAX_EXPENSIVE permutations
_SHOWN = 20  # outputs of a readout that are listed by their I
_MAX_STEPS = 60_000  # of the search for the best arrangement: minutes for 2,048 channels


def weight_measures(weights: Array, lattice: Lattice, permutations: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The measures of incoming weights (C, D), and the maps (h, w) behind them. Zero rows are left out of the grid."""
    norms = np.linalg.norm(weights, axis=1)
    live = np.flatnonzero(norms > 0)
    near = moran.weights(moran.primary(lattice))[np.ix_(live, live)]
    unit = weights[live] / norms[live, None]
    directions, shares = weight_statistics.leading_directions(unit, _DIRECTIONS)
    led = moran.moran_test(directions, near, permutations)
    gains = moran.moran_test(norms[None, live], near, permutations)
    best = rearrange(directions, near, min(_MAX_STEPS, 120 * len(live)))
    _, *others = moran.weight_sets(lattice).values()
    numbers = {
        "dead_channels": lattice.channels - len(live),
        "directions": {
            **_columns(led, "the weights of too few channels differ, or the grid has no neighbours"),
            "share": shares.tolist(),
            "best_I": best.best if best else None,
            "I_over_best": led.mean_i / best.best if best and led.mean_i is not None and best.best > 0 else None,
            "sensitivity": {
                title: inference.mean_of_defined(moran.morans_i(directions, other[np.ix_(live, live)]))
                for title, other in others
            },
        },
        "norms": _columns(gains, "all norms are equal, or the grid has no neighbours"),
        "cosine": weight_statistics.cosine_test(unit, near, permutations),
        "participation_ratio": weight_statistics.participation_ratio(weights),
        "mean_row_norm": weight_statistics.mean_row_norm(weights),
        "reason": None if len(live) else "all weights are zero",
    }
    return numbers, {
        "directions": [_on_grid(each, live, lattice) for each in directions],
        "norms": _on_grid(norms, None, lattice),
    }


def readout_measures(
    strength: Array, names: list[str], seen: Array | None, lattice: Lattice, permutations: int
) -> dict[str, Any]:
    """Moran's I of how strongly each output reads the channels, also without gain, and the contiguity of territories.

    Args:
        strength: (K, C).
        seen: (N, C), the responses to N images; None without images.
    """
    grid = moran.primary(lattice)
    used = permutations if len(names) <= _MANY_MAPS else min(permutations, _MAX_EXPENSIVE)
    tables = {
        key: {
            "measure": measure.name.replace("joints", "outputs"),
            **_columns(measure.test(moran.weights(grid), used), "no I where an output reads all channels alike"),
        }
        for key, measure in channel_maps(strength, seen).items()
    }
    label = parcellation.labels(strength)
    null = parcellation.contiguity_null(label, grid, used)
    main = tables["strength"]
    ranked = sorted(zip(names, main["I"], strict=True), key=lambda pair: -np.nan_to_num(pair[1], nan=-9))[:_SHOWN]
    return {
        "names": names,
        "permutations": used,
        "moran": tables,
        "ranked": ranked,
        "significant": sum(q < 0.05 for q in main["q"]),
        "territories": len(np.unique(label[label >= 0])),
        "contiguity": parcellation.contiguity(label, grid),
        "contiguity_null": null.mean,
        "contiguity_p": null.p,
        "reason": "no two neighbouring channels are read" if null.p is None else None,
    }


def response_measures(seen: Array, lattice: Lattice, permutations: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The measures of responses (N, C), and the curves and maps behind them.

    `single_images` is Moran's I of the C responses to each image. `standardised` is the same after each channel's mean
    over images is subtracted and its deviation divided out, which leaves what an image changes.
    """
    few = min(permutations, _MAX_EXPENSIVE)
    matrix = correlation.pearson(seen)
    decay = correlation.over_distance(matrix, lattice, few)
    pictures = responses.image_tests(seen, lattice, few)
    pictures["single_images"] = pictures.pop("raw")
    pictures["mean_response"] = moran.moran_test(seen.mean(0)[None], moran.primary(lattice), permutations)
    numbers = {
        "images": len(seen),
        "permutations": few,
        **_activations(seen, matrix),
        **{key: _columns(test, "no I where all channels respond alike") for key, test in pictures.items()},
        "correlation": _neighbour_correlation(matrix, lattice),
        "correlation_distance": _decay(decay),
    }
    return numbers, {
        "distance": decay.bins.tolist(),
        "correlation": decay.correlation.tolist(),
        "correlation_low": decay.low.tolist(),
        "correlation_high": decay.high.tolist(),
        "mean_response": _on_grid(seen.mean(0), None, lattice),
    }


def _columns(test: moran.MoranTest, reason: str) -> dict[str, Any]:
    """The columns of a test; `reason` is kept if a number is missing."""
    return {
        **{key: values.tolist() for key, values in test.columns().items()},
        **test.overall(),
        "reason": reason if test.mean_i is None or np.isnan(test.z).any() else None,
    }


def _on_grid(values: Array, live: NDArray[np.int64] | None, lattice: Lattice) -> list[list[float]]:
    """Values of the live channels as (h, w), with six digits; NaN for the other channels."""
    whole = np.full(lattice.channels, np.nan)
    whole[slice(None) if live is None else live] = values
    return [[float(f"{value:.6g}") for value in row] for row in whole.reshape(lattice.height, lattice.width)]
