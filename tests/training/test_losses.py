"""The heatmap loss against values computed by hand, and the optimiser's two learning rates."""

import pytest
import torch

from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import DEMO, SMALL, STANDARD
from pose_topo.training.optimisation import heatmap_loss, make_optimizer, set_learning_rate


def test_the_heatmap_loss_by_hand():
    predicted = torch.zeros(1, 2, 2, 2)
    target = torch.ones(1, 2, 2, 2) * 2
    target[0, 1] = 10.0
    weights = torch.tensor([[1.0, 0.0]])
    # joint 0: four cells of 2^2 = 4; joint 1: 100 each, but unlabelled
    assert heatmap_loss(predicted, target, weights, "mse", mask=True).item() == 16 / 8
    assert heatmap_loss(predicted, target, weights, "half-mse", mask=True).item() == 16 / 8 / 2
    assert heatmap_loss(predicted, target, weights, "mse", mask=False).item() == (16 + 400) / 8


def test_the_spatial_loss_is_much_larger_than_the_heatmap_loss_at_the_start():
    # lambda 0.5 x 4.0 against a predictor of zeros, worked out below
    from pose_topo.data.batches import generate_heatmaps

    joints = torch.rand(64, 16, 2, generator=torch.Generator().manual_seed(0)) * 44 + 10
    target, weights = generate_heatmaps(joints, torch.ones(64, 16, dtype=torch.bool), 64, 2.0, "nearest")
    zero = heatmap_loss(torch.zeros_like(target), target, weights, "mse", mask=True).item()
    # the sum over cells of a squared Gaussian of sigma 2 is pi sigma^2 = 12.57, of 4096 cells
    assert zero == pytest.approx(torch.pi * 4 / 4096, rel=1e-3)
    assert 0.5 * 4.0 / zero == pytest.approx(652, rel=0.01)


@pytest.mark.parametrize(("recipe", "layer", "head"), [(SMALL, 10, 1), (DEMO, 30, 30), (STANDARD, 1, 1)])
@pytest.mark.parametrize("kind", [TopoModel, SimpleBaseline])
def test_the_new_layers_have_their_own_learning_rates(recipe, layer, head, kind):
    with torch.device("meta"):
        model = TopoModel("resnet18", Lattice(4, 4)) if kind is TopoModel else SimpleBaseline("resnet18")
    optimizer = make_optimizer(model, recipe)
    set_learning_rate(optimizer, 0.1)
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        factor = {"topo": layer, "head": head}.get(name.partition(".")[0], 1)
        assert found[id(parameter)] == pytest.approx(0.1 * factor), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_the_standard_recipe_uses_adam_without_decay():
    with torch.device("meta"):
        model = SimpleBaseline("resnet18")
    optimizer = make_optimizer(model, STANDARD)
    assert type(optimizer) is torch.optim.Adam
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]
