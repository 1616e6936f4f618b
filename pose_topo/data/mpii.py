"""Read MPII's annotation file, `mpii_human_pose_v1_u12_1.mat`, into `People`.

The file was edited by hand over years. A field holds a struct if it has one element, an array of structs if it has
several, and an empty array if it has none. Numbers are stored as uint8, as text, or not at all. This module resolves
all of that, and turns the file's 1-based coordinates into 0-based ones.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.data.matlab import checked_file
from pose_topo.data.people import AnnotationCounts, People
from pose_topo.study import joints

FARTHEST = 20_000.0  # pixels; no photograph is as large, so a coordinate beyond it is a broken entry
SMALLEST = 2.0  # height of a person in pixels; no crop can be cut of a smaller one


Row = dict[str, Any]  # the fields of `People` for one person


@dataclass(frozen=True)
class TestSet:
    """The test images of MPII, for which the benchmark wants predictions: N entries of the annotation file."""

    __test__ = False  # for pytest, which takes every class of this name for tests

    names: tuple[str, ...]  # (N,) file names of the images, "" where the file has none
    entries: np.ndarray  # (N,) their 0-based places in the file
    rects: np.ndarray  # (N,) how many annorects each has
    people: People  # the P people with scale and position; their joints are labelled only if the file has them
    single: np.ndarray  # (P,) whether a person stands apart from others: the benchmark scores only these


class _LeftOut(Exception):
    """The reason why an annorect is not a usable person."""


def load_people(mat_path: str | Path) -> tuple[People, AnnotationCounts]:
    """Return the usable people of an annotation file, and the counts of all annorects.

    Raises:
        PoseTopoError: the file is missing, unreadable, not MATLAB 5, or holds no annotated person.
    """
    annolist = _structs(_get(_release(Path(mat_path)), "annolist"))
    counts = AnnotationCounts(images=len(annolist))
    reasons: collections.Counter[str] = collections.Counter()
    names: list[str] = []
    rows: list[Row] = []
    for index, entry in enumerate(annolist):
        rects = _structs(_get(entry, "annorect"))
        counts.rects += len(rects)
        usable = list(_usable_people(rects, reasons))
        name = _name(entry) if usable else None
        if usable and name is None:
            reasons["no usable image name"] += len(usable)
        elif usable:
            names.append(str(name))
            rows += [{**row, "image": len(names) - 1, "annolist_index": index} for row in usable]
    counts.kept, counts.left_out = len(rows), dict(reasons)
    if not rows:
        raise PoseTopoError(f"{mat_path}: no annotated person in {counts.images:,} entries ({dict(reasons)})")
    return _stack(names, rows), counts


def load_test_set(mat_path: str | Path) -> TestSet:
    """Return the test images of an annotation file (`img_train` is 0), and the people in them.

    Raises:
        PoseTopoError: the file is missing, unreadable or not MATLAB 5, does not say which images are test images, or
            has none with a person.
    """
    release = _release(Path(mat_path))
    annolist = _structs(_get(release, "annolist"))
    is_train, apart = (np.ravel(_get(release, name)) for name in ("img_train", "single_person"))
    if not (len(is_train) == len(apart) == len(annolist) and is_train.dtype.kind in "biuf"):
        raise PoseTopoError(f"{mat_path}: img_train and single_person do not fit its {len(annolist):,} images")
    entries = np.flatnonzero(is_train == 0)
    names = tuple(_name(annolist[index]) or "" for index in entries)
    rects = [_structs(_get(annolist[index], "annorect")) for index in entries]
    rows: list[Row] = []
    for place, index in enumerate(entries):
        if names[place]:
            usable = _usable_people(rects[place], collections.Counter(), labelled=False)
            rows += [{**row, "image": place, "annolist_index": index} for row in usable]
    if not rows:
        raise PoseTopoError(
            f"{mat_path}: none of its {len(entries):,} test images has a person with scale and position"
        )
    counts = np.array([len(one) for one in rects])
    single = [row["person"] + 1 in np.ravel(apart[row["annolist_index"]]) for row in rows]
    return TestSet(names, entries, counts, _stack(names, rows), np.array(single))


def _release(path: Path) -> np.void | None:
    from scipy.io import loadmat

    if not path.is_file():
        raise PoseTopoError(
            f"annotation file {path} not found: give --data or --annotations, or fetch it with "
            "`pose-topo download annotations`"
        )
    try:
        # SciPy crashes the interpreter on some damaged files; it reads unsqueezed records twice as fast as objects
        release = loadmat(checked_file(path, "RELEASE"))["RELEASE"]
    except KeyError:
        raise PoseTopoError(f"{path}: a MATLAB file without RELEASE, not MPII's annotation") from None
    except Exception as error:  # scipy answers broken bytes with many kinds of errors
        what = in_short(error)
        raise PoseTopoError(f"{path}: not readable as a MATLAB 5 file (truncated?): {what}; fetch it again") from None
    return _only(release)


def _structs(value: Any) -> list[np.void]:
    """Return the structs in a field; none if it holds an empty array or anything else."""
    return list(value.ravel()) if isinstance(value, np.ndarray) and value.dtype.names else []


def _only(value: Any) -> np.void | None:
    """Return the struct in a field that holds exactly one, else None."""
    structs = _structs(value)
    return structs[0] if len(structs) == 1 else None


def _get(struct: np.void | None, name: str) -> Any:
    """Return a struct's field; None if the field, or the struct itself, is absent."""
    return struct[name] if struct is not None and name in (struct.dtype.names or ()) else None


