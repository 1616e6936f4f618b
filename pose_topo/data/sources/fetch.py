"""Bring what a plan lacks to its place: fetched, extracted, copied or linked, and always verified."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pose_topo.data.sources import local
from pose_topo.data.sources.archives import extract_zip_member
from pose_topo.data.sources.catalog import Remote
from pose_topo.data.sources.images import extract_images, set_aside, was_extracted
from pose_topo.data.sources.mirrors import fetch_verified, fetched_mismatch
from pose_topo.data.sources.partial import Partial
from pose_topo.data.sources.plan import Job, Step, check_disk, free_bytes, human, plan
from pose_topo.data.sources.verify import mismatch
from pose_topo.errors import PoseTopoError
from pose_topo.files import atomic_path
from pose_topo.locks import locked


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
            job.say(licence)
        if dry_run:
            return [_announce(step, job) for step in steps]
        if all(step.why is None for step in steps):
            return [_kept(step, job) for step in steps]  # no lock: a complete folder may be read-only
        check_disk(steps, job.root)
        waiting = f"{job.root}: another process is fetching into it; waiting for it"
        with locked(job.root / ".download.lock", lambda: job.say(waiting)):
            steps = plan(remotes, job)
            done = {step.remote: _obtain(step, job) for step in sorted(steps, key=lambda step: step.fetches)}
            return [done[step.remote] for step in steps]  # what is on disk was taken before the network was asked
    except OSError as error:
        raise PoseTopoError(f"{error.filename or job.root}: {error.strerror or error}") from None


def _kept(step: Step, job: Job) -> Done:
    counted = step.remote.folder is not None and not was_extracted(step.final)
    job.say(f"{step.final}: there" + (" (its images were counted)" if counted else " and verified"))
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
    job.say(f"{remote.name}: {line}; needs {human(step.disk())}, free {human(free_bytes(job.root))}")
    return Done(remote.name, step.final, "planned")


def _obtain(step: Step, job: Job) -> Done:
    if step.why is None:
        return _kept(step, job)
    if step.found is None and not job.network:
        job.say(f"{step.final}: {step.why}, and {job.source} does not hold it")
        return Done(step.remote.name, step.final, "absent")
    if os.path.lexists(step.final):
        job.say(f"{step.final}: {step.why}; it will be set aside as {step.final.name}.replaced")
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
    job.say(f"{step.final}: {action} from {step.found}")
    return Done(step.remote.name, step.final, action)


def _from_network(step: Step, job: Job) -> Done:
    remote, store = step.remote, step.store
    if not remote.is_archive:
        fetch_verified(remote, store, step.urls, job.policy, job.say)
        job.say(f"{step.final}: fetched and verified")
        return Done(remote.name, step.final, "fetched")
    if store.is_file():
        job.say(f"{store}: there already; checking it")
    if fetched_mismatch(store, remote):  # else an earlier call, or a hand, has put it there
        set_aside(store)
        check_disk([step], job.root)  # whose archive was counted as fetched
        fetch_verified(remote, store, step.urls, job.policy, job.say)
    done = _extract(step, store, job)
    job.say(f"{store}: no longer needed ({human(store.stat().st_size)}); it may be removed")
    return done


def _extract(step: Step, archive: Path, job: Job) -> Done:
    remote, final = step.remote, step.final
    if remote.folder is not None:
        number = extract_images(archive, remote.folder, final, remote.count, job.policy.progress)
        job.say(f"{final}: {number:,} images extracted")
    elif remote.member is not None:
        with atomic_path(final) as temporary:
            extract_zip_member(archive, remote.member, temporary)
            wrong = mismatch(temporary, remote.member_checks)
            if wrong:
                raise PoseTopoError(f"{archive}: its {remote.member} {wrong}; not used")
            set_aside(final)
        job.say(f"{final}: extracted and verified")
    return Done(remote.name, final, "extracted")
