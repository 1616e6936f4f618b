"""The heatmap loss against values computed by hand, and the optimiser's two learning rates."""

import pytest
import torch

from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import DEMO, STANDARD
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


def test_the_topographic_layer_has_its_own_learning_rate():
    with torch.device("meta"):
        model = TopoModel("resnet18", Lattice(4, 4))
    optimizer = make_optimizer(model, DEMO)
    set_learning_rate(optimizer, 0.1)
    own = {id(p) for p in model.topo.parameters()}
    for group in optimizer.param_groups:
        inside = {id(p) in own for p in group["params"]}
        assert len(inside) == 1
        assert group["lr"] == pytest.approx(0.1 * (10 if inside.pop() else 1))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_the_standard_recipe_uses_adam_without_decay():
    with torch.device("meta"):
        model = SimpleBaseline("resnet18")
    optimizer = make_optimizer(model, STANDARD)
    assert type(optimizer) is torch.optim.Adam
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]
