"""Annotation files in the layout of `mpii_human_pose_v1_u12_1.mat`, with the ways in which it varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from pose_topo.files import atomic_path

Number = int | float
# x, y, id and is_visible: a number, a character, or None for an empty one
Point = tuple[Number, Number, int, "int | str | None"]

EMPTY = np.zeros((0, 0))


@dataclass(frozen=True)
class RectEntry:
    """One person of an image. What is None is left empty; all values are stored as given (1-based pixels).

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
    videos = sorted({_video(k) for k in range(len(entries))})
    release = _struct(
        annolist=_rows([_image(k, entry) for k, entry in enumerate(entries)], columns=True),
        img_train=np.array([[int(entry.train) for entry in entries]], np.uint8),
        version="12",
        single_person=_cell([np.array([entry.single], np.uint8).T if entry.single else EMPTY for entry in entries]),
        act=_rows([_act(entry) for entry in entries], columns=False),
        video_list=_cell([f"video{k:05d}" for k in videos]).T,
    )
    with atomic_path(path) as temporary:
        savemat(temporary, {"RELEASE": release}, do_compression=True, format="5", oned_as="row")


def _video(index: int) -> int:
    return index // 10 + 1


def _struct(**values: Any) -> np.ndarray:
    """A 1x1 struct."""
    array = np.empty((1, 1), dtype=[(name, object) for name in values])
    for name, value in values.items():
        array[name][0, 0] = value
    return array


def _rows(values: list[dict[str, Any]], columns: bool) -> np.ndarray:
    """A struct array of dicts with the same keys, 1xN (`columns`) or Nx1."""
    array = np.empty((1, len(values)) if columns else (len(values), 1), dtype=[(name, object) for name in values[0]])
    flat = array.reshape(-1)
    for name in values[0]:
        for k, value in enumerate(values):
            flat[name][k] = value[name]
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


def _act(entry: ImageEntry) -> dict[str, Any]:
    name, category = (text if text else EMPTY for text in (entry.activity, entry.category))
    return {"cat_name": category, "act_name": name, "act_id": np.array([[entry.act_id]], np.float64)}


def _image(index: int, entry: ImageEntry) -> dict[str, Any]:
    return {
        "image": _struct(name=entry.name),
        "annorect": _rows(_rects(entry.rects), columns=True) if entry.rects else EMPTY,
        "frame_sec": _number(index % 300),
        "vididx": _number(_video(index)),
    }


def _rects(rects: Sequence[RectEntry]) -> list[dict[str, Any]]:
    """One dict a rect; a field that no rect of the image needs is absent from all."""
    values = []
    for rect in rects:
        corners = rect.head_box or (None,) * 4
        value: dict[str, Any] = dict(zip(("x1", "y1", "x2", "y2"), map(_number, corners), strict=True))
        value["annopoints"] = EMPTY if rect.points is None else _points(rect.points)
        value["scale"] = _number(rect.scale)
        position = rect.objpos
        value["objpos"] = EMPTY if position is None else _struct(x=_number(position[0]), y=_number(position[1]))
        values.append(value)
    if all(rect.head_box is None and rect.points is None for rect in rects):
        return [{name: value[name] for name in ("scale", "objpos")} for value in values]
    return values


def _points(points: Sequence[Point]) -> np.ndarray:
    if not points:
        return _struct(point=EMPTY)
    values: list[dict[str, Any]] = [
        {"x": _number(x), "y": _number(y), "id": _number(number)} for x, y, number, _ in points
    ]
    if any(visible is not None for *_, visible in points):
        for value, (*_, visible) in zip(values, points, strict=True):
            value["is_visible"] = visible if isinstance(visible, str) else _number(visible)
    return _struct(point=_rows(values, columns=True))
