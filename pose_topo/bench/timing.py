"""Measure how long functions take, how busy a GPU is meanwhile, and on which machine that was."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

from pose_topo.core import provenance

TIMES = 3  # calls that are timed, after one to warm up
LONG = 20_000.0  # ms; what takes longer is timed once, because one call already averages over the machine's load
SECONDS = 3.0  # how long the use of a GPU is watched; the driver averages over up to one second
EVERY_MS = 200


def milliseconds(action: Callable[[], Any], device: torch.device) -> float:
    """The median time of a function in ms, after one call to warm up."""
    return side_by_side({"": action}, device)[""]


def side_by_side(actions: dict[str, Callable[[], Any]], device: torch.device) -> dict[str, float]:
    """The median time of each function in ms, after one call of each to warm up.

    They are called in turn, so that a change of the machine's speed affects all of them.
    """
    warm = {name: _spent(action, device) for name, action in actions.items()}
    times = 1 if max(warm.values()) > LONG else TIMES
    turns = [{name: _spent(action, device) for name, action in actions.items()} for _ in range(times)]
    return {name: statistics.median(turn[name] for turn in turns) for name in actions}


def _spent(action: Callable[[], Any], device: torch.device) -> float:
    """The time of one call in ms, until the device has finished."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def utilisation(action: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """The percentage of the time in which a GPU is busy while a function is repeated, as nvidia-smi reports it.

    Empty on a CPU, or without nvidia-smi.
    """
    if device.type != "cuda":
        return {}
    options = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"-lms={EVERY_MS}"]
    which = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        watcher = subprocess.Popen(
            ["nvidia-smi", *options, which], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return {}
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        action()
        torch.cuda.synchronize(device)
    watcher.terminate()
    output, _ = watcher.communicate()
    return summary(output)


def summary(output: str) -> dict[str, float]:
    """The median of the values that nvidia-smi printed, without the first third, which may be from before the start."""
    values = [float(line) for line in output.split() if line.replace(".", "", 1).isdigit()]
    settled = values[len(values) // 3 :]
    return {"gpu_utilisation_percent": statistics.median(settled)} if settled else {}


def machine(device: torch.device, precision: str, *more: str) -> dict[str, Any]:
    """The machine and the software that something is measured with, and `more` entries of its provenance."""
    origin = provenance.collect(device, precision, "", 0)
    kept = ("commit", "device", "cuda", "driver", "torch", "python", "threads", "precision", *more)
    return {key: origin[key] for key in kept}
