"""Bring one URL to disk: resumed after a cut, retried after a failure, never spliced from two versions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from pose_topo.data.sources.opener import FetchError, PassingError, RangeRefused, open_url
from pose_topo.data.sources.partial import Partial, Version
from pose_topo.errors import PoseTopoError

_BLOCK = 1 << 18
_GZIP = ("gzip", "x-gzip")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")


@dataclass(frozen=True)
class Policy:
    """How patient a transfer is, and whether it shows a bar in a terminal. `attempts` counts failures in a row that
    brought no new byte."""

    attempts: int = 6
    offline_attempts: int = 2  # where not even the server's name can be looked up
    first_wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float = 30.0  # without a byte; also the window in which `slowest` bytes must come
    slowest: int = 1024
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    progress: bool = True

    def wait(self, failures: int, asked: float | None = None) -> float:
        """Seconds before the next attempt: doubled each time, or what the server asked for; bounded."""
        return min(self.longest_wait, max(asked or 0.0, self.first_wait * 2.0 ** (failures - 1)))


@dataclass(frozen=True)
class Wanted:
    """What the caller knows of the file: the lengths it may have, and whether a hash of the whole decides."""

    low: int = 0
    high: int = 1 << 62
    hashed: bool = True

    def refuse(self, length: int | None) -> None:
        """Refuse an offered length before anything held is given up for it (a login page, say)."""
        if length is not None and not self.low <= length <= self.high:
            expected = f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"
            raise FetchError(f"the server offers {length:,} bytes, not {expected}")


def transfer(url: str, part: Partial, policy: Policy, wanted: Wanted) -> bool:
    """Bring `part` to the full content of `url`; nothing is verified but lengths.

    Returns whether the result is one answer's bytes of the promised length; if not, a failed verification
    is worth one transfer from zero.

    Raises:
        FetchError: this URL cannot give the file.
        PoseTopoError: the disk cannot take it.
    """
    best, failures = part.size(), 0
    whole = best == 0
    while True:
        try:
            return _attempt(url, part, policy, wanted) and whole
        except PassingError as error:
            failures = 1 if part.size() > best else failures + 1
            best, whole = max(best, part.size()), False
            if failures >= (min(policy.attempts, policy.offline_attempts) if error.offline else policy.attempts):
                raise FetchError(f"{error}; {failures} attempts without a new byte") from None
            policy.sleep(policy.wait(failures, error.wait))


def _attempt(url: str, part: Partial, policy: Policy, wanted: Wanted) -> bool:
    held = part.version()
    if held and held.url != url and not wanted.hashed:
        held = None  # without a hash, bytes of two servers are not joined
    have = part.size() if held else 0
    if held and have == held.length:
        return True
    try:
        response = open_url(url, _range_headers(url, held, have) if held else {}, policy.timeout)
    except RangeRefused as refusal:
        if have and refusal.total == have:
            return True  # complete, but the length had never been told
        part.discard()
        raise PassingError(str(refusal)) from None
    with response:
        version, start = _begin(url, response, part, held, wanted)
        _copy(response, part, version.length, start, wanted, policy)
    return version.length is not None


def _range_headers(url: str, held: Version, have: int) -> dict[str, str]:
    headers = {"Range": f"bytes={have}-"}
    if held.url == url and held.condition:
        headers["If-Range"] = held.condition
    return headers


def _begin(
    url: str, response: HTTPResponse, part: Partial, held: Version | None, wanted: Wanted
) -> tuple[Version, int]:
    """Decide from the answer whether to append to what is held or to begin anew."""
    encoding = response.headers.get("Content-Encoding", "identity")
    # of a .gz some servers call its own compression an encoding; nothing here undoes it, so the file comes as it is
    if encoding != "identity" and not (encoding in _GZIP and urlsplit(url).path.endswith((".gz", ".tgz"))):
        raise FetchError("the server encodes the content though asked not to")
    if response.headers.get_content_type() == "text/html" and response.headers.get("Content-Type"):
        raise FetchError("the server answers with a web page, not the file")
    if response.status not in (200, 206):
        raise FetchError(f"HTTP {response.status}, which carries no file")
    if response.status == 200:
        length = response.headers.get("Content-Length") or ""
        version = Version.of(url, response.headers, int(length) if length.isdecimal() else None)
        wanted.refuse(version.length)
        part.restart(version)  # whatever was held: the server ignored the range, or the content has changed
        return version, 0
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range") or "")
    if found and held and int(found[1]) == part.size():
        version = Version.of(url, response.headers, int(found[3]) if found[3] != "*" else held.length)
        wanted.refuse(version.length)
        if held.joins(version, wanted.hashed):
            return version, part.size()
    part.discard()
    raise PassingError("the server sent bytes that do not continue those held")


def _copy(response: HTTPResponse, part: Partial, length: int | None, have: int, wanted: Wanted, policy: Policy) -> None:
    """Append the body to the part, watching for stalls, for cuts and for more bytes than there may be."""
    limit = wanted.high if length is None else length
    window, arrived = policy.clock(), 0
    try:
        with _bar(part, length, have, policy.progress) as bar, part.path.open("ab") as stream:
            while have <= limit and (block := _read(response)):
                stream.write(block)
                have += len(block)
                arrived += len(block)
                bar.update(len(block))
                if policy.clock() - window > policy.timeout:
                    if arrived < policy.slowest:
                        raise PassingError(f"stalled: {arrived} bytes in {policy.timeout:g} s")
                    window, arrived = policy.clock(), 0
    except OSError as error:  # the network's own are PassingErrors by now: this is the disk's
        raise PoseTopoError(f"{part.path}: cannot be written ({error.strerror})") from None
    if have > limit:
        part.discard()
        raise FetchError(f"more than the {limit:,} bytes there should be")
    if length is not None and have < length:
        raise PassingError(f"cut after {have:,} of {length:,} bytes")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK)
    except TimeoutError:
        raise PassingError("stalled: no byte came in time") from None
    except (OSError, HTTPException) as error:
        raise PassingError(f"cut ({type(error).__name__})") from None


def _bar(part: Partial, total: int | None, have: int, progress: bool) -> Any:
    name = part.path.name.removesuffix(".part")
    # None: silent where stderr is no terminal, such as in a log
    silent = None if progress else True
    return tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True, leave=False, disable=silent)
