"""Clocks."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

TIMES = 3  # each thing is timed, after once to warm up ...
LONG = 20_000.0  # ... or once, where that took so many ms: the machine's ups and downs are in it already


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


# ---- How busy a GPU is while something runs on it, as its driver says.

SECONDS = 3.0  # the driver's own window is up to one
_EVERY_MS = 200


def utilisation(action: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Percent of the time in which the GPU ran anything, while `action` is repeated: the median of nvidia-smi's values;
    nothing where there is no GPU, or no nvidia-smi."""
    if device.type != "cuda":
        return {}
    asked = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"-lms={_EVERY_MS}"]
    which = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        watcher = subprocess.Popen(
            ["nvidia-smi", *asked, which], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return {}
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        action()
        torch.cuda.synchronize(device)
    watcher.terminate()
    said, _ = watcher.communicate()
    return summary(said)


def summary(said: str) -> dict[str, float]:
    """The median of the values in nvidia-smi's lines; the first ones, from before the action, are left out."""
    values = [float(line) for line in said.split() if line.replace(".", "", 1).isdigit()]
    settled = values[len(values) // 3 :]
    return {"gpu_utilisation_percent": statistics.median(settled)} if settled else {}
