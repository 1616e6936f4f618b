"""All measures of a network: Moran tables, reasons beside null values, and no NaN."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from reasons import without_reason
from scipy import ndimage

from pose_topo.stages.analyze import plain
from pose_topo.study.lattice import Lattice
from pose_topo.topography import measures, moran
from pose_topo.topography.weight_statistics import channel_maps

RNG = np.random.default_rng(0)
HEAD, ACTIVATIONS = RNG.normal(size=(16, 12)), RNG.normal(size=(30, 12))


def numbers_of(head: np.ndarray, activations: np.ndarray, lattice: Lattice) -> dict[str, Any]:
    numbers, maps = measures.all_measures(head, activations, lattice, 49)
    numbers["rearranged"], order = measures.rearranged(head, lattice)
    numbers["permuted_grid"] = measures.permuted_grid(head, activations, lattice, 49)
    assert sorted(order.ravel()) == list(range(lattice.channels))
    assert all(array.dtype.kind in "fi" for array in maps.values())
    return plain(numbers)


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


def test_reasons_say_what_is_missing() -> None:
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
    true, permuted = (f(head, activations, lattice, 199) for f in (measures.brief, measures.permuted_grid))
    for measure_key, value in permuted["mean_I"].items():
        assert true["mean_I"][measure_key] > 0.7 and abs(value) < 0.05
    assert permuted["contiguity"] < 0.15 < 0.6 < true["contiguity"]
    assert permuted["neighbours"] == pytest.approx(permuted["all_pairs"], abs=0.05)
    assert true["neighbours"] > true["all_pairs"] + 0.3


def test_control_reference_is_the_share_of_the_best_i() -> None:
    control = {"arm": "control", "seed": 3, "best_I": 0.5}
    assert measures.control_reference(0.25, control) == {**control, "I_over_best": 0.5, "reason": None}
    for mean, best in ((None, 0.5), (0.2, None), (0.2, 0.0)):
        result = measures.control_reference(mean, {**control, "best_I": best})
        assert result["I_over_best"] is None and result["reason"]


def test_a_smooth_gain_over_random_tuning_is_found_by_size_and_not_by_tuning() -> None:
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(16, 16)), 2.0, mode="wrap").ravel()
    head = rng.normal(size=(16, 256)) * np.exp(0.6 * field / field.std())
    tables = measures.moran_tables(channel_maps(head, rng.normal(size=(40, 256))), Lattice(16, 16), 999)
    assert tables["moran"]["p_mean"] == 1e-3 and tables["moran"]["mean_I"] > 0.15
    normalised = tables["moran_measures"]["normalised"]
    assert normalised["p_mean"] > 0.05 and abs(normalised["mean_I"]) < 0.03


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_planted_fields_are_found_by_every_measure_under_every_weights(length: float) -> None:
    rng = np.random.default_rng(3)
    head = ndimage.gaussian_filter(rng.normal(size=(16, 16, 16)), (0, length, length)).reshape(16, 256)
    tables = measures.moran_tables(channel_maps(head, rng.normal(size=(60, 256))), Lattice(16, 16, 8, True), 1999)
    assert set(tables["moran_sensitivity"]) == {"queen_row", "rook", "rook_row", "torus"}
    every = [tables["moran"], *tables["moran_measures"].values()]
    every += [table for by_measure in tables["moran_sensitivity"].values() for table in by_measure.values()]
    assert len(every) == 15 and all(table["p_mean"] < 0.001 for table in every)
    assert all(table["reason"] is None for table in every)


def test_weights_have_names_and_the_primary_ones_are_queen_whatever_the_loss_used() -> None:
    names = {key: name for key, (name, _) in moran.weight_sets(Lattice(3, 4, 4)).items()}
    assert names == {
        "queen": "queen, bounded, binary",
        "queen_row": "queen, bounded, row-standardised",
        "rook": "rook, bounded, binary",
        "rook_row": "rook, bounded, row-standardised",
    }
    assert moran.weight_sets(Lattice(4, 4, 4, True))["torus"][0] == "rook, torus, binary"


def test_a_channel_that_no_joint_reads_is_taken_out_of_the_grid() -> None:
    # a line of five, the middle unread: two pairs are left, (0,1) and (3,4)
    head = np.array([[1.0, 2.0, 0.0, 4.0, 3.0]] * 16) * np.linspace(1, 2, 16)[:, None]
    head[8:] = head[8:, ::-1]
    found = channel_maps(head, np.random.default_rng(0).normal(size=(9, 5)))["normalised"]
    table = measures.moran_table(found, "line", moran.weights(Lattice(1, 5)), 99)
    assert table["channels"] == 4 and table["expected"] == pytest.approx(-1 / 3)
    values = found.maps[0] - found.maps[0].mean()
    by_hand = 4 / 4 * 2 * (values[0] * values[1] + values[2] * values[3]) / (values**2).sum()
    assert table["per_joint"]["right ankle"]["I"] == pytest.approx(by_hand)
