"""Bring files to their places: plan what is missing, take it from disk or from the network, verify it, extract it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import atomic_path, locked
from pose_topo.core.log import log
from pose_topo.download.archives import (
    as_archive,
    extract_images,
    extracted_bytes,
    incomplete,
    index_path,
    is_archive,
    is_git,
    opened_member,
    set_aside,
)
from pose_topo.download.catalog import DRIVE_FOLDER, LICENCES, TARGETS, Remote, mismatch
from pose_topo.download.transfer import Partial, Policy, cause, fetch_verified, fetched_mismatch, urls_for

Action = Literal["kept", "fetched", "extracted", "copied", "linked", "planned", "absent"]


@dataclass(frozen=True)
class Job:
    """Where files go and where they come from."""

    root: Path  # the folder to fill
    mirror: str | None = None  # an address that is tried first: a file's URL, or that of a folder of such files
    source: Path | None = None  # a file, a folder or a git repository on disk, used for whatever it holds
    only_source: bool = False  # take nothing from the network, and look into the subfolders of `source`
    policy: Policy = field(default_factory=Policy)  # the patience with the network


@dataclass(frozen=True)
class FetchResult:
    """What was done for one file or folder. "absent": the source does not hold it and the network was not asked."""

    name: str
    path: Path
    action: Action


# ---- The plan


@dataclass(frozen=True)
class Step:
    """What one file needs."""

    remote: Remote
    final: Path  # the place of its target
    store: Path  # the place of the downloaded file: `final`, or `downloads/` for an archive
    urls: tuple[str, ...]  # the addresses to try
    why: str | None  # why it is needed. None if the target is there and verified
    found: Path | None = None  # what the job's source holds of it
    shared: bool = False  # whether an earlier step fetches the same archive

    @property
    def fetches(self) -> bool:
        """Whether the network is needed. An archive of a plausible size counts as there until it is verified."""
        if self.found is not None or self.shared:
            return False
        low, high = self.remote.lengths
        return not (self.remote.is_archive and self.store.is_file() and low <= self.store.stat().st_size <= high)

    @property
    def extracts(self) -> bool:
        """Whether the target is extracted, rather than copied or linked from the source."""
        if self.found is None:
            return self.remote.is_archive
        if self.remote.folder:
            return self.found.is_file() or is_git(self.found)
        return self.remote.member is not None and (is_git(self.found) or is_archive(self.found))

    def disk(self) -> int:
        """The bytes that this step still needs on disk, roughly."""
        if self.why is None:
            return 0
        need = max(0, self.remote.about - Partial(self.store).size()) if self.fetches else 0
        if self.found is not None and is_git(self.found):
            need = self.remote.unpacked  # of the tar that git writes
        if self.extracts:
            done = extracted_bytes(self.final) if self.remote.folder else 0
            return need + max(0, self.remote.unpacked - done)
        return self.remote.about if self.found and not self.remote.folder else need


def plan(remotes: Sequence[Remote], job: Job) -> list[Step]:
    """Find out what is missing and what can serve it. Writes nothing and asks no server.

    Raises:
        UsageError: the mirror is no URL, the source does not exist, or neither has any wanted file.
    """
    names = ", ".join(files := list(dict.fromkeys(remote.name for remote in remotes)))
    sole = len(files) == 1
    if job.source and not job.source.exists():
        raise UsageError(f"--from {job.source}: no such file or folder")
    steps: list[Step] = []
    for remote in remotes:
        final = job.root / remote.target
        store = job.root / "downloads" / remote.name if remote.is_archive else final
        images = (remote.count, remote.listing)
        why = incomplete(final, *images) if remote.folder else mismatch(final, remote.final_checks)
        found = find(remote, job.source, sole, job.only_source) if job.source else None
        shared = any(step.store == store and step.why and step.fetches for step in steps)
        steps.append(Step(remote, final, store, urls_for(remote, job.mirror, sole), why, found, shared))
    if job.mirror and all(step.urls == step.remote.urls for step in steps):
        raise UsageError(f"--mirror {job.mirror}: is the address of a file, and of none that is wanted ({names})")
    if job.source and not any(step.found for step in steps):
        raise UsageError(f"--from {job.source}: holds nothing of what is wanted ({names})")
    return steps


def find(remote: Remote, source: Path, sole: bool, deep: bool = False) -> Path | None:
    """What `source` holds of `remote`: its target, or its archive. A git repository counts as an archive.

    The only file that is asked for (`sole`) may have any name. `deep` looks into the subfolders as well.
    """
    names = [remote.target, PurePosixPath(remote.target).name, remote.name]  # the finished target first
    if source.is_file():
        return source if sole or source.name in names else None
    if is_git(source):
        return source if remote.is_archive else None
    for folder in [source, *(sorted(path for path in source.rglob("*") if path.is_dir()) if deep else [])]:
        for name in names:
            path = folder / name
            if path.is_dir() if remote.folder and name != remote.name else path.is_file():
                return path
        if remote.folder and next(folder.glob("*.jpg"), None) is not None:
            return folder  # after the names: a single picture beside `images` makes no image folder
    return None


def check_disk(steps: Sequence[Step], root: Path) -> None:
    """Check that archives and extracted files fit the disk.

    Raises:
        PoseTopoError: they do not.
    """
    need, free = sum(step.disk() for step in steps), free_bytes(root)
    if need > free:
        raise PoseTopoError(
            f"{root}: {human(need)} are needed and {human(free)} are free; free some or name another folder"
        )


def free_bytes(root: Path) -> int:
    """The free bytes of the disk of `root`, which need not exist yet."""
    place = root.absolute()
    return shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free


def human(size: float) -> str:
    """A number of bytes for people, in powers of ten as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


