"""Did a loss shrink, smooth or collapse the weights? Exact values, loops and degenerate weights."""

from __future__ import annotations

import numpy as np
import pytest

from pose_topo.study.lattice import Lattice
from pose_topo.topography import moran
from pose_topo.topography import weight_statistics as ws

GRID = Lattice(16, 16)


def orthogonal(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(columns, rows)))
    return gain * q.T


def test_orthogonal_rows_of_norm_sqrt_two() -> None:
    weights = orthogonal(256, 256, np.sqrt(2))
    assert ws.weight_similarity(weights, GRID) == pytest.approx(4.0, abs=1e-12)
    assert ws.mean_row_norm(weights) == pytest.approx(np.sqrt(2), abs=1e-12)
    assert ws.cosines(weights, GRID) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert ws.participation_ratio(weights) == pytest.approx(256.0, abs=1e-9)


def test_similarity_depends_on_scale_and_cosine_does_not() -> None:
    weights = np.random.default_rng(0).normal(size=(256, 10))
    first, second = (
        ws.weight_similarity(weights, GRID),
        ws.weight_similarity(weights / 10, GRID),
    )
    assert first is not None and second == pytest.approx(first / 100)
    assert ws.cosines(weights / 10, GRID) == pytest.approx(ws.cosines(weights, GRID))


def test_against_loops() -> None:
    lattice, weights = Lattice(3, 4), np.random.default_rng(1).normal(0.5, 1.0, (12, 5))
    unit = [row / np.sqrt(sum(row**2)) for row in weights]
    pairs = lattice.edges().tolist()
    squared = [sum((weights[i] - weights[j]) ** 2) for i, j in pairs]
    assert ws.weight_similarity(weights, lattice) == pytest.approx(np.mean(squared), abs=1e-13)
    near = [float(unit[i] @ unit[j]) for i, j in pairs]
    every = [float(unit[i] @ unit[j]) for i in range(12) for j in range(i)]
    assert ws.cosines(weights, lattice) == pytest.approx((np.mean(near), np.mean(every)), abs=1e-13)


def test_convolution_kernels_count_as_rows() -> None:
    kernels = np.random.default_rng(1).normal(size=(12, 5, 3, 3))
    flat = kernels.reshape(12, 45)
    assert ws.mean_row_norm(kernels) == ws.mean_row_norm(flat)
    assert ws.weight_similarity(kernels, Lattice(3, 4)) == ws.weight_similarity(flat, Lattice(3, 4))


def test_participation_ratio_by_hand() -> None:
    # squared singular values 4, 1, 1: (6 ** 2) / (16 + 1 + 1) = 2
    assert ws.participation_ratio(np.diag([2.0, -1.0, 1.0])) == pytest.approx(2.0, abs=1e-14)
    assert ws.participation_ratio(np.outer([1.0, 2.0, 3.0], [4.0, 5.0])) == pytest.approx(1.0)
    weights = np.random.default_rng(0).normal(size=(30, 70))
    power = np.linalg.svd(weights, compute_uv=False) ** 2
    expected = power.sum() ** 2 / (power**2).sum()
    assert ws.participation_ratio(weights) == pytest.approx(expected)
    assert ws.participation_ratio(weights.T * 1e200) == pytest.approx(expected)


def test_effective_dimensionality_is_centred() -> None:
    activations = np.random.default_rng(0).normal(size=(40, 6)) * [5, 1, 1, 1, 1, 1] + 100.0
    values = np.linalg.eigvalsh(np.cov(activations.T))
    expected = values.sum() ** 2 / (values**2).sum()
    assert ws.effective_dimensionality(activations) == pytest.approx(expected)
    # more channels than images takes the other Gram matrix
    wide = np.random.default_rng(1).normal(size=(5, 30))
    values = np.linalg.eigvalsh(np.cov(wide.T))
    assert ws.effective_dimensionality(wide) == pytest.approx(values.sum() ** 2 / (values**2).sum())


def test_zero_rows_have_no_direction() -> None:
    lattice = Lattice(2, 2)
    weights = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    root = np.sqrt(0.5)
    # without row 1: cosines (0,2) root, (0,3) -1, (2,3) -root
    assert ws.cosines(weights, lattice) == pytest.approx(((root - 1 - root) / 3, -1 / 3))
    assert ws.mean_row_norm(weights) == pytest.approx((1 + 0 + np.sqrt(2) + 1) / 4)


def test_cosine_excess_by_hand() -> None:
    # a row of three: cosines 01: 1, 12: 0, 02: 0 -> neighbours 1/2, all pairs 1/3
    assert ws.excess(*ws.cosines(np.array([[1.0, 0], [2, 0], [0, 1]]), Lattice(1, 3))) == pytest.approx(1 / 6)
    # all alike is not a map
    assert ws.excess(*ws.cosines(np.full((12, 5), 3.0), Lattice(3, 4))) == pytest.approx(0, abs=1e-12)
    assert ws.excess(*ws.cosines(np.zeros((12, 5)), Lattice(3, 4))) is None


def test_numbers_that_do_not_exist_are_none() -> None:
    zero = np.zeros((9, 4))
    assert ws.cosines(zero, Lattice(3, 3)) == (None, None)
    assert ws.participation_ratio(zero) is None
    assert ws.mean_row_norm(zero) == 0.0 and ws.weight_similarity(zero, Lattice(3, 3)) == 0.0
    one = np.ones((1, 4))
    assert ws.cosines(one, Lattice(1, 1)) == (None, None)
    assert ws.weight_similarity(one, Lattice(1, 1)) is None
    assert ws.effective_dimensionality(np.full((8, 3), 0.1)) is None
    assert ws.effective_dimensionality(np.ones((1, 3))) is None


