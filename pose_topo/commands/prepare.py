"""The commands before a study: `download` fetches data sets and weights, `doctor` checks this machine."""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from pose_topo.commands.app import app
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import cache_folder
from pose_topo.core.log import log
from pose_topo.download.catalog import LICENCES, TARGETS, WEIGHTS


@app.command("download")
def download(
    target: Annotated[
        str,
        typer.Argument(help="mpii, images, annotations, split, lspet, weights, reference, gdrive or synthetic."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder to fill [default: lspet for the target lspet, mpii for others].")
    ] = None,
    people: Annotated[int, typer.Option(help="synthetic: number of annotated people.")] = 2000,
    seed: Annotated[int, typer.Option(help="synthetic: seed of the renderer.")] = 0,
    arch: Annotated[str | None, typer.Option(help=f"weights: {', '.join(WEIGHTS)} or all [default: resnet50].")] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address to try first: of a file, or of a folder of such files.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="File, folder or git repository on disk to take the data from.")
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="weights: folder that keeps them.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be fetched, from where, and its size.")
    ] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress bars.")] = True,
) -> None:
    """Download and verify MPII, its split, LSPET or ImageNet weights, or render the synthetic data set."""
    data = data or Path("lspet" if target == "lspet" else "mpii")
    if target == "synthetic":
        from pose_topo.rendering.folder import render_dataset, synthetic_size

        if dry_run:
            log.info(f"would render {people:,} people, seed {seed}, into {data} (about {synthetic_size(people)})")
            return
        manifest = render_dataset(data, people, seed, progress=progress)
        log.info(
            f"{data}: {manifest['people']:,} people in {manifest['images']:,} photographs, "
            f"version {manifest['version']}"
        )
        return
    from pose_topo.download.fetch import Job, run, run_drive
    from pose_topo.download.transfer import Policy
    from pose_topo.download.weights import fetch_weights

    policy = Policy(progress=progress)
    if target == "weights":
        for name in WEIGHTS if arch == "all" else (arch or "resnet50",):
            fetch_weights(name, cache_dir, mirror=mirror, source=source, dry_run=dry_run, policy=policy)
        return
    if arch is not None:
        raise UsageError(f"--arch belongs to the target weights, not to {target}")
    job = Job(data, mirror, source, policy=policy)
    if target == "gdrive":
        run_drive(job, dry_run=dry_run)
    elif target in TARGETS:
        run(TARGETS[target], job, dry_run=dry_run, licence=LICENCES.get(target))
    else:
        raise UsageError(f"no target {target!r}: one of {', '.join(TARGETS)}, weights, gdrive, synthetic")


# ---- doctor: can this machine run the study? It prints one line per finding

Level = Literal["ok", "note", "FAIL"]
Profile = Literal["demo", "full"]

OLDEST_PYTHON = (3, 10)
LOCK = Path(__file__).resolve().parent.parent.parent / "requirements.lock"
NOT_LOCKED = {"pose-topo", "pip", "wheel"}  # packages of an environment that are not in the lock
CUDA_PACKAGE = re.compile(r"(triton|nvidia-.*|cuda-.*)$")  # a CPU build of torch does not need them
STUDY_ARCHS = ("resnet18", "resnet34", "resnet50")
RUNS = Path("runs")
DEMO_BYTES = 2_000_000_000  # rendered photographs, crops, three runs
CROP_BYTES = 20_000_000_000  # 28,883 people x 448 x 448 x 3, and about 11,000 x 256 x 256 x 3 (protocol `paper`)
RUN_BYTES = 41_000_000_000  # 132 runs of 0.25 to 0.55 GB, as `make plan` counts: weights, and Adam's two moments


@dataclass(frozen=True)
class Finding:
    """One line. "note": the profile runs, but the reader should know this. "FAIL": the profile cannot run."""

    what: str
    state: str
    level: Level = "ok"

    def line(self) -> str:
        return f"{self.level:<4}  {self.what}: {self.state}"


