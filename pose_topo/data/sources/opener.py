"""Opening an http(s) URL, and sorting its failures into those worth another attempt and the others."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from typing import IO
from urllib.parse import urlsplit

from pose_topo.errors import PoseTopoError

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
