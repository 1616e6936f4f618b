"""The laws of fetching one file: whatever the server does, the right bytes arrive or none do."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from test_sources_server import Naps, Server, impatient, one_line, plain_remote, random_bytes, running_server

from pose_topo.core.errors import PoseTopoError
from pose_topo.download.catalog import Checks
from pose_topo.download.transfer import (
    FetchError,
    Partial,
    Policy,
    Version,
    Wanted,
    _Redirects,
    fetch_verified,
    transfer,
)

CONTENT = random_bytes(300_000)
WRONG = random_bytes(300_000, seed=1)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as opened:
        yield opened


def fetch(server: Server, path: Path, policy: Policy | None = None, **options: Any) -> str:
    remote = plain_remote(server, CONTENT, **options)
    return fetch_verified(remote, path, remote.urls, policy or impatient())


def assert_clean(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert not Partial(path).path.exists() and not Partial(path).sidecar.exists()


RECOVERABLE = {
    "a cut": [("cut", 100_000)],
    "many cuts, each after some progress": [("cut", 20_000)] * 10,
    "a cut before the first byte": [("cut", 0)],
    "a connection closed without an answer": [("reset",), ("reset",)],
    "a 500": [("status", 500)],
    "a 503 in the middle": [("cut", 100_000), ("status", 503)],
    "a 429 that says when": [("retry_after", 2)],
    "a 416 for bytes held": [("cut", 100_000), ("status", 416)],
    "a 206 for other bytes": [("cut", 100_000), ("wrong_range", 7)],
    "a 206 nobody asked for": [("wrong_range", 5)],
    "a stall": [("stall", 100_000, 5.0)],
    "a stall before the headers' body": [("stall", 0, 5.0)],
    "a trickle": [("trickle", 0.02)],
    "a chunked answer": [("chunked",)],
    "a chunked answer cut": [("chunked", 120_000)],
    "an unmarked end, cut": [("unmarked", 120_000)],
    "an unmarked end": [("unmarked",)],
    "wrong bytes after a cut": [("cut", 100_000), ("bytes", WRONG)],
}


@pytest.mark.parametrize("case", RECOVERABLE)
def test_what_can_be_recovered_is_and_the_bytes_are_right(server: Server, tmp_path: Path, case: str) -> None:
    server.serve("valid.h5", CONTENT).faults.extend(RECOVERABLE[case])
    fetch(server, tmp_path / "valid.h5")
    assert_clean(tmp_path / "valid.h5")


@pytest.mark.parametrize("length_known", [True, False], ids=["size known", "size unknown"])
@pytest.mark.parametrize("case", RECOVERABLE)
def test_the_same_without_validators_from_the_server(
    server: Server, tmp_path: Path, case: str, length_known: bool
) -> None:
    served = server.serve("valid.h5", CONTENT, etag=None)
    served.faults.extend(RECOVERABLE[case])
    remote = plain_remote(server, CONTENT)
    checks = remote.checks if length_known else Checks(sha256=remote.checks.sha256)
    fetch(server, tmp_path / "valid.h5", checks=checks)
    assert_clean(tmp_path / "valid.h5")


HOPELESS = {
    "a 404": (("status", 404), "HTTP 404"),
    "a 403": (("status", 403), "HTTP 403"),
    "a 500 for ever": (("status", 500), "HTTP 500"),
    "a 416 for ever": (("status", 416), "416"),
    "a 204": (("status", 204), "HTTP 204"),
    "cuts that bring nothing": (("cut", 0), "cut after 0 of 300,000"),
    "stalls for ever": (("stall", 0, 5.0), "stalled"),
    "a 206 nobody asked for, for ever": (("wrong_range", 5), "do not continue"),
    "wrong bytes": (("bytes", WRONG), "sha256"),
    "too short a promise": (("promise", 1000), "offers 1,000 bytes, not 300,000"),
    "too long a promise": (("promise", 300_001), "offers 300,001 bytes"),
    "more bytes than promised nothing": (("unmarked", 100), "has 100 bytes, not 300,000"),
    "a body without end": (("endless",), "more than the 300,000 bytes"),
    "a web page": (("bytes", CONTENT, "text/html; charset=utf-8"), "web page"),
    "an encoding nobody asked for": (("encoded", "gzip"), "encodes the content"),
    "a redirect to a file": (("redirect", "file:///etc/hostname"), "HTTP 302"),
    "a redirect to ftp": (("redirect", "ftp://127.0.0.1/x"), "not followed"),
    "a redirect to itself": (("redirect", "/valid.h5"), "HTTP 302"),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_cannot_be_recovered_is_one_line_with_url_path_and_hash(server: Server, tmp_path: Path, case: str) -> None:
    fault, word = HOPELESS[case]
    server.serve("valid.h5", CONTENT).stuck = fault
    path = tmp_path / "valid.h5"
    with pytest.raises(PoseTopoError) as caught:
        fetch(server, path, impatient(timeout=0.1))
    line = one_line(caught.value)
    sha256 = plain_remote(server, CONTENT).checks.sha256 or ""
    assert word in line and server.url("valid.h5") in line and str(path) in line and sha256 in line
    assert not path.exists()


@pytest.mark.parametrize("validators", [{"etag": '"v1"'}, {"etag": None, "modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_a_resume_asks_only_for_the_rest(server: Server, tmp_path: Path, validators: Any) -> None:
    server.serve("valid.h5", CONTENT, **validators).faults.append(("cut", 100_000))
    fetch(server, tmp_path / "valid.h5")
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-"]


def test_a_later_call_resumes_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    served = server.serve("valid.h5", CONTENT)
    served.faults.append(("cut", 50_000))
    served.stuck = ("status", 500)
    with pytest.raises(PoseTopoError):
        fetch(server, tmp_path / "valid.h5")
    assert Partial(tmp_path / "valid.h5").size() == 50_000
    served.stuck = None
    fetch(server, tmp_path / "valid.h5")
    assert server.seen[-1][1] == "bytes=50000-"
    assert_clean(tmp_path / "valid.h5")


@pytest.mark.parametrize("etags", [('"v1"', '"v2"'), (None, None), ('W/"1"', 'W/"2"')])
@pytest.mark.parametrize("conditional", [True, False], ids=["heeds If-Range", "ignores If-Range"])
def test_content_changed_between_resumes_is_never_spliced(
    server: Server, tmp_path: Path, etags: tuple[str | None, str | None], conditional: bool
) -> None:
    old = server.serve("valid.h5", WRONG, etag=etags[0])
    old.faults.append(("cut", 100_000))
    old.stuck = ("status", 503)
    with pytest.raises(PoseTopoError):
        fetch(server, tmp_path / "valid.h5")
    server.serve("valid.h5", CONTENT, etag=etags[1])
    if not conditional:  # it answers 206 whatever the condition
        server.files["/valid.h5"].faults.append(("wrong_range", 0))
    server.seen.clear()
    fetch(server, tmp_path / "valid.h5")
    assert_clean(tmp_path / "valid.h5")
    # The condition makes the server send the new content at once; else a refused 206 comes first.
    assert len(server.seen) == (1 if conditional and etags[0] == '"v1"' else 2)


URL, OTHER = "http://a/x", "http://b/x"


@pytest.mark.parametrize(
    "held, offered, hashed, joined",
    [
        (Version(URL, '"1"', None, 9), Version(URL, '"1"', None, 9), False, True),
        (Version(URL, '"1"', None, 9), Version(URL, '"2"', None, 9), True, False),
        (Version(URL, '"1"', None, 9), Version(URL, None, None, 9), True, False),
        (Version(URL, '"1"', "Mon", 9), Version(URL, '"2"', "Mon", 9), True, False),
        (Version(URL, None, "Mon", 9), Version(URL, None, "Mon", 9), False, True),
        (Version(URL, None, "Mon", 9), Version(URL, None, "Tue", 9), True, False),
        (Version(URL, '"1"', None, 9), Version(URL, '"1"', None, 8), True, False),
        (Version(URL, '"1"', None, 9), Version(OTHER, '"2"', None, 9), True, True),
        (Version(URL, '"1"', None, 9), Version(OTHER, '"1"', None, 9), False, False),
        (Version(URL, '"1"', None, 9), Version(OTHER, '"1"', None, 8), True, False),
        (Version(URL, '"1"', None, None), Version(OTHER, '"1"', None, 9), True, False),
    ],
)
def test_bytes_join_only_what_may_be_the_same_content(
    held: Version, offered: Version, hashed: bool, joined: bool
) -> None:
    assert held.joins(offered, hashed) is joined


@pytest.mark.parametrize("fault", [("cut", 100_000), ("chunked", 100_000)])
def test_no_splice_needs_the_hash_to_be_found_out(server: Server, tmp_path: Path, fault: Any) -> None:
    """Below the verification: what `transfer` itself brings is already of one version."""
    served = server.serve("valid.h5", WRONG)
    served.faults.append(fault)
    served.stuck = ("status", 404)
    part = Partial(tmp_path / "valid.h5")
    with pytest.raises(PoseTopoError):
        transfer(server.url("valid.h5"), part, impatient(), Wanted(hashed=False))
    server.serve("valid.h5", CONTENT, etag='"v2"').faults.extend([("wrong_range", 0), ("wrong_range", 50)])
    transfer(server.url("valid.h5"), part, impatient(), Wanted(hashed=False))
    assert part.path.read_bytes() == CONTENT


@pytest.mark.parametrize("shift", [-40, 40])
def test_a_206_for_other_bytes_is_never_appended(server: Server, tmp_path: Path, shift: int) -> None:
    server.serve("valid.h5", CONTENT).faults.extend([("cut", 100_000), ("wrong_range", shift)])
    part = Partial(tmp_path / "valid.h5")
    transfer(server.url("valid.h5"), part, impatient(), Wanted(hashed=False))
    assert part.path.read_bytes() == CONTENT


def test_two_servers_bytes_are_not_joined_without_a_hash(server: Server, tmp_path: Path) -> None:
    first = server.serve("a", WRONG)
    first.faults.append(("cut", 100_000))
    first.stuck = ("status", 404)
    server.serve("b", CONTENT)
    part = Partial(tmp_path / "valid.h5")
    with pytest.raises(PoseTopoError):
        transfer(server.url("a"), part, impatient(), Wanted(hashed=False))
    transfer(server.url("b"), part, impatient(), Wanted(hashed=False))
    assert part.path.read_bytes() == CONTENT and server.seen[2:] == [("/b", None)]


def test_a_full_part_of_unknown_length_is_known_by_the_416(server: Server, tmp_path: Path) -> None:
    server.serve("valid.h5", CONTENT)
    part = Partial(tmp_path / "valid.h5")
    part.restart(Version(server.url("valid.h5"), '"v1"', None, None))
    part.path.write_bytes(CONTENT)
    fetch(server, tmp_path / "valid.h5")
    assert server.seen == [("/valid.h5", "bytes=300000-")]
    assert_clean(tmp_path / "valid.h5")


def test_a_server_that_ignores_ranges_still_serves(server: Server, tmp_path: Path) -> None:
    served = server.serve("valid.h5", CONTENT)
    served.ranges = False
    served.faults.extend([("cut", 200_000), ("cut", 100_000)])
    fetch(server, tmp_path / "valid.h5")
    assert_clean(tmp_path / "valid.h5")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_among_http_are_followed_resume_included(server: Server, tmp_path: Path, code: int) -> None:
    server.serve("valid.h5", CONTENT).stuck = ("redirect", "/elsewhere", code)
    server.serve("elsewhere", CONTENT).faults.append(("cut", 100_000))
    fetch(server, tmp_path / "valid.h5")
    assert server.seen[-1] == ("/elsewhere", "bytes=100000-")
    assert_clean(tmp_path / "valid.h5")


def test_the_next_url_is_tried_and_continues_what_the_first_left(server: Server, tmp_path: Path) -> None:
    first = server.serve("a", CONTENT)
    first.faults.append(("cut", 100_000))
    first.stuck = ("status", 404)
    server.serve("b", CONTENT, etag='"another server"')
    used = fetch(server, tmp_path / "valid.h5", urls=(server.url("a"), server.url("b")))
    assert used == server.url("b") and server.seen[-1] == ("/b", "bytes=100000-")
    assert_clean(tmp_path / "valid.h5")


def test_wrong_bytes_of_one_url_do_not_spoil_the_next(server: Server, tmp_path: Path) -> None:
    server.serve("a", WRONG).faults.append(("cut", 100_000))
    server.serve("b", CONTENT)
    server.files["/a"].stuck = ("status", 404)
    fetch(server, tmp_path / "valid.h5", urls=(server.url("a"), server.url("b")))
    assert_clean(tmp_path / "valid.h5")


def test_a_page_of_another_length_does_not_cost_the_bytes_held(server: Server, tmp_path: Path) -> None:
    served = server.serve("valid.h5", CONTENT)
    served.faults.extend([("cut", 100_000), ("bytes", b"please log in")])
    with pytest.raises(PoseTopoError, match="offers 13 bytes"):
        fetch(server, tmp_path / "valid.h5")
    assert Partial(tmp_path / "valid.h5").size() == 100_000


def test_waits_double_without_jitter_up_to_a_bound_and_heed_retry_after(server: Server, tmp_path: Path) -> None:
    naps = Naps()
    server.serve("valid.h5", CONTENT).stuck = ("status", 503)
    with pytest.raises(PoseTopoError, match="7 attempts without a new byte"):
        fetch(server, tmp_path / "valid.h5", impatient(attempts=7, longest_wait=20.0, sleep=naps))
    assert naps.taken == [1, 2, 4, 8, 16, 20]
    naps.taken.clear()
    server.serve("valid.h5", CONTENT).faults.extend([("retry_after", 9), ("retry_after", 999)])
    fetch(server, tmp_path / "valid.h5", impatient(sleep=naps, longest_wait=60.0))
    assert naps.taken == [9, 60]


def test_progress_renews_the_patience(server: Server, tmp_path: Path) -> None:
    naps = Naps()
    server.serve("valid.h5", CONTENT).faults.extend([("cut", 30_000)] * 9)
    fetch(server, tmp_path / "valid.h5", impatient(attempts=2, sleep=naps))
    assert naps.taken == [1] * 9


@pytest.mark.parametrize("port", ["%d/a b.h5", "%d/a\nb.h5", "no-port/valid.h5"])
def test_an_address_that_is_none_is_not_tried_again(server: Server, tmp_path: Path, port: str) -> None:
    naps = Naps()
    url = f"http://127.0.0.1:{port % server.server_port if '%' in port else port}"
    with pytest.raises(PoseTopoError, match="not a"):
        fetch(server, tmp_path / "valid.h5", impatient(sleep=naps), urls=(url,))
    assert naps.taken == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "/etc/hostname", "http://"])
def test_only_http_is_ever_opened(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(PoseTopoError, match="not an http"):
        fetch(server, tmp_path / "valid.h5", urls=(url,))


def test_https_is_never_left_for_http() -> None:
    handler, headers = _Redirects(), HTTPMessage()
    request = urllib.request.Request("https://h/x")
    assert handler.redirect_request(request, BytesIO(), 308, "", headers, "https://other/x") is not None
    with pytest.raises(PoseTopoError, match="not followed"):
        handler.redirect_request(request, BytesIO(), 302, "", headers, "http://h/x")


def test_a_host_that_is_not_there_is_one_line(server: Server, tmp_path: Path) -> None:
    naps = Naps()
    urls = ("http://127.0.0.1:9/x", "http://no-such-host.invalid/x")
    with pytest.raises(PoseTopoError) as caught:
        fetch(server, tmp_path / "valid.h5", impatient(sleep=naps), urls=urls)
    assert all(url in one_line(caught.value) for url in urls)
    assert naps.taken == [1.0, 2.0, 4.0, 1.0]  # no connection: three more tries; no such name: one


@pytest.mark.parametrize("sidecar", ["", "[]", "{", '{"url": 1, "other": 2}', None])
def test_held_bytes_without_a_readable_sidecar_are_not_used(
    server: Server, tmp_path: Path, sidecar: str | None
) -> None:
    part = Partial(tmp_path / "valid.h5")
    part.path.write_bytes(WRONG[:1000])
    if sidecar is not None:
        part.sidecar.write_text(sidecar)
    fetch(server, tmp_path / "valid.h5")
    assert server.seen == [("/valid.h5", None)]
    assert_clean(tmp_path / "valid.h5")


def test_a_complete_part_needs_no_request_and_a_false_one_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    for content, requests in ((CONTENT, 0), (WRONG, 1)):
        path = tmp_path / f"{requests}.h5"
        part = Partial(path)
        part.restart(Version(server.url("valid.h5"), '"v1"', None, len(CONTENT)))
        part.path.write_bytes(content)
        server.seen.clear()
        fetch(server, path)
        assert_clean(path)
        assert len(server.seen) == requests


def test_a_file_that_does_not_verify_is_set_aside_not_deleted(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "valid.h5"
    path.write_text("the user's own")
    fetch(server, path)
    assert_clean(path)
    assert (tmp_path / "valid.h5.replaced").read_text() == "the user's own"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_no_retry(server: Server, tmp_path: Path) -> None:
    naps = Naps()
    Partial(tmp_path / "valid.h5").path.symlink_to("/dev/full")
    with pytest.raises(PoseTopoError, match=r"cannot be written \(No space"):
        fetch(server, tmp_path / "valid.h5", impatient(sleep=naps))
    assert not naps.taken and not (tmp_path / "valid.h5").exists()


def test_the_sidecar_says_what_the_server_said(server: Server, tmp_path: Path) -> None:
    served = server.serve("valid.h5", CONTENT, modified="Mon, 01 Jan 2024 00:00:00 GMT")
    served.faults.append(("cut", 10))
    served.stuck = ("status", 404)
    with pytest.raises(PoseTopoError):
        fetch(server, tmp_path / "valid.h5")
    assert json.loads(Partial(tmp_path / "valid.h5").sidecar.read_text()) == {
        "url": server.url("valid.h5"),
        "etag": '"v1"',
        "modified": "Mon, 01 Jan 2024 00:00:00 GMT",
        "length": 300_000,
    }


def test_without_a_network_the_line_comes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    waits: list[float] = []
    policy = Policy(sleep=waits.append)
    with pytest.raises(FetchError, match="2 attempts"):
        transfer("http://nowhere.invalid/file", Partial(tmp_path / "file.part"), policy, Wanted())
    assert waits == [1.0]
