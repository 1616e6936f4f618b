"""The analysis stage: a checkpoint -> analysis.json and analysis.npz."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo import joints
from pose_topo.analysis import coactivation, correlation, health, inference, moran, parcellation
from pose_topo.analysis.activations import mean_activations
from pose_topo.config import Data, RunConfig
from pose_topo.data.batches import Batches
from pose_topo.devices import pick_precision
from pose_topo.evaluation.checkpoints import identity, open_checkpoint, open_data
from pose_topo.evaluation.evaluate import BATCH
from pose_topo.files import atomic_path, sha256_file, write_json
from pose_topo.lattice import Lattice
from pose_topo.models.pose import SimpleBaseline, TopoModel

SCHEMA = 1
Array = NDArray[np.float64]


def analyze_checkpoint(
    run: str | Path,
    out: Path,
    *,
    data: Data | None = None,
    permutations: int = 9999,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the topography of a checkpoint; write analysis.json and analysis.npz to `out`.

    Activations are taken over all held-out people. Permutations have a seed of their own (0): results repeat.

    Raises:
        PoseTopoError: no such checkpoint, or its data are missing.
    """
    opened = open_checkpoint(run, device, say)
    config, model, where = opened.config, opened.model, opened.device
    dataset, _ = open_data(opened, data, cache=cache, progress=progress, say=say)
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, where)
    layer = model.topo if isinstance(model, TopoModel) else model.deconv
    activations = mean_activations(model, layer, val.in_order(BATCH), pick_precision(precision, where))
    lattice = grid_of(model)
    head = model.head.weight.detach().double().cpu().numpy()[:, :, 0, 0]  # (K, C)
    numbers, maps = measure(head, activations, lattice, permutations)
    result = {
        "schema": SCHEMA,
        "kind": "analysis",
        "checkpoint_sha256": sha256_file(opened.path),
        "data_sha256": dataset.sha256,
        **identity(opened, dataset.split),
        "model": config.model,
        "grid": {
            "height": lattice.height,
            "width": lattice.width,
            "neighbours": lattice.neighbours,
            "torus": lattice.torus,
        },
        "images": len(activations),
        **_settings(config, known=opened.foreign is None),
        **numbers,
        "health": health.summary(layer_weight(model), lattice),
    }
    with atomic_path(out / "analysis.npz") as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]
    write_json(out / "analysis.json", _plain(result))
    return result


def grid_of(model: SimpleBaseline) -> Lattice:
    """The lattice of the layer; for a baseline its channels in an arbitrary, as square as possible, arrangement."""
    if isinstance(model, TopoModel):
        return model.topo.lattice
    return Lattice.squarest(model.head.in_channels)


def layer_weight(model: SimpleBaseline) -> Array:
    """Incoming weights (C, D) of the channels on the grid: the topographic layer's, or the last deconvolution's."""
    weight = model.topo.conv.weight if isinstance(model, TopoModel) else model.deconv[6].weight.transpose(0, 1)  # type: ignore[operator]
    return weight.detach().double().cpu().flatten(1).numpy()  # type: ignore[union-attr]


def _settings(config: RunConfig, *, known: bool) -> dict[str, Any]:
    """How the layer was trained; null where that is not known, or there is none."""
    topography = config.topography if known else None
    return {
        "topo_lr_mult": config.recipe.topo_lr_mult if topography else None,
        "lambda": topography.weight if topography else None,
    }


def measure(
    head: Array, activations: Array, lattice: Lattice, permutations: int
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """All measures of one network: numbers for the JSON and maps for the figures.

    Args:
        head: (K, C) weights of the 1x1 head.
        activations: (N, C) spatial means.
    """
    shape = (lattice.height, lattice.width)
    strength = np.abs(head)
    label = parcellation.labels(strength)
    matrix = correlation.pearson(activations)
    near, every = correlation.pair_means(matrix, lattice)
    edges, near_density, all_density = correlation.histograms(matrix, lattice)
    decay = correlation.over_distance(matrix, lattice, min(permutations, 999))
    together = coactivation.distances(matrix, lattice)
    numbers = {
        "moran": _moran(strength, lattice, permutations),
        "parcellation": _parcellation(label, lattice, permutations),
        "neighbour_correlation": {"neighbours": near, "all_pairs": every},
        "correlation_distance": {"spearman": decay.spearman, "mantel_p": decay.mantel_p},
        "coactivation": {
            "chance": together.chance,
            "alphas": together.alphas,
            "distance": together.distance,
            "pairs": together.pairs,
        },
    }
    maps = {
        "labels": label.reshape(shape),
        "strength": strength.reshape(len(head), *shape),
        "neighbour_map": correlation.neighbour_map(matrix, lattice),
        "correlation_bins": edges,
        "correlation_neighbours": near_density,
        "correlation_all": all_density,
        "distance_bins": decay.bins,
        "correlation_by_distance": decay.correlation,
        "band_low": decay.low,
        "band_high": decay.high,
    }
    return numbers, maps


def _moran(strength: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    weights = moran.weights(lattice)
    observed = moran.morans_i(strength, weights)
    null = moran.permutation_null(strength, weights, permutations)
    p = inference.p_values(observed, null)
    columns = {
        "I": observed,
        "z": inference.z_scores(observed, null),
        "p": p,
        "q": inference.benjamini_hochberg(p),
        "p_max": inference.max_t(observed, null),
    }
    low, high = inference.null_band(null)
    return {
        "weights": moran.weights_name(lattice),
        "expected": moran.expected_i(lattice.channels),
        "permutations": permutations,
        "per_joint": {
            name: {key: float(values[k]) for key, values in columns.items()} for k, name in enumerate(joints.NAMES)
        },
        "mean_I": inference.mean_of_defined(observed),
        "p_mean": inference.p_of_mean(observed, null),
        "null_low": low,
        "null_high": high,
        "reason": "no head weight varies over the grid" if np.isnan(observed).all() else None,
    }


def _parcellation(label: NDArray[np.int64], lattice: Lattice, permutations: int) -> dict[str, Any]:
    null = parcellation.contiguity_null(label, lattice, permutations)
    owned = parcellation.units(label)
    return {
        "contiguity": parcellation.contiguity(label, lattice),
        "null_mean": null.mean if null else None,
        "null_sd": null.sd if null else None,
        "p": null.p if null else None,
        "components": parcellation.component_count(label, lattice),
        "joints_with_units": int((owned > 0).sum()),
        "units": dict(zip(joints.NAMES, owned.tolist(), strict=True)),
    }


def _plain(value: Any) -> Any:
    """NaN -> null, all the way down: a number that does not exist has no place in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def summary(result: dict[str, Any]) -> str:
    """The main numbers as a person reads them on a terminal."""

    def show(value: float | None, digits: int = 3) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    found, parcels, pairs = result["moran"], result["parcellation"], result["neighbour_correlation"]
    return "\n".join(
        [
            f"Moran's I ({found['weights']}): mean {show(found['mean_I'])}, p {show(found['p_mean'], 4)}, "
            f"E[I] {show(found['expected'], 4)}",
            f"contiguity {show(parcels['contiguity'])} (chance {show(parcels['null_mean'])}), "
            f"{parcels['components']} regions",
            f"correlation of neighbours {show(pairs['neighbours'])}, of all pairs {show(pairs['all_pairs'])}",
            f"participation ratio {show(result['health']['participation_ratio'], 1)}, "
            f"mean row norm {show(result['health']['mean_row_norm'])}",
        ]
    )
