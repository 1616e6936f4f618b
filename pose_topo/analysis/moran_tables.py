"""Moran's I of every joint with its inference, as `analysis.json` holds it: for each measure, under each weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo import joints
from pose_topo.analysis import inference, moran
from pose_topo.analysis.strength import Strength
from pose_topo.lattice import Lattice

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
    observed = moran.morans_i(strength.maps, weights)
    null = moran.permutation_null(strength.maps, weights, permutations)
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
        "measure": strength.name,
        "weights": weights_name,
        "channels": len(live),
        "expected": moran.expected_i(len(live)),
        "permutations": permutations,
        "per_joint": {
            name: {key: float(values[k]) for key, values in columns.items()} for k, name in enumerate(joints.NAMES)
        },
        "mean_I": inference.mean_of_defined(observed),
        "p_mean": inference.p_of_mean(observed, null),
        "null_low": low,
        "null_high": high,
        "reason": _reason(observed, columns["z"], weights),
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
