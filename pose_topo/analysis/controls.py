"""What the measures say where there is nothing to find, or all there could be: the controls of one network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.analysis import correlation, inference, moran, parcellation, strength
from pose_topo.analysis.rearrangement import rearrange
from pose_topo.lattice import Lattice

Array = NDArray[np.float64]

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
