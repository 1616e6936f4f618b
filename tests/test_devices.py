"""The device for each name. Two GPUs are simulated."""

import pytest
import torch

from pose_topo.core.devices import is_out_of_memory, pick_device
from pose_topo.core.errors import UsageError


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(("name", "number"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_has_its_number(two_gpus, name, number):
    device = pick_device(name)
    assert device == torch.device("cuda", number)
    assert torch.cuda._utils._get_device_index(device) == number  # as `torch.cuda.set_device` requires


@pytest.mark.parametrize("name", ["cuda:2", "gpu", "cuda:x", "cuda:-1", ""])
def test_a_missing_or_unknown_device_is_refused(two_gpus, name):
    with pytest.raises(UsageError, match=rf"--device {name}: "):
        pick_device(name)


def test_without_a_gpu_the_cpu_is_used_with_a_warning(monkeypatch, said: list[str]):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    assert said == []
    assert pick_device("cuda:3") == torch.device("cpu") and "no CUDA here" in said[0]


def test_a_full_memory_is_recognised_in_the_errors_of_all_libraries():
    for words in (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
        "FIND was unable to find an engine to execute this computation after trying 12 plans.",
    ):
        assert is_out_of_memory(RuntimeError(words))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
