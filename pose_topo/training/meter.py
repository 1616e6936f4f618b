"""The losses of an epoch, summed on the device; the host reads them without waiting for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """What the host knows of the sums."""

    heatmap: float  # sum over people
    topo: float  # sum over people
    people: int
    bad_step: int | None  # the first step whose loss was not finite

    def means(self) -> tuple[float, float]:
        """Mean heatmap loss and mean spatial loss a person."""
        return self.heatmap / self.people, self.topo / self.people

    def plus(self, other: Reading) -> Reading:
        """Both together."""
        bad = [step for step in (self.bad_step, other.bad_step) if step is not None]
        return Reading(
            self.heatmap + other.heatmap, self.topo + other.topo, self.people + other.people, min(bad, default=None)
        )


class Meter:
    """Sums over the people of an epoch, and the first step whose loss was not finite."""

    def __init__(self, device: torch.device, heatmap: float = 0.0, topo: float = 0.0, people: int = 0) -> None:
        """Args:
        heatmap, topo, people: the sums of an epoch's beginning that was trained before.
        """
        self._sums = torch.tensor([heatmap, topo, people, math.inf], dtype=torch.float64, device=device)
        self._copy: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    def add(self, heatmap: Tensor, topo: Tensor | None, people: int, step: int) -> None:
        """Take a step's mean losses (scalars on the device)."""
        heatmap = heatmap.detach().double()
        topo = torch.zeros_like(heatmap) if topo is None else topo.detach().double()
        losses = torch.stack([heatmap, topo])
        first_bad = torch.where(losses.isfinite().all(), math.inf, float(step))
        self._sums[:2] += losses * people
        self._sums[2] += people
        self._sums[3] = torch.minimum(self._sums[3], first_bad)

    def poll(self) -> Reading | None:
        """The sums; on a GPU those of the last call (None at the first), whose copy has long arrived, while the next is
        sent for."""
        if self._sums.device.type != "cuda":
            return self.read()
        before = None
        if self._copy is not None and self._copied is not None:
            self._copied.synchronize()  # waits only if the host has run a whole interval ahead of the device
            before = _reading(self._copy)
        else:
            self._copy = torch.empty(4, dtype=torch.float64, pin_memory=True)
            self._copied = torch.cuda.Event()
        self._copy.copy_(self._sums, non_blocking=True)
        self._copied.record()
        return before

    def read(self) -> Reading:
        """The sums; waits for the device."""
        return _reading(self._sums)


def _reading(sums: Tensor) -> Reading:
    heatmap, topo, people, bad = sums.tolist()
    return Reading(heatmap, topo, int(people), None if math.isinf(bad) else int(bad))