# ---- Carrying it out


def run(remotes: Sequence[Remote], job: Job, *, dry_run: bool = False, licence: str | None = None) -> list[FetchResult]:
    """Bring every file to its place below `job.root`. What is there and verifies is left alone.

    Args:
        dry_run: only say what would be done.
        licence: a line to print if anything is missing.

    Raises:
        UsageError: the mirror or the source makes no sense.
        PoseTopoError: something cannot be fetched, verified, extracted or written.
    """
    try:
        steps = plan(remotes, job)
        if licence and any(step.why for step in steps):
            log.info(licence)
        actions: dict[Remote, Action]
        if dry_run:
            actions = {step.remote: _announce(step, job) for step in steps}
        elif all(step.why is None for step in steps):
            actions = {step.remote: _keep(step) for step in steps}  # without the lock: the folder may be read-only
        else:
            check_disk(steps, job.root)
            waiting = f"{job.root}: another process is fetching into it; waiting for it"
            with locked(job.root / ".download.lock", lambda: log.info(waiting)):
                steps = plan(remotes, job)
                # what is on disk first: it is taken even where the network fails
                waiting_last = sorted(steps, key=lambda step: step.fetches or step.shared)
                actions = {step.remote: _obtain(step, job) for step in waiting_last}
            extracted = (step.store for step in steps if step.why and step.extracts and not step.found)
            for store in dict.fromkeys(extracted):
                if store.is_file():
                    log.info(f"{store}: no longer needed ({human(store.stat().st_size)}); it may be removed")
        return [FetchResult(step.remote.name, step.final, actions[step.remote]) for step in steps]
    except OSError as error:
        raise PoseTopoError(f"{error.filename or job.root}: {error.strerror or error}") from None


def _keep(step: Step) -> Action:
    counted = step.remote.folder and step.remote.listing is None
    log.info(f"{step.final}: there and {'complete' if counted else 'verified'}")
    return "kept"


def _announce(step: Step, job: Job) -> Action:
    if step.why is None:
        return _keep(step)
    remote = step.remote
    if step.found is not None:
        line = f"would take {step.found}"
    elif not step.fetches:
        line = f"would use {step.store} if it verifies"
    else:
        size = "" if remote.checks.size else f"about {human(remote.about)}, "
        line = f"would fetch {step.urls[0]} ({size}{remote.describe()}) -> {step.store}"
        held = Partial(step.store).size()
        line += f", of which {human(held)} are here" if held else ""
    if remote.is_archive or step.found is not None:
        line += f" -> {step.final}" + (f" (about {human(remote.unpacked)})" if remote.is_archive else "")
    log.info(f"{remote.name}: {line}; needs {human(step.disk())}, free {human(free_bytes(job.root))}")
    return "planned"


def _obtain(step: Step, job: Job) -> Action:
    """Carry out one step."""
    remote, final, found = step.remote, step.final, step.found
    if step.why is None:
        return _keep(step)
    if found is None and job.only_source:
        log.info(f"{final}: {step.why}, and {job.source} does not hold it")
        return "absent"
    if os.path.lexists(final):
        log.info(f"{final}: {step.why}; it will be set aside as {final.name}.replaced")
    if found is None:
        return _from_network(step, job)
    if step.extracts:
        place = final.with_name(f".{final.name}.git.tar")
        with as_archive(found, remote.folder or remote.member or "", place) as archive:
            if wrong := fetched_mismatch(archive, remote):
                raise PoseTopoError(f"{found}: {wrong}; not used")
            return _extract(step, archive, job)
    action = _take_folder(found, remote, final) if remote.folder else _take_file(found, remote, final)
    log.info(f"{final}: {action} from {found}")
    return action


