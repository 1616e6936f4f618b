"""Whether the installed packages are those of requirements.lock: every one of them, and no other."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pose_topo.doctor.finding import Finding
from pose_topo.errors import PoseTopoError

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


def judge(lock: Path = LOCK) -> Finding:
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
