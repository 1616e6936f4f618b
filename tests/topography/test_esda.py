"""Moran's I and its permutation p against esda, the package of the geographers (PySAL)."""

from __future__ import annotations

import numpy as np
import pytest
from esda.moran import Moran
from libpysal.weights import W, lat2W

from pose_topo.study.lattice import Lattice
from pose_topo.topography import inference, moran

GRIDS = [(3, 3), (5, 7), (16, 16), (1, 12)]


def maps(lattice: Lattice) -> np.ndarray:
    """Noise, a ramp along the rows, a checkerboard, and heavy-tailed noise, (4, C)."""
    random = np.random.default_rng(lattice.channels)
    row, column = np.divmod(np.arange(lattice.channels), lattice.width)
    noise = random.normal(size=lattice.channels)
    return np.stack([noise, row + 0.3 * column + 0.1 * noise, (row + column) % 2.0, random.standard_cauchy(len(row))])


def weights_of(matrix: np.ndarray) -> W:
    """Their form of a matrix of neighbour weights."""
    found = [np.flatnonzero(row) for row in matrix]
    return W(
        {n: near.tolist() for n, near in enumerate(found)},
        {n: matrix[n, near].tolist() for n, near in enumerate(found)},
        silence_warnings=True,
    )


def theirs(values: np.ndarray, weights: W, transformation: str) -> Moran:
    return Moran(values, weights, transformation=transformation, permutations=0)


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("row_standardised", [False, True])
def test_i_and_its_expectation_on_a_bounded_grid(height, width, neighbours, row_standardised):
    lattice = Lattice(height, width, neighbours)
    weights = lat2W(height, width, rook=neighbours == 4)
    given = maps(lattice)
    expected = [theirs(each, weights, "R" if row_standardised else "B") for each in given]
    ours = moran.morans_i(given, moran.weights(lattice, row_standardised))
    assert np.abs(ours - [each.I for each in expected]).max() < 1e-14
    assert moran.expected_i(lattice.channels) == pytest.approx(expected[0].EI, abs=1e-15)


@pytest.mark.parametrize("symmetric", [True, False])
def test_i_with_any_weights(symmetric):
    lattice = Lattice(4, 6)
    matrix = np.random.default_rng(0).uniform(0.1, 2, (24, 24)) / (1 + lattice.distances() ** 2)
    matrix = (matrix + matrix.T) / 2 if symmetric else matrix
    np.fill_diagonal(matrix, 0)
    given = maps(lattice)
    expected = [theirs(each, weights_of(matrix), "O").I for each in given]
    assert np.abs(moran.morans_i(given, matrix) - expected).max() < 1e-14


@pytest.mark.parametrize("neighbours", [4, 8])
def test_the_permuted_i_and_its_p_under_the_same_permutations(neighbours, monkeypatch):
    """esda doubles its chances by choosing the tail after it has seen the data; ours is always the upper tail."""
    lattice = Lattice(5, 7, neighbours)
    given, weights = maps(lattice), lat2W(5, 7, rook=neighbours == 4)
    orders = np.concatenate(list(inference.permutation_blocks(35, 199, seed=3)))
    test, null = (call(given, lattice, 199, 3) for call in (moran.moran_test, moran.permutation_null))
    tails = []
    for k, values in enumerate(given):
        left = iter(orders)
        monkeypatch.setattr(np.random, "permutation", lambda z, left=left: z[next(left)])
        expected = Moran(values, weights, transformation="B", permutations=199)
        assert np.abs(null[:, k] - expected.sim).max() < 1e-14
        assert test.z[k] == pytest.approx(expected.z_sim, rel=1e-10)
        upper = np.count_nonzero(expected.sim >= expected.I - 1e-10)
        tails.append(upper <= 199 - upper)
        assert test.p[k] == pytest.approx(expected.p_sim if tails[-1] else (1 + upper) / 200, abs=1e-15)
    assert tails[1] and not tails[2]  # the ramp lies in the upper tail, the checkerboard in the lower one
