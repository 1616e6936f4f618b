"""The machine: device and precision, PyTorch's set-up, and what is recorded of code, packages, hardware and memory."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pose_topo import __version__
from pose_topo.core.errors import UsageError
from pose_topo.core.files import sha256_file
from pose_topo.core.log import log

ROOT = Path(__file__).resolve().parent.parent.parent


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
        kind = "cpu"
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
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()  # the newest instructions that oneDNN may use
    return "bf16" if in_hardware and re.search("BF16|AMX|AVX10|DEFAULT|ALL", held) else "fp32"


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
    """Whether an operation failed because the GPU memory is full, for which each library has an error of its own."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return any(sign in words for sign in ("cuda error: out of memory", "_alloc_failed", "unable to find an engine"))


def seed_everything(seed: int) -> None:
    """Seed torch's global generators, which draw the initial weights. The data have generators of their own."""
    torch.manual_seed(seed)


# ---- where the numbers of a run come from


def provenance(device: torch.device, precision: str, data_sha256: str, seed: int) -> dict[str, Any]:
    """What is known when a run starts, as it is written to provenance.json."""
    lock, on_gpu = ROOT / "requirements.lock", device.type == "cuda"
    return {
        "pose_topo": __version__,
        **revision(ROOT),
        "lock_sha256": sha256_file(lock) if lock.is_file() else None,
        "data_sha256": data_sha256,
        "seed": seed,
        "command": ["pose-topo", *sys.argv[1:]],
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a subclass of str, which a weights-only load refuses
        "threads": torch.get_num_threads(),
        "precision": precision,
        "tf32": on_gpu and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "cuda": torch.version.cuda if on_gpu else None,
        "driver": driver_version() if on_gpu else None,
    }


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak memory of this process in bytes: "rss" (resident), and "cuda" if the device is a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        peak["cuda"] = torch.cuda.max_memory_allocated(device)
    return peak


def forget_peak_memory(device: torch.device) -> None:
    """Reset the peak of the GPU to what it holds now. The resident peak of a process cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def driver_version() -> str | None:
    """The version of NVIDIA's driver, even if torch cannot use it; None without a driver."""
    told = _run("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return told.partition("\n")[0] if told else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def revision(root: Path) -> dict[str, Any]:
    """The commit of the code, and whether the files differ from it ("dirty").

    An archive or an image carries a file REVISION with `<commit>` or `<commit>-dirty`. Otherwise git is asked.
    """
    kept = root / "REVISION"
    if kept.is_file():
        commit, _, dirty = kept.read_text(encoding="utf-8").strip().partition("-")
        return {"commit": commit or None, "dirty": bool(dirty)}
    git = ("git", "-C", str(root))
    top = _run(*git, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != root.resolve():  # the code was copied into another project's repository
        return {"commit": None, "dirty": None}
    commit = _run(*git, "rev-parse", "HEAD")
    changed = _run(*git, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if commit is None else bool(changed)}


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
