"""Preparing the next item in a background thread while the present one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_POLL = 0.1  # seconds between two looks at whether the consumer has gone


def prefetched(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them made ahead in a thread.

    The thread ends with the iterator: at the end, when the consumer stops early, and when making an item fails (whose
    error is raised here).
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=depth)  # (is an item, the item or how it ended)
    gone = threading.Event()

    def offer(entry: tuple[bool, Any]) -> bool:
        while not gone.is_set():
            try:
                ready.put(entry, timeout=_POLL)
                return True
            except queue.Full:
                pass
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as error:
            offer((False, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        gone.set()
        thread.join()
