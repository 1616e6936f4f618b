"""Several processes that train one network (torchrun): who I am, and what is said among us.

A single process is a team of one, for which nothing here costs anything.
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

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # the writer draws and saves while the others wait


@dataclass(frozen=True)
class Team:
    """This process's place among those of one training."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on its machine: the number of its GPU

    @property
    def writer(self) -> bool:
        """Whether this process writes the run's folder and speaks to the user."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """`--device` for this process: with several, each takes the GPU of its local rank.

        Raises:
            UsageError: one GPU was named for all.
        """
        if self.size == 1 or name == "cpu":
            return name
        if name.startswith("cuda:"):
            raise UsageError(f"--device {name}: {self.size} processes cannot share it; give cuda, each takes its own")
        return f"cuda:{self.local_rank}" if torch.cuda.is_available() else name

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def from_writer(self, value: T) -> T:
        """The writer's value, for everybody."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """`model`, whose gradients are averaged over the team in its backward pass."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)

    def share_buffers(self, model: nn.Module) -> None:
        """Give everybody the writer's buffers: each process's BatchNorm has seen people of its own."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Meet the others; leave them at the end. Whoever fails just goes: leaving is a meeting, too, to which the
        others would not come; torchrun ends them."""
        if self.size == 1 or dist.is_initialized():
            yield
            return
        # what is said among processes goes by the CPU, so that no GPU is waited for
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
        yield
        dist.destroy_process_group()


def team_from_environment() -> Team:
    """The team that torchrun's environment variables describe; alone without them."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in names):
        return Team()
    rank, size, local_rank = (int(os.environ[name]) for name in names)
    return Team(rank, size, local_rank)


# ---- SIGTERM and SIGINT end a training after its step, with everything saved.

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
