"""The device, its precision, and the seeds."""

from __future__ import annotations

import contextlib
import os

import torch

from pose_topo.core.errors import UsageError
from pose_topo.core.log import log


def pick_device(name: str, *, warn: bool = True) -> torch.device:
    """ "auto", "cpu", "cuda" (the first GPU) or "cuda:N"; falls back to the CPU, saying so, where there is no CUDA.

    A GPU always comes with its number: `torch.cuda.set_device` takes no other, and tensors' devices compare equal.

    Raises:
        UsageError: another name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        if warn:
            log.warning(f"--device {name}: no CUDA here, going on with the CPU")
        return torch.device("cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    return torch.device("cuda", int(number or 0))


def pick_precision(name: str, device: torch.device) -> str:
    """ "fp32" or "bf16": "auto" takes bf16 on CUDA and on CPUs that multiply it in hardware (AVX512-BF16, AMX)."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if in_hardware else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """The context of a forward pass."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def prepare_device(device: torch.device, threads: int | None, deterministic: bool) -> None:
    """Torch's own settings: CPU threads, and on CUDA either TF32 and the fastest algorithms found by trying, or those
    that repeat themselves to the bit (a CPU repeats itself at a fixed number of threads anyway)."""
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
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before its first call


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a step failed for want of GPU memory: cuDNN and cuBLAS, which find no room for their own, and pinned
    memory have other errors than PyTorch's."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return any(sign in words for sign in ("cuda error: out of memory", "_alloc_failed", "unable to find an engine"))


def seed_everything(seed: int) -> None:
    """Torch's global generators (initial weights). Data draws have generators of their own."""
    torch.manual_seed(seed)
