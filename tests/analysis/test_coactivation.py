"""How far apart co-active channels lie: chance values of whole grids, thresholds by hand and by loops."""

from __future__ import annotations

import numpy as np
import pytest

from pose_topo.study.lattice import Lattice
from pose_topo.topography import correlation as coactivation


def test_chance_of_a_16_by_16_grid() -> None:
    assert coactivation.chance(Lattice(16, 16)) == pytest.approx(8.3587265160, abs=1e-9)
    assert coactivation.chance(Lattice(16, 16, torus=True)) == pytest.approx(6.1631055834, abs=1e-9)


def test_chance_by_hand() -> None:
    # 2 x 2: four sides of 1 and two diagonals of sqrt 2; 1 x 3: 1, 1, 2
    assert coactivation.chance(Lattice(2, 2)) == pytest.approx((4 + 2 * np.sqrt(2)) / 6)
    assert coactivation.chance(Lattice(1, 3)) == pytest.approx(4 / 3)
    assert coactivation.chance(Lattice(1, 1)) is None


def test_a_line_of_three_by_hand() -> None:
    # pairs (0,1) .95 at distance 1, (1,2) .35 at 1, (0,2) .5 at 2
    matrix = np.array([[1.0, 0.95, 0.5], [0.95, 1.0, 0.35], [0.5, 0.35, 1.0]])
    result = coactivation.distances(matrix, Lattice(1, 3))
    assert result.alphas == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert result.pairs == [3, 3, 3, 2, 2, 1, 1, 1, 1]
    assert result.distance == pytest.approx([4 / 3] * 3 + [1.5] * 2 + [1.0] * 4)
    assert result.chance == pytest.approx(4 / 3)


def test_no_pair_gives_none_with_its_count() -> None:
    result = coactivation.distances(np.eye(9), Lattice(3, 3))
    assert result.distance == [None] * 9 and result.pairs == [0] * 9
    assert coactivation.distances(np.full((9, 9), np.nan), Lattice(3, 3)).pairs == [0] * 9
    assert coactivation.distances(np.ones((1, 1)), Lattice(1, 1)).chance is None


def test_everything_correlated_is_chance() -> None:
    lattice = Lattice(4, 5)
    result = coactivation.distances(np.ones((20, 20)), lattice, (0.5, 1.0))
    assert result.distance == pytest.approx([coactivation.chance(lattice)] * 2) and result.pairs == [190, 190]


@pytest.mark.parametrize("torus", [False, True])
def test_against_loops_with_a_dead_channel(torus: bool) -> None:
    lattice = Lattice(3, 5, 8, torus)
    matrix = np.array(np.corrcoef(np.random.default_rng(0).normal(size=(15, 6))))
    matrix[4] = matrix[:, 4] = np.nan
    result, apart = coactivation.distances(matrix, lattice), lattice.distances()
    for alpha, distance, count in zip(result.alphas, result.distance, result.pairs, strict=True):
        found = [apart[i, j] for i in range(15) for j in range(i) if matrix[i, j] >= alpha]
        assert count == len(found)
        assert distance == (pytest.approx(np.mean(found)) if found else None)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(9, 9\)"):
        coactivation.distances(np.eye(4), Lattice(3, 3))
