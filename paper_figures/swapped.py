"""Whether a run is what its arm's name says: swapped arms turn every comparison around, and look like results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def disagreement(arm: str, analysis: Mapping[str, Any]) -> str | None:
    """What analysis.json says that the arm's name denies, e.g. "lambda 0"; None where they agree.

    Names are those of `pose_topo.protocols.arm_of`. A name given by hand (`--arm mine`) says nothing and is not judged.
    """
    head, *parts = arm.split("-")
    weight, multiplier = analysis.get("lambda"), analysis.get("topo_lr_mult")
    permuted = bool(analysis.get("permuted"))
    said, factor = _number(parts, "l"), _number(parts, "m")
    said = 0.0 if head == "control" else said
    if head == "baseline" and weight is not None:
        return f"a topographic layer (lambda {weight:g})"
    if weight is None:
        return "no topographic layer" if head in ("control", "topo") else None
    if (said is not None and said != weight) or (head == "topo" and weight == 0):
        return f"lambda {weight:g}"
    if factor is not None and multiplier is not None and factor != multiplier:
        return f"learning-rate multiplier {multiplier:g}"
    if ("permuted" in parts and not permuted) or (permuted and head == "topo" and "permuted" not in parts):
        return "the loss on a permuted grid" if permuted else "the loss on the grid itself"
    return None


def _number(parts: list[str], letter: str) -> float | None:
    """The number of the part that is `letter` and a number: 5 of ["l5"]."""
    found = (re.fullmatch(rf"{letter}(\d+(?:\.\d+)?(?:e-?\d+)?)", part) for part in parts)
    return next((float(match[1]) for match in found if match), None)
