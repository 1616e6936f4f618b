"""The background thread gives the same items, and never outlives its consumer."""

import threading
import time

import pytest

from pose_topo.data.batches import prefetched


def running() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_same_items_in_order() -> None:
    assert list(prefetched(iter(range(100)))) == list(range(100))
    assert list(prefetched([])) == []
    assert list(prefetched([None, None])) == [None, None]
    assert running() == 0


def test_works_ahead_but_no_further_than_asked() -> None:
    made: list[int] = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    stream = prefetched(items(), depth=3)
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4]  # 0 is used, 1 to 3 wait, 4 stands before the full queue
    stream.close()
    assert running() == 0


def test_an_error_arrives_where_it_belongs() -> None:
    def items():
        yield 1
        raise ValueError("broken")

    stream = prefetched(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert running() == 0


def test_a_consumer_that_fails_ends_the_thread() -> None:
    def consume() -> None:
        for number in prefetched(range(1000)):
            if number == 3:
                raise KeyError(number)

    with pytest.raises(KeyError):
        consume()
    deadline = time.monotonic() + 5  # the iterator is closed when it is collected
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running() == 0
