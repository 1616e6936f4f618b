"""Python, torch, CUDA, driver, GPUs and bf16: looked at once, then judged without looking again."""

from __future__ import annotations

import platform
import sys
import warnings
from dataclasses import dataclass

from pose_topo.doctor.finding import Finding

OLDEST = (3, 10)


@dataclass(frozen=True)
class Gpu:
    """One GPU; bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True)
class Machine:
    """What a training would find."""

    python: tuple[int, ...]
    torch: str | None  # None: cannot be imported
    threads: int = 0
    cuda: str | None = None  # of torch's build; None: a CPU build
    driver: str | None = None  # NVIDIA's, whether torch can use it or not
    gpus: tuple[Gpu, ...] = ()
    bf16: bool = False  # multiplied in hardware by the device that `--device auto` takes


def look() -> Machine:
    """This machine."""
    python = sys.version_info[:3]
    try:
        import torch

        from pose_topo.devices import pick_device, pick_precision
        from pose_topo.provenance import driver_version
    except (ImportError, OSError):  # absent, or a library of it is
        return Machine(python, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a driver that is too old: said below
        usable = torch.cuda.is_available()
    gpus = [_gpu(index) for index in range(torch.cuda.device_count())] if usable else []
    bf16 = pick_precision("auto", pick_device("auto")) == "bf16"
    return Machine(
        python, str(torch.__version__), torch.get_num_threads(), torch.version.cuda, driver_version(), tuple(gpus), bf16
    )


def _gpu(index: int) -> Gpu:
    import torch

    free, memory = torch.cuda.mem_get_info(index)
    return Gpu(torch.cuda.get_device_name(index), memory, free)


def judge(machine: Machine, profile: str) -> list[Finding]:
    """A finding for each part; without a GPU "full" cannot run."""
    found = [_python(machine)]
    if machine.torch is None:
        return [*found, Finding("torch", "cannot be imported: run `rm -r .venv && make setup`", "FAIL")]
    device = "the GPU" if machine.gpus else "this CPU"
    bf16 = f"{device} multiplies it: used" if machine.bf16 else f"{device} does not multiply it: fp32 is used"
    return [
        *found,
        Finding("torch", f"{machine.torch}, {machine.threads} threads"),
        Finding("CUDA", f"{machine.cuda} in torch" if machine.cuda else "none: a CPU build of torch"),
        Finding("driver", machine.driver or "none found (nvidia-smi)"),
        *_gpus(machine, profile),
        Finding("bf16", bf16),
    ]


def _python(machine: Machine) -> Finding:
    version = ".".join(map(str, machine.python))
    if machine.python < OLDEST:
        return Finding("Python", f"{version}: 3.10 or newer is needed (make PYTHON=python3.11 ...)", "FAIL")
    return Finding("Python", f"{version} on {platform.system()} {platform.machine()}")


def _gpus(machine: Machine, profile: str) -> list[Finding]:
    if machine.gpus:
        return [
            Finding("GPU", f"{gpu.name}, {gpu.free / 2**30:.1f} of {gpu.memory / 2**30:.1f} GiB free")
            for gpu in machine.gpus
        ]
    if profile == "full":
        return [Finding("GPU", f"none that torch can use, and the full study needs one: {_remedy(machine)}", "FAIL")]
    return [Finding("GPU", "none that torch can use; the demo needs none")]


def _remedy(machine: Machine) -> str:
    if machine.cuda is None:
        return "install torch with CUDA (rm -r .venv && make setup TORCH=lock)"
    if machine.driver is not None:
        return f"driver {machine.driver} does not serve torch's CUDA {machine.cuda}: update it"
    return "install NVIDIA's driver; in a container ask for the GPU (GPUS=all)"
