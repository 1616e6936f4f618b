"""Fetch one file from the first of several URLs whose bytes verify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pose_topo.data.sources.archives import zip_mismatch
from pose_topo.data.sources.catalog import Remote
from pose_topo.data.sources.images import set_aside
from pose_topo.data.sources.opener import FetchError, is_http
from pose_topo.data.sources.partial import Partial
from pose_topo.data.sources.transfer import Policy, Wanted, transfer
from pose_topo.data.sources.verify import mismatch
from pose_topo.errors import PoseTopoError, UsageError

_FILE_SUFFIXES = frozenset({".gz", ".tgz", ".tar", ".zip", ".h5", ".mat", ".pt", ".pth"})


def urls_for(remote: Remote, mirror: str | None, sole: bool) -> list[str]:
    """The URLs to try, in order: the mirror's first.

    The mirror is a full URL when it ends in this file's name, or when only one file is asked for (`sole`)
    and it looks like a file's; a full URL of another file says nothing here; else it is a base.

    Raises:
        UsageError: the mirror is not an http(s) URL.
    """
    if mirror is None:
        return list(remote.urls)
    if not is_http(mirror):
        raise UsageError(f"--mirror {mirror}: not an http(s) URL")
    parts = urlsplit(mirror)
    last = PurePosixPath(parts.path).name
    file_like = bool(parts.query) or PurePosixPath(last).suffix in _FILE_SUFFIXES
    if last == remote.name or (sole and file_like):
        first = [mirror]
    elif file_like:
        first = []
    else:
        first = [f"{mirror.rstrip('/')}/{remote.name}"]
    return first + [url for url in remote.urls if url not in first]


def fetched_mismatch(path: Path, remote: Remote) -> str | None:
    """Why `path` is not what `remote` serves (the archive, where it is one), or None when it is."""
    try:
        wrong = mismatch(path, remote.checks)
        if wrong is None and remote.member is not None:
            wrong = zip_mismatch(path, remote.member, remote.member_checks)
        return wrong
    except PoseTopoError as error:  # damaged or unsafe: as unfit as a wrong hash, and another URL may do
        return f"is refused: {error}"


def fetch_verified(
    remote: Remote, path: Path, urls: Sequence[str], policy: Policy, say: Callable[[str], object]
) -> str:
    """Bring the verified file to `path` and return the URL it came from.

    Raises:
        PoseTopoError: no URL gave it; the line says how to do it by hand.
    """
    reasons = []
    for url in urls:
        try:
            say(f"{remote.name}: from {url}")
            _fetch_one(url, remote, path, policy, say)
            return url
        except FetchError as error:
            reasons.append(f"{url}: {error}")
    raise PoseTopoError(
        f"{remote.name}: not fetched ({'; '.join(reasons)}); to do it by hand, fetch {remote.urls[0]}, "
        f"save it as {path} ({remote.describe()}) and run this again"
    )


def _fetch_one(url: str, remote: Remote, path: Path, policy: Policy, say: Callable[[str], object]) -> None:
    part = Partial(path)
    wanted = Wanted(*remote.lengths, hashed=remote.checks.hashed or remote.member_checks.hashed)
    whole = transfer(url, part, policy, wanted)
    say(f"{remote.name}: all bytes are here; checking them")
    wrong = fetched_mismatch(part.path, remote)
    if wrong and not whole:  # joined from several answers, or cut unseen: only a fresh copy can tell
        part.discard()
        transfer(url, part, policy, wanted)
        wrong = fetched_mismatch(part.path, remote)
    if wrong:
        part.discard()
        raise FetchError(f"what came {wrong}")
    set_aside(path)
    part.publish(path)