def test_broken_weights_give_none() -> None:
    broken = np.array([[1.0, np.nan], [np.inf, 2.0], [1.0, 1.0], [1.0, 2.0]])
    lattice = Lattice(2, 2)
    assert ws.summary(broken, lattice) == dict.fromkeys(ws.summary(np.ones((4, 2)), lattice))


def test_summary_has_the_keys_of_the_result_file() -> None:
    weights = orthogonal(256, 256, np.sqrt(2))
    assert ws.summary(weights, GRID) == {
        "mean_row_norm": ws.mean_row_norm(weights),
        "neighbour_cosine": ws.cosines(weights, GRID)[0],
        "all_pairs_cosine": ws.cosines(weights, GRID)[1],
        "cosine_excess": ws.excess(*ws.cosines(weights, GRID)),
        "participation_ratio": ws.participation_ratio(weights),
        "weight_similarity": ws.weight_similarity(weights, GRID),
    }


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="9"):
        ws.weight_similarity(np.ones((4, 2)), Lattice(3, 3))
    with pytest.raises(ValueError, match="activations"):
        ws.effective_dimensionality(np.ones(3))


def test_channel_maps_by_hand() -> None:
    head = np.array([[3.0, 0.0, -6.0], [-4.0, 0.0, 8.0]])
    activations = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0]])  # sd 1, 1, 0
    found = ws.channel_maps(head, activations)
    np.testing.assert_array_equal(found["strength"].maps, [[3, 0, 6], [4, 0, 8]])
    np.testing.assert_allclose(found["normalised"].maps, [[0.6, 0.6], [0.8, 0.8]])
    np.testing.assert_array_equal(found["normalised"].live, [0, 2])  # no joint reads channel 1
    np.testing.assert_array_equal(found["activity"].maps, [[3, 0, 0], [4, 0, 0]])


def test_the_channel_map_of_tiny_weights_keeps_its_direction() -> None:
    found = ws.channel_maps(np.array([[3e-200], [4e-200]]), np.ones((2, 1)))
    np.testing.assert_allclose(found["normalised"].maps, [[0.6], [0.8]])


def test_channel_maps_of_different_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        ws.channel_maps(np.ones((16, 3)), np.ones((2, 4)))


# ---- Is the order more than one smooth direction?


def smooth_and_noise(strength: float) -> np.ndarray:
    """One smooth direction over the grid, and noise in the other directions."""
    rng, across = np.random.default_rng(3), np.linspace(-1, 1, 256)
    return np.outer(across, rng.normal(size=30)) + strength * rng.normal(size=(256, 30))


def test_the_order_of_all_directions_by_loops() -> None:
    lattice, weights = Lattice(3, 4), np.random.default_rng(1).normal(0.5, 1, (12, 5))
    near, table = lattice.adjacency(), ws.residual_order(ws.gram(weights), lattice.adjacency(), 49)
    rows = weights - weights.mean(axis=0)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    for row in table[:3]:
        rest = (left[:, row["removed"] :] * values[row["removed"] :]) @ right[row["removed"] :]
        top = sum(near[i, j] * rest[i] @ rest[j] for i in range(12) for j in range(12))
        assert row["I"] == pytest.approx(12 / near.sum() * top / (rest**2).sum())
        assert row["share"] == pytest.approx((rest**2).sum() / (rows**2).sum())
        # the same as the mean I of the single directions, weighted by their variance
        single = moran.morans_i(left[:, row["removed"] :].T, near)
        share = values[row["removed"] :] ** 2
        assert row["I"] == pytest.approx((share * single).sum() / share.sum())
    assert [row["removed"] for row in table] == [0, 1, 2, 4]


def test_only_one_smooth_direction_leaves_no_order() -> None:
    whole, first, *_ = ws.residual_order(ws.gram(smooth_and_noise(0.3)), GRID.adjacency(), 199)
    assert whole["I"] > 0.5 and whole["p"] == 0.005
    assert abs(first["I"]) < 0.05 and first["p"] > 0.01
    exact = ws.residual_order(ws.gram(smooth_and_noise(0.0)), GRID.adjacency(), 19)
    assert exact[0]["I"] > 0.9 and exact[1]["I"] is None and exact[1]["share"] < 1e-9


def test_a_control_is_smoothed_or_collapsed_to_a_ratio() -> None:
    weights = np.random.default_rng(0).normal(size=(256, 300))
    like = smooth_and_noise(0.2)
    inner, other = ws.gram(weights), ws.gram(like)
    assert ws.gram_ratio(inner) == pytest.approx(ws.participation_ratio(weights))
    wanted = ws.gram_ratio(other)
    assert wanted is not None
    found = ws.smoothed(inner, GRID, wanted)
    assert found is not None and ws.gram_ratio(found[0]) == pytest.approx(wanted, rel=1e-3)
    # by hand: the rows themselves are averaged with the same Gaussian
    kernel = np.exp(-(GRID.distances() ** 2) / (2 * found[1] ** 2))
    rows = kernel / kernel.sum(axis=1, keepdims=True) @ weights
    assert np.allclose(ws.gram(rows), found[0])
    flat = ws.collapsed(inner, other)
    assert ws.gram_ratio(flat) == pytest.approx(wanted)
    assert np.allclose(np.linalg.eigvalsh(flat), np.linalg.eigvalsh(other), atol=1e-8)
    order = ws.residual_order(found[0], GRID.adjacency(), 19)[0], ws.residual_order(flat, GRID.adjacency(), 19)[0]
    assert order[0]["I"] > 0.5 > 0.1 > abs(order[1]["I"])
    assert ws.smoothed(other, GRID, 250.0) is None  # less is asked for than there is already
