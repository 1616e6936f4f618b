"""The six losses on a layer of any network: values, gradients, hooks, and what is refused."""

from __future__ import annotations

import pytest
import torch
from topoloss import LaplacianPyramid, TopoLoss
from torch import nn

from pose_topo import Lattice, TopographicLoss, spatial_loss
from pose_topo.core.errors import UsageError
from pose_topo.models.regularizers import LOSSES, incoming_weights
from pose_topo.study.config import TOPO_LOSSES

READS_WEIGHTS = [name for name, reads in TOPO_LOSSES.items() if reads == "weights"]
READS_ACTIVATIONS = [name for name, reads in TOPO_LOSSES.items() if reads == "activations"]


class Small(nn.Module):
    """A convolution followed by an in-place ReLU, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(inplace=True))
        self.fc = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).mean((2, 3)))


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def hooks(model: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in model.modules())


@pytest.mark.parametrize(("layer", "lattice"), [("body.0", (3, 4)), ("fc", (2, 3))])
@pytest.mark.parametrize("name", LOSSES)
def test_the_value_is_that_of_the_layers_weights_or_outputs_before_a_relu(name, layer, lattice):
    model, x = Small(), images()
    with TopographicLoss(model, layer, lattice, name, scale=0.5) as loss:
        model(x)
        value = loss()
        assert hooks(model) == (name in READS_ACTIVATIONS)
    output = model.body[0](x) if layer == "body.0" else model(x)
    part = model.get_submodule(layer)
    assert value.item() == pytest.approx(0.5 * spatial_loss(name, Lattice(*lattice), part.weight, output).item())
    value.backward()
    assert part.weight.grad.abs().max() > 0
    assert hooks(model) == 0


def test_it_is_the_package_topoloss_with_factor_three():
    model = Small()
    theirs = TopoLoss([LaplacianPyramid.from_layer(model, model.body[0], 3.0, 3.0, scale=2.0)]).compute(model)
    for layer in ("body.0", model.body[0]):  # by name or by the module; the squarest grid by default
        assert TopographicLoss(model, layer, scale=2.0).compute().item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("name", READS_ACTIVATIONS)
def test_it_reads_the_last_forward_pass_until_it_is_closed(name):
    model = Small()
    loss = TopographicLoss(model, "body.0", (3, 4), name)
    with pytest.raises(UsageError, match="call the model first"):
        loss()
    model(images(1))
    first = loss().item()
    model(images(2))
    second = loss().item()
    assert first != second and loss().item() == second
    loss.close()
    assert hooks(model) == 0
    with pytest.raises(UsageError, match=r"body\.0 is closed"):
        loss()


def test_a_hook_is_removed_after_an_error():
    model = Small()
    with pytest.raises(RuntimeError), TopographicLoss(model, "fc", (2, 3), "topographic"):
        model(torch.zeros(1, 7, 8, 8))
    assert hooks(model) == 0


def test_a_linear_layer_of_a_transformer_has_one_response_per_token():
    layer = nn.Linear(5, 6)
    tokens = images()[:, 0, :, :5]  # (4, 8, 5)
    with TopographicLoss(nn.Sequential(layer), "0", (2, 3), "activation-similarity") as loss:
        flat = layer(tokens).reshape(32, 6)
        assert loss().item() == pytest.approx(
            spatial_loss("activation-similarity", Lattice(2, 3), layer.weight, flat).item()
        )


def test_the_vectors_of_a_transposed_convolution_are_those_of_its_outputs():
    layer = nn.ConvTranspose2d(3, 4, 2)
    weights = incoming_weights(layer, "up")
    assert weights.shape == (4, 12)
    assert torch.equal(weights[2], layer.weight[:, 2].flatten())


@pytest.mark.parametrize("name", LOSSES)
def test_it_lowers_the_loss_in_training(name):
    model, x = Small(), images()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    values = []
    with TopographicLoss(model, "body.0", (3, 4), name) as loss:
        for _ in range(30):
            model(x)
            value = loss()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
    assert values[-1] < 0.8 * values[0]


def test_what_is_refused_and_how():
    model = Small()
    with pytest.raises(UsageError, match=r"layer 'body\.2' does not exist: .*body\.0"):
        TopographicLoss(model, "body.2", (3, 4))
    with pytest.raises(UsageError, match=r"layer 'body\.1' is a ReLU"):
        TopographicLoss(model, "body.1", (3, 4))
    with pytest.raises(UsageError, match=r"given Linear is no layer of this model"):
        TopographicLoss(model, nn.Linear(2, 2))
    with pytest.raises(UsageError, match=r"12 channels, a 4 x 4 grid has 16: give a grid of 12, such as 3 x 4"):
        TopographicLoss(model, "body.0", (4, 4))
    with pytest.raises(UsageError, match="give one of weight-similarity"):
        TopographicLoss(model, "body.0", (3, 4), "smooth")
    with pytest.raises(UsageError, match="has 3 groups"):
        TopographicLoss(nn.Sequential(nn.Conv2d(3, 12, 3, groups=3)), "0", (3, 4))
    assert hooks(model) == 0
