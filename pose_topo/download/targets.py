"""The study's pre-organised copy of the data, from its Google Drive folder. Only when asked for."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from pathlib import Path

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.log import log
from pose_topo.download import local
from pose_topo.download.catalog import DRIVE_FOLDER, LICENCE, TARGETS, WEIGHTS
from pose_topo.download.fetch import Done, Job, check_disk, human, plan, run
from pose_topo.download.transfer import Policy
from pose_topo.download.weights import fetch_weights

URL = f"https://drive.google.com/drive/folders/{DRIVE_FOLDER}"


def fetch_drive_folder(folder: Path) -> None:
    """Fetch the Drive folder into `folder`, resuming what an earlier call left.

    Raises:
        PoseTopoError: gdown is not installed, or the folder cannot be fetched.
    """
    try:
        gdown = importlib.import_module("gdown")
    except ImportError:
        raise PoseTopoError(f"gdown is not installed: pip install gdown, or fetch {URL} by hand") from None
    log.info(f"Google Drive: {URL} -> {folder}")
    wanted = {"resume": True, "timeout": 60.0, "retries": 5}  # older releases know only the first
    known = inspect.signature(gdown.download_folder).parameters
    options = {name: value for name, value in wanted.items() if name in known}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = gdown.download_folder(id=DRIVE_FOLDER, output=str(folder), **options)
    except Exception as error:  # gdown and requests raise a dozen kinds; none can be mended here
        raise PoseTopoError(_by_hand(folder, _gist(error))) from None
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if not files:
        raise PoseTopoError(_by_hand(folder, "nothing came"))


def _gist(error: BaseException) -> str:
    """What went wrong in the first place: without a network, libraries wrap that several times."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _by_hand(folder: Path, detail: str) -> str:
    return f"{URL}: not fetched ({detail}); fetch it by hand into {folder} and run this again"


# ---- The one door to all of it: a target's name, the data folder, and where else to look.

TARGET_NAMES = (*TARGETS, "weights", "gdrive")


def download(
    target: str,
    data: Path,
    *,
    mirror: str | None = None,
    source: Path | None = None,
    cache: Path | None = None,
    dry_run: bool = False,
    arch: str | None = None,
    policy: Policy | None = None,
) -> list[Done]:
    """Bring a target to `data` (weights: to `cache`), verified; what is there already is left alone.

    `mirror` is a base or a full URL tried before the known ones; `source` a file or folder on disk used
    instead of the network for whatever it holds. `dry_run` only says what would be done. `arch` names the
    weights, or is `all`.

    Raises:
        UsageError: target, arch, mirror or source makes no sense.
        PoseTopoError: something cannot be fetched, verified, extracted or written: one line.
    """
    policy = policy or Policy()
    if target == "weights":
        archs = WEIGHTS if arch == "all" else (arch or "",)
        options = {"mirror": mirror, "source": source, "dry_run": dry_run, "policy": policy}
        return [fetch_weights(name, cache, **options) for name in archs]
    if arch is not None:
        raise UsageError(f"an arch belongs to the target weights, not to {target}")
    job = Job(Path(data), mirror, source, policy=policy)
    if target == "gdrive":
        return _from_drive(job, dry_run)
    if target not in TARGETS:
        raise UsageError(f"no target {target!r}: one of {', '.join(TARGET_NAMES)}, synthetic")
    licence = None if target == "reference" else LICENCE
    return run(TARGETS[target], job, dry_run=dry_run, licence=licence)


def _from_drive(job: Job, dry_run: bool) -> list[Done]:
    """The study's own copy: fetched whole, then each part verified and taken as from any other folder."""
    if job.mirror is not None or job.source is not None:
        raise UsageError("gdrive takes neither a mirror nor a source: it is one")
    remotes = TARGETS["mpii"]
    folder = job.root / "downloads" / "gdrive"
    steps = plan(remotes, job)
    if all(step.why is None for step in steps):
        return run(remotes, job)
    if dry_run:
        size = human(sum(step.remote.unpacked or step.remote.about for step in steps if step.why))
        log.info(
            f"gdrive: would fetch {URL} (its size is not known; the data are about {size}) -> {folder}, "
            "and take from there what is missing"
        )
        return [Done(step.remote.name, step.final, "planned" if step.why else "kept") for step in steps]
    log.info(LICENCE)
    check_disk(steps, job.root)
    try:
        fetch_drive_folder(folder)
    except PoseTopoError as error:
        if not all(local.find(step.remote, folder, sole=False, deep=True) for step in steps if step.why):
            raise
        log.info(f"{error}; but all that is wanted lies there already")
    return run(remotes, replace(job, source=folder, deep=True, network=False))
