"""One writer at a time in a folder that several processes may want to fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without it goes unlocked: hashes still decide what is accepted
    fcntl = None


@contextmanager
def locked(folder: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Hold the folder's lock, waiting for another process to finish. A killed holder's lock is free."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".download.lock").open("a") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{folder}: another process is fetching into it; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError:
                pass  # a network disk without locks
        yield
