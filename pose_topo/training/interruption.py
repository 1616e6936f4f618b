"""SIGTERM and SIGINT end a training after its step, with everything saved."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from pose_topo.errors import PoseTopoError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_SIGNAL = 5.0  # seconds


class Interrupted(PoseTopoError):
    """A signal ended the training. Exit code 128 + its number, as a shell has it: 143 or 130."""

    def __init__(self, signum: int, saved: str) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}; the same settings and --run-name go on from {saved}")
        self.exit_code = 128 + signum


class Interruption:
    """While it is entered, the first signal is noted and a later one acts as if nobody listened.

    A SIGTERM soon after the first is taken for the same: torchrun passes on to its processes what a group's signal has
    brought them already, and the second must not end the writer while it saves.

    Only a process's main thread can listen; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum, self._since = signum, time.monotonic()
        elif signum == signal.SIGINT or time.monotonic() - self._since > SAME_SIGNAL:
            self.__exit__()
            os.kill(os.getpid(), signum)
