"""The networks: shapes, names, inits, and what distinguishes the two."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_topo.core.errors import UsageError
from pose_topo.models.pose import SimpleBaseline, TopographicConv2d, TopoModel, build_model, trained_order
from pose_topo.models.regularizers import LOSSES, spatial_loss, weight_similarity
from pose_topo.study.backbones import BACKBONES
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import SMALL


@pytest.mark.parametrize("arch", BACKBONES)
def test_every_backbone_gives_a_heatmap_a_joint_at_a_quarter_of_the_input(arch):
    with torch.device("meta"):  # shapes need no numbers
        model = SimpleBaseline(arch).eval()
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 16, 16, 24)


def test_any_grid_works_and_its_channels_feed_the_head():
    model = TopoModel("resnet18", Lattice(5, 7)).eval()
    with torch.inference_mode():
        assert model.features(torch.zeros(1, 3, 64, 64)).shape == (1, 35, 16, 16)
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 16, 16, 16)


def test_the_baseline_has_65792_parameters_fewer():
    def count(model: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    with torch.device("meta"):
        assert count(TopoModel("resnet18", Lattice(16, 16))) - count(SimpleBaseline("resnet18")) == 256 * 256 + 256


def test_deconvolutions_have_no_bias():
    biases = [
        name
        for name, _ in SimpleBaseline("resnet18").deconv.named_parameters()
        if name in ("0.bias", "3.bias", "6.bias")
    ]
    assert biases == []


def test_the_papers_bilinear_deconvolution_enlarges_a_constant_to_itself():
    model = SimpleBaseline("resnet18", init="paper")
    out = torch.nn.functional.conv_transpose2d(torch.ones(1, 256, 5, 5), model.deconv[3].weight, stride=2, padding=1)
    torch.testing.assert_close(out[:, :, 1:-1, 1:-1], torch.ones(1, 256, 8, 8))


def test_the_standard_inits_are_normal_with_sd_a_thousandth():
    torch.manual_seed(0)
    model = SimpleBaseline("resnet18", init="standard")
    for layer in (model.deconv[0], model.deconv[3], model.deconv[6], model.head):
        assert layer.weight.std().item() == pytest.approx(1e-3, rel=0.03)
    assert not model.head.bias.any()


def test_equal_seeds_give_equal_networks_and_control_equals_topo_at_the_start():
    config = RunConfig("resnet18", SMALL, Data.at("mpii"), Topography(weight=0.5), seed=3)
    control = replace(config, topography=Topography(weight=0.0))
    states = []
    for each in (config, control):
        torch.manual_seed(each.seed)
        states.append(build_model(each).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


def test_the_studys_names_are_there():
    model = TopoModel("resnet18", Lattice(4, 4))
    expected = weight_similarity(model.topo.conv.weight, model.topo.lattice)
    assert torch.equal(model.topo_reg_loss(), expected)
    assert torch.equal(model.topo.weight_similarity_loss(), expected)


def test_features_are_what_the_head_reads():
    model = TopoModel("resnet18", Lattice(4, 4)).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        maps, features = model(x, with_features=True)
        assert features.shape == (2, 16, 8, 8) and features.min() == 0
        assert torch.equal(maps, model.head(features)) and torch.equal(maps, model(x))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_spatial_loss_reads_the_weights_or_the_features_of_the_batch(loss):
    torch.manual_seed(0)
    model = TopoModel("resnet18", Lattice(4, 4), loss=loss)
    _, features = model(torch.randn(2, 3, 32, 32), with_features=True)
    model.topo_reg_loss(features).backward()
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    # a loss on activations trains what comes before the layer too, a loss on weights the layer alone; none the head
    assert reached == ({"backbone", "deconv", "topo"} if model.reads_activations else {"topo"})
    if model.reads_activations:
        with pytest.raises(ValueError, match="activations"):
            model.topo_reg_loss()


@pytest.mark.parametrize(
    ("loss", "left"),
    [
        ("weight-similarity", 0.01), ("neighbour-cosine", 1), ("topoloss", 1),
        ("activation-similarity", 0.01), ("spatial-correlation", 1), ("topographic", 1),
    ],
)  # fmt: skip
def test_shrinking_the_layer_and_enlarging_the_head_moves_no_heatmap_but_some_losses(loss, left):
    torch.manual_seed(0)
    model = TopoModel("resnet18", Lattice(16, 16), loss=loss)
    features = torch.randn(2, 256, 8, 8)

    def measured() -> tuple[torch.Tensor, float]:
        answers = model.topo(features)
        return model.head(answers), model.topo_reg_loss(answers).item()

    with torch.no_grad():
        maps, before = measured()
        model.topo.conv.weight.mul_(0.1)
        model.head.weight.div_(0.1)
        same, after = measured()
    torch.testing.assert_close(same, maps, rtol=1e-4, atol=1e-7)
    assert after == pytest.approx(left * before, rel=1e-4)
    if loss == "weight-similarity":
        assert before == pytest.approx(4.0, abs=1e-5)


def test_a_grid_that_a_loss_cannot_use_is_refused_when_the_network_is_built():
    with pytest.raises(UsageError, match="no neighbours"):
        TopoModel("resnet18", Lattice(1, 1))
    with pytest.raises(UsageError, match="equally far"):
        TopoModel("resnet18", Lattice(1, 2), loss="spatial-correlation")


def permuted(loss: str, **given) -> RunConfig:
    topography = Topography(4, 5, loss=loss, permuted=True)
    return RunConfig("resnet18", SMALL, Data.at("mpii"), topography, **given)


@pytest.mark.parametrize("loss", ["weight-similarity", "activation-similarity"])
def test_on_a_permuted_grid_the_loss_sees_each_channel_at_another_place(loss):
    config = permuted(loss, seed=3)
    model, order = build_model(config), trained_order(config)
    assert isinstance(model, TopoModel) and order is not None
    assert sorted(order) == list(range(20)) and list(order) != list(range(20))
    weight, features = torch.nn.init.normal_(model.topo.conv.weight), torch.randn(2, 20, 3, 3)
    found, lattice = model.topo_reg_loss(features), model.topo.lattice
    assert torch.equal(found, spatial_loss(loss, lattice, weight[[*order]], features[:, [*order]]))
    assert not torch.equal(found, spatial_loss(loss, lattice, weight, features))
    assert not any("order" in key for key in model.state_dict())


def test_each_seed_has_a_permuted_grid_of_its_own():
    orders = [tuple(trained_order(permuted("topoloss", seed=seed))) for seed in range(3)]
    assert len(set(orders)) == 3
    assert trained_order(RunConfig("resnet18", SMALL, Data.at("mpii"), Topography())) is None


# ---- the topographic layer and its loss, by hand and by brute force


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
    assert weight_similarity(layer.conv.weight, layer.lattice).item() == pytest.approx(4.0, abs=1e-5)


def test_the_loss_is_not_invariant_to_scale():
    torch.manual_seed(0)
    layer = TopographicConv2d(256, Lattice(16, 16))
    with torch.no_grad():
        layer.conv.weight.mul_(0.1)
    assert weight_similarity(layer.conv.weight, layer.lattice).item() == pytest.approx(0.04, abs=1e-6)


def test_a_single_channel_has_no_neighbours():
    with pytest.raises(UsageError, match="no neighbours"):
        weight_similarity(TopographicConv2d(4, Lattice(1, 1)).conv.weight, Lattice(1, 1))


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
