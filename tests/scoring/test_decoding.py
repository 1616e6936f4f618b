"""Decoding inverts the encoding of targets; the flip test mirrors heatmaps."""

import numpy as np
import pytest
import torch

from pose_topo.core.errors import UsageError
from pose_topo.data.batches import generate_heatmaps
from pose_topo.scoring.decoding import _smooth, decode, flip_back, shift_right
from pose_topo.study import joints as J


def scatter(people: int, size: int, margin: float, seed: int = 0) -> torch.Tensor:
    """Random joints (P, 16, 2) in cells, away from the border."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(margin, size - 1 - margin, (people, J.K, 2))).float()


def test_argmax_returns_the_cell_of_the_nearest_target_exactly():
    cells = scatter(20, 64, 0).round()
    maps, weights = generate_heatmaps(cells, torch.ones(20, J.K, dtype=torch.bool), 64, 2.0, "nearest")
    found, confidence = decode(maps, "argmax")
    assert torch.equal(found, cells * 4)
    assert (confidence == 1).all() and (weights == 1).all()


def test_dark_returns_a_sub_pixel_target_to_a_twentieth_of_a_cell():
    cells = scatter(50, 24, 4)
    maps, _ = generate_heatmaps(cells, torch.ones(50, J.K, dtype=torch.bool), 24, 1.25, "exact")
    found, _ = decode(maps, "dark", sigma=1.25)
    assert (found / 4 - cells).norm(dim=-1).max() < 0.05


def test_dark_beats_quarter_beats_argmax_on_sub_pixel_peaks():
    cells = scatter(100, 64, 8, seed=1)
    maps, _ = generate_heatmaps(cells, torch.ones(100, J.K, dtype=torch.bool), 64, 2.0, "exact")
    error = {
        how: (decode(maps, how)[0] / 4 - cells).norm(dim=-1).mean().item() for how in ("argmax", "quarter", "dark")
    }
    # a uniform point in a cell lies 0.3826 from its centre on average; a quarter step leaves 0.191
    assert error["argmax"] == pytest.approx(0.3826, abs=0.01)
    assert error["quarter"] == pytest.approx(0.1913, abs=0.01)
    assert error["dark"] < 0.02


def test_dark_is_within_half_a_cell_at_every_border():
    """Within two cells of a border the differences would reach outside, and the error is at most half a cell."""
    size, near = 32, torch.tensor([0.3, 0.8, 1.3, 1.7, 2.4])
    places = torch.cat([near, size - 1 - near])
    cells = torch.stack(torch.meshgrid(places, torch.tensor([9.3, 16.6]), indexing="ij"), -1).reshape(1, -1, 2)
    for points in (cells, cells.flip(-1)):
        maps, _ = generate_heatmaps(points, torch.ones(points.shape[:2], dtype=torch.bool), size, 2.0, "exact")
        assert (decode(maps, "dark")[0] / 4 - points).norm(dim=-1).max() < 0.501


def test_smoothing_is_a_convolution():
    maps = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    offsets = torch.arange(-5, 6.0)
    kernel = torch.exp(-0.5 * (offsets / 2) ** 2)
    kernel = (kernel[:, None] * kernel) / kernel.sum() ** 2
    wanted = torch.nn.functional.conv2d(maps.flatten(0, 1)[:, None], kernel[None, None], padding=5).view_as(maps)
    wanted = wanted * (maps.amax((2, 3), keepdim=True) / wanted.amax((2, 3), keepdim=True))
    assert torch.allclose(_smooth(maps, 2.0), wanted, atol=1e-6)


def test_quarter_moves_towards_the_higher_neighbour_and_not_at_the_border():
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 4, 4], maps[0, 0, 4, 5], maps[0, 0, 3, 4] = 1.0, 0.5, 0.25
    maps[0, 1, 0, 0], maps[0, 1, 0, 1] = 1.0, 0.5
    found, _ = decode(maps, "quarter")
    assert found[0].tolist() == [[17.0, 15.0], [0.0, 0.0]]


def test_an_empty_map_puts_its_joint_at_the_origin():
    found, confidence = decode(torch.zeros(1, 1, 8, 8), "quarter")
    assert found.tolist() == [[[0.0, 0.0]]] and confidence.item() == 0.0


def test_cell_centre_is_the_middle_of_the_cells_four_pixels():
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 2, 3] = 1.0
    # cell (3, 2) covers pixels 12..15 and 8..11
    assert decode(maps, "cell-centre")[0].tolist() == [[[13.5, 9.5]]]


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="dark"):
        decode(torch.zeros(1, 1, 4, 4), "softmax")


def test_flip_back_mirrors_and_swaps_left_and_right():
    maps = torch.zeros(1, J.K, 4, 6)
    maps[0, J.R_WRIST, 1, 0] = 1.0
    back = flip_back(maps)
    assert back[0, J.L_WRIST, 1, 5] == 1.0 and back.sum() == 1.0
    assert torch.equal(flip_back(back), maps)


def test_the_shift_moves_one_column_and_keeps_the_first():
    maps = torch.arange(6.0).view(1, 1, 1, 6)
    assert shift_right(maps).flatten().tolist() == [0, 0, 1, 2, 3, 4]


def test_flip_index_is_an_involution_of_named_sides():
    for k, other in enumerate(J.FLIP_INDEX):
        assert J.FLIP_INDEX[other] == k
        swapped = J.NAMES[k].replace("right", "?").replace("left", "right").replace("?", "left")
        assert J.NAMES[other] == swapped


def test_joint_order_is_mpiis():
    assert J.NAMES[0] == "right ankle" and J.NAMES[9] == "head top" and J.NAMES[15] == "left wrist"
    assert J.FLIP_PAIRS == ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13))
    assert J.SCORED == (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)
