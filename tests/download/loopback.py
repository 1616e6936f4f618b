"""A server on loopback that can misbehave. No tests here."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Served:
    """The content of one path, its validators, and the faults of its next answers. `stuck` is the fault after those."""

    def __init__(self, content: bytes, etag: str | None = '"v1"', modified: str | None = None) -> None:
        self.content, self.etag, self.modified = content, etag, modified
        self.faults: deque[tuple[Any, ...]] = deque()
        self.stuck: tuple[Any, ...] = ("none",)
        self.ranges = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range")))
        served = self.server.files.get(self.path)
        if served is None:
            return self.status(404)
        kind, *args = served.faults.popleft() if served.faults else served.stuck
        with contextlib.suppress(ConnectionError):
            getattr(self, f"answer_{kind}")(served, *args)
        return None

    def status(self, code: int, **headers: str) -> None:
        self._headers(code, {"Content-Length": "0", **headers})

    def _headers(self, code: int, headers: dict[str, str | None]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _start(self, served: Served) -> bytes:
        """Send the headers of a correct answer. Returns the body that they promise."""
        body, first = served.content, 0
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked and served.ranges and condition in (None, served.etag, served.modified):
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                self.status(416, Content_Range=f"bytes */{len(body)}")
                return b""
        self._range(served, first) if first else self._whole(served, len(body))
        return body[first:]

    def _whole(self, served: Served, length: int | None, **headers: str | None) -> None:
        size = None if length is None else str(length)
        known = {"Content-Length": size, "ETag": served.etag, "Last-Modified": served.modified}
        self._headers(200, {**known, **headers})

    def _range(self, served: Served, first: int) -> None:
        size = len(served.content)
        span, left = f"bytes {first}-{size - 1}/{size}", str(size - first)
        known = {"ETag": served.etag, "Last-Modified": served.modified}
        self._headers(206, {"Content-Range": span, "Content-Length": left, **known})

    # ---- The faults: the name of a method after `answer_`, and its arguments

    def answer_none(self, served: Served) -> None:
        body = self._start(served)
        for start in range(0, len(body), 4096):
            self.wfile.write(body[start : start + 4096])
            if self.server.pace:
                self.server.closing.wait(self.server.pace)

    def answer_status(self, served: Served, code: int) -> None:
        self.status(code)

    def answer_retry_after(self, served: Served, seconds: int) -> None:
        self.status(429, Retry_After=str(seconds))

    def answer_redirect(self, served: Served, location: str, code: int = 302) -> None:
        self.status(code, Location=location)

    def answer_reset(self, served: Served) -> None:
        """Close the connection without an answer."""
        self.close_connection = True

    def answer_cut(self, served: Served, after: int) -> None:
        self.wfile.write(self._start(served)[:after])
        self.close_connection = True

    def answer_stall(self, served: Served, after: int) -> None:
        self.wfile.write(self._start(served)[:after])
        self.wfile.flush()
        self.server.closing.wait(5.0)
        self.close_connection = True

    def answer_bytes(self, served: Served, body: bytes, content_type: str | None = None) -> None:
        """Another body than the file's, complete."""
        self._whole(served, len(body), Content_Type=content_type)
        self.wfile.write(body)

    def answer_encoded(self, served: Served, encoding: str) -> None:
        """The file as it is, under the name of an encoding."""
        self._whole(served, len(served.content), Content_Encoding=encoding)
        self.wfile.write(served.content)

    def answer_wrong_range(self, served: Served, shift: int) -> None:
        """206 for bytes `shift` after those asked for."""
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1]) + shift
        self._range(served, first)
        self.wfile.write(served.content[first:])

    def answer_unmarked(self, served: Served, after: int | None = None) -> None:
        """No length: the end of the connection is the end of the content, or a cut."""
        self._whole(served, None)
        self.wfile.write(served.content[:after])
        self.close_connection = True

    def answer_chunked(self, served: Served, after: int | None = None) -> None:
        self._whole(served, None, Transfer_Encoding="chunked")
        body = served.content[:after]
        for start in range(0, len(body), 5000):
            chunk = body[start : start + 5000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if after is None:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def answer_endless(self, served: Served) -> None:
        self._whole(served, None)
        while not self.server.closing.is_set():
            self.wfile.write(served.content)


class Server(ThreadingHTTPServer):
    """Files by path, the requests seen (path and Range), and a `pace` in seconds per 4 KiB."""

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
        return f"http://127.0.0.1:{self.server_port}/{path}"

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
