"""The arms of the study: their order, their look (the same in every figure), and which of many a figure shows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pose_topo.core.errors import UsageError
from pose_topo.study.arms import USUAL, Arm
from pose_topo.study.config import TOPO_LOSSES

REFERENCE = " (reference)"  # after the arm of a run that was not made with the others
MOST = 6  # panels, or curves in one panel, that a reader can still tell apart


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
    """Return the arm without its lambda and without the mark of a reference run: "topo-l5-m1" -> "topo-m1"."""
    parsed = parse(arm)
    return parsed.family if parsed else arm.removesuffix(REFERENCE)


def parse(arm: str) -> Arm | None:
    """Return what an arm's name says; None for a name that was given by hand."""
    try:
        return Arm.parse(arm.removesuffix(REFERENCE))
    except UsageError:
        return None


def arm_style(arm: str) -> ArmStyle:
    """The look of an arm: its family's. One that is named nowhere above gets one by its name, the same always."""
    name = family(arm)
    return MAIN.get(name) or LOSSES.get(name) or _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]


def arm_order(arm: str) -> tuple[Any, ...]:
    """Sort key: the main arms, the study's spatial loss at other lambdas, the other losses, and then what is left."""
    name = arm.removesuffix(REFERENCE)
    parsed = parse(name)
    place = [*MAIN].index(name) if name in MAIN else len(MAIN)
    heads = ["topo", *TOPO_LOSSES]
    head = heads.index(parsed.head) if parsed and parsed.head in heads else len(heads)
    weight = parsed.topography.weight if parsed and parsed.topography and name != family(name) else 0.0
    return (name != arm, place, head, family(name), weight, name)


def chosen(arms: Iterable[str]) -> list[str]:
    """Which of these arms a figure shows that has a panel or a curve for each.

    One of each family, that with the study's lambda where it is there (the sweep over lambda has a figure of its own);
    of more than `MOST` families only the main ones.
    """

    def has_usual_lambda(arm: str) -> bool:
        parsed = parse(arm)
        return parsed is not None and parsed.topography is not None and parsed.topography.weight == USUAL.weight

    families: dict[str, list[str]] = {}
    for arm in sorted(set(arms), key=arm_order):
        families.setdefault(family(arm), []).append(arm)
    shown = {name: next(filter(has_usual_lambda, group), group[0]) for name, group in families.items()}
    if len(shown) > MOST:
        shown = {name: arm for name, arm in shown.items() if name in MAIN} or dict([*shown.items()][:MOST])
    return list(shown.values())
