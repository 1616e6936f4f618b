"""The smoothing matrix against torch's own interpolation, which it replaces, and against the package of TopoLoss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from topoloss import LaplacianPyramid, TopoLoss
from torch.nn.functional import interpolate

from pose_topo.models.grid_matrices import down_and_up, smoothing_matrix
from pose_topo.models.regularizers import spatial_loss
from pose_topo.study.lattice import Lattice


def sheet(height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 5, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def smoothed(maps: torch.Tensor, lattice: Lattice, factor: float) -> torch.Tensor:
    flat = maps[0].flatten(1).T.numpy()  # (C, D)
    return torch.from_numpy((smoothing_matrix(lattice, factor) @ flat).T).reshape(maps.shape)


@pytest.mark.parametrize("factor", [2.0, 3.0, 2.5])
@pytest.mark.parametrize(("height", "width"), [(3, 7), (16, 16), (5, 4), (9, 17)])
def test_bounded_it_is_interpolate_twice(height, width, factor):
    maps = sheet(height, width)
    small = interpolate(maps, scale_factor=(1 / factor, 1 / factor), mode="bilinear")
    expected = interpolate(small, size=(height, width), mode="bilinear")
    torch.testing.assert_close(smoothed(maps, Lattice(height, width), factor), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(3, 7), (16, 16), (1, 16), (2, 5)])
def test_on_a_torus_it_is_the_middle_of_an_endless_sheet(height, width):
    maps = sheet(height, width)
    small = (max(1, height // 3), max(1, width // 3))
    endless = maps.repeat(1, 1, 5, 5)
    shrunk = interpolate(endless, size=(5 * small[0], 5 * small[1]), mode="bilinear")
    enlarged = interpolate(shrunk, size=(5 * height, 5 * width), mode="bilinear")
    middle = enlarged[:, :, 2 * height : 3 * height, 2 * width : 3 * width]
    torch.testing.assert_close(smoothed(maps, Lattice(height, width, torus=True), 3.0), middle, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", [torch.nn.Linear(11, 64), torch.nn.Conv2d(5, 128, 3), torch.nn.Conv2d(7, 12, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_topoloss_is_that_of_its_authors_package(layer, dtype):
    """Value and gradient, on the package's grid: the squarest, of 8 x 8, 8 x 16 and 3 x 4 channels."""
    torch.manual_seed(0)
    layer = layer.to(dtype)
    layer.reset_parameters()
    lattice = Lattice.squarest(len(layer.weight))
    model = torch.nn.Sequential(layer)
    theirs = TopoLoss([LaplacianPyramid.from_layer(model, layer, factor_h=3.0, factor_w=3.0)]).compute(model)
    ours = spatial_loss("topoloss", lattice, layer.weight)
    gradients = [torch.autograd.grad(loss, layer.weight)[0] for loss in (ours, theirs)]
    limit = 1e-6 if dtype == torch.float32 else 1e-15
    assert abs(ours.item() - theirs.item()) < limit
    assert (gradients[0] - gradients[1]).abs().max() < limit * gradients[1].abs().max()


def test_a_row_of_four_by_hand():
    # factor 2: the small cells lie at 0.5 and 2.5, hence (a + b) / 2 and (c + d) / 2; enlarged, cells 0 ... 3 lie at
    # -0.25 (clamped to 0), 0.25, 0.75 and 1.25 (clamped to 1) of them
    expected = [[4, 4, 0, 0], [3, 3, 1, 1], [1, 1, 3, 3], [0, 0, 4, 4]]
    assert np.abs(down_and_up(4, 2, wrap=False) * 8 - expected).max() < 1e-15
    # on the ring cell 0 lies a quarter of the way to the last small cell
    ring = [[3, 3, 1, 1], [3, 3, 1, 1], [1, 1, 3, 3], [1, 1, 3, 3]]
    assert np.abs(down_and_up(4, 2, wrap=True) * 8 - ring).max() < 1e-15


def test_a_side_below_the_factor_becomes_its_mean():
    assert np.abs(down_and_up(2, 3.0, wrap=False) - 0.5).max() < 1e-15
    assert down_and_up(1, 3.0, wrap=False) == 1 and down_and_up(1, 3.0, wrap=True) == 1


@settings(deadline=None, max_examples=40)
@given(side=st.integers(1, 12), factor=st.floats(1.0, 6.0), wrap=st.booleans())
def test_a_constant_stays_itself(side, factor, wrap):
    matrix = down_and_up(side, factor, wrap)
    assert matrix.min() >= 0 and np.abs(matrix.sum(1) - 1).max() < 1e-12


def test_a_ring_has_no_special_place():
    matrix = down_and_up(15, 3.0, wrap=True)  # 5 small cells of 3: a shift by 3 changes nothing
    assert np.abs(np.roll(matrix, (3, 3), (0, 1)) - matrix).max() < 1e-12
