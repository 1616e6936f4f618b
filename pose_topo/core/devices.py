"""Choose the device and the precision, and set up PyTorch."""

from __future__ import annotations

import contextlib
import os

import torch

from pose_topo.core.errors import UsageError
from pose_topo.core.log import log


def pick_device(name: str, *, warn: bool = True) -> torch.device:
    """The device for "auto", "cpu", "cuda" (the first GPU) or "cuda:N". Without CUDA it is the CPU.

    A GPU always has its number, as `torch.cuda.set_device` requires, so that it compares equal to the device of a
    tensor.

    Args:
        warn: log a warning if a GPU was asked for and there is none.

    Raises:
        UsageError: the name is invalid, or this machine has fewer GPUs.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        if warn:
            log.warning(f"--device {name}: no CUDA here, using the CPU")
        return torch.device("cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    return torch.device("cuda", int(number or 0))


def pick_precision(name: str, device: torch.device) -> str:
    """ "fp32" or "bf16". "auto" takes bf16 if the GPU or the CPU (AVX512-BF16, AMX) multiplies it in hardware."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if in_hardware else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """The context of a forward pass in this precision."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def prepare_device(device: torch.device, threads: int | None, deterministic: bool) -> None:
    """Set the CPU threads and, on CUDA, how fast or how repeatable operations are.

    Args:
        threads: CPU threads; None keeps torch's own number.
        deterministic: on CUDA, use algorithms that repeat to the bit, without TF32. Otherwise TF32 and the fastest
            algorithms are used. A CPU repeats to the bit in both cases if the number of threads is the same.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("highest" if deterministic else "high")
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # must be set before the first call of cuBLAS


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an operation failed because the GPU memory is full.

    cuDNN, cuBLAS and the allocation of pinned memory raise other errors than PyTorch's own.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return any(sign in words for sign in ("cuda error: out of memory", "_alloc_failed", "unable to find an engine"))


def seed_everything(seed: int) -> None:
    """Seed torch's global generators, which draw the initial weights. The data have generators of their own."""
    torch.manual_seed(seed)
