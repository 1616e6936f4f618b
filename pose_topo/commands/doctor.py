"""What the doctor says of one thing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from pose_topo.commands.app import app
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import cache_folder
from pose_topo.download.catalog import TARGETS
from pose_topo.download.fetch import Job, Step, free_bytes, human, plan
from pose_topo.download.weights import weights_path

Level = Literal["ok", "note", "FAIL"]
PROFILES = ("demo", "full")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. "note": it runs, but the reader should know; "FAIL": the profile cannot run."""

    what: str
    state: str
    level: Level = "ok"

    @property
    def ok(self) -> bool:
        return self.level != "FAIL"

    def line(self) -> str:
        return f"{self.level:<4}  {self.what}: {self.state}"


# ---- Whether the installed packages are those of requirements.lock: every one of them, and no other.

LOCK = Path(__file__).resolve().parent.parent.parent / "requirements.lock"
BESIDE = {"pose-topo", "pip", "wheel"}  # what stands in an environment without being locked
CUDA = re.compile(r"(triton|nvidia-.*|cuda-.*)$")  # what a CPU build of torch does without


@dataclass(frozen=True)
class Difference:
    """How an environment departs from a lock; each a sorted list of words."""

    other: list[str]  # installed in another version
    missing: list[str]
    extra: list[str]

    def words(self) -> list[str]:
        parts = {"in other versions": self.other, "missing": self.missing, "not in the lock": self.extra}
        return [f"{len(names)} {how} ({', '.join(names[:4])})" for how, names in parts.items() if names]


def judge_lock(lock: Path = LOCK) -> Finding:
    """A difference is worth a note: the study runs, but the numbers may be others."""
    if not lock.is_file():
        return Finding("lock", "no requirements.lock beside the package: versions not compared", "note")
    found = installed()
    words = compare(locked(lock.read_text(encoding="utf-8")), found).words()
    if words:
        return Finding("lock", f"{'; '.join(words)}: `rm -r .venv && make setup` installs what is locked", "note")
    return Finding("lock", f"{len(found.keys() - BESIDE)} packages, all as in requirements.lock")


