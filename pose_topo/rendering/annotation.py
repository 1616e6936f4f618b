"""Annotate painted people, and write annotation files in the layout of `mpii_human_pose_v1_u12_1.mat`.

The writer reproduces the irregularities of MPII's file: fields that are empty, absent, or stored as text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.io import savemat

from pose_topo.core.files import atomic_path
from pose_topo.rendering import poses as P
from pose_topo.rendering.poses import ARMS, LEGS
from pose_topo.rendering.raster import Canvas
from pose_topo.study import joints as J

Number = int | float
# x, y, id and is_visible: a number, a character, or None for an empty one
Point = tuple[Number, Number, Number, "int | str | None"]

EMPTY = np.zeros((0, 0))
HEADER = b"MATLAB 5.0 MAT-file, %s by pose_topo"  # SciPy's has the date: files of equal content would differ


@dataclass(frozen=True)
class RectEntry:
    """One person of an image. A field that is None is empty in the file; values are stored as given (1-based pixels).

    An int is stored in the smallest integer type that holds it and a float as double, as MATLAB does. If no
    point has a visibility, the field `is_visible` is absent.
    """

    head_box: tuple[Number, Number, Number, Number] | None = None  # x1, y1, x2, y2
    points: Sequence[Point] | None = None
    scale: Number | None = None
    objpos: tuple[Number, Number] | None = None


@dataclass(frozen=True)
class ImageEntry:
    """One image of the list; `single` holds the 1-based numbers of the rects that stand apart."""

    name: str
    rects: Sequence[RectEntry] = ()
    train: bool = True
    activity: str = ""
    category: str = ""
    act_id: int = -1
    single: Sequence[int] = field(default_factory=tuple)


def write_mpii_mat(path: str | Path, entries: Sequence[ImageEntry]) -> None:
    """Write the entries as a compressed MATLAB 5 file with the struct RELEASE, atomically."""
    images = [
        {"image": _struct(name=entry.name), "annorect": _annorect(entry.rects), "frame_sec": _number(k % 300),
         "vididx": _number(k // 10 + 1)}
        for k, entry in enumerate(entries)
    ]  # fmt: skip
    acts = [
        {"cat_name": one.category or EMPTY, "act_name": one.activity or EMPTY, "act_id": _number(float(one.act_id))}
        for one in entries
    ]
    release = _struct(
        annolist=_rows(images),
        img_train=np.array([[int(entry.train) for entry in entries]], np.uint8),
        version="12",
        single_person=_cell([np.array([entry.single], np.uint8).T if entry.single else EMPTY for entry in entries]),
        act=_rows(acts).T,
        video_list=_cell([f"video{k + 1:05d}" for k in range(-(-len(entries) // 10))]).T,
    )
    _write(Path(path), {"RELEASE": release}, b"rendered")


def write_mpii_predictions(path: str | Path, entries: Sequence[ImageEntry]) -> None:
    """Write predictions for MPII's test images, in their order, as its benchmark takes them: the struct array `pred`.

    pred(i).annorect(j).annopoints.point(k) has x, y and id. A person without points has an empty `annopoints`.
    """
    images = [{"image": _struct(name=entry.name), "annorect": _annorect(entry.rects)} for entry in entries]
    _write(Path(path), {"pred": _rows(images)}, b"predicted")


def _write(path: Path, variables: dict[str, Any], how: bytes) -> None:
    with atomic_path(path) as temporary:
        savemat(temporary, variables, do_compression=True, format="5", oned_as="row")
        with temporary.open("r+b") as stream:
            stream.write((HEADER % how).ljust(116))


def _struct(**values: Any) -> np.ndarray:
    """A 1x1 struct."""
    return _rows([values])


def _rows(values: list[dict[str, Any]]) -> np.ndarray:
    """A 1xN struct array of dicts with the same keys."""
    array = np.empty((1, len(values)), dtype=[(name, object) for name in values[0]])
    for k, value in enumerate(values):
        array[0, k] = tuple(value.values())
    return array


def _cell(values: list[Any]) -> np.ndarray:
    """An Nx1 cell array."""
    array = np.empty((len(values), 1), dtype=object)
    for k, value in enumerate(values):
        array[k, 0] = value
    return array


def _number(value: Number | None) -> np.ndarray:
    """A 1x1 array of double or the smallest fitting integer type; empty for None."""
    if value is None:
        return EMPTY
    if isinstance(value, (int, np.integer)):
        kinds = (np.uint8, np.uint16, np.int16, np.int32)
        kind = next(kind for kind in kinds if np.iinfo(kind).min <= value <= np.iinfo(kind).max)
        return np.array([[value]], kind)
    return np.array([[value]], np.float64)


def _annorect(rects: Sequence[RectEntry]) -> np.ndarray:
    """A struct per rect. A field that no rect of the image needs is absent from all."""
    if not rects:
        return EMPTY
    values = []
    for rect in rects:
        corners = rect.head_box or (None,) * 4
        value: dict[str, Any] = dict(zip(("x1", "y1", "x2", "y2"), map(_number, corners), strict=True))
        value["annopoints"] = EMPTY if rect.points is None else _annotated_points(rect.points)
        value["scale"] = _number(rect.scale)
        position = rect.objpos
        value["objpos"] = EMPTY if position is None else _struct(x=_number(position[0]), y=_number(position[1]))
        values.append(value)
    if all(rect.head_box is None and rect.points is None for rect in rects):
        values = [{name: value[name] for name in ("scale", "objpos")} for value in values]
    return _rows(values)


def _annotated_points(points: Sequence[Point]) -> np.ndarray:
    if not points:
        return _struct(point=EMPTY)
    values: list[dict[str, Any]] = [
        {"x": _number(x), "y": _number(y), "id": _number(number)} for x, y, number, _ in points
    ]
    if any(visible is not None for *_, visible in points):
        for value, (*_, visible) in zip(values, points, strict=True):
            value["is_visible"] = visible if isinstance(visible, str) else _number(visible)
    return _struct(point=_rows(values))


# ---- From a painted person to the annotation: visibility of the joints, head box, scale and centre.

# the annotation file lists the joints in this order
FILE_ORDER = (6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)
MIN_LABELLED = 10
HIDDEN_UNLABELLED = 0.25  # share of the joints behind something else that are not labelled
# MPII's convention: 0.6 of the head box's diagonal is 25 times the scale, and the scale is height / 200
DIAGONAL_PER_SCALE = 25 / 0.6


def _own_parts() -> dict[int, tuple[tuple[int, ...], float]]:
    """Return, for each joint, the parts that may show it and its largest depth below the surface (standing heights)."""
    table: dict[int, tuple[tuple[int, ...], float]] = {
        J.PELVIS: ((P.HIPS, P.TRUNK, P.SKIRT, P.THIGH, P.THIGH + P.RIGHT), 0.13),
        J.THORAX: ((P.TRUNK, P.NECK), 0.12),
        J.UPPER_NECK: ((P.NECK, P.HEAD, P.HAIR, P.TRUNK), 0.14),
        J.HEAD_TOP: ((P.HEAD, P.HAIR), 0.2),
    }
    limbs = (P.THIGH, P.SHANK, P.FOOT, P.UPPER_ARM, P.FOREARM, P.HAND)
    for k, ((_, hip, knee, ankle), (_, shoulder, elbow, wrist)) in enumerate(zip(LEGS, ARMS, strict=True)):
        thigh, shank, foot, upper, fore, hand = (part + P.RIGHT * k for part in limbs)
        table[hip] = ((P.HIPS, P.TRUNK, P.SKIRT, thigh), 0.11)
        table[knee] = ((thigh, shank), 0.2)
        table[ankle] = ((shank, foot), 0.2)
        table[shoulder] = ((P.TRUNK, upper), 0.09)
        table[elbow] = ((upper, fore), 0.2)
        table[wrist] = ((fore, hand), 0.2)
    return table


OWN_PARTS = _own_parts()


@dataclass(frozen=True)
class Sight:
    """Which of the 16 joints the picture shows: each (16,) bool."""

    inside: np.ndarray
    visible: np.ndarray
    foreign: np.ndarray  # inside, but its pixel belongs to something other than this person


def look_up(canvas: Canvas, figure: P.Figure, person: int) -> Sight:
    """Determine which joints are visible, from the owner of each joint's pixel."""
    width, height = canvas.size
    inside, visible, foreign = (np.zeros(J.K, bool) for _ in range(3))
    for joint in range(J.K):
        x, y, depth = figure.joints[joint]
        # a label is written as x + 1, y + 1 and must stay within 1..width, 1..height
        inside[joint] = 0 <= x <= width - 1 and 0 <= y <= height - 1
        if not inside[joint]:
            continue
        if joint == J.HEAD_TOP:  # it is on the outline, so a pixel a little below is taken
            x, y, depth = figure.joints[joint] + 0.15 * (figure.joints[J.UPPER_NECK] - figure.joints[joint])
        column, row = min(max(round(float(x)), 0), width - 1), min(max(round(float(y)), 0), height - 1)
        owner = int(canvas.owner[row, column])
        parts, below = OWN_PARTS[joint]
        foreign[joint] = owner // P.PARTS != person
        near_surface = float(canvas.depth[row, column]) - depth < below * figure.height
        visible[joint] = not foreign[joint] and owner % P.PARTS in parts and near_surface
    return Sight(inside, visible, foreign)


