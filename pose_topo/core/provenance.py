"""Where the numbers of a run come from: code, package versions, data, hardware and memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pose_topo import __version__
from pose_topo.core.files import sha256_file

ROOT = Path(__file__).resolve().parent.parent.parent


def collect(device: torch.device, precision: str, data_sha256: str, seed: int) -> dict[str, Any]:
    """What is known when a run starts, as it is written to provenance.json."""
    lock = ROOT / "requirements.lock"
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
        "tf32": device.type == "cuda" and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        **_hardware(device),
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


def _hardware(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"device": _cpu_name(), "cuda": None, "driver": None}
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "driver": driver_version(),
    }


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
