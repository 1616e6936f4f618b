"""What is missing, where it may come from, and what it takes. Looks only: writes nothing, asks nobody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import atomic_path, locked
from pose_topo.core.log import log
from pose_topo.download import local
from pose_topo.download.archives import (
    extract_images,
    extract_zip_member,
    extracted_bytes,
    incomplete,
    set_aside,
    was_extracted,
)
from pose_topo.download.catalog import Remote, mismatch
from pose_topo.download.transfer import Partial, Policy, fetch_verified, fetched_mismatch, urls_for


@dataclass(frozen=True)
class Job:
    """How to obtain things: where they go, and from where."""

    root: Path
    mirror: str | None = None
    source: Path | None = None
    deep: bool = False  # look into the source's subfolders
    network: bool = True  # else only the source may serve
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


# ---- Bring what a plan lacks to its place: fetched, extracted, copied or linked, and always verified.


@dataclass(frozen=True)
class Done:
    """What became of one file or folder: `kept`, `fetched`, `extracted`, `copied`, `linked`, `planned` or
    `absent` (only where the network was not to be asked)."""

    name: str
    path: Path
    action: str


def run(remotes: Sequence[Remote], job: Job, *, dry_run: bool = False, licence: str | None = None) -> list[Done]:
    """Bring every remote to its place below `job.root`; those already there are verified and left alone.

    Raises:
        UsageError: the mirror or the source makes no sense.
        PoseTopoError: something cannot be fetched, verified, extracted or written.
    """
    try:
        steps = plan(remotes, job)
        if licence and any(step.why for step in steps):
            log.info(licence)
        if dry_run:
            return [_announce(step, job) for step in steps]
        if all(step.why is None for step in steps):
            return [_kept(step, job) for step in steps]  # no lock: a complete folder may be read-only
        check_disk(steps, job.root)
        waiting = f"{job.root}: another process is fetching into it; waiting for it"
        with locked(job.root / ".download.lock", lambda: log.info(waiting)):
            steps = plan(remotes, job)
            done = {step.remote: _obtain(step, job) for step in sorted(steps, key=lambda step: step.fetches)}
            return [done[step.remote] for step in steps]  # what is on disk was taken before the network was asked
    except OSError as error:
        raise PoseTopoError(f"{error.filename or job.root}: {error.strerror or error}") from None


def _kept(step: Step, job: Job) -> Done:
    counted = step.remote.folder is not None and not was_extracted(step.final)
    log.info(f"{step.final}: there" + (" (its images were counted)" if counted else " and verified"))
    return Done(step.remote.name, step.final, "kept")


def _announce(step: Step, job: Job) -> Done:
    """Say what would be done."""
    if step.why is None:
        return _kept(step, job)
    remote = step.remote
    held = Partial(step.store).size()
    if step.found is not None:
        line = f"would take {step.found}"
    elif not step.fetches:
        line = f"would use {step.store} if it verifies"
    else:
        size = "" if remote.checks.size else f"about {human(remote.about)}, "
        line = f"would fetch {step.urls[0]} ({size}{remote.describe()}) -> {step.store}"
        line += f", of which {human(held)} are here" if held else ""
    if remote.is_archive or step.found is not None:
        line += f" -> {step.final}" + (f" (about {human(remote.unpacked)})" if remote.is_archive else "")
    log.info(f"{remote.name}: {line}; needs {human(step.disk())}, free {human(free_bytes(job.root))}")
    return Done(remote.name, step.final, "planned")


def _obtain(step: Step, job: Job) -> Done:
    if step.why is None:
        return _kept(step, job)
    if step.found is None and not job.network:
        log.info(f"{step.final}: {step.why}, and {job.source} does not hold it")
        return Done(step.remote.name, step.final, "absent")
    if os.path.lexists(step.final):
        log.info(f"{step.final}: {step.why}; it will be set aside as {step.final.name}.replaced")
    if step.found is None:
        return _from_network(step, job)
    if local.is_archive_of(step.remote, step.found):
        wrong = fetched_mismatch(step.found, step.remote)
        if wrong:
            raise PoseTopoError(f"{step.found}: {wrong}; not used")
        return _extract(step, step.found, job)
    if step.remote.folder is not None:
        action = local.take_folder(step.found, step.remote, step.final)
    else:
        local.take_file(step.found, step.remote, step.final)
        action = "copied"
    log.info(f"{step.final}: {action} from {step.found}")
    return Done(step.remote.name, step.final, action)


def _from_network(step: Step, job: Job) -> Done:
    remote, store = step.remote, step.store
    if not remote.is_archive:
        fetch_verified(remote, store, step.urls, job.policy)
        log.info(f"{step.final}: fetched and verified")
        return Done(remote.name, step.final, "fetched")
    if store.is_file():
        log.info(f"{store}: there already; checking it")
    if fetched_mismatch(store, remote):  # else an earlier call, or a hand, has put it there
        set_aside(store)
        check_disk([step], job.root)  # whose archive was counted as fetched
        fetch_verified(remote, store, step.urls, job.policy)
    done = _extract(step, store, job)
    log.info(f"{store}: no longer needed ({human(store.stat().st_size)}); it may be removed")
    return done


def _extract(step: Step, archive: Path, job: Job) -> Done:
    remote, final = step.remote, step.final
    if remote.folder is not None:
        number = extract_images(archive, remote.folder, final, remote.count, job.policy.progress)
        log.info(f"{final}: {number:,} images extracted")
    elif remote.member is not None:
        with atomic_path(final) as temporary:
            extract_zip_member(archive, remote.member, temporary)
            wrong = mismatch(temporary, remote.member_checks)
            if wrong:
                raise PoseTopoError(f"{archive}: its {remote.member} {wrong}; not used")
            set_aside(final)
        log.info(f"{final}: extracted and verified")
    return Done(remote.name, final, "extracted")
