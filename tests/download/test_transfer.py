"""Fetching one file: whatever the server does, the right bytes arrive or none do."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from loopback import Server
from made_up_targets import QUICK, file_remote, one_line, random_bytes

from pose_topo.core.errors import PoseTopoError
from pose_topo.download.transfer import Partial, Policy, Version, fetch_verified

CONTENT, WRONG = random_bytes(300_000), random_bytes(300_000, seed=1)


def fetch(server: Server, path: Path, policy: Policy = QUICK, **options: Any) -> str:
    remote = file_remote(server, CONTENT, **options)
    return fetch_verified(remote, path, remote.urls, policy)


def assert_fetched(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert not Partial(path).path.exists() and not Partial(path).sidecar.exists()


RECOVERABLE = {
    "cuts, each after new bytes": [("cut", 65_536)] * 8,
    "connection closed without an answer": [("reset",), ("reset",)],
    "503 in the middle": [("cut", 131_072), ("status", 503)],
    "416 for bytes that are there": [("cut", 131_072), ("status", 416)],
    "206 for other bytes": [("cut", 131_072), ("wrong_range", 7)],
    "206 that nobody asked for": [("wrong_range", 5)],
    "stall": [("stall", 131_072)],
    "chunked": [("chunked",)],
    "chunked, cut": [("chunked", 120_000)],
    "no length": [("unmarked",)],
    "no length, cut": [("unmarked", 120_000)],
    "wrong bytes after a cut": [("cut", 131_072), ("bytes", WRONG)],
}


@pytest.mark.parametrize("case", RECOVERABLE)
def test_recoverable_faults_end_with_the_right_bytes(server: Server, tmp_path: Path, case: str) -> None:
    server.serve("valid.h5", CONTENT).faults.extend(RECOVERABLE[case])
    fetch(server, tmp_path / "valid.h5")
    assert_fetched(tmp_path / "valid.h5")


HOPELESS = {
    "404": (("status", 404), "HTTP 404"),
    "500 for ever": (("status", 500), "HTTP 500"),
    "416 for ever": (("status", 416), "HTTP 416"),
    "204": (("status", 204), "HTTP 204"),
    "cuts without a new byte": (("cut", 0), "4 attempts without a new byte"),
    "stall for ever": (("stall", 0), "timed out"),
    "wrong bytes": (("bytes", WRONG), "sha256"),
    "another length": (("bytes", b"please log in"), "offers 13 bytes, not 300,000"),
    "endless body": (("endless",), "more than 300,000 bytes"),
    "web page": (("bytes", CONTENT, "text/html; charset=utf-8"), "web page"),
    "redirect to a file": (("redirect", "file:///etc/hostname"), "No connection adapters"),
    "redirect to itself": (("redirect", "/valid.h5"), "redirects"),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_hopeless_faults_end_with_one_line(server: Server, tmp_path: Path, case: str) -> None:
    """The line names the URL, the target path and the hash."""
    fault, word = HOPELESS[case]
    server.serve("valid.h5", CONTENT).stuck = fault
    path = tmp_path / "valid.h5"
    with pytest.raises(PoseTopoError) as caught:
        fetch(server, path, Policy(attempts=4, timeout=0.1))
    line = one_line(caught.value)
    sha256 = file_remote(server, CONTENT).checks.sha256 or ""
    assert word in line and server.url("valid.h5") in line and str(path) in line and sha256 in line
    assert not path.exists()


def test_a_later_call_resumes_and_asks_only_for_the_rest(server: Server, tmp_path: Path) -> None:
    served = server.serve("valid.h5", CONTENT, modified="Mon, 01 Jan 2024 00:00:00 GMT")
    served.faults.append(("cut", 65_536))
    served.stuck = ("status", 404)
    with pytest.raises(PoseTopoError):
        fetch(server, tmp_path / "valid.h5")
    part = Partial(tmp_path / "valid.h5")
    assert part.size() == 65_536
    assert json.loads(part.sidecar.read_text()) == {
        "url": server.url("valid.h5"),
        "etag": '"v1"',
        "modified": "Mon, 01 Jan 2024 00:00:00 GMT",
        "length": 300_000,
    }
    served.stuck = ("none",)
    fetch(server, tmp_path / "valid.h5")
    assert server.seen[-1][1] == "bytes=65536-"
    assert_fetched(tmp_path / "valid.h5")


@pytest.mark.parametrize("etags", [('"v1"', '"v2"'), (None, None), ('W/"1"', 'W/"2"')])
@pytest.mark.parametrize("fault", [("none",), ("wrong_range", 0)], ids=["heeds If-Range", "ignores If-Range"])
def test_two_versions_are_never_spliced(
    server: Server, tmp_path: Path, etags: tuple[str | None, str | None], fault: Any
) -> None:
    old = server.serve("valid.h5", WRONG, etag=etags[0])
    old.faults.append(("cut", 65_536))
    old.stuck = ("status", 404)
    with pytest.raises(PoseTopoError):
        fetch(server, tmp_path / "valid.h5")
    server.serve("valid.h5", CONTENT, etag=etags[1]).faults.append(fault)
    server.seen.clear()
    fetch(server, tmp_path / "valid.h5")
    assert_fetched(tmp_path / "valid.h5")
    assert len(server.seen) == (1 if fault == ("none",) and etags[0] == '"v1"' else 2)


URL, OTHER = "http://a/x", "http://b/x"


@pytest.mark.parametrize(
    "held, offered, joined",
    [
        (Version(URL, '"1"', "Mon", 9), Version(URL, '"1"', "Mon", 9), True),
        (Version(URL, '"1"', None, 9), Version(URL, '"1"', None, None), True),
        (Version(URL, '"1"', "Mon", 9), Version(URL, '"2"', "Mon", 9), False),
        (Version(URL, '"1"', None, 9), Version(URL, None, None, 9), False),
        (Version(URL, None, "Mon", 9), Version(URL, None, "Tue", 9), False),
        (Version(URL, '"1"', None, 9), Version(URL, '"1"', None, 8), False),
        (Version(URL, '"1"', None, 9), Version(OTHER, '"2"', None, 9), True),
        (Version(URL, '"1"', None, 9), Version(OTHER, '"1"', None, 8), False),
        (Version(URL, '"1"', None, None), Version(OTHER, '"1"', None, None), False),
    ],
)
def test_bytes_are_joined_only_if_they_may_be_of_one_version(held: Version, offered: Version, joined: bool) -> None:
    assert held.continued_by(offered) is joined


def test_a_server_that_ignores_ranges_still_serves(server: Server, tmp_path: Path) -> None:
    served = server.serve("valid.h5", CONTENT)
    served.ranges = False
    served.faults.extend([("cut", 200_000), ("cut", 100_000)])
    fetch(server, tmp_path / "valid.h5")
    assert_fetched(tmp_path / "valid.h5")


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_redirects_are_followed_and_resumed(server: Server, tmp_path: Path, code: int) -> None:
    server.serve("valid.h5", CONTENT).stuck = ("redirect", "/elsewhere", code)
    server.serve("elsewhere", CONTENT).faults.append(("cut", 65_536))
    fetch(server, tmp_path / "valid.h5")
    assert server.seen[-1] == ("/elsewhere", "bytes=65536-")
    assert_fetched(tmp_path / "valid.h5")


def test_the_next_url_continues_what_the_first_left(server: Server, tmp_path: Path) -> None:
    first = server.serve("a", CONTENT)
    first.faults.append(("cut", 65_536))
    first.stuck = ("status", 404)
    server.serve("b", CONTENT, etag='"another server"')
    used = fetch(server, tmp_path / "valid.h5", urls=(server.url("a"), server.url("b")))
    assert used == server.url("b") and server.seen[-1] == ("/b", "bytes=65536-")
    assert_fetched(tmp_path / "valid.h5")


def test_wrong_bytes_of_one_url_do_not_spoil_the_next(server: Server, tmp_path: Path) -> None:
    first = server.serve("a", WRONG)
    first.faults.append(("cut", 65_536))
    first.stuck = ("status", 404)
    server.serve("b", CONTENT)
    fetch(server, tmp_path / "valid.h5", urls=(server.url("a"), server.url("b")))
    assert_fetched(tmp_path / "valid.h5")


def test_an_answer_of_another_length_does_not_cost_the_bytes_that_are_there(server: Server, tmp_path: Path) -> None:
    server.serve("valid.h5", CONTENT).faults.extend([("cut", 65_536), ("bytes", b"please log in")])
    with pytest.raises(PoseTopoError, match="offers 13 bytes"):
        fetch(server, tmp_path / "valid.h5")
    assert Partial(tmp_path / "valid.h5").size() == 65_536


def test_waits_double_and_are_bounded(server: Server, tmp_path: Path, naps: list[float]) -> None:
    server.serve("valid.h5", CONTENT).stuck = ("cut", 0)
    with pytest.raises(PoseTopoError, match="6 attempts without a new byte"):
        fetch(server, tmp_path / "valid.h5", Policy())
    assert naps == [1, 2, 4, 8, 16]
    naps.clear()
    server.serve("valid.h5", CONTENT).faults.extend([("retry_after", 9), ("retry_after", 999), ("status", 503)])
    fetch(server, tmp_path / "valid.h5", Policy())
    assert naps == [9, 60, 4]


def test_an_unreachable_host_is_one_line(server: Server, tmp_path: Path, naps: list[float]) -> None:
    urls = ("http://127.0.0.1:9/x", "http://no-such-host.invalid/x", "file:///etc/hostname", "http://")
    with pytest.raises(PoseTopoError) as caught:
        fetch(server, tmp_path / "valid.h5", Policy(), urls=urls)
    assert all(url in one_line(caught.value) for url in urls) and "Connection refused" in str(caught.value)
    assert naps == [2, 4, 2, 4]  # soon: most likely there is no network


def test_the_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", server.url())
    server.files["http://data.invalid/valid.h5"] = server.serve("valid.h5", CONTENT)
    fetch(server, tmp_path / "valid.h5", urls=("http://data.invalid/valid.h5",))
    assert_fetched(tmp_path / "valid.h5")


@pytest.mark.parametrize("sidecar", [
    "{", "null", "[]", "7", '{"url": 1, "other": 2}', '{"url": 1}', '{"url": "%s", "length": "300000"}',
    '{"url": "%s", "etag": 1}', '{"url": "%s", "etag": ["v1"]}', '{"url": "%s", "modified": {}}', "[" * 100_000, None,
])  # fmt: skip
def test_bytes_without_a_readable_sidecar_are_not_used(server: Server, tmp_path: Path, sidecar: str | None) -> None:
    gc.collect()  # what other tests left must not be finalised deep in a recursion: pytest fails then
    part = Partial(tmp_path / "valid.h5")
    part.path.write_bytes(WRONG[:1000])
    if sidecar is not None:
        part.sidecar.write_text(sidecar.replace("%s", server.url("valid.h5")))
    fetch(server, tmp_path / "valid.h5")
    assert server.seen == [("/valid.h5", None)]
    assert_fetched(tmp_path / "valid.h5")


@pytest.mark.parametrize("content, requests", [(CONTENT, 0), (WRONG, 1)], ids=["right", "wrong"])
def test_a_complete_part_needs_no_request_if_it_verifies(
    server: Server, tmp_path: Path, content: bytes, requests: int
) -> None:
    part = Partial(tmp_path / "valid.h5")
    part.restart(Version(server.url("valid.h5"), '"v1"', None, len(CONTENT)))
    part.path.write_bytes(content)
    fetch(server, tmp_path / "valid.h5")
    assert_fetched(tmp_path / "valid.h5")
    assert len(server.seen) == requests


def test_a_file_that_does_not_verify_is_set_aside(server: Server, tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "valid.h5").write_text(text)
        fetch(server, tmp_path / "valid.h5")
    assert_fetched(tmp_path / "valid.h5")
    assert (tmp_path / "valid.h5.replaced").read_text() == "first"
    assert (tmp_path / "valid.h5.replaced.2").read_text() == "second"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_without_a_repetition(server: Server, tmp_path: Path, naps: list[float]) -> None:
    Partial(tmp_path / "valid.h5").path.symlink_to("/dev/full")
    with pytest.raises(PoseTopoError, match=r"cannot be written \(No space"):
        fetch(server, tmp_path / "valid.h5")
    assert not naps and not (tmp_path / "valid.h5").exists()
