"""What do the channels respond to, and do neighbours on the grid respond to the same?

The selectivity of a channel for a condition is d': the difference of its mean responses with and without the condition,
divided by the root of the mean of both variances. Each condition gives one map of d' over the grid, and Moran's I of
this map says whether channels with the same selectivity lie together. TopoLM, TopoNets and All-TNN report their order
from maps of responses in this way; Moran's I of head weights says what is read out. `single_images` is Moran's I of
the responses to each image.

The conditions come from the annotation of the held-out people. A response near a joint is the mean of the feature map
weighted by the target heatmap of that joint; all others are means over the whole map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference, moran

Array = NDArray[np.float64]

FEWEST = 10  # responses with and without a condition
FLEXED, EXTENDED = 120.0, 150.0  # degrees, between the two limbs at an elbow or a knee
UPRIGHT = 30.0  # degrees, between the trunk and the vertical
HINGES = {
    "elbow": ((joints.R_SHOULDER, joints.R_ELBOW, joints.R_WRIST), (joints.L_SHOULDER, joints.L_ELBOW, joints.L_WRIST)),
    "knee": ((joints.R_HIP, joints.R_KNEE, joints.R_ANKLE), (joints.L_HIP, joints.L_KNEE, joints.L_ANKLE)),
}


@dataclass(frozen=True)
class Responses:
    """Responses of C channels to N people. `near` and `far` are NaN for a joint not labelled or not in the picture."""

    mean: Array  # (N, C), over the whole feature map
    near: Array  # (N, 16, C), at each joint
    far: Array  # (N, 16, C), over the rest of the map


def d_prime(with_it: Array, without: Array) -> Array:
    """d' of each channel, from responses (N1, C) and (N2, C) -> (C,). NaN where neither varies."""
    spread = np.sqrt((with_it.var(axis=0) + without.var(axis=0)) / 2)
    return np.where(spread > 0, with_it.mean(axis=0) - without.mean(axis=0), np.nan) / np.where(spread > 0, spread, 1.0)


def angle(points: Array, hinge: tuple[int, int, int]) -> Array:
    """The angle in degrees at the second of three joints, from the joints of people (N, 16, 2) -> (N,). 180: straight.

    NaN where a joint is not labelled or two coincide.
    """
    first, middle, last = (points[:, joint] for joint in hinge)
    one, two = first - middle, last - middle
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (one * two).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def lean(points: Array) -> Array:
    """The angle in degrees between the trunk (from pelvis to upper neck) and the vertical, (N, 16, 2) -> (N,).

    Where the pelvis is not labelled, the middle of the hips takes its place. NaN where that is not known, either.
    """
    hips = points[:, [joints.R_HIP, joints.L_HIP]].mean(axis=1)
    low = np.where(np.isnan(points[:, joints.PELVIS]), hips, points[:, joints.PELVIS])
    across, down = (points[:, joints.UPPER_NECK] - low).T  # y grows downwards
    return np.degrees(np.arctan2(np.abs(across), -down))


def conditions(responses: Responses, points: Array, visible: NDArray[np.bool_]) -> dict[str, tuple[Array, Array]]:
    """The responses with and without each condition: name -> two arrays (n, C).

    Args:
        points: (N, 16, 2), true joints in any unit, NaN where not labelled; y grows downwards.
        visible: (N, 16), labelled and not occluded.

    Returns:
        "near <joint>" for each joint: at the joint, against the rest of the picture. "elbow flexed" and "knee flexed":
        responses at the joint where its angle is below 120 degrees, against above 150 degrees; both sides together.
        "upright": people whose trunk is within 30 degrees of the vertical, against all others. "visible": responses at
        visible joints, against those at occluded ones, after the mean of each joint is subtracted.
    """
    near, known = responses.near, ~np.isnan(responses.near[:, :, 0])
    found = {
        f"near {name}": (near[known[:, k], k], responses.far[known[:, k], k]) for k, name in enumerate(joints.NAMES)
    }
    for name, sides in HINGES.items():
        at = [(near[:, hinge[1]], np.where(known[:, hinge[1]], angle(points, hinge), np.nan)) for hinge in sides]
        found[f"{name} flexed"] = (
            np.concatenate([response[degrees < FLEXED] for response, degrees in at]),
            np.concatenate([response[degrees > EXTENDED] for response, degrees in at]),
        )
    tilt = lean(points)
    found["upright"] = responses.mean[tilt <= UPRIGHT], responses.mean[tilt > UPRIGHT]
    count = np.maximum(known.sum(axis=0), 1)[:, None]
    about = near - np.nansum(near, axis=0) / count  # (N, 16, C)
    found["visible"] = about[known & visible], about[known & ~visible]
    return found


def selectivity_measures(
    responses: Responses, points: Array, visible: NDArray[np.bool_], lattice: Lattice, permutations: int
) -> tuple[dict[str, Any], Array]:
    """Moran's I of the selectivity maps: numbers for analysis.json, and the maps (S, h, w).

    All maps share their permutations. Channels that never vary are left out of the grid. A condition with fewer than 10
    responses on one side has no map (NaN).

    Args:
        responses: of the held-out people.
        points, visible: as for `conditions`.
    """
    found = conditions(responses, points, visible)
    counts = {name: [len(one) for one in both] for name, both in found.items()}
    enough = np.array([min(both) >= FEWEST for both in counts.values()])
    nowhere = np.full(lattice.channels, np.nan)
    maps = np.stack([d_prime(*both) if known else nowhere for both, known in zip(found.values(), enough, strict=True)])
    live = (responses.mean.std(axis=0) > 0) & ~np.isnan(maps[enough]).any(axis=0)
    maps[:, ~live] = np.nan
    near = moran.weights(moran.primary(lattice))[np.ix_(live, live)]
    test = moran.moran_test(maps[:, live], near, permutations)
    rows, few = test.rows([*found]), f"fewer than {FEWEST} responses with or without it"
    numbers = {
        "permutations": permutations,
        "channels": int(live.sum()),
        "expected": test.expected,
        "conditions": {
            name: {**rows[name], "responses": counts[name], "reason": None if min(counts[name]) >= FEWEST else few}
            for name in found
        },
        "mean_I_joints": inference.mean_of_defined(test.I[: joints.K]),  # the conditions "near <joint>"
        "reason": None if enough[: joints.K].any() else few,
    }
    return numbers, maps.reshape(len(found), lattice.height, lattice.width)


# ---- the responses to each image


def single_images(activations: Array, lattice: Lattice, permutations: int) -> dict[str, Any]:
    """Moran's I of the responses to single people, as a mean over people: as they are, and standardised per channel."""
    numbers: dict[str, Any] = {"permutations": permutations}
    for name, test in image_tests(activations, lattice, permutations).items():
        reason = "no I where all channels respond alike" if test.mean_i is None else None
        numbers[name] = {**test.overall(), "reason": reason}
    return numbers


def image_tests(seen: Array, lattice: Lattice, permutations: int) -> dict[str, moran.MoranTest]:
    """The tests of responses (N, C) to each image, raw, and after each channel is standardised over images."""
    weights, finite = moran.weights(moran.primary(lattice)), np.isfinite(seen).all(axis=0)
    varies = np.flatnonzero(finite & (np.ptp(np.where(finite, seen, 0.0), axis=0) > 0))
    scores = (seen[:, varies] - seen[:, varies].mean(0)) / np.maximum(seen[:, varies].std(0), 1e-300)
    return {
        "raw": moran.moran_test(seen, weights, permutations),
        "standardised": moran.moran_test(scores, weights[np.ix_(varies, varies)], permutations),
    }
