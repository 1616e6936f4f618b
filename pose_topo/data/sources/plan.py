"""What is missing, where it may come from, and what it takes. Looks only: writes nothing, asks nobody."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pose_topo.data.sources import local
from pose_topo.data.sources.catalog import Remote
from pose_topo.data.sources.images import extracted_bytes, incomplete
from pose_topo.data.sources.mirrors import urls_for
from pose_topo.data.sources.partial import Partial
from pose_topo.data.sources.transfer import Policy
from pose_topo.data.sources.verify import mismatch
from pose_topo.errors import PoseTopoError, UsageError

Say = Callable[[str], object]


@dataclass(frozen=True)
class Job:
    """How to obtain things: where they go, and from where."""

    root: Path
    mirror: str | None = None
    source: Path | None = None
    deep: bool = False  # look into the source's subfolders
    network: bool = True  # else only the source may serve
    say: Say = print
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Step:
    """One remote in one place: why it is wanted (None: it is there and verified), and what will serve it."""

    remote: Remote
    final: Path
    store: Path  # where the fetched file goes: the final place, or `downloads/` for an archive
    urls: tuple[str, ...]
    why: str | None
    found: Path | None = None

    @property
    def fetches(self) -> bool:
        """Whether bytes must come over the network, as far as a look tells: an archive that lies there is only
        verified when it is used."""
        return self.found is None and not (self.remote.is_archive and self._plausible())

    def _plausible(self) -> bool:
        low, high = self.remote.lengths
        return self.store.is_file() and low <= self.store.stat().st_size <= high

    def disk(self) -> int:
        """Bytes this still needs on disk, roughly."""
        if self.why is None:
            return 0
        missing = self.remote.about - Partial(self.store).size() if self.fetches else 0
        if self.found is not None and not local.is_archive_of(self.remote, self.found):
            return 0 if self.remote.folder else self.remote.about
        unpacked = self.remote.unpacked - (extracted_bytes(self.final) if self.remote.folder else 0)
        return max(0, missing) + max(0, unpacked)


def plan(remotes: Sequence[Remote], job: Job) -> list[Step]:
    """Look at what is there and at what could serve the rest.

    Raises:
        UsageError: the mirror is no URL, the source does not exist, or it holds nothing of what is wanted.
    """
    sole = len(remotes) == 1
    steps = []
    for remote in remotes:
        final = job.root / remote.target
        store = job.root / "downloads" / remote.name if remote.is_archive else final
        urls = urls_for(remote, job.mirror, sole)
        steps.append(Step(remote, final, store, tuple(urls), final_mismatch(remote, final)))
    if job.mirror and not any(url.startswith(job.mirror.rstrip("/")) for step in steps for url in step.urls):
        names = ", ".join(step.remote.name for step in steps)
        raise UsageError(f"--mirror {job.mirror}: is the address of a file, and of none that is wanted ({names})")
    if job.source is None:
        return steps
    if not job.source.exists():
        raise UsageError(f"--from {job.source}: no such file or folder")
    steps = [_with_local(step, job.source, sole, job.deep) for step in steps]
    if any(step.why for step in steps) and not any(step.found for step in steps):
        names = ", ".join(step.remote.name for step in steps if step.why)
        raise UsageError(f"--from {job.source}: holds nothing of what is wanted ({names})")
    return steps


def _with_local(step: Step, source: Path, sole: bool, deep: bool) -> Step:
    return replace(step, found=local.find(step.remote, source, sole=sole, deep=deep)) if step.why else step


def final_mismatch(remote: Remote, final: Path) -> str | None:
    """Why what stands at the final place is not the verified target, or None when it is."""
    if remote.folder is not None:
        return incomplete(final, remote.count)
    return mismatch(final, remote.final_checks)


def check_disk(steps: Sequence[Step], root: Path) -> None:
    """Refuse to start what the disk cannot hold.

    Raises:
        PoseTopoError: less is free than archives and extracted files need.
    """
    need, free = sum(step.disk() for step in steps), free_bytes(root)
    if need > free:
        raise PoseTopoError(
            f"{root}: {human(need)} are needed and {human(free)} are free; free some or name another folder"
        )


def free_bytes(root: Path) -> int:
    """What the disk of `root` (which need not exist yet) has free."""
    place = root.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def human(size: float) -> str:
    """A byte count for people, in powers of ten as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
