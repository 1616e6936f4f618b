"""Can this machine run the study? One finding a line."""

from __future__ import annotations

from pathlib import Path

from pose_topo.doctor import lock, machine, study
from pose_topo.doctor.finding import PROFILES, Finding

__all__ = ["PROFILES", "Finding", "examine"]


def examine(data: Path, profile: str) -> list[Finding]:
    """All findings for a profile: "demo" (CPU, rendered data) or "full" (the study on MPII, on a GPU)."""
    return [*machine.judge(machine.look(), profile), *study.judge(data, profile), lock.judge()]
