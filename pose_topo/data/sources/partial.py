"""A file on its way: the bytes held so far, and which version of the remote they are of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path

from pose_topo.files import write_json


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
