"""Clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

TIMES = 3  # each thing is timed, after once to warm up ...
LONG = 20_000.0  # ... or once, where that took so many ms: the machine's ups and downs are in it already


def quiet(_text: str) -> None:
    """Status lines have no place among the numbers."""


def milliseconds(action: Callable[[], Any], device: torch.device) -> float:
    """The median time of `action`, after one call to warm up."""
    return side_by_side({"": action}, device)[""]


def side_by_side(actions: dict[str, Callable[[], Any]], device: torch.device) -> dict[str, float]:
    """The median time in ms of each action, after one call of each to warm up; by turns, so that a machine whose speed
    drifts does so for all of them."""
    warm = {name: _spent(action, device) for name, action in actions.items()}
    times = 1 if max(warm.values()) > LONG else TIMES
    turns = [{name: _spent(action, device) for name, action in actions.items()} for _ in range(times)]
    return {name: statistics.median(turn[name] for turn in turns) for name in actions}


def _spent(action: Callable[[], Any], device: torch.device) -> float:
    """Milliseconds that one call takes, until the device is done."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)
