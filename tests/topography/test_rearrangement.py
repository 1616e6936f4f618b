"""Rearrangement: exact swap gains, the optimum of small grids, and the I that noise reaches on 16 x 16."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from pose_topo.study.lattice import Lattice
from pose_topo.topography import moran, parcellation, rearrangement
from pose_topo.topography.moran import unit_columns


def noise(channels: int, joints: int = 16, seed: int = 0) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=(joints, channels)))


@pytest.mark.parametrize("lattice", [Lattice(3, 4), Lattice(3, 4, 4), Lattice(2, 5, 8, True)])
def test_swap_gains_equal_the_change_of_the_objective(lattice: Lattice) -> None:
    count, weights = lattice.channels, lattice.adjacency()
    unit, _ = unit_columns(noise(count).T)
    gram = unit @ unit.T
    padded = np.zeros((count + 1, count + 1))
    padded[:count, :count] = gram
    np.fill_diagonal(padded, 0)
    order = np.append(np.random.default_rng(1).permutation(count), count)
    places = np.array(np.triu_indices(count, 1))
    around = rearrangement._neighbours(weights)
    gains = rearrangement.swap_gains(padded, order, around, weights > 0, places)
    for gain, (first, second) in zip(gains, places.T, strict=True):
        after = order[:count].copy()
        after[[first, second]] = after[[second, first]]
        values = [(weights * gram[np.ix_(o, o)]).sum() for o in (order[:count], after)]
        assert gain == pytest.approx(values[1] - values[0], abs=1e-12)


def test_mean_i_before_and_after_is_moran_of_the_maps() -> None:
    maps, weights = noise(30), moran.weights(Lattice(5, 6))
    maps[3] = 1.0  # a map without I is no part of the mean
    found = rearrangement.rearrange(maps, weights)
    assert found is not None and sorted(found.order) == list(range(30))
    assert found.before == pytest.approx(np.nanmean(moran.morans_i(maps, weights)), abs=1e-12)
    assert found.best == pytest.approx(np.nanmean(moran.morans_i(maps[:, found.order], weights)), abs=1e-12)


def test_the_optimum_of_a_small_grid_is_found() -> None:
    maps, weights = noise(8, 3, 2), moran.weights(Lattice(2, 4, 4))
    every = np.array(list(permutations(range(8))))
    best = moran.morans_i(maps[:, every].transpose(1, 0, 2).reshape(-1, 8), weights).reshape(-1, 3).mean(axis=1).max()
    found = rearrangement.rearrange(maps, weights, steps=2000)
    assert found is not None and found.best == pytest.approx(best, abs=1e-12)


def test_annealing_noise_on_16_by_16_reaches_its_known_value() -> None:
    maps, weights = noise(256), moran.weights(Lattice(16, 16))
    found = rearrangement.rearrange(maps, weights)
    assert found is not None and abs(found.before) < 0.03 and found.best >= 0.428
    again = rearrangement.rearrange(maps, weights, steps=500)
    assert again is not None
    once_more = rearrangement.rearrange(maps, weights, steps=500)
    assert once_more is not None and np.array_equal(again.order, once_more.order)


def test_sorting_noise_by_its_joints_gives_regions_but_little_i() -> None:
    """Channels laid along the rows by argmax, back and forth: contiguity .606 and I .106 on average."""
    grid, snake = Lattice(16, 16), np.arange(256).reshape(16, 16)
    snake[1::2] = snake[1::2, ::-1]
    contiguities, means, order = [], [], np.empty(256, int)
    for seed in range(10):
        maps = noise(256, seed=seed)
        labels = parcellation.labels(maps)
        order[snake.ravel()] = np.argsort(labels, kind="stable")
        contiguities.append(parcellation.contiguity(labels[order], grid))
        means.append(moran.morans_i(maps[:, order], moran.weights(grid)).mean())
    # over draws they scatter by .028 and .018
    assert np.mean(contiguities) == pytest.approx(0.606, abs=0.03)
    assert np.mean(means) == pytest.approx(0.106, abs=0.02)


def test_a_smooth_map_is_never_made_worse() -> None:
    rows = np.repeat(np.arange(6.0), 6)[None]
    weights = moran.weights(Lattice(6, 6))
    for steps in (0, 3):
        found = rearrangement.rearrange(rows, weights, steps=steps)
        assert found is not None and found.best >= found.before


def test_no_arrangement_without_i_is_none() -> None:
    assert rearrangement.rearrange(np.ones((3, 9)), moran.weights(Lattice(3, 3))) is None
    assert rearrangement.rearrange(np.ones((3, 1)), moran.weights(Lattice(1, 1))) is None
    two = rearrangement.rearrange(np.array([[1.0, 2.0]]), moran.weights(Lattice(1, 2)))
    assert two is not None and two.best == pytest.approx(-1.0)


def test_unsuitable_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="zero diagonal"):
        rearrangement.rearrange(noise(9), moran.weights(Lattice(3, 3), row_standardised=True))
    with pytest.raises(ValueError, match="9 channels"):
        rearrangement.rearrange(noise(9), np.ones((4, 4)))
