"""The whole of a network's numbers: where one is null a reason stands beside it, and nothing is ever NaN."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from pose_topo.stages.analyze import plain
from pose_topo.study.lattice import Lattice
from pose_topo.topography import measures as controls
from pose_topo.topography import weight_statistics as health
from pose_topo.topography.measures import measure

RNG = np.random.default_rng(0)
HEAD, ACTIVATIONS = RNG.normal(size=(16, 12)), RNG.normal(size=(30, 12))


def numbers_of(head: np.ndarray, activations: np.ndarray, lattice: Lattice) -> dict[str, Any]:
    numbers, maps = measure(head, activations, lattice, 49)
    numbers["rearranged"], order = controls.rearranged(head, lattice)
    numbers["permuted_grid"] = controls.permuted_grid(head, activations, lattice, 49)
    assert sorted(order.ravel()) == list(range(lattice.channels))
    assert all(array.dtype.kind in "fi" for array in maps.values())
    return plain(numbers)


def without_reason(node: Any, path: str = "", reason: bool = False) -> list[str]:
    """Places of null that no reason, at their place or above it, explains."""
    if isinstance(node, dict):
        reason = bool(node.get("reason")) or reason
        return [p for k, v in node.items() if "reason" not in k for p in without_reason(v, f"{path}.{k}", reason)]
    if isinstance(node, list):
        return [p for n, v in enumerate(node) for p in without_reason(v, f"{path}[{n}]", reason)]
    return [path] if node is None and not reason else []


def spoilt(values: np.ndarray, by: float) -> np.ndarray:
    values = values.copy()
    values[2, 3] = by
    return values


def with_dead(head: np.ndarray, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    head, activations = head.copy(), activations.copy()
    head[:, 5], activations[:, 5] = 0.0, 0.0
    return head, activations


CASES = {
    "ordinary": (HEAD, ACTIVATIONS, Lattice(3, 4)),
    "zero weights": (np.zeros((16, 12)), ACTIVATIONS, Lattice(3, 4)),
    "constant weights": (np.full((16, 12), 0.1), ACTIVATIONS, Lattice(3, 4)),
    "one joint without weights": (np.vstack([np.zeros((1, 12)), HEAD[1:]]), ACTIVATIONS, Lattice(3, 4)),
    "a dead channel": (*with_dead(HEAD, ACTIVATIONS), Lattice(3, 4)),
    "everything dead": (np.zeros((16, 12)), np.zeros((30, 12)), Lattice(3, 4)),
    "a weight that is not finite": (spoilt(HEAD, np.nan), ACTIVATIONS, Lattice(3, 4)),
    "an activation that is not finite": (HEAD, spoilt(ACTIVATIONS, np.inf), Lattice(3, 4)),
    "one picture": (HEAD, ACTIVATIONS[:1], Lattice(3, 4)),
    "a grid of one": (HEAD[:, :1], ACTIVATIONS[:, :1], Lattice(1, 1)),
    "a grid of two": (HEAD[:, :2], ACTIVATIONS[:, :2], Lattice(1, 2)),
    "a torus": (HEAD, ACTIVATIONS, Lattice(3, 4, 4, True)),
    "a torus of four": (HEAD[:, :4], ACTIVATIONS[:, :4], Lattice(2, 2, 8, True)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_null_has_a_reason_and_nothing_is_nan(case: str) -> None:
    numbers = numbers_of(*CASES[case])
    json.dumps(numbers, allow_nan=False)
    assert without_reason(numbers) == []
    if case == "ordinary":
        for key in ("moran", "neighbour_correlation", "correlation_distance", "wiring", "rearranged", "permuted_grid"):
            assert numbers[key]["reason"] is None


def test_lines_say_what_is_missing() -> None:
    one = numbers_of(*CASES["one joint without weights"])
    assert one["moran"]["per_joint"]["right ankle"]["I"] is None and "right ankle" in one["moran"]["reason"]
    assert one["moran"]["mean_I"] is not None
    assert numbers_of(*CASES["a grid of one"])["moran"]["reason"] == "the grid has no neighbouring channels"


def test_the_permuted_grid_of_a_perfect_map_is_at_chance() -> None:
    rows, columns = np.divmod(np.arange(256), 16)
    centres = np.random.default_rng(0).uniform(0, 16, (16, 2))
    head = np.exp(-((rows - centres[:, :1]) ** 2 + (columns - centres[:, 1:]) ** 2) / 18)
    activations = np.random.default_rng(1).random((40, 16)) @ head
    lattice = Lattice(16, 16)
    true, permuted = (f(head, activations, lattice, 199) for f in (controls.brief, controls.permuted_grid))
    for measure_key, value in permuted["mean_I"].items():
        assert true["mean_I"][measure_key] > 0.7 and abs(value) < 0.05
    assert permuted["contiguity"] < 0.15 < 0.6 < true["contiguity"]
    assert permuted["neighbours"] == pytest.approx(permuted["all_pairs"], abs=0.05)
    assert true["neighbours"] > true["all_pairs"] + 0.3


def test_share_of_the_best() -> None:
    control = {"arm": "control", "seed": 3, "best_I": 0.5}
    assert controls.against(0.25, control) == {**control, "I_over_best": 0.5, "reason": None}
    for mean, best in ((None, 0.5), (0.2, None), (0.2, 0.0)):
        result = controls.against(mean, {**control, "best_I": best})
        assert result["I_over_best"] is None and result["reason"]


def test_effective_dimensionality_is_that_of_health() -> None:
    found = numbers_of(*CASES["ordinary"])["activations"]
    assert math.isclose(found["effective_dimensionality"], health.effective_dimensionality(ACTIVATIONS) or 0.0)
    assert numbers_of(*CASES["a dead channel"])["activations"]["dead_channels"] == 1
