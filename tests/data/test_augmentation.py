"""The distributions of the recipe's augmentation, and its affines."""

import math

import numpy as np
import pytest

from pose_topo.data import geometry
from pose_topo.data.augmentation import EpochAugmentation, draw_epoch, to_stored

N = 100_000


def share(p: float) -> float:
    """Return five standard deviations of a share over N draws."""
    return 5 * math.sqrt(p * (1 - p) / N)


def normal_tail(x: float) -> float:
    """Return P(Z > x) of a standard normal."""
    return 0.5 * math.erfc(x / math.sqrt(2))


@pytest.fixture(scope="module")
def draws() -> EpochAugmentation:
    return draw_epoch(N, seed=3, epoch=7, augment="standard")


def test_scale_is_a_clipped_normal(draws: EpochAugmentation) -> None:
    """The factor is clip(1 + 0.25 N, 0.75, 1.25). The limits are one sd away, so 15.87% lie on each."""
    tail = normal_tail(1)
    assert abs((draws.scale == 0.75).mean() - tail) < share(tail)
    assert abs((draws.scale == 1.25).mean() - tail) < share(tail)
    assert draws.scale.min() == 0.75
    assert draws.scale.max() == 1.25
    # variance of a standard normal clipped at 1: 1 - 2 phi(1) - 2 * tail + 2 * tail
    phi = math.exp(-0.5) / math.sqrt(2 * math.pi)
    variance = (1 - 2 * tail) - 2 * phi + 2 * tail
    assert abs(draws.scale.mean() - 1) < 5 * 0.25 * math.sqrt(variance / N)
    assert abs(draws.scale.std() / (0.25 * math.sqrt(variance)) - 1) < 0.01


def test_rotation_is_a_clipped_normal_six_times_in_ten(draws: EpochAugmentation) -> None:
    turned = draws.rotation != 0
    assert abs(turned.mean() - 0.6) < share(0.6)
    tail = 0.6 * normal_tail(2)  # clipped at 60 degrees, two sd
    assert abs((draws.rotation == 60).mean() - tail) < share(tail)
    assert abs((draws.rotation == -60).mean() - tail) < share(tail)
    assert np.abs(draws.rotation).max() == 60
    within = 0.6 * (1 - 2 * normal_tail(1))
    assert abs(((np.abs(draws.rotation) < 30) & turned).mean() - within) < share(within)
    assert abs(draws.rotation.mean()) < 5 * 30 / math.sqrt(N)


def test_half_are_flipped_and_all_draws_are_independent(draws: EpochAugmentation) -> None:
    assert abs(draws.flip.mean() - 0.5) < share(0.5)
    columns = [draws.scale, draws.rotation, np.abs(draws.rotation), draws.flip, draws.order]
    correlation = np.corrcoef(columns) - np.eye(5)
    assert np.abs(correlation).max() < 5 / math.sqrt(N)
    assert np.array_equal(np.sort(draws.order), np.arange(N))


def test_draws_depend_on_seed_and_epoch() -> None:
    a, b = draw_epoch(50, 1, 2, "standard"), draw_epoch(50, 1, 2, "standard")
    for name in ("order", "scale", "rotation", "flip"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
        assert not np.array_equal(getattr(a, name), getattr(draw_epoch(50, 1, 3, "standard"), name))
        assert not np.array_equal(getattr(a, name), getattr(draw_epoch(50, 2, 2, "standard"), name))


def test_without_augmentation_only_the_order_is_random() -> None:
    plain = draw_epoch(20, 0, 1, augment="none")
    assert np.array_equal(plain.order, draw_epoch(20, 0, 1, augment="standard").order)
    assert (plain.scale == 1).all()
    assert not plain.rotation.any()
    assert not plain.flip.any()
    matrix = to_stored(plain, np.arange(3), side=448, input_size=256)
    assert np.array_equal(matrix, np.broadcast_to([[1, 0, 96], [0, 1, 96]], (3, 2, 3)))


def test_affine_by_hand() -> None:
    draws = EpochAugmentation(
        order=np.arange(4),
        scale=np.array([1.25, 1.0, 1.0, 0.75]),
        rotation=np.array([0.0, 90.0, 0.0, 90.0]),
        flip=np.array([False, False, True, True]),
    )
    matrix = to_stored(draws, np.arange(4), side=448, input_size=256)
    centre = geometry.apply(matrix, np.full((4, 1, 2), 128.0))
    assert centre == pytest.approx(np.full((4, 1, 2), 224.0))  # the box centre is fixed
    right = geometry.apply(matrix, np.tile([[[138.0, 128.0]]], (4, 1, 1)))[:, 0] - 224  # ten pixels right of it
    assert right == pytest.approx(np.array([[12.5, 0], [0, 10], [-10, 0], [0, 7.5]]), abs=1e-9)
    down = geometry.apply(matrix, np.tile([[[128.0, 138.0]]], (4, 1, 1)))[:, 0] - 224
    assert down == pytest.approx(np.array([[0, 12.5], [-10, 0], [0, 10], [7.5, 0]]), abs=1e-9)


def test_affine_is_that_of_the_public_code() -> None:
    """That code mirrors photograph, centre and joints, and then takes a 3-point affine of the rotated box."""
    rng = np.random.default_rng(0)
    width, size = 1000, 256
    draws = draw_epoch(200, 0, 1, "standard")
    center, scale = rng.uniform(300, 700, (200, 2)), rng.uniform(1, 5, 200)
    stored = geometry.person_to_photo(center, scale, size)
    matrix = to_stored(draws, np.arange(200), geometry.stored_size(size), size)
    joints = center[:, None] + rng.normal(0, 100, (200, 16, 2))
    ours = geometry.apply(geometry.invert(matrix), geometry.apply(geometry.invert(stored), joints))
    for row in range(200):
        c, s = center[row] + [0, 15 * scale[row]], scale[row] * 1.25
        xy = joints[row].copy()
        if draws.flip[row]:
            xy[:, 0] = width - xy[:, 0] - 1
            c = np.array([width - c[0] - 1, c[1]])
        theirs = public_affine(c, s * draws.scale[row], draws.rotation[row], size)
        assert ours[row] == pytest.approx(xy @ theirs[:, :2].T + theirs[:, 2], abs=0.15)  # snapping; at 1/8 box edge


def public_affine(center: np.ndarray, scale: float, rotation: float, size: int) -> np.ndarray:
    """Return the affine photograph -> input from three pairs of points (the public code of Xiao et al. 2018)."""
    angle = np.pi * rotation / 180
    up = np.array([np.sin(angle), -np.cos(angle)]) * scale * 200 / 2  # (0, -h/2) turned
    source = np.stack([center, center + up, center + up + [-up[1], up[0]]])
    source[2] = source[1] + [-(source[0] - source[1])[1], (source[0] - source[1])[0]]
    half = size / 2
    target = np.array([[half, half], [half, 0], [0, 0]], float)
    target[2] = target[1] + [-(target[0] - target[1])[1], (target[0] - target[1])[0]]
    solution = np.linalg.solve(np.c_[source, np.ones(3)], target)
    return solution.T
