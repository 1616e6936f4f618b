"""What the doctor reports of a machine. PyTorch is made to describe other machines."""

import sys

import pytest
import torch

from pose_topo.commands import prepare


def reported(profile):
    return {finding.what: (finding.level, finding.state) for finding in prepare.check_machine(profile)}


@pytest.fixture
def machine(monkeypatch):
    """A function that sets what torch says of the machine: number of GPUs, CUDA of its build, NVIDIA's driver."""

    def set_up(gpus, cuda, driver=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"NVIDIA A100 {index}")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (79 * 2**30, 80 * 2**30))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr("pose_topo.core.machine.driver_version", lambda: driver)

    return set_up


def test_a_machine_with_a_gpu_runs_everything(machine):
    machine(gpus=1, cuda="13.0")
    found = reported("full")
    assert {level for level, _ in found.values()} == {"ok"}
    assert "CUDA 13.0" in found["torch"][1]
    assert found["GPU"][1] == "NVIDIA A100 0, 79.0 of 80.0 GiB free"
    assert found["bf16"][1] == "the GPU multiplies it: used"


def test_a_cpu_runs_the_demo_only(machine):
    machine(gpus=0, cuda=None)
    assert reported("demo")["GPU"][0] == "ok"
    assert reported("full")["GPU"][0] == "FAIL"
    assert reported("demo")["bf16"][1] == "this CPU does not: fp32 is used"


@pytest.mark.parametrize(
    ("cuda", "driver", "remedy"),
    [
        (None, None, "make setup TORCH=lock"),
        ("13.0", None, "in a container ask for the GPU (GPUS=all)"),
        ("13.0", "470.82", "driver 470.82 does not serve torch's CUDA 13.0: update it"),
    ],
)
def test_without_a_gpu_the_remedy_is_named(machine, cuda, driver, remedy):
    machine(gpus=0, cuda=cuda, driver=driver)
    assert remedy in reported("full")["GPU"][1]


def test_every_gpu_has_a_line(machine):
    machine(gpus=2, cuda="13.0")
    assert [finding.what for finding in prepare.check_machine("full")].count("GPU") == 2


def test_nothing_runs_without_torch_or_with_an_old_python(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "OLDEST_PYTHON", (9, 0))
        level, state = reported("demo")["Python"]
        assert level == "FAIL" and "3.10 or newer is needed" in state
    monkeypatch.setitem(sys.modules, "torch", None)
    assert reported("demo")["torch"] == ("FAIL", "cannot be imported: run `rm -r .venv && make setup`")
