"""Bring one file from its addresses to disk: resumed after a cut, repeated after a failure, verified by its hash.

The bytes of an unfinished file are in `<path>.part`. `<path>.part.json` records which version of the remote file they
are from, so that two versions are never joined.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError, UsageError, in_short
from pose_topo.core.files import write_json
from pose_topo.core.log import log
from pose_topo.download.archives import images_mismatch, member_mismatch, set_aside
from pose_topo.download.catalog import Remote, mismatch

if TYPE_CHECKING:
    import requests  # slow to import, so each function that needs it imports it

_BLOCK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)$")


class FetchError(PoseTopoError):
    """This URL cannot give the file. Another one might."""


class Interruption(Exception):
    """The transfer has stopped. The next request may continue it."""


@dataclass(frozen=True)
class Policy:
    """How patient a transfer is, and whether it shows a progress bar in a terminal."""

    attempts: int = 6  # in a row that may bring no new byte
    backoff: float = 1.0  # seconds before a repetition; doubled with each
    timeout: float = 30.0  # seconds without a byte after which an attempt ends
    progress: bool = True


def _session(policy: Policy) -> requests.Session:
    """A session that opens http and https only, repeats, and honours the proxy variables of the environment."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    repeats = policy.attempts - 1
    retry = Retry(
        connect=min(3, repeats),  # fewer: most likely there is no network
        read=repeats,
        status=repeats,
        other=0,  # such as a refused certificate
        backoff_factor=policy.backoff,
        retry_after_max=60,
        status_forcelist=(408, 425, 429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    session = requests.Session()
    session.headers.update({"User-Agent": "pose-topo (research data downloader)", "Accept-Encoding": "identity"})
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


@dataclass(frozen=True)
class Version:
    """What a server said of the file when it sent the first byte. It is enough to notice a change."""

    url: str
    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    def condition(self) -> dict[str, str]:
        """The If-Range header, if there is one. A weak ETag may not be used in it."""
        value = self.etag if self.etag and not self.etag.startswith("W/") else self.modified
        return {"If-Range": value} if value else {}

    def continued_by(self, other: Version) -> bool:
        """Whether bytes of `other` may follow bytes of `self`.

        The file at the same URL must not have changed. Another URL (a mirror) has other validators, so only the length
        is compared: the hash of the whole file decides in the end.
        """
        if self.url != other.url:
            return self.length is not None and self.length == other.length
        same_length = None in (self.length, other.length) or self.length == other.length
        return same_length and (self.etag, self.modified) == (other.etag, other.modified)


class Partial:
    """An unfinished file: `<path>.part`, and its version in `<path>.part.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".part")
        self.sidecar = path.with_name(path.name + ".part.json")

    def size(self) -> int:
        """The number of bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> Version | None:
        """The version that the bytes are from. None if there are no bytes or if nothing is known of them."""
        if self.size() == 0:
            return None
        try:
            found = Version(**json.loads(self.sidecar.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        texts = isinstance(found.url, str) and all(isinstance(one, str | None) for one in (found.etag, found.modified))
        return found if texts and isinstance(found.length, int | None) else None

    def restart(self, version: Version) -> None:
        """Begin an empty file of `version`. It is emptied first: a kill in between mixes nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        write_json(self.sidecar, asdict(version))

    def discard(self) -> None:
        """Delete the bytes and their version."""
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)

    def publish(self, path: Path) -> None:
        """Give the verified file its name. Whatever has that name is set aside."""
        set_aside(path)
        self.path.replace(path)
        self.sidecar.unlink(missing_ok=True)


@dataclass(frozen=True)
class Transfer:
    """One URL, and the unfinished file that its bytes go to."""

    url: str
    part: Partial
    lengths: tuple[int, int]  # the smallest and the largest number of bytes that are accepted
    policy: Policy

    def run(self) -> bool:
        """Bring the unfinished file to the whole content of the URL, without verifying a hash.

        Returns:
            Whether it is made of several answers, so that one more transfer from the beginning may repair it.

        Raises:
            FetchError: this URL cannot give the file.
            PoseTopoError: the disk cannot take it.
        """
        most, failures = self.part.size(), 0
        resumed = most > 0
        with _session(self.policy) as session:
            while True:
                try:
                    self._attempt(session)
                    return resumed
                except Interruption as error:
                    failures = 1 if self.part.size() > most else failures + 1
                    most, resumed = max(most, self.part.size()), True
                    if failures >= self.policy.attempts:
                        raise FetchError(f"{error}; {failures} attempts without a new byte") from None
                    time.sleep(self.policy.backoff * 2.0 ** (failures - 1))

    def _attempt(self, session: requests.Session) -> None:
        import requests

        held, headers = self.part.version(), {}
        if held:
            if self.part.size() == held.length:
                return
            headers = {"Range": f"bytes={self.part.size()}-", **(held.condition() if held.url == self.url else {})}
        try:
            response = session.get(self.url, headers=headers, stream=True, timeout=self.policy.timeout)
        except requests.RequestException as error:
            raise FetchError(cause(error)) from None
        with response:
            self._append(response, self._begin(response, held))

    def _begin(self, response: requests.Response, held: Version | None) -> int | None:
        """Continue the unfinished file or begin anew, as the answer demands. Returns the length of the whole file."""
        status, headers = response.status_code, response.headers
        if status not in (200, 206, 416):
            raise FetchError(f"HTTP {status} {response.reason}")
        if headers.get("Content-Type", "").startswith("text/html"):
            raise FetchError("the server answers with a web page, not with the file")
        span = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        total = headers.get("Content-Length", "") if status == 200 else span[2] if span else ""
        length = int(total) if total.isdecimal() else None
        if length is not None and not self.lengths[0] <= length <= self.lengths[1]:
            expected = " to ".join(f"{bound:,}" for bound in sorted(set(self.lengths)))
            raise FetchError(f"the server offers {length:,} bytes, not {expected}")
        version = Version(self.url, headers.get("ETag"), headers.get("Last-Modified"), length)
        if status == 200:  # the first request, or the server ignores ranges, or the file has changed
            self.part.restart(version)
        elif not (held and span and int(span[1]) == self.part.size() and held.continued_by(version)):
            self.part.discard()
            raise Interruption(f"HTTP {status} with bytes that do not continue those that are here")
        return length

    def _append(self, response: requests.Response, length: int | None) -> None:
        """Write the body as it was sent: nothing is decoded."""
        from urllib3.exceptions import HTTPError

        have, path = self.part.size(), self.part.path
        least, limit = self.lengths if length is None else (length, length)
        hidden = None if self.policy.progress else True  # None: no bar where stderr is no terminal
        bar = tqdm(desc=path.stem, total=length, initial=have, unit="B", unit_scale=True, leave=False, disable=hidden)
        try:
            with bar, path.open("ab") as out:
                for block in response.raw.stream(_BLOCK, decode_content=False):
                    out.write(block)
                    bar.update(len(block))
                    have += len(block)
                    if have > limit:
                        break
        except HTTPError as error:
            raise Interruption(f"stopped after {have:,} bytes ({cause(error)})") from None
        except OSError as error:
            raise PoseTopoError(f"{path}: cannot be written ({error.strerror})") from None
        if have > limit:
            self.part.discard()
            raise FetchError(f"the server sends more than {limit:,} bytes")
        if have < least:
            raise Interruption(f"ended after {have:,} of {least:,} bytes")


def cause(error: BaseException) -> str:
    """The first of the errors that led to this one, in a few words: libraries wrap a failure several times."""
    while not (isinstance(error, OSError) and error.strerror) and (before := error.__cause__ or error.__context__):
        error = before
    return in_short(error)


def fetched_mismatch(path: Path, remote: Remote) -> str | None:
    """Why `path` is not the file that `remote` offers (an archive, if it is one), or None if it is."""
    try:
        wrong = mismatch(path, remote.checks)
        if wrong is None and remote.member is not None:
            wrong = member_mismatch(path, remote.member, remote.member_checks)
        if wrong is None and remote.folder is not None and remote.listing is not None:
            wrong = images_mismatch(path, remote.folder, remote.listing)
        return wrong
    except PoseTopoError as error:  # a damaged archive is like a wrong hash: another URL may have a good one
        return f"is refused: {error}"


def urls_for(remote: Remote, mirror: str | None, sole: bool) -> tuple[str, ...]:
    """The URLs to try, in order: the mirror's first.

    A mirror that ends in a file's name serves only that file, or the only one that is fetched (`sole`). Any other
    mirror is a folder.

    Raises:
        UsageError: the mirror is not an http(s) URL.
    """
    if mirror is None:
        return remote.urls
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--mirror {mirror}: not an http(s) URL")
    path = PurePosixPath(parts.path)
    is_file = bool(parts.query) or path.suffix in (".gz", ".tgz", ".tar", ".zip", ".h5", ".mat", ".pt", ".pth")
    if is_file and not (sole or path.name == remote.name):
        return remote.urls
    first = mirror if is_file else f"{mirror.rstrip('/')}/{remote.name}"
    return (first, *(url for url in remote.urls if url != first))


def fetch_verified(remote: Remote, path: Path, urls: Sequence[str], policy: Policy) -> str:
    """Bring the verified file to `path` from the first URL that has it. Returns that URL.

    Raises:
        PoseTopoError: no URL gave it. The line says how to fetch it by hand.
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
    transfer = Transfer(url, Partial(path), remote.lengths, policy)
    resumed = transfer.run()
    log.info(f"{remote.name}: received, checking it")
    while wrong := fetched_mismatch(transfer.part.path, remote):
        transfer.part.discard()
        if not resumed:
            raise FetchError(f"what came {wrong}")
        transfer.run()
        resumed = False
    transfer.part.publish(path)
