"""Measures on a GPU equal those on a CPU."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pose_topo.data.batches import Batch
from pose_topo.data.people import People
from pose_topo.models.regularizers import LOSSES, spatial_loss, tensor_read
from pose_topo.stages.analyze import responses_of
from pose_topo.stages.silencing import pckh_silenced
from pose_topo.study.lattice import Lattice

PEOPLE, CHANNELS, CELLS = 9, 12, 16


@pytest.mark.parametrize("torus", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_its_gradient_equal_those_on_a_cpu(device, name, torus):
    lattice, rng = Lattice(3, 4, torus=torus), torch.Generator().manual_seed(0)
    given = torch.randn(12, 20, 1, 1, generator=rng), torch.randn(5, 12, 8, 8, generator=rng).relu()
    found = []
    for where in (device, torch.device("cpu")):
        weight, maps = (value.to(where).requires_grad_() for value in given)
        loss = spatial_loss(name, lattice, weight, maps)
        (slope,) = torch.autograd.grad(loss, weight if tensor_read(name) == "weights" else maps)
        found.append((loss.item(), slope.cpu()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-4 * float(found[1][1].abs().max()))


class Channels(nn.Module):
    """A network whose features are its input, with peaks that rounding does not move."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Conv2d(CHANNELS, 16, 1, bias=False)
        with torch.no_grad():  # positive, so that whatever is silenced leaves a peak
            self.head.weight.uniform_(0.1, 1.0, generator=torch.Generator().manual_seed(1))

    def features(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def batches(device: torch.device) -> list[Batch]:
    """Every channel of every person has its own large cell."""
    rng = np.random.default_rng(0)
    images = torch.zeros(PEOPLE, CHANNELS, CELLS, CELLS)
    for person in range(PEOPLE):
        cells = rng.permutation(CELLS * CELLS)[:CHANNELS]
        images[person].view(CHANNELS, -1)[np.arange(CHANNELS), cells] = torch.from_numpy(
            rng.uniform(1, 2, CHANNELS)
        ).float()
    targets, mask = torch.zeros(PEOPLE, 16, CELLS, CELLS), torch.ones(PEOPLE, 16)
    targets[:, :, 3:9, 2:12] = 1
    images, targets, mask = (values.to(device) for values in (images, targets, mask))
    parts = np.array_split(rng.permutation(PEOPLE), 3)
    return [Batch(images[part], targets[part], mask[part], part) for part in parts]


def people() -> People:
    rng, zero = np.random.default_rng(2), np.zeros(PEOPLE, np.int64)
    labelled = rng.random((PEOPLE, 16)) < 0.9
    return People(
        images=("a.jpg",), image=zero, annolist_index=zero, person=zero, rects_in_image=zero,
        joints=rng.uniform(0, 64, (PEOPLE, 16, 2)), labelled=labelled, visible=labelled,
        center=np.full((PEOPLE, 2), 32.0), scale=np.ones(PEOPLE), head_box=np.tile([0.0, 0.0, 40.0, 40.0], (PEOPLE, 1)),
    )  # fmt: skip


def test_lesions_on_a_gpu_equal_those_on_a_cpu(device):
    rng = np.random.default_rng(3)
    masks = rng.random((20, CHANNELS)) < rng.uniform(0, 1, (20, 1))
    affines = np.tile(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (PEOPLE, 1, 1))
    scores = [
        pckh_silenced(
            Channels().to(where), batches(where), people(), affines, masks, decode_by="argmax", precision="fp32"
        )  # type: ignore[arg-type]
        for where in (device, torch.device("cpu"))
    ]
    assert np.array_equal(scores[0].joints, scores[1].joints, equal_nan=True)
    assert np.array_equal(scores[0].mean, scores[1].mean)
    assert scores[0].intact_mean == scores[1].intact_mean > 0
    assert len(set(scores[0].mean.tolist())) > 5  # lesions do something


def test_responses_on_a_gpu_equal_those_on_a_cpu(device):
    found, reference = (
        responses_of(model, model.layer, batches(where), "fp32")
        for where, model in ((where, Channels().to(where)) for where in (device, torch.device("cpu")))
    )
    assert found.mean.shape == (PEOPLE, CHANNELS) and found.mean.dtype == np.float64
    for name in ("mean", "near", "far"):
        assert np.allclose(getattr(found, name), getattr(reference, name), rtol=1e-5)
    assert found.near.any() and found.far.any()
