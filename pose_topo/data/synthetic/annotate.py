"""From a painted person to the annotation: which joints are seen, head box, scale and centre."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pose_topo import joints as J
from pose_topo.data.synthetic import figure as P
from pose_topo.data.synthetic.matfile import Point, RectEntry
from pose_topo.data.synthetic.raster import Canvas
from pose_topo.data.synthetic.skeleton import ARMS, LEGS

# the annotation file lists the joints in this order
FILE_ORDER = (6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)
MIN_LABELLED = 10
HIDDEN_UNLABELLED = 0.25  # share of the joints behind something else that nobody labels
# MPII's own convention: 0.6 of the head box's diagonal is 25 times the scale, and the scale is height / 200
DIAGONAL_PER_SCALE = 25 / 0.6


def _own_parts() -> dict[int, tuple[frozenset[int], float]]:
    """Joint -> the parts that may show it, and how deep below the surface it may lie (standing heights)."""
    table: dict[int, tuple[frozenset[int], float]] = {
        J.PELVIS: (frozenset({P.HIPS, P.TRUNK, P.SKIRT, P.THIGH, P.THIGH + P.RIGHT}), 0.13),
        J.THORAX: (frozenset({P.TRUNK, P.NECK}), 0.12),
        J.UPPER_NECK: (frozenset({P.NECK, P.HEAD, P.HAIR, P.TRUNK}), 0.14),
        J.HEAD_TOP: (frozenset({P.HEAD, P.HAIR}), 0.2),
    }
    for k, (_, hip, knee, ankle) in enumerate(LEGS):
        thigh, shank, foot = (part + P.RIGHT * k for part in (P.THIGH, P.SHANK, P.FOOT))
        table[hip] = (frozenset({P.HIPS, P.TRUNK, P.SKIRT, thigh}), 0.11)
        table[knee] = (frozenset({thigh, shank}), 0.2)
        table[ankle] = (frozenset({shank, foot}), 0.2)
    for k, (_, shoulder, elbow, wrist) in enumerate(ARMS):
        upper, fore, hand = (part + P.RIGHT * k for part in (P.UPPER_ARM, P.FOREARM, P.HAND))
        table[shoulder] = (frozenset({P.TRUNK, upper}), 0.09)
        table[elbow] = (frozenset({upper, fore}), 0.2)
        table[wrist] = (frozenset({fore, hand}), 0.2)
    return table


OWN_PARTS = _own_parts()


@dataclass(frozen=True)
class Sight:
    """What the picture shows of the 16 joints: each (16,) bool."""

    inside: np.ndarray
    visible: np.ndarray
    foreign: np.ndarray  # inside, but its pixel belongs to something else than this person


def look_up(canvas: Canvas, figure: P.Figure, person: int) -> Sight:
    """Ask the pixel of each joint who owns it."""
    width, height = canvas.size
    inside, visible, foreign = (np.zeros(J.K, bool) for _ in range(3))
    for joint in range(J.K):
        x, y, depth = figure.joints[joint]
        # a label is written as x + 1, y + 1 and must stay within 1..width, 1..height
        inside[joint] = 0 <= x <= width - 1 and 0 <= y <= height - 1
        if not inside[joint]:
            continue
        if joint == J.HEAD_TOP:  # on the outline itself: ask a little below
            x, y, depth = figure.joints[joint] + 0.15 * (figure.joints[J.UPPER_NECK] - figure.joints[joint])
        column, row = min(max(round(float(x)), 0), width - 1), min(max(round(float(y)), 0), height - 1)
        owner = int(canvas.owner[row, column])
        parts, below = OWN_PARTS[joint]
        foreign[joint] = owner // P.PARTS != person
        near_surface = float(canvas.depth[row, column]) - depth < below * figure.height
        visible[joint] = not foreign[joint] and owner % P.PARTS in parts and near_surface
    return Sight(inside, visible, foreign)


def head_box(figure: P.Figure, slack: float) -> tuple[int, int, int, int]:
    """The drawn head's bounds, enlarged to the diagonal that MPII has for this height (0-based)."""
    x1, y1, x2, y2 = figure.head_box
    wanted = DIAGONAL_PER_SCALE * figure.height / 200 * slack
    grow = wanted / math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2) / 2
    x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * grow, (y2 - y1) * grow
    return round(x - w), round(y - h), round(x + w), round(y + h)


def annotate(
    rng: np.random.Generator, canvas: Canvas, figure: P.Figure, person: int, manner: str, whole_pixels: bool
) -> RectEntry:
    """The person's entry, 1-based; without points if too little of them is in the picture."""
    sight = look_up(canvas, figure, person)
    dropped = sight.foreign & (rng.random(J.K) < HIDDEN_UNLABELLED)
    dropped[[J.UPPER_NECK, J.HEAD_TOP]] = False
    labelled = sight.inside & ~dropped
    box = head_box(figure, float(rng.uniform(0.95, 1.05)))
    scale = 0.6 * math.sqrt((box[2] - box[0]) ** 2 + (box[3] - box[1]) ** 2) / 25
    jitter = rng.normal(0, 0.012 * figure.height, 2)
    if not sight.inside.any():
        return RectEntry(head_box=_one_based(box))
    shown = figure.joints[labelled if labelled.any() else sight.inside][:, :2]
    middle = (shown.min(0) + shown.max(0)) / 2 + jitter
    objpos = (round(float(middle[0])) + 1, round(float(middle[1])) + 1)
    if labelled.sum() < MIN_LABELLED or not labelled[[J.UPPER_NECK, J.HEAD_TOP]].all():
        return RectEntry(scale=scale, objpos=objpos)
    return RectEntry(_one_based(box), _points(figure, labelled, sight.visible, manner, whole_pixels), scale, objpos)


def _one_based(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return box[0] + 1, box[1] + 1, box[2] + 1, box[3] + 1


def _points(
    figure: P.Figure, labelled: np.ndarray, visible: np.ndarray, manner: str, whole_pixels: bool
) -> list[Point]:
    """The labelled joints in the file's order; `manner` says how the visibility is stored."""
    points: list[Point] = []
    for joint in FILE_ORDER:
        if not labelled[joint]:
            continue
        x, y = float(figure.joints[joint, 0]) + 1, float(figure.joints[joint, 1]) + 1
        seen: int | str | None = int(visible[joint])
        if manner == "characters":
            seen = str(seen)
        if manner == "absent" or (manner == "head empty" and joint in (J.UPPER_NECK, J.HEAD_TOP)):
            seen = None
        points.append((round(x), round(y), joint, seen) if whole_pixels else (round(x, 2), round(y, 2), joint, seen))
    return points