def _number(value: Any) -> float | None:
    """Return a field as a float, or None if it is empty, not a number, or not finite.

    It is converted before any arithmetic, because uint8 would overflow.
    """
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "biufU":
        return None
    try:
        number = float(value.item())
    except ValueError:  # text
        return None
    return number if math.isfinite(number) else None


def _numbers(struct: np.void | None, *fields: str) -> list[float] | None:
    values = [value for name in fields if (value := _number(_get(struct, name))) is not None]
    return values if len(values) == len(fields) else None


def _name(entry: np.void) -> str | None:
    value = _get(_only(_get(entry, "image")), "name")
    name = value.item() if isinstance(value, np.ndarray) and value.size == 1 else None
    plain = isinstance(name, str) and name.isprintable() and name not in ("", "..") and Path(name).name == name
    return name if plain else None


def _usable_people(rects: list[np.void], reasons: collections.Counter[str], labelled: bool = True) -> Iterator[Row]:
    """Yield the usable people of an image, by default only those with joints and head box. Count why others are not."""
    for number, rect in enumerate(rects):
        try:
            yield {"person": number, "rects_in_image": len(rects), **_person(rect, labelled)}
        except _LeftOut as reason:
            reasons[str(reason)] += 1


def _person(rect: np.void, labelled: bool) -> Row:
    points = _structs(_get(_only(_get(rect, "annopoints")), "point"))
    if labelled and not points:
        raise _LeftOut("no annopoints")
    center = _numbers(_only(_get(rect, "objpos")), "x", "y")
    scale = _number(_get(rect, "scale"))
    if center is None or scale is None:
        raise _LeftOut("no scale or objpos")
    if scale * 200 < SMALLEST:
        raise _LeftOut("scale not positive" if scale <= 0 else f"person less than {SMALLEST:.0f} px high")
    head_box = _numbers(rect, "x1", "y1", "x2", "y2")
    if head_box is None or head_box[:2] == head_box[2:]:
        if labelled:
            raise _LeftOut("no head box")
        head_box = [np.nan] * 4
    xy, visible = _points(points)
    if np.nanmax(np.abs([*xy.ravel(), *center, *head_box, scale * 200])) > FARTHEST:  # outside of any photograph
        raise _LeftOut(f"coordinates beyond {FARTHEST:,.0f} px")
    return {
        "joints": xy - 1.0,  # 1-based -> 0-based
        "labelled": ~np.isnan(xy[:, 0]),
        "visible": visible,
        "center": np.array(center) - 1.0,
        "scale": scale,
        "head_box": np.array(head_box) - 1.0,
    }


def _points(points: list[np.void]) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates (16, 2), NaN where absent, and the visibility (16,)."""
    xy = np.full((joints.K, 2), np.nan)
    visible = np.zeros(joints.K, bool)
    seen: set[int] = set()
    for point in points:
        number = _number(_get(point, "id"))
        if number is None or number != int(number) or not 0 <= number < joints.K:
            raise _LeftOut("joint id out of range")
        k = int(number)
        if k in seen:
            raise _LeftOut("joint id twice")
        seen.add(k)
        where = _numbers(point, "x", "y")
        if where is None:
            continue  # a joint without coordinates is not labelled
        xy[k] = where
        # the flag is empty or absent for neck and head top, which come from the head box; they count as visible
        flag = _number(_get(point, "is_visible"))
        visible[k] = flag is None or flag > 0
    if points and np.isnan(xy).all():
        raise _LeftOut("no joint with coordinates")
    return xy, visible


def _stack(names: Sequence[str], rows: list[Row]) -> People:
    return People(images=tuple(names), **{name: np.array([row[name] for row in rows]) for name in rows[0]})
