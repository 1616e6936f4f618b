"""ImageNet weights of the ResNets: a verified file in the cache, or fetched, or one line. Never unverified.

torch.hub checks a file's hash only while downloading, so whatever is found in its folder is hashed here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import cache_folder, user_cache
from pose_topo.core.log import log
from pose_topo.download.catalog import WEIGHTS, Remote, mismatch
from pose_topo.download.fetch import Done, Job, run
from pose_topo.download.transfer import Policy


def hub_checkpoints() -> Path:
    """Where torch.hub keeps checkpoints; torch is asked only if it is loaded already (it is slow to)."""
    torch_hub = getattr(sys.modules.get("torch"), "hub", None)
    if torch_hub is not None:
        return Path(torch_hub.get_dir()) / "checkpoints"
    home = os.environ.get("TORCH_HOME")
    base = Path(home).expanduser() if home else user_cache() / "torch"
    return base / "hub" / "checkpoints"


def weights_remote(arch: str) -> Remote:
    """The catalogue's entry of an architecture.

    Raises:
        UsageError: there is none of that name.
    """
    if arch not in WEIGHTS:
        raise UsageError(f"no weights for arch {arch!r}: one of {', '.join(WEIGHTS)}")
    return WEIGHTS[arch]


def weights_path(arch: str, cache: Path | None = None) -> Path | None:
    """The verified weights on this machine (own cache, then torch.hub's), or None. Asks no network.

    Raises:
        UsageError: the architecture is unknown.
    """
    remote = weights_remote(arch)
    for folder in (cache_folder(cache) / "weights", hub_checkpoints()):
        with suppress(PoseTopoError):  # a file that cannot be read (someone else's cache) is not there
            if mismatch(folder / remote.target, remote.checks) is None:
                return folder / remote.target
    return None


def fetch_weights(
    arch: str,
    cache: Path | None = None,
    *,
    mirror: str | None = None,
    source: Path | None = None,
    dry_run: bool = False,
    policy: Policy | None = None,
) -> Done:
    """The verified weights, fetched to `<cache>/weights/` unless they are on this machine already.

    Raises:
        UsageError: the architecture is unknown, or the mirror or source makes no sense.
        PoseTopoError: they cannot be fetched; the line names URL, target path and hash.
    """
    remote = weights_remote(arch)
    there = weights_path(arch, cache)
    if there is not None:
        log.info(f"{there}: there and verified")
        return Done(remote.name, there, "kept")
    job = Job(cache_folder(cache) / "weights", mirror, source, policy=policy or Policy())
    return run((remote,), job, dry_run=dry_run)[0]
