"""Heatmap targets against a pixel-by-pixel loop of the formula."""

import math

import numpy as np
import pytest
import torch

from pose_topo.data.batches import generate_heatmaps


def nearest(x: float, y: float, size: int, sigma: float) -> tuple[np.ndarray, float]:
    """The public code of Xiao et al. 2018, except that a patch with no cell in the map has weight 0."""
    radius = int(3 * sigma)
    mu_x, mu_y = int(x + 0.5), int(y + 0.5)
    heat, touched = np.zeros((size, size)), False
    for row in range(mu_y - radius, mu_y + radius + 1):
        for column in range(mu_x - radius, mu_x + radius + 1):
            if 0 <= row < size and 0 <= column < size:
                touched = True
                heat[row, column] = math.exp(-((column - mu_x) ** 2 + (row - mu_y) ** 2) / (2 * sigma**2))
    return heat, float(touched)


def whole(x: float, y: float, size: int, sigma: float) -> tuple[np.ndarray, float]:
    heat = np.zeros((size, size))
    if not (-0.5 < x < size - 0.5 and -0.5 < y < size - 0.5):
        return heat, 0.0
    for row in range(size):
        for column in range(size):
            heat[row, column] = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return heat, 1.0


def truncated(x: float, y: float, size: int, sigma: float) -> tuple[np.ndarray, float]:
    return whole(int(x), int(y), size, sigma)


@pytest.mark.parametrize("direct", [nearest, whole, truncated])
@pytest.mark.parametrize(("size", "sigma"), [(64, 2.0), (96, 3.0), (24, 1.25)])
def test_against_the_formula(direct, size: int, sigma: float) -> None:
    rng = np.random.default_rng(size)
    joints = rng.uniform(-0.25 * size, 1.25 * size, (2, 16, 2)).astype(np.float32)
    joints[0, :8] = rng.uniform(0, size, (8, 2))
    joints[0, 0] = [10.5, 11.499]  # halves and just below
    joints[0, 1] = [-0.3, 5]
    centre = "exact" if direct is whole else direct.__name__
    targets, weights = generate_heatmaps(
        torch.from_numpy(joints), torch.ones(2, 16, dtype=torch.bool), size, sigma, centre
    )
    for b in range(2):
        for k in range(16):
            heat, weight = direct(float(joints[b, k, 0]), float(joints[b, k, 1]), size, sigma)
            assert weights[b, k] == weight
            assert np.abs(targets[b, k].numpy() - heat).max() < 1e-6
    assert 0 < weights.sum() < 32


def test_patch_of_13_and_its_edges() -> None:
    # the patch's last cell is mu - 6 or mu + 6: in the map of 64 from mu = -6 to mu = 69; int() rounds -6.9 to -6
    xs = torch.tensor([20.0, -6.7, -7.6, 69.0, 70.0, -7.4, 69.6])
    joints = torch.stack([xs, torch.full_like(xs, 30.0)], -1)[None]
    targets, weights = generate_heatmaps(joints, torch.ones(1, 7, dtype=torch.bool), 64, 2.0, "nearest")
    assert weights[0].tolist() == [1, 1, 0, 1, 0, 1, 0]
    assert (targets[0, 0] > 0).sum() == 13 * 13
    assert (targets[0, 1] > 0).sum() == (targets[0, 3] > 0).sum() == 13  # one column each
    assert targets[0, 1, 30, 0] == pytest.approx(math.exp(-36 / 8))
    assert targets[0, 0, 30, 20] == 1
    assert targets[0, 0].max() == 1
    assert not targets[0, [2, 4, 6]].any()


def test_rows_are_y() -> None:
    targets, _ = generate_heatmaps(torch.tensor([[[3.0, 9.0]]]), torch.ones(1, 1, dtype=torch.bool), 16, 2.0, "exact")
    assert divmod(int(targets[0, 0].argmax()), 16) == (9, 3)


@pytest.mark.parametrize("centre", ["nearest", "exact", "truncated"])
def test_unlabelled_is_empty_whatever_its_coordinates(centre: str) -> None:
    joints = torch.tensor([[[float("nan"), float("nan")], [5.0, 5.0], [float("inf"), 1.0]]])
    targets, weights = generate_heatmaps(joints, torch.tensor([[False, False, False]]), 16, 2.0, centre)
    assert not targets.any()
    assert not weights.any()


def test_inputs_are_left_alone() -> None:
    joints = torch.tensor([[[5.7, 5.2]]])
    generate_heatmaps(joints, torch.ones(1, 1, dtype=torch.bool), 16, 2.0, "nearest")
    assert torch.equal(joints, torch.tensor([[[5.7, 5.2]]]))
