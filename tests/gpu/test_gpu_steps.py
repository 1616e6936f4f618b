"""Training steps on a GPU: the host does not wait, no memory is leaked, and `deterministic` repeats to the bit."""

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count, islice

import pytest
import torch

from pose_topo.core.machine import prepare_device
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.dataset import prepare
from pose_topo.data.people import Dataset
from pose_topo.models.pose import build_model
from pose_topo.study.config import TOPO_LOSSES, Data, RunConfig, Topography
from pose_topo.study.protocols import STANDARD
from pose_topo.training import epoch as steps
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.state import Meter

RECIPE = replace(STANDARD, input_size=64, batch_size=4, start="none", split="random")
LOSSES = {
    **{name: Topography(4, 4, loss=name) for name in TOPO_LOSSES},
    "weight-similarity on a torus": Topography(4, 4, torus=True),  # by indices, not slices
}


@pytest.fixture(scope="module")
def dataset(small_data) -> Dataset:
    return prepare(Data.at(small_data), RECIPE, seed=0, workers=1, progress=False)


def config_of(small_data, topography: Topography | None) -> RunConfig:
    return RunConfig("resnet18", RECIPE, Data.at(small_data), topography)


def endless(served: Batches, number: int) -> Iterator[Batch]:
    """A number of batches from successive epochs. Their sizes differ by at most one person."""
    return islice(chain.from_iterable(served.epoch(0, epoch, 4) for epoch in count(1)), number)


class Trainer:
    """A network and its optimiser."""

    def __init__(self, config: RunConfig, device: torch.device, precision: str = "bf16") -> None:
        torch.manual_seed(0)
        self.model = build_model(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer, self.device, self.precision = make_optimizer(self.model, config.recipe), device, precision

    def step(self, batches: Iterable[Batch]) -> torch.Tensor:
        """Train on the batches. Returns all weights (N,) on the host."""
        deque(steps.train_steps(
            self.model, self.optimizer, batches, RECIPE, precision=self.precision, spatial_lambda=0.5,
            rate=lambda step: 1e-4 / (step + 1), first_step=0, meter=Meter(self.device),
        ), maxlen=0)  # fmt: skip
        return torch.cat([value.detach().float().flatten() for value in self.model.state_dict().values()]).cpu()


@pytest.fixture(params=[True, False], ids=["resident", "prefetched"])
def served(request, dataset, device, monkeypatch) -> Batches:
    monkeypatch.setattr(Batches, "_fits", lambda _: request.param)
    return Batches(dataset.store, dataset.people, dataset.split.train, RECIPE, device)


@pytest.mark.parametrize("topography", [None, *LOSSES.values()], ids=["baseline", *LOSSES])
def test_the_host_waits_for_no_step(small_data, served, device, topography, monkeypatch):
    """Reading the sums of the losses does not wait either. Only the end of an epoch does."""
    monkeypatch.setattr(steps, "READ_EVERY", 2)
    prepare_device(device, None, deterministic=False)
    trainer = Trainer(config_of(small_data, topography), device)

    def watched(batches: Iterable[Batch]) -> Iterator[Batch]:
        for number, batch in enumerate(batches):
            if number == 4:  # the first ones set up libraries, the optimiser and the grid's matrices
                torch.cuda.set_sync_debug_mode("error")
            yield batch
        torch.cuda.set_sync_debug_mode("default")

    try:
        trainer.step(watched(endless(served, 12)))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_synchronisation_is_noticed(device):
    """Checks that the test above can fail."""
    value = torch.ones((), device=device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing"):
            value.item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("topography", [None, *LOSSES.values()], ids=["baseline", *LOSSES])
def test_deterministic_steps_repeat_to_the_bit(small_data, dataset, device, topography, monkeypatch):
    """Both with resident and with prefetched crops."""
    prepare_device(device, None, deterministic=True)
    found = []
    for resident in (True, True, False):
        monkeypatch.setattr(Batches, "_fits", lambda _, fits=resident: fits)
        served = Batches(dataset.store, dataset.people, dataset.split.train, RECIPE, device)
        found.append(Trainer(config_of(small_data, topography), device).step(endless(served, 6)))
    assert torch.isfinite(found[0]).all()
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_two_hundred_steps_leak_no_memory(small_data, served, device):
    prepare_device(device, None, deterministic=False)
    trainer = Trainer(config_of(small_data, LOSSES["topographic"]), device)

    def allocated(number: int) -> int:
        trainer.step(endless(served, number))
        gc.collect()
        return torch.cuda.memory_allocated(device)

    before = allocated(50)
    assert allocated(200) == before


def test_a_step_on_a_gpu_is_that_on_a_cpu(small_data, dataset, device):
    """Every gradient of one step in fp32, up to rounding, which ReLU and BatchNorm over few people enlarge."""
    prepare_device(device, None, deterministic=True)  # no TF32
    found = []
    for where in (device, torch.device("cpu")):
        served = Batches(dataset.store, dataset.people, dataset.split.train, RECIPE, where)
        trainer = Trainer(config_of(small_data, LOSSES["spatial-correlation"]), where, "fp32")
        trainer.step(endless(served, 1))
        found.append([parameter.grad.cpu() for parameter in trainer.model.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(found[1]) > 60
    for mine, reference in zip(*found, strict=True):
        assert (mine - reference).norm() <= 1e-2 * reference.norm() + 1e-7
