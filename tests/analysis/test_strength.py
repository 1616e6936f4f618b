"""The three measures of a channel's strength by hand, and what tells gain from tuning."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pose_topo.study.lattice import Lattice
from pose_topo.topography import measures as moran_tables
from pose_topo.topography import moran
from pose_topo.topography import weight_statistics as strength


def test_by_hand() -> None:
    head = np.array([[3.0, 0.0, -6.0], [-4.0, 0.0, 8.0]])
    activations = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0]])  # sd 1, 1, 0
    found = strength.measures(head, activations)
    np.testing.assert_array_equal(found["strength"].maps, [[3, 0, 6], [4, 0, 8]])
    np.testing.assert_allclose(found["normalised"].maps, [[0.6, 0.6], [0.8, 0.8]])
    np.testing.assert_array_equal(found["normalised"].live, [0, 2])  # no joint reads channel 1
    np.testing.assert_array_equal(found["activity"].maps, [[3, 0, 0], [4, 0, 0]])


def test_tiny_weights_keep_their_direction() -> None:
    found = strength.measures(np.array([[3e-200], [4e-200]]), np.ones((2, 1)))
    np.testing.assert_allclose(found["normalised"].maps, [[0.6], [0.8]])


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        strength.measures(np.ones((16, 3)), np.ones((2, 4)))


def test_a_smooth_gain_over_random_tuning_is_found_by_size_and_not_by_tuning() -> None:
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(16, 16)), 2.0, mode="wrap").ravel()
    head = rng.normal(size=(16, 256)) * np.exp(0.6 * field / field.std())
    tables = moran_tables.all_tables(strength.measures(head, rng.normal(size=(40, 256))), Lattice(16, 16), 999)
    assert tables["moran"]["p_mean"] == 1e-3 and tables["moran"]["mean_I"] > 0.15
    normalised = tables["moran_measures"]["normalised"]
    assert normalised["p_mean"] > 0.05 and abs(normalised["mean_I"]) < 0.03


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_planted_fields_are_found_by_every_measure_under_every_weights(length: float) -> None:
    rng = np.random.default_rng(3)
    head = ndimage.gaussian_filter(rng.normal(size=(16, 16, 16)), (0, length, length)).reshape(16, 256)
    tables = moran_tables.all_tables(
        strength.measures(head, rng.normal(size=(60, 256))), Lattice(16, 16, 8, True), 1999
    )
    assert set(tables["moran_sensitivity"]) == {"queen_row", "rook", "rook_row", "torus"}
    every = [tables["moran"], *tables["moran_measures"].values()]
    every += [table for measures in tables["moran_sensitivity"].values() for table in measures.values()]
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
    found = strength.measures(head, np.random.default_rng(0).normal(size=(9, 5)))["normalised"]
    table = moran_tables.table(found, "line", moran.weights(Lattice(1, 5)), 99)
    assert table["channels"] == 4 and table["expected"] == pytest.approx(-1 / 3)
    values = found.maps[0] - found.maps[0].mean()
    by_hand = 4 / 4 * 2 * (values[0] * values[1] + values[2] * values[3]) / (values**2).sum()
    assert table["per_joint"]["right ankle"]["I"] == pytest.approx(by_hand)
