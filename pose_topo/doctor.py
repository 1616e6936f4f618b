"""Can this machine run the study? One finding a line."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pose_topo.config import MAT_NAME
from pose_topo.provenance import ROOT

DISK_GB = {"demo": 2, "full": 60}
PROFILES = tuple(DISK_GB)


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `ok` False stops the profile."""

    what: str
    state: str
    ok: bool = True

    def line(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what}: {self.state}"


def examine(data: Path, profile: str) -> list[Finding]:
    """All findings for a profile: "demo" (CPU, rendered data) or "full" (MPII)."""
    findings = [_python(), *_torch(profile), _disk(data, profile), _lock()]
    if profile == "full":
        findings.append(_data(data))
    return findings


def _python() -> Finding:
    fine = sys.version_info >= (3, 10)
    return Finding("Python", platform.python_version() + ("" if fine else ": 3.10 or newer is needed"), fine)


def _torch(profile: str) -> list[Finding]:
    import torch

    from pose_topo.devices import pick_precision

    found = [Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        found.append(Finding("GPU", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, CUDA {torch.version.cuda}"))
    else:
        found.append(
            Finding(
                "GPU",
                "none" + (": the full study needs one (days on a CPU)" if profile == "full" else ""),
                profile != "full",
            )
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found.append(Finding("precision", f"{pick_precision('auto', device)} on {device.type}"))
    return found


def _disk(data: Path, profile: str) -> Finding:
    folder = next(parent for parent in (data.resolve(), *data.resolve().parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 1e9
    needed = DISK_GB[profile]
    return Finding(
        "disk", f"{free:.0f} GB free, {needed} GB needed" + ("" if free >= needed else ": make room"), free >= needed
    )


def _data(data: Path) -> Finding:
    mat, images = data / MAT_NAME, data / "images"
    if mat.is_file() and images.is_dir():
        return Finding("data", f"{data}: annotations and {sum(1 for _ in images.iterdir()):,} images")
    return Finding("data", f"{data}: not complete; `pose-topo download mpii --data {data}`", False)


def _lock() -> Finding:
    """Whether the installed packages are those of requirements.lock (of those whose line applies here)."""
    lock = ROOT / "requirements.lock"
    if not lock.is_file():
        return Finding("lock", "no requirements.lock beside the package: versions not compared")
    wanted: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text(), re.M):
        wanted.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    installed = {
        re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower(): dist.version.partition("+")[
            0
        ]  # 2.12.1+cpu is PyTorch's own 2.12.1
        for dist in importlib.metadata.distributions()
    }
    other = [
        f"{name} {installed[name]}"
        for name, versions in sorted(wanted.items())
        if name in installed and installed[name] not in versions
    ]
    if other:
        return Finding(
            "lock",
            f"{len(other)} packages differ from requirements.lock ({', '.join(other[:4])}): run `make setup`",
            False,
        )
    return Finding("lock", f"{sum(name in installed for name in wanted)} installed packages as locked")