def head_box(figure: P.Figure, slack: float) -> tuple[int, int, int, int]:
    """Return the bounds of the drawn head (1-based), scaled to the diagonal that MPII has for this height."""
    x1, y1, x2, y2 = figure.head_box
    wanted = DIAGONAL_PER_SCALE * figure.height / 200 * slack
    grow = wanted / math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2) / 2
    x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * grow, (y2 - y1) * grow
    return round(x - w) + 1, round(y - h) + 1, round(x + w) + 1, round(y + h) + 1


def annotate(
    rng: Generator, canvas: Canvas, figure: P.Figure, person: int, manner: str, whole_pixels: bool
) -> RectEntry:
    """Return the person's entry, 1-based; without points if too few joints are in the picture."""
    sight = look_up(canvas, figure, person)
    dropped = sight.foreign & (rng.random(J.K) < HIDDEN_UNLABELLED)
    dropped[[J.UPPER_NECK, J.HEAD_TOP]] = False
    labelled = sight.inside & ~dropped
    box = head_box(figure, float(rng.uniform(0.95, 1.05)))
    scale = 0.6 * math.sqrt((box[2] - box[0]) ** 2 + (box[3] - box[1]) ** 2) / 25
    jitter = rng.normal(0, 0.012 * figure.height, 2)
    if not sight.inside.any():
        return RectEntry(head_box=box)
    shown = figure.joints[labelled if labelled.any() else sight.inside][:, :2]
    middle = (shown.min(0) + shown.max(0)) / 2 + jitter
    objpos = (round(float(middle[0])) + 1, round(float(middle[1])) + 1)
    if labelled.sum() < MIN_LABELLED or not labelled[[J.UPPER_NECK, J.HEAD_TOP]].all():
        return RectEntry(scale=scale, objpos=objpos)
    return RectEntry(box, _points(figure, labelled, sight.visible, manner, whole_pixels), scale, objpos)


def _points(
    figure: P.Figure, labelled: np.ndarray, visible: np.ndarray, manner: str, whole_pixels: bool
) -> list[Point]:
    """Return the labelled joints in the file's order; `manner` is how the visibility is stored."""
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
