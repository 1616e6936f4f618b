"""The topographic layer and its loss against values worked out by hand and by brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_topo.core.errors import UsageError
from pose_topo.models.regularizers import weight_similarity
from pose_topo.models.topographic import TopographicConv2d
from pose_topo.study.lattice import Lattice


def brute_force(weight: torch.Tensor, lattice: Lattice) -> float:
    flat = weight.flatten(1).double()
    distances = []
    for a in range(lattice.channels):
        for b in range(a + 1, lattice.channels):
            down = abs(a // lattice.width - b // lattice.width)
            right = abs(a % lattice.width - b % lattice.width)
            if lattice.torus:
                down, right = min(down, lattice.height - down), min(right, lattice.width - right)
            near = max(down, right) == 1 if lattice.neighbours == 8 else down + right == 1
            if near:
                distances.append(float((flat[a] - flat[b]).square().sum()))
    return sum(distances) / len(distances)


def test_a_2x2_grid_by_hand():
    # channels 0 1 / 2 3 with scalar weights 0, 1, 3, 7; queen pairs and squared differences:
    # 01: 1, 02: 9, 03: 49, 12: 4, 13: 36, 23: 16 -> mean 115 / 6; rook leaves out 03 and 12 -> 62 / 4
    weight = torch.tensor([0.0, 1.0, 3.0, 7.0])[:, None, None, None]
    assert weight_similarity(weight, Lattice(2, 2, 8)).item() == pytest.approx(115 / 6)
    assert weight_similarity(weight, Lattice(2, 2, 4)).item() == pytest.approx(62 / 4)


@pytest.mark.parametrize("torus", [False, True])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize(("height", "width"), [(3, 7), (1, 16), (16, 16), (5, 1), (2, 5)])
def test_against_a_double_loop(height, width, neighbours, torus):
    lattice = Lattice(height, width, neighbours, torus)
    weight = torch.randn(lattice.channels, 9, 1, 1, generator=torch.Generator().manual_seed(1))
    assert weight_similarity(weight, lattice).item() == pytest.approx(brute_force(weight, lattice), rel=1e-5)


@pytest.mark.parametrize("neighbours", [4, 8])
def test_orthogonal_init_gives_exactly_four(neighbours):
    torch.manual_seed(0)
    layer = TopographicConv2d(256, Lattice(16, 16, neighbours))
    # rows are orthogonal of norm sqrt(2), hence every squared distance is 2 + 2
    assert layer.weight_similarity_loss().item() == pytest.approx(4.0, abs=1e-5)


def test_the_loss_is_not_invariant_to_scale():
    torch.manual_seed(0)
    layer = TopographicConv2d(256, Lattice(16, 16))
    with torch.no_grad():
        layer.conv.weight.mul_(0.1)
    assert layer.weight_similarity_loss().item() == pytest.approx(0.04, abs=1e-6)


def test_a_single_channel_has_no_neighbours():
    with pytest.raises(UsageError, match="no neighbours"):
        TopographicConv2d(4, Lattice(1, 1)).weight_similarity_loss()


@pytest.mark.parametrize("init", ["orthogonal", "kaiming", "equal-norm"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_layer_is_a_rectified_1x1_convolution(init, batch_norm):
    layer = TopographicConv2d(8, Lattice(3, 5), init=init, batch_norm=batch_norm).eval()
    x = torch.randn(2, 8, 4, 6)
    out = layer(x)
    expected = torch.einsum("bchw,oc->bohw", x, layer.conv.weight[:, :, 0, 0]).clamp_min(0)
    if batch_norm:
        expected = expected / (1 + layer.norm.eps) ** 0.5
    assert out.shape == (2, 15, 4, 6)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_equal_norm_rows_have_norm_sqrt_two():
    layer = TopographicConv2d(8, Lattice(3, 5), init="equal-norm")
    torch.testing.assert_close(layer.conv.weight.flatten(1).norm(dim=1), torch.full((15,), 2.0).sqrt())


@pytest.mark.parametrize(("height", "width"), [(0, 3), (3, 0), (-2, 4), (2, -4)])
def test_an_empty_grid_is_refused(height, width):
    with pytest.raises(UsageError, match="at least 1"):
        Lattice(height, width)


def test_six_neighbours_are_refused():
    with pytest.raises(UsageError, match="rook"):
        Lattice(3, 3, neighbours=6)


def test_edge_counts_of_the_16x16_grid():
    # rook: 2 * 16 * 15; queen adds 2 * 15 * 15 diagonals; on a torus every channel has all its neighbours
    assert len(Lattice(16, 16, 4).edges()) == 480
    assert len(Lattice(16, 16, 8).edges()) == 930
    assert len(Lattice(16, 16, 4, torus=True).edges()) == 512
    assert len(Lattice(16, 16, 8, torus=True).edges()) == 1024


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 6), width=st.integers(1, 6), torus=st.booleans(), neighbours=st.sampled_from([4, 8]))
def test_adjacency_is_symmetric_and_holds_the_edges(height, width, torus, neighbours):
    lattice = Lattice(height, width, neighbours, torus)
    matrix = lattice.adjacency()
    assert (matrix == matrix.T).all()
    assert not matrix.diagonal().any()
    assert matrix.sum() == 2 * len(lattice.edges())
    limit = 1.5 if neighbours == 8 else 1.0
    distances = lattice.distances()
    assert ((matrix == 1) == ((distances > 0) & (distances <= limit))).all()
