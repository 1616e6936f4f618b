"""What the doctor says of a machine, from machines written down."""

import sys

import pytest

from pose_topo.commands.doctor import Gpu, Machine, look
from pose_topo.commands.doctor import judge_machine as judge

CPU = Machine((3, 11, 2), "2.12.1+cpu", 2)
GPU = Machine((3, 12, 3), "2.12.1+cu130", 8, "13.0", "580.65", (Gpu("NVIDIA A100", 80 * 2**30, 79 * 2**30),), bf16=True)


def told(machine: Machine, profile: str) -> dict[str, tuple[str, str]]:
    return {finding.what: (finding.level, finding.state) for finding in judge(machine, profile)}


def test_a_gpu_machine_may_do_all():
    found = told(GPU, "full")
    assert [found[what][1] for what in ("torch", "CUDA", "driver", "GPU", "bf16")] == [
        "2.12.1+cu130, 8 threads",
        "13.0 in torch",
        "580.65",
        "NVIDIA A100, 79.0 of 80.0 GiB free",
        "the GPU multiplies it: used",
    ]
    assert {level for level, _ in found.values()} == {"ok"}


def test_a_cpu_does_for_the_demo_alone():
    assert told(CPU, "demo")["GPU"][0] == "ok"
    assert told(CPU, "full")["GPU"][0] == "FAIL"
    assert told(CPU, "demo")["bf16"][1] == "this CPU does not multiply it: fp32 is used"


@pytest.mark.parametrize(
    ("cuda", "driver", "remedy"),
    [
        (None, None, "make setup TORCH=lock"),
        ("13.0", None, "in a container ask for the GPU (GPUS=all)"),
        ("13.0", "470.82", "driver 470.82 does not serve torch's CUDA 13.0: update it"),
    ],
)
def test_without_a_gpu_it_says_what_to_do(cuda, driver, remedy):
    assert remedy in told(Machine((3, 11, 2), "2.12.1", 2, cuda, driver), "full")["GPU"][1]


def test_without_torch_or_with_an_old_python_nothing_runs():
    assert told(Machine((3, 11, 2), None), "demo")["torch"][0] == "FAIL"
    assert "make setup" in told(Machine((3, 11, 2), None), "demo")["torch"][1]
    level, state = told(Machine((3, 9, 18), "2.12.1"), "demo")["Python"]
    assert level == "FAIL" and state.startswith("3.9.18: 3.10 or newer")


def test_every_gpu_has_its_line():
    two = Machine((3, 12, 3), "2.12.1", 8, "13.0", "580", GPU.gpus * 2)
    assert [finding.what for finding in judge(two, "full")].count("GPU") == 2


def test_this_machine_is_looked_at():
    import torch

    here = look()
    assert (here.python, here.torch) == (sys.version_info[:3], str(torch.__version__))
    assert len(here.gpus) == torch.cuda.device_count()


def test_a_torch_that_cannot_be_imported_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert look().torch is None
