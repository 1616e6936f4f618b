"""Opening an http(s) URL, and sorting its failures into those worth another attempt and the others."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import write_json
from pose_topo.core.log import log
from pose_topo.download.archives import set_aside, zip_mismatch
from pose_topo.download.catalog import Remote, mismatch

USER_AGENT = "pose-topo (research data downloader)"
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})


class FetchError(PoseTopoError):
    """This URL cannot give the file; another one might."""


class PassingError(Exception):
    """A failure that may be gone at the next attempt.

    `wait`: how long the server asked for, in seconds. `offline`: no name could be looked up, so most likely there is no
    network, and long patience would only keep a person waiting for the line that says what to do.
    """

    def __init__(self, message: str, wait: float | None = None, *, offline: bool = False) -> None:
        super().__init__(message)
        self.wait, self.offline = wait, offline


class RangeRefused(Exception):
    """416: the server has no bytes from there on. `total`: the length it reported, if any."""

    def __init__(self, total: int | None) -> None:
        super().__init__("416 range not satisfiable")
        self.total = total


def is_http(url: str) -> bool:
    """Whether `url` names a host over http or https: nothing else is ever opened."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects among http(s) only, and never from https down to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_http(newurl) or (urlsplit(req.full_url).scheme, urlsplit(newurl).scheme) == (
            "https",
            "http",
        ):
            raise FetchError(f"redirected to {newurl}, which is not followed")
        # Python 3.10 knows no 308, which for a GET means what 307 does.
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


_OPENER = urllib.request.build_opener(_Redirects())


def open_url(url: str, headers: dict[str, str], timeout: float) -> HTTPResponse:
    """Ask for `url`.

    Raises:
        FetchError: the answer will not change by asking again (404, a bad certificate, a bad redirect).
        PassingError: it may (no connection, a stall, 5xx).
        RangeRefused: the requested range is beyond the content.
    """
    if not is_http(url):
        raise FetchError(f"{url} is not an http(s) URL")
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers})
    try:
        return _OPENER.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _sort_status(error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise FetchError(f"certificate refused ({error.reason.verify_message})") from None
        raise PassingError(_phrase(error.reason), offline=isinstance(error.reason, socket.gaierror)) from None
    except (InvalidURL, ValueError) as error:  # a URL with spaces or control characters, or a port that is no number
        raise FetchError(f"not a usable URL ({error})") from None
    except (OSError, HTTPException) as error:
        raise PassingError(_phrase(error)) from None


def _sort_status(error: urllib.error.HTTPError) -> Exception:
    if error.code == 416:
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        return RangeRefused(int(total) if total.isdecimal() else None)
    phrase = f"HTTP {error.code} {error.reason}".splitlines()[0]
    if error.code in _PASSING:
        wait = error.headers.get("Retry-After") or ""
        return PassingError(phrase, float(wait) if wait.isdecimal() else None)
    return FetchError(phrase)


def _phrase(error: object) -> str:
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return " ".join(text.split())


# ---- A file on its way: the bytes held so far, and which version of the remote they are of.


@dataclass(frozen=True)
class Version:
    """What a server said of the content when the first byte came: enough to notice a change."""

    url: str
    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @classmethod
    def of(cls, url: str, headers: Message, length: int | None) -> Version:
        """Read a response's validators."""
        return cls(url, headers.get("ETag"), headers.get("Last-Modified"), length)

    @property
    def condition(self) -> str | None:
        """The value for If-Range; a weak ETag may not be used there."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified

    def joins(self, other: Version, hashed: bool) -> bool:
        """Whether bytes of `self` may be followed by bytes of `other`.

        The same URL must not have changed. Another URL (a mirror) has validators of its own, so there only
        the length is compared, and only if a hash of the whole decides in the end.
        """
        if self.length is not None and other.length is not None and self.length != other.length:
            return False
        if self.url != other.url:
            return hashed and self.length is not None and other.length is not None
        if self.etag or other.etag:
            return self.etag == other.etag
        return self.modified == other.modified


class Partial:
    """`<path>.part` and its sidecar `<path>.part.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".part")
        self.sidecar = path.with_name(path.name + ".part.json")

    def size(self) -> int:
        """How many bytes are held."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> Version | None:
        """Which version the held bytes are of; None when nothing is held or nothing is known of it."""
        if self.size() == 0:
            return None
        try:
            return Version(**json.loads(self.sidecar.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def restart(self, version: Version) -> None:
        """Hold nothing, of `version`. Emptied before the sidecar changes: a kill between leaves no mix."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        write_json(self.sidecar, asdict(version))

    def discard(self) -> None:
        """Forget everything held."""
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)

    def publish(self, path: Path) -> None:
        """Give the complete, verified file its name."""
        self.path.replace(path)
        self.sidecar.unlink(missing_ok=True)


# ---- Bring one URL to disk: resumed after a cut, retried after a failure, never spliced from two versions.

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
        """Refuse an offered length before anything held is given up for it (a login page)."""
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


# ---- Fetch one file from the first of several URLs whose bytes verify.

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


def fetch_verified(remote: Remote, path: Path, urls: Sequence[str], policy: Policy) -> str:
    """Bring the verified file to `path` and return the URL it came from.

    Raises:
        PoseTopoError: no URL gave it; the line says how to do it by hand.
    """
    reasons = []
    for url in urls:
        try:
            log.info(f"{remote.name}: from {url}")
            _fetch_one(url, remote, path, policy)
            return url
        except FetchError as error:
            reasons.append(f"{url}: {error}")
    raise PoseTopoError(
        f"{remote.name}: not fetched ({'; '.join(reasons)}); to do it by hand, fetch {remote.urls[0]}, "
        f"save it as {path} ({remote.describe()}) and run this again"
    )


def _fetch_one(url: str, remote: Remote, path: Path, policy: Policy) -> None:
    part = Partial(path)
    wanted = Wanted(*remote.lengths, hashed=remote.checks.hashed or remote.member_checks.hashed)
    whole = transfer(url, part, policy, wanted)
    log.info(f"{remote.name}: all bytes are here; checking them")
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
