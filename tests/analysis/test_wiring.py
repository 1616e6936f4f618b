"""Wiring length by hand, against loops, and its null."""

from __future__ import annotations

import numpy as np
import pytest

from pose_topo.study.lattice import Lattice
from pose_topo.topography import parcellation as wiring


def test_by_hand() -> None:
    # a line of three with weights 1, 1, 2: at place 0 (0 + 1 + 4) / 4, at 1 (1 + 0 + 2) / 4, at 2 (2 + 1 + 0) / 4
    lengths = wiring.lengths(np.array([[1.0, -1.0, 2.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]), Lattice(1, 3))
    np.testing.assert_allclose(lengths, [0.75, 0.0, np.nan])


def test_a_torus_is_shorter() -> None:
    ends = np.array([[1.0, 0.0, 0.0, 1.0]])
    assert wiring.lengths(ends, Lattice(1, 4))[0] == pytest.approx(1.5)
    assert wiring.lengths(ends, Lattice(1, 4, 8, True))[0] == pytest.approx(0.5)


def test_against_loops_and_scale() -> None:
    lattice = Lattice(3, 5)
    strength = np.random.default_rng(0).random((4, 15))
    apart = lattice.distances()
    loops = [min(sum(row[c] * apart[c, j] for c in range(15)) for j in range(15)) / sum(row) for row in strength]
    np.testing.assert_allclose(wiring.lengths(strength, lattice), loops, atol=1e-12)
    np.testing.assert_allclose(wiring.lengths(strength * 1e-300, lattice), loops, atol=1e-12)


def test_the_null_permutes_channels_for_all_joints_together() -> None:
    lattice = Lattice(4, 4)
    strength = np.random.default_rng(1).random((3, 16))
    strength[2] = np.nan
    null = wiring.permutation_null(strength, lattice, 70, 4)
    assert null.shape == (70, 3) and np.isnan(null[:, 2]).all()
    rows = np.random.default_rng(4).permuted(np.tile(np.arange(16), (70, 1)), axis=1)
    again = [wiring.lengths(strength[:, order], lattice)[:2] for order in rows]
    np.testing.assert_allclose(null[:, :2], again, atol=1e-12)


def test_together_is_shorter_than_apart() -> None:
    lattice, together, apart = Lattice(8, 8), np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    together[0, 2:4, 2:4], apart[0, ::7, ::7] = 1.0, 1.0
    assert wiring.lengths(together.reshape(1, 64), lattice)[0] == pytest.approx((0 + 1 + 1 + 2**0.5) / 4)
    null = wiring.permutation_null(together.reshape(1, 64), lattice, 200)
    assert wiring.lengths(together.reshape(1, 64), lattice)[0] < null.min()
    assert wiring.lengths(apart.reshape(1, 64), lattice)[0] > null.mean()


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="9"):
        wiring.lengths(np.ones((2, 4)), Lattice(3, 3))
