"""The arms of the study: their order, their look (the same in every figure), and which of many a figure shows."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pose_topo.study.config import TOPO_LOSSES, Topography

REFERENCE = " (reference)"  # after the arm of a run that was not made with the others
MOST = 6  # panels, or curves in one panel, that a reader can still tell apart
_LAMBDA = re.compile(r"-l(\d[\d.]*(?:e[+-]?\d+)?)(?=-|$)")


@dataclass(frozen=True)
class ArmStyle:
    """One arm's look: colour for most, dashes and marker for a grey print and for the colour-blind."""

    color: str
    dashes: Any
    marker: str


MAIN: dict[str, ArmStyle] = {  # in the order of the study; after Okabe and Ito's colours
    "baseline": ArmStyle("#6E6E6E", (0, (1, 1.2)), "s"),
    "control": ArmStyle("#0072B2", (0, (4, 1.5)), "o"),
    "topo": ArmStyle("#D55E00", "-", "^"),
    "topo-m1": ArmStyle("#F2B134", (0, (6, 1.5, 1, 1.5)), "v"),
    "topo-m10": ArmStyle("#6B2C00", (0, (2, 1)), "<"),
    "topo-permuted": ArmStyle("#000000", (0, (1, 2.5)), "d"),
}
LOSSES: dict[str, ArmStyle] = {  # the spatial losses but the study's, which `topo` has
    "neighbour-cosine": ArmStyle("#009E73", (0, (5, 1, 1, 1, 1, 1)), "D"),
    "topoloss": ArmStyle("#D27FB5", (0, (8, 2)), "P"),
    "activation-similarity": ArmStyle("#88CCF5", (0, (3, 1.2)), "X"),
    "spatial-correlation": ArmStyle("#E3C800", (0, (6, 1, 2, 1)), ">"),
    "topographic": ArmStyle("#5B2C83", (0, (4, 1, 1, 1)), "p"),
}
_OTHERS = (  # for an arm that the study does not have
    ArmStyle("#44AA99", (0, (7, 1, 1, 1)), "h"),
    ArmStyle("#999933", (0, (2, 2)), "*"),
    ArmStyle("#AA4466", (0, (10, 1.5)), "H"),
)


def family(arm: str) -> str:
    """The arm without its lambda, and without the mark of a reference run: "topo-l5-m1" -> "topo-m1"."""
    return _LAMBDA.sub("", arm.removesuffix(REFERENCE), count=1)


def arm_style(arm: str) -> ArmStyle:
    """The look of an arm: its family's. One that is named nowhere above gets one by its name, the same always."""
    name = family(arm)
    return MAIN.get(name) or LOSSES.get(name) or _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]


def arm_order(arm: str) -> tuple[Any, ...]:
    """Sort key: the main arms, the study's loss at other lambdas, the other losses, what else there is."""
    own, known = arm.removesuffix(REFERENCE), [*MAIN]
    given = _LAMBDA.search(own)
    place = known.index(own) if own in known else len(known)
    losses = ["topo", *TOPO_LOSSES]
    loss = next((losses.index(name) for name in sorted(losses, key=len, reverse=True) if _is_of(own, name)), 99)
    return (own != arm, place, loss, family(own), float(given[1]) if given else 0.0, own)


def _is_of(arm: str, loss: str) -> bool:
    return arm == loss or arm.startswith(f"{loss}-")


def chosen(arms: Iterable[str]) -> list[str]:
    """Which of these arms a figure shows that has a panel or a curve for each.

    One of each family, that with the study's lambda where it is there (the sweep over lambda has a figure of its own);
    of more than `MOST` families only the main ones.
    """
    families: dict[str, list[str]] = {}
    for arm in sorted(set(arms), key=arm_order):
        families.setdefault(family(arm), []).append(arm)
    usual = f"-l{Topography().weight:g}"
    shown = {
        name: next((arm for arm in group if arm == name or usual in arm), group[0]) for name, group in families.items()
    }
    if len(shown) > MOST:
        shown = {name: arm for name, arm in shown.items() if name in MAIN} or dict([*shown.items()][:MOST])
    return list(shown.values())


# ---- Whether a run is what its arm's name says: swapped arms turn every comparison around, and look like results.


def disagreement(arm: str, analysis: Mapping[str, Any]) -> str | None:
    """What analysis.json says that the arm's name denies, e.g. "lambda 0"; None where they agree.

    Names are those of `pose_topo.study.protocols.arm_of`. A name given by hand (`--arm mine`) is not judged.
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
