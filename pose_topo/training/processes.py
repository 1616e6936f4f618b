"""The processes that train one network together (torchrun), and the signals that stop a training.

A single process is a team of one. Then nothing in `Team` communicates.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pose_topo.core.errors import PoseTopoError, UsageError

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # the other processes wait while the writer draws and saves
SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_SIGNAL = 5.0  # seconds within which a second SIGTERM counts as the first


@dataclass(frozen=True)
class Team:
    """The place of this process among the processes of one training."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # the rank on this machine, which is the number of the GPU

    @property
    def writer(self) -> bool:
        """Whether this process writes the run's folder and prints messages."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """`--device` for this process. With several processes each takes the GPU of its local rank.

        Raises:
            UsageError: one GPU was named for several processes.
        """
        if self.size == 1 or name == "cpu":
            return name
        if name.startswith("cuda:"):
            raise UsageError(f"--device {name}: {self.size} processes cannot share it; give cuda, each takes its own")
        return f"cuda:{self.local_rank}" if torch.cuda.is_available() else name

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank. All of them must call this."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_writer(self, value: T) -> T:
        """The value of the writer. All processes must call this."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model to call in a step: its backward pass averages the gradients over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)

    def share_buffers(self, model: nn.Module) -> None:
        """Copy the writer's buffers to all processes, because the BatchNorm of each has seen other people."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Connect the processes, and disconnect them at the end.

        After an error the process does not disconnect, because that would wait for the others. torchrun ends them.
        """
        if self.size == 1 or dist.is_initialized():
            yield
            return
        # objects are sent through the CPU, so that no GPU has to be waited for
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
        yield
        dist.destroy_process_group()


def team_from_environment() -> Team:
    """The team that torchrun's environment variables describe. Without them it is a team of one."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in names):
        return Team()
    return Team(*(int(os.environ[name]) for name in names))


class Interrupted(PoseTopoError):
    """A signal stopped the training after a step, with everything saved.

    The exit code is 128 + the signal's number, as in a shell: 143 (SIGTERM) or 130 (SIGINT).
    """

    def __init__(self, signum: int, saved: str) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}; the same settings and --run-name go on from {saved}")
        self.exit_code = 128 + signum


class Interruption:
    """A context in which the first SIGTERM or SIGINT is stored in `signum`. A later one has its usual effect.

    A second SIGTERM soon after the first is ignored: torchrun passes a signal on to processes that have already
    received it with their process group, and that must not end the writer while it saves.

    Signals reach only the main thread of a process. In other threads this does nothing.
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