def locked(text: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions by name, of the lines whose marker holds in `environment` (default: here).

    Raises:
        PoseTopoError: a line is no exact requirement.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    wanted: dict[str, str] = {}
    for line in text.splitlines():
        if line[:1] in ("", " ", "\t", "#"):
            continue
        try:
            requirement = Requirement(line.rstrip("\\ "))
        except InvalidRequirement as error:
            raise PoseTopoError(f"requirements.lock: {line!r} is no requirement ({error}); `make lock`") from None
        if requirement.marker is None or requirement.marker.evaluate(dict(environment) if environment else None):
            wanted[_canonical(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return wanted


def installed() -> dict[str, str]:
    """Versions by name, of this environment."""
    return {_canonical(dist.metadata["Name"]): dist.version for dist in importlib.metadata.distributions()}


def compare(wanted: Mapping[str, str], found: Mapping[str, str]) -> Difference:
    """Both directions. PyTorch's own index calls the CPU build of 2.12.1 "2.12.1+cpu", which is the same version."""
    without_cuda = found.get("torch", "").endswith("+cpu")
    missing = [name for name in wanted.keys() - found.keys() if not (without_cuda and CUDA.match(name))]
    other = [
        f"{name} {found[name]} for {wanted[name]}"
        for name in wanted.keys() & found.keys()
        if found[name].partition("+")[0] != wanted[name]
    ]
    return Difference(sorted(other), sorted(missing), sorted(found.keys() - wanted.keys() - BESIDE))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ---- Python, torch, CUDA, driver, GPUs and bf16: looked at once, then judged without looking again.

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

        from pose_topo.core.devices import pick_device, pick_precision
        from pose_topo.core.provenance import driver_version
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


def judge_machine(machine: Machine, profile: str) -> list[Finding]:
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


# ---- What the study needs on disk: room, the data, the ImageNet weights; and whether anything is sent anywhere.

DEMO_BYTES = 2_000_000_000  # rendered photographs, crops, three runs
CROP_BYTES = 20_000_000_000  # 28,883 people x 448 x 448 x 3, and about 11,000 x 256 x 256 x 3 (`paper`)
RUN_BYTES = 41_000_000_000  # 132 runs of 0.25 to 0.55 GB, as `make plan` counts: weights, and Adam's two moments
ARCHS = ("resnet18", "resnet34", "resnet50")  # of the study


def judge_study(data: Path, profile: str) -> list[Finding]:
    """Findings on disk, data, weights and wandb."""
    if profile == "demo":
        return [
            _disk({data: DEMO_BYTES}),
            Finding("data", "the demo renders its own"),
            Finding("weights", "the demo starts from none"),
            _wandb(os.environ),
        ]
    steps = plan(TARGETS["mpii"], Job(data))
    needs = {data: sum(step.disk() for step in steps), cache_folder(): CROP_BYTES, Path("runs"): RUN_BYTES}
    return [_disk(needs), _data(data, steps), _weights(), _wandb(os.environ)]


def _disk(needs: Mapping[Path, int]) -> Finding:
    """`needs`: bytes wanted below each folder; folders on one disk are counted together."""
    disks: dict[int, list[Path]] = {}
    for folder in needs:
        disks.setdefault(_device(folder), []).append(folder)
    short, told = False, []
    for folders in disks.values():
        need, free = sum(needs[folder] for folder in folders), free_bytes(folders[0])
        short |= free < need
        names = ", ".join(str(folder) for folder in folders)
        told.append(f"{human(free)} free and {human(need)} needed for {names}")
    return Finding("disk", "; ".join(told) + (": make room" if short else ""), "FAIL" if short else "ok")


def _device(folder: Path) -> int:
    """The disk of a folder, which need not exist yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place.stat().st_dev


def _data(data: Path, steps: list[Step]) -> Finding:
    wrong = [f"{step.remote.target} {step.why}" for step in steps if step.why]
    if wrong:
        return Finding("data", f"{data}: {'; '.join(wrong)}; `pose-topo download mpii --data {data}`", "FAIL")
    return Finding("data", f"{data}: {', '.join(step.remote.target for step in steps)} are there and verified")


def _weights() -> Finding:
    """ImageNet weights: a training fetches what is missing, which needs a network."""
    missing = [arch for arch in ARCHS if weights_path(arch) is None]
    if missing:
        fetch = "; ".join(f"pose-topo download weights --arch {arch}" for arch in missing)
        return Finding("weights", f"not in {cache_folder()}: {', '.join(missing)}; `{fetch}`", "FAIL")
    return Finding("weights", f"{', '.join(ARCHS)} are there and verified")


def _wandb(environment: Mapping[str, str]) -> Finding:
    try:
        version = importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError:
        return Finding("wandb", "not installed: everything but --wandb works", "note")
    mode = environment.get("WANDB_MODE", "online")
    return Finding("wandb", f"{version}, asked for nothing unless --wandb is given (then {mode})")


# ---- doctor: can this machine run the study?


def examine(data: Path, profile: str) -> list[Finding]:
    """All findings for a profile: "demo" (CPU, rendered data) or "full" (the study on MPII, on a GPU)."""
    return [*judge_machine(look(), profile), *judge_study(data, profile), judge_lock()]


@app.command("doctor")
def doctor(
    data: Annotated[Path, typer.Option(help="Data folder to look at.")] = Path("mpii"),
    profile: Annotated[str, typer.Option(help="demo (CPU, rendered data) or full (MPII).")] = "demo",
) -> None:
    """Look at this machine: can it run the study? One line a finding."""

    if profile not in PROFILES:
        raise UsageError(f"--profile {profile}: give one of {', '.join(PROFILES)}")
    findings = examine(data, profile)
    for finding in findings:
        typer.echo(finding.line())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
