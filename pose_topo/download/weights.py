"""ImageNet weights of the backbones: verified wherever they are found, else fetched.

torch.hub verifies a file only while it downloads it, so a file in its folder is verified here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import cache_folder, user_cache
from pose_topo.core.log import log
from pose_topo.download.catalog import RELEASED_CHECKS, WEIGHTS, mismatch
from pose_topo.download.fetch import FetchResult, Job, run
from pose_topo.download.transfer import Policy
from pose_topo.study.config import RunConfig


def hub_checkpoints() -> Path:
    """The folder of torch.hub's checkpoints. Does not import torch, which is slow."""
    torch_hub = getattr(sys.modules.get("torch"), "hub", None)
    if torch_hub is not None:
        return Path(torch_hub.get_dir()) / "checkpoints"
    home = os.environ.get("TORCH_HOME")
    return (Path(home).expanduser() if home else user_cache() / "torch") / "hub" / "checkpoints"


def weights_path(arch: str, cache: Path | None = None) -> Path | None:
    """The verified weights in the cache or in torch.hub's folder, or None. Asks no network.

    Raises:
        UsageError: the backbone is unknown.
    """
    if arch not in WEIGHTS:
        raise UsageError(f"no weights for arch {arch!r}: one of {', '.join(WEIGHTS)}")
    remote = WEIGHTS[arch]
    places = [cache_folder(cache) / "weights"]
    with suppress(PoseTopoError):  # a user without a home folder has none of torch.hub's
        places.append(hub_checkpoints())
    for folder in places:
        with suppress(PoseTopoError):  # a file that cannot be read, in somebody else's cache, counts as absent
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
) -> FetchResult:
    """The verified weights, fetched to `<cache>/weights/` unless they are on this machine.

    Raises:
        UsageError: the backbone is unknown, or the mirror or the source makes no sense.
        PoseTopoError: they cannot be fetched. The line names the URL, the target path and the hash.
    """
    found = weights_path(arch, cache)
    if found is not None:
        log.info(f"{found}: there and verified")
        return FetchResult(WEIGHTS[arch].name, found, "kept")
    job = Job(cache_folder(cache) / "weights", mirror, source, policy=policy or Policy())
    return run((WEIGHTS[arch],), job, dry_run=dry_run)[0]


def start_file(config: RunConfig, cache: Path | None = None) -> Path | None:
    """The file that a run's weights start from, or None if they start at random.

    These are the given file, the released network, or the verified ImageNet weights in the cache, which are fetched if
    they are not there.

    Raises:
        PoseTopoError: the file does not exist or cannot be fetched; the message says how to fetch it by hand.
    """
    start = config.recipe.start
    if start == "none":
        return None
    if start == "imagenet" and not config.weights:
        return fetch_weights(config.arch, cache).path
    from pose_topo.study.runs import RELEASED, reported_checkpoint  # imports torch, which no download needs

    if start == "released":
        if wrong := mismatch(RELEASED, RELEASED_CHECKS):
            raise PoseTopoError(f"the released network {RELEASED} {wrong}: install the package again")
        return RELEASED
    path = Path(config.weights or "")
    if start == "network" and path.is_dir():
        path = reported_checkpoint(path)
    if not path.is_file():
        if start == "network":
            raise PoseTopoError(f"--start {path}: no such network; give a run folder, a checkpoint, or --start none")
        raise PoseTopoError(
            f"--weights {path}: no such file; give a torchvision {config.arch} state_dict, or --start none"
        )
    return path
