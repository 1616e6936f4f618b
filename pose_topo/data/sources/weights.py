"""ImageNet weights of the ResNets: a verified file in the cache, or fetched, or one line. Never unverified.

torch.hub checks a file's hash only while downloading, so whatever is found in its folder is hashed here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from pose_topo.data.sources.catalog import WEIGHTS, Remote
from pose_topo.data.sources.fetch import Done, run
from pose_topo.data.sources.plan import Job, Say
from pose_topo.data.sources.transfer import Policy
from pose_topo.data.sources.verify import mismatch
from pose_topo.errors import PoseTopoError, UsageError


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`, or $POSE_TOPO_CACHE, or `pose_topo` in $XDG_CACHE_HOME (~/.cache)."""
    named = os.environ.get("POSE_TOPO_CACHE")
    if cache is not None or named:
        return Path(cache or named or "").expanduser()
    return _user_cache() / "pose_topo"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def hub_checkpoints() -> Path:
    """Where torch.hub keeps checkpoints; torch is asked only if it is loaded already (it is slow to)."""
    torch_hub = getattr(sys.modules.get("torch"), "hub", None)
    if torch_hub is not None:
        return Path(torch_hub.get_dir()) / "checkpoints"
    home = os.environ.get("TORCH_HOME")
    base = Path(home).expanduser() if home else _user_cache() / "torch"
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
    say: Say = print,
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
        say(f"{there}: there and verified")
        return Done(remote.name, there, "kept")
    job = Job(cache_folder(cache) / "weights", mirror, source, say=say, policy=policy or Policy())
    return run((remote,), job, dry_run=dry_run)[0]