def _from_network(step: Step, job: Job) -> Action:
    remote, store = step.remote, step.store
    if not remote.is_archive:
        fetch_verified(remote, store, step.urls, job.policy)
        log.info(f"{store}: fetched and verified")
        return "fetched"
    if store.is_file():
        log.info(f"{store}: there already; checking it")
    if fetched_mismatch(store, remote):
        set_aside(store)
        check_disk([step], job.root)  # again: the archive had been counted as there
        fetch_verified(remote, store, step.urls, job.policy)
    return _extract(step, store, job)


def _extract(step: Step, archive: Path, job: Job) -> Action:
    remote, final = step.remote, step.final
    if remote.folder is not None:
        number = extract_images(archive, remote.folder, final, remote.count, remote.listing, job.policy.progress)
        log.info(f"{final}: {number:,} images extracted")
    elif remote.member is not None:
        with atomic_path(final) as temporary:
            with opened_member(archive, remote.member) as (stream, _), temporary.open("wb") as out:
                shutil.copyfileobj(stream, out)
            if wrong := mismatch(temporary, remote.member_checks):
                raise PoseTopoError(f"{archive}: its {remote.member} {wrong}; not used")
            set_aside(final)
        log.info(f"{final}: extracted and verified")
    return "extracted"


def _take_file(found: Path, remote: Remote, final: Path) -> Action:
    with atomic_path(final) as copy:
        shutil.copyfile(found, copy)
        if wrong := mismatch(copy, remote.final_checks):
            raise PoseTopoError(f"{found}: {wrong}; not used")
        set_aside(final)
    return "copied"


def _take_folder(found: Path, remote: Remote, final: Path) -> Action:
    """Link a complete image folder, or copy it where the disk has no links."""
    if wrong := incomplete(found, remote.count, remote.listing):
        raise PoseTopoError(f"{found}: {wrong}; not used")
    final.parent.mkdir(parents=True, exist_ok=True)
    # Not the folder that an extraction fills: the files in there are taken for those of a verified archive.
    new = final.with_name(f".{final.name}.taken")
    if new.is_symlink():
        new.unlink()  # a killed call left it
    shutil.rmtree(new, ignore_errors=True)
    target, parent = found.resolve(), final.parent.resolve()
    try:  # a relative link inside the data folder, which may then be moved as a whole
        new.symlink_to(target.relative_to(parent) if target.is_relative_to(parent) else target, True)
        action: Action = "linked"
    except OSError:
        shutil.copytree(found, new)
        action = "copied"
    set_aside(final)
    index_path(final).unlink(missing_ok=True)
    new.rename(final)
    return action


# ---- The study's copy of MPII on Google Drive

DRIVE_URL = f"https://drive.google.com/drive/folders/{DRIVE_FOLDER}"


def run_drive(job: Job, *, dry_run: bool = False) -> list[FetchResult]:
    """Fetch the Drive folder, then take every missing part of MPII from it, verified like any other folder on disk.

    Raises:
        UsageError: the job has a mirror or a source.
        PoseTopoError: the folder cannot be fetched, or a part of it does not verify.
    """
    if job.mirror is not None or job.source is not None:
        raise UsageError("gdrive takes neither --mirror nor --from")
    remotes, folder = TARGETS["mpii"], job.root / "downloads" / "gdrive"
    steps = plan(remotes, job)
    missing = [step for step in steps if step.why]
    if not missing:
        return run(remotes, job)
    log.info(LICENCES["gdrive"])
    if dry_run:
        size = human(sum(step.remote.unpacked or step.remote.about for step in missing))
        log.info(
            f"gdrive: would fetch {DRIVE_URL} (its size is not known; the data are about {size}) -> {folder}, "
            "and take from there what is missing"
        )
        return [FetchResult(step.remote.name, step.final, "planned" if step.why else "kept") for step in steps]
    check_disk(steps, job.root)
    try:
        _fetch_drive_folder(folder)
    except PoseTopoError as error:
        if not all(find(step.remote, folder, sole=False, deep=True) for step in missing):
            raise
        log.info(f"{error}; but all that is wanted is there already")
    return run(remotes, replace(job, source=folder, only_source=True))


def _fetch_drive_folder(folder: Path) -> None:
    import gdown  # only here: it is slow to import

    log.info(f"Google Drive: {DRIVE_URL} -> {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        files = gdown.download_folder(id=DRIVE_FOLDER, output=str(folder), resume=True, timeout=60.0, retries=5)
        detail = "" if files else "nothing came"
    except Exception as error:  # gdown and requests raise a dozen kinds, and each means the same here
        detail = cause(error)
    if not any(folder.iterdir()):
        folder.rmdir()
    if detail:
        raise PoseTopoError(f"{DRIVE_URL}: not fetched ({detail}); fetch it by hand into {folder} and run this again")
