"""Clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

TIMES = 3  # each thing is timed, after once to warm up


def quiet(_text: str) -> None:
    """Status lines have no place among the numbers."""


def milliseconds(action: Callable[[], Any], device: torch.device) -> float:
    """The median time of `action`, after one call to warm up."""
    return side_by_side({"": action}, device)[""]


def side_by_side(actions: dict[str, Callable[[], Any]], device: torch.device) -> dict[str, float]:
    """The median time in ms of each action, after one call of each to warm up; by turns, so that a machine whose speed
    drifts does so for all of them."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(TIMES + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(spent[1:]) for name, spent in taken.items()}
