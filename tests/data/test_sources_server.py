"""A server on loopback that can misbehave, and the small stand-ins for the real files. No tests here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import tarfile
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pose_topo.download.catalog import Checks, Remote
from pose_topo.download.transfer import Policy

__test__ = False


class Served:
    """One path's content, validators, and the faults of its next answers (the last one, if `stuck`)."""

    def __init__(self, content: bytes, etag: str | None = '"v1"', modified: str | None = None) -> None:
        self.content, self.etag, self.modified = content, etag, modified
        self.faults: deque[tuple[Any, ...]] = deque()
        self.stuck: tuple[Any, ...] | None = None
        self.ranges = True

    def fault(self) -> tuple[Any, ...]:
        return self.faults.popleft() if self.faults else self.stuck or ("none",)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range")))
        served = self.server.files.get(self.path)
        if served is None:
            return self.answer_status(404)
        kind, *args = served.fault()
        with contextlib.suppress(ConnectionError):
            getattr(self, f"answer_{kind}")(*([] if kind == "status" else [served]), *args)
        return None

    def answer_status(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _start(self, served: Served) -> bytes:
        """Send the headers of a well-behaved answer and return the body they promise."""
        body, first = served.content, 0
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked and served.ranges and condition in (None, served.etag, served.modified):
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                self.answer_status(416, Content_Range=f"bytes */{len(body)}")
                return b""
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self._finish(served, len(body) - first)
        return body[first:]

    def _finish(self, served: Served, length: int | None) -> None:
        for name, value in (("ETag", served.etag), ("Last-Modified", served.modified)):
            if value:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer_none(self, served: Served) -> None:
        body = self._start(served)
        if not self.server.pace:
            self.wfile.write(body)
            return
        for start in range(0, len(body), 4096):
            self.wfile.write(body[start : start + 4096])
            time.sleep(self.server.pace)

    def answer_cut(self, served: Served, after: int) -> None:
        self.wfile.write(self._start(served)[:after])
        self.close_connection = True

    def answer_reset(self, served: Served) -> None:
        self.close_connection = True

    def answer_stall(self, served: Served, after: int, seconds: float) -> None:
        self.wfile.write(self._start(served)[:after])
        self.wfile.flush()
        self.server.closing.wait(seconds)
        self.close_connection = True

    def answer_trickle(self, served: Served, pause: float) -> None:
        for byte in self._start(served):
            self.wfile.write(bytes([byte]))
            if self.server.closing.wait(pause):
                break
        self.close_connection = True

    def answer_promise(self, served: Served, length: int) -> None:
        """The right bytes under a wrong Content-Length."""
        self.send_response(200)
        self._finish(served, length)
        self.wfile.write(served.content)
        self.close_connection = True

    def answer_bytes(self, served: Served, body: bytes, content_type: str | None = None) -> None:
        self.send_response(200)
        if content_type:
            self.send_header("Content-Type", content_type)
        self._finish(served, len(body))
        self.wfile.write(body)

    def answer_encoded(self, served: Served, encoding: str) -> None:
        """The file as it is, under the name of an encoding."""
        self.send_response(200)
        self.send_header("Content-Encoding", encoding)
        self._finish(served, len(served.content))
        self.wfile.write(served.content)

    def answer_wrong_range(self, served: Served, shift: int) -> None:
        """206 for other bytes than those asked for."""
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1]) + shift
        body = served.content[first:]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{len(served.content) - 1}/{len(served.content)}")
        self._finish(served, len(body))
        self.wfile.write(body)

    def answer_unmarked(self, served: Served, after: int | None = None) -> None:
        """No length at all: the end of the connection is the end of the content, or a cut."""
        self.send_response(200)
        self._finish(served, None)
        self.wfile.write(served.content[:after])
        self.close_connection = True

    def answer_chunked(self, served: Served, cut_after: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self._finish(served, None)
        body = served.content[:cut_after]
        for start in range(0, len(body), 5000):
            chunk = body[start : start + 5000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if cut_after is None:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def answer_endless(self, served: Served) -> None:
        self.send_response(200)
        self._finish(served, None)
        while not self.server.closing.is_set():
            self.wfile.write(served.content)

    def answer_redirect(self, served: Served, location: str, code: int = 302) -> None:
        self.answer_status(code, Location=location)

    def answer_retry_after(self, served: Served, seconds: int) -> None:
        self.answer_status(429, Retry_After=str(seconds))


class Server(ThreadingHTTPServer):
    """Files by path, the requests seen, and a `pace` in seconds per 4 KiB."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.pace = 0.0
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def serve(self, path: str, content: bytes, **options: Any) -> Served:
        self.files[f"/{path}"] = served = Served(content, **options)
        return served


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Naps:
    """A sleep that only notes for how long."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def impatient(**options: Any) -> Policy:
    """A policy for tests: no real waiting, short timeouts."""
    return Policy(**{"attempts": 4, "timeout": 0.4, "slowest": 64, "sleep": Naps(), **options})


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def jpegs(number: int, size: int = 3000) -> dict[str, bytes]:
    """Names and contents of stand-in images (a JPEG's first bytes, then noise)."""
    return {f"{i:09d}.jpg": b"\xff\xd8" + random_bytes(size + i, i) for i in range(number)}


def make_tar(members: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """A .tar.gz in the layout of the real one; `extra` members come last, without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra or []:
            tar.addfile(info)
    return buffer.getvalue()


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def plain_remote(server: Server, content: bytes, name: str = "valid.h5", **options: Any) -> Remote:
    """A remote of one file, served, with its size and sha256."""
    if f"/{name}" not in server.files:
        server.serve(name, content)
    checks = Checks(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    return Remote(**{"name": name, "urls": (server.url(name),), "target": name, "about": len(content),
                     "checks": checks, **options})  # fmt: skip


def image_remote(server: Server, archive: bytes, count: int) -> Remote:
    """A remote of an image archive, served, with its md5."""
    server.serve("images.tar.gz", archive)
    return Remote("images.tar.gz", (server.url("images.tar.gz"),), "images", len(archive),
                  Checks(md5=hashlib.md5(archive).hexdigest()), folder="images", count=count,
                  unpacked=len(archive))  # fmt: skip


def mat_remote(server: Server, archive: bytes, content: bytes) -> Remote:
    """A remote of a zip without known hash whose one member has a git blob name."""
    server.serve("annotations.zip", archive)
    return Remote("annotations.zip", (server.url("annotations.zip"),), "release.mat", len(archive),
                  member="folder/release.mat", member_checks=Checks(git_blob_sha1=git_blob(content)),
                  unpacked=len(content))  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_line(error: BaseException) -> str:
    """The message, having checked that it is one line."""
    text = str(error)
    assert text and "\n" not in text
    return text