@app.command("doctor")
def doctor(
    data: Annotated[Path, typer.Option(help="Data folder to look at.")] = Path("mpii"),
    profile: Annotated[Profile, typer.Option(help="demo: CPU, rendered data; full: the study on MPII.")] = "demo",
) -> None:
    """Check whether this machine can run the study."""
    findings = [*check_machine(profile), *check_folders(data, profile), check_lock()]
    for finding in findings:
        typer.echo(finding.line())
    if any(finding.level == "FAIL" for finding in findings):
        raise typer.Exit(1)


def check_machine(profile: Profile) -> list[Finding]:
    """Python, torch, GPUs and bf16. The profile "full" needs a GPU."""
    version = platform.python_version()
    python = Finding("Python", f"{version} on {platform.system()} {platform.machine()}")
    if sys.version_info[:2] < OLDEST_PYTHON:
        python = Finding("Python", f"{version}: 3.10 or newer is needed (make PYTHON=python3.11 ...)", "FAIL")
    try:
        import torch

        from pose_topo.core.machine import pick_device, pick_precision
    except (ImportError, OSError):  # torch is missing, or a library that it needs
        return [python, Finding("torch", "cannot be imported: run `rm -r .venv && make setup`", "FAIL")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of a driver that is too old; the finding on the GPU says so
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = []
    for index in range(number):
        free, memory = (size / 2**30 for size in torch.cuda.mem_get_info(index))
        gpus.append(Finding("GPU", f"{torch.cuda.get_device_name(index)}, {free:.1f} of {memory:.1f} GiB free"))
    device = "the GPU" if gpus else "this CPU"
    in_hardware = pick_precision("auto", pick_device("auto")) == "bf16"
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
    return [
        python,
        Finding("torch", f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"),
        *(gpus or [_no_gpu(profile, torch.version.cuda)]),
        Finding("bf16", f"{device} multiplies it: used" if in_hardware else f"{device} does not: fp32 is used"),
    ]


def _no_gpu(profile: Profile, cuda: str | None) -> Finding:
    """What to do if the profile needs a GPU and a torch for this version of CUDA (None: a CPU build) can use none."""
    if profile == "demo":
        return Finding("GPU", "none that torch can use; the demo needs none")
    from pose_topo.core.machine import driver_version

    if cuda is None:
        remedy = "install torch with CUDA (rm -r .venv && make setup TORCH=lock)"
    elif driver := driver_version():
        remedy = f"driver {driver} does not serve torch's CUDA {cuda}: update it"
    else:
        remedy = "install NVIDIA's driver; in a container ask for the GPU (GPUS=all)"
    return Finding("GPU", f"none that torch can use, and the full study needs one: {remedy}", "FAIL")


def check_folders(data: Path, profile: Profile) -> list[Finding]:
    """Write access, disk space, and for the profile "full" the data and the ImageNet weights."""
    from pose_topo.download.catalog import LSPET_JOINTS, TARGETS
    from pose_topo.download.fetch import Job, plan
    from pose_topo.download.weights import weights_path

    try:
        cache = cache_folder()
    except PoseTopoError as error:  # a user without a home folder
        return [Finding("write access", str(error), "FAIL")]
    if profile == "demo":
        return [_write_access([RUNS, cache]), _disk({data: DEMO_BYTES})]
    target = "lspet" if (data / LSPET_JOINTS.target).is_file() else "mpii"
    steps = plan(TARGETS[target], Job(data))
    found = Finding("data", f"{data}: {', '.join(step.remote.target for step in steps)} are there and verified")
    if wrong := [f"{step.remote.target} {step.why}" for step in steps if step.why]:
        found = Finding("data", f"{data}: {'; '.join(wrong)}; `pose-topo download {target} --data {data}`", "FAIL")
    weights = Finding("weights", f"{', '.join(STUDY_ARCHS)} are there and verified")
    if missing := [arch for arch in STUDY_ARCHS if weights_path(arch) is None]:
        fetch = "; ".join(f"pose-topo download weights --arch {arch}" for arch in missing)
        weights = Finding("weights", f"not in {cache}: {', '.join(missing)}; `{fetch}`", "FAIL")
    needs = {data: sum(step.disk() for step in steps), cache: CROP_BYTES, RUNS: RUN_BYTES}
    return [_write_access([RUNS, cache]), _disk(needs), found, weights]


def _write_access(folders: Iterable[Path]) -> Finding:
    """A note if a folder is read-only: another one can be given."""
    closed = [str(folder) for folder in folders if not os.access(_existing(folder), os.W_OK)]
    if closed:
        remedy = "give --save-dir and --cache-dir (or POSE_TOPO_CACHE)"
        return Finding("write access", f"read-only: {', '.join(closed)}; {remedy}", "note")
    return Finding("write access", ", ".join(map(str, folders)))


def _disk(needs: Mapping[Path, int]) -> Finding:
    """Compare the bytes that each folder needs with the free bytes. Folders on one disk are added up."""
    from pose_topo.download.fetch import free_bytes, human

    disks: dict[int, list[Path]] = {}
    for folder in needs:
        disks.setdefault(_device(folder), []).append(folder)
    short, states = False, []
    for folders in disks.values():
        need, free = sum(needs[folder] for folder in folders), free_bytes(folders[0])
        short |= free < need
        states.append(f"{human(free)} free and {human(need)} needed for {', '.join(map(str, folders))}")
    return Finding("disk", "; ".join(states) + (": make room" if short else ""), "FAIL" if short else "ok")


def _device(folder: Path) -> int:
    """The number of the disk that holds a folder."""
    return _existing(folder).stat().st_dev


def _existing(folder: Path) -> Path:
    """The folder, or its closest parent that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def check_lock(lock: Path = LOCK) -> Finding:
    """Compare the installed packages with requirements.lock. A difference may change the numbers."""
    if not lock.is_file():
        return Finding("lock", "no requirements.lock beside the package: versions not compared", "note")
    found = installed()
    different = differences(locked(lock.read_text(encoding="utf-8")), found)
    if different:
        return Finding("lock", f"{'; '.join(different)}: `rm -r .venv && make setup` installs what is locked", "note")
    return Finding("lock", f"{len(found.keys() - NOT_LOCKED)} packages, all as in requirements.lock")


def locked(text: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The versions in the text of a lock, by name, for lines whose marker holds in `environment` (default: here).

    Raises:
        PoseTopoError: a line is not an exact requirement.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    wanted: dict[str, str] = {}
    for line in text.splitlines():
        if line[:1] in ("", " ", "\t", "#"):
            continue
        try:
            requirement = Requirement(line.rstrip("\\ "))
        except InvalidRequirement as error:
            raise PoseTopoError(f"requirements.lock: {line!r} is no requirement ({error}); `make lock`") from None
        if requirement.marker is None or requirement.marker.evaluate(dict(environment) if environment else None):
            wanted[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return wanted


def installed() -> dict[str, str]:
    """The versions of the installed packages, by name."""
    from importlib.metadata import distributions

    from packaging.utils import canonicalize_name

    return {str(canonicalize_name(found.metadata["Name"])): found.version for found in distributions()}


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """How installed packages differ from locked ones, in words.

    PyTorch's own index calls the CPU build of version 2.12.1 "2.12.1+cpu". That is the same version.
    """
    without_cuda = found.get("torch", "").endswith("+cpu")
    groups = {
        "in other versions": {
            f"{name} {found[name]} for {wanted[name]}"
            for name in wanted.keys() & found.keys()
            if found[name].partition("+")[0] != wanted[name]
        },
        "missing": {name for name in wanted.keys() - found.keys() if not (without_cuda and CUDA_PACKAGE.match(name))},
        "not in the lock": found.keys() - wanted.keys() - NOT_LOCKED,
    }
    return [f"{len(names)} {how} ({', '.join(sorted(names)[:4])})" for how, names in groups.items() if names]
