"""The MPII annotation file: `mpii_human_pose_v1_u12_1.mat` -> `People`.

Its quirks are the file's own (hand-edited over years): structs where one element stands, arrays where several do, empty
arrays where none does; numbers stored as uint8, chars or nothing. Each is undone here and nowhere else.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pose_topo.core.errors import PoseTopoError
from pose_topo.data.people import People
from pose_topo.study import joints

FARTHEST = 20_000.0  # pixels; no photograph reaches there, so a coordinate beyond it is a broken entry
SMALLEST = 2.0  # pixels a person is high; below, no crop can be cut


@dataclass
class Annotation:
    """One annotated person, still 1-based."""

    points: np.ndarray  # (16, 2), NaN where absent
    visible: np.ndarray  # (16,) bool
    center: np.ndarray  # (2,)
    scale: float
    head_box: np.ndarray  # (4,)


@dataclass
class Census:
    """Every annorect counted: kept, or left out with a reason."""

    images: int = 0
    rects: int = 0
    kept: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The table a person reads: the annorects are those left out and those kept."""
        rows = [("images in the annotation file", self.images), ("annorects", self.rects)]
        rows += [(f"left out: {reason}", count) for reason, count in sorted(self.left_out.items())]
        rows += [("annotated people kept", self.kept)]
        return [f"{count:>8,}  {label}" for label, count in rows]

    def leave_out(self, reason: str, count: int) -> Census:
        """The census after `count` of the people kept so far were left out for a further reason."""
        if not count:
            return self
        more = {**self.left_out, reason: self.left_out.get(reason, 0) + count}
        return replace(self, kept=self.kept - count, left_out=more)


class _LeftOut(Exception):
    """Why an annorect is no usable person."""


def load_people(mat_path: str | Path) -> tuple[People, Census]:
    """Read an annotation file.

    Raises:
        PoseTopoError: the file is missing, unreadable, not MATLAB 5, or holds no annotated person.
    """
    annolist = _annolist(Path(mat_path))
    census = Census(images=len(annolist))
    reasons: collections.Counter[str] = collections.Counter()
    names: list[str] = []
    rows: list[tuple[int, int, int, int, Annotation]] = []
    for index, entry in enumerate(annolist):
        rects = list(_structs(_get(entry, "annorect")))
        census.rects += len(rects)
        found = list(_people_of(rects, reasons))
        name = _name(entry) if found else None
        if found and name is None:
            reasons["no usable image name"] += len(found)
        elif found:
            names.append(str(name))
            rows += [(len(names) - 1, index, person, len(rects), annotation) for person, annotation in found]
    census.kept, census.left_out = len(rows), dict(reasons)
    if not rows:
        raise PoseTopoError(f"{mat_path}: no annotated person in {census.images:,} entries ({dict(reasons)})")
    return _stack(names, rows), census


def _annolist(path: Path) -> list[np.void]:
    from scipy.io import loadmat

    if not path.is_file():
        raise PoseTopoError(
            f"annotation file {path} not found: give --data or --mat-path, or fetch it with "
            "`pose-topo download annotations`"
        )
    try:
        # unsqueezed records: scipy reads them twice as fast as objects
        release = loadmat(path, variable_names=["RELEASE"])["RELEASE"]
    except KeyError:
        raise PoseTopoError(f"{path}: a MATLAB file without RELEASE, not MPII's annotation") from None
    except Exception as error:  # scipy answers broken bytes with whatever its readers meet first
        what = " ".join(str(error).split())[:120]
        raise PoseTopoError(f"{path}: not readable as a MATLAB 5 file (truncated?): {what}; fetch it again") from None
    return list(_structs(_get(_only(release), "annolist")))


def _structs(value: Any) -> Iterator[np.void]:
    """The structs in a field: none for an empty array or anything else, one, or several."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        yield from value.ravel()


def _only(value: Any) -> np.void | None:
    """The struct in a field that holds exactly one: of several, none is the right one."""
    found = list(_structs(value))
    return found[0] if len(found) == 1 else None


def _get(struct: np.void | None, name: str) -> Any:
    """A struct's field; None if the field, or the struct itself, is absent."""
    return struct[name] if struct is not None and name in struct.dtype.names else None  # type: ignore[operator]


def _number(value: Any) -> float | None:
    """A field as a float (before any arithmetic: uint8 would wrap); None if empty, not a number, or not finite."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "biufU":
        return None
    try:
        number = float(value.item())
    except ValueError:  # text
        return None
    return number if math.isfinite(number) else None


def _numbers(struct: np.void | None, *fields: str) -> list[float] | None:
    values = [_number(_get(struct, name)) for name in fields]
    return None if None in values else values  # type: ignore[return-value]


def _name(entry: np.void) -> str | None:
    value = _get(_only(_get(entry, "image")), "name")
    name = value.item() if isinstance(value, np.ndarray) and value.size == 1 else None
    plain = isinstance(name, str) and name.isprintable() and name not in ("", "..") and Path(name).name == name
    return name if plain else None


def _people_of(rects: list[np.void], reasons: collections.Counter[str]) -> Iterator[tuple[int, Annotation]]:
    for person, rect in enumerate(rects):
        try:
            yield person, _annotation(rect)
        except _LeftOut as reason:
            reasons[str(reason)] += 1


def _annotation(rect: np.void) -> Annotation:
    points = list(_structs(_get(_only(_get(rect, "annopoints")), "point")))
    if not points:
        raise _LeftOut("no annopoints")
    center = _numbers(_only(_get(rect, "objpos")), "x", "y")
    scale = _number(_get(rect, "scale"))
    if center is None or scale is None:
        raise _LeftOut("no scale or objpos")
    if scale * 200 < SMALLEST:
        raise _LeftOut("scale not positive" if scale <= 0 else f"person less than {SMALLEST:.0f} px high")
    head_box = _numbers(rect, "x1", "y1", "x2", "y2")
    if head_box is None or head_box[:2] == head_box[2:]:
        raise _LeftOut("no head box")
    xy, visible = _points(points)
    if np.nanmax(np.abs(np.concatenate([xy.ravel(), center, head_box, [scale * 200]]))) > FARTHEST:
        raise _LeftOut(f"coordinates beyond {FARTHEST:,.0f} px")
    return Annotation(xy, visible, np.array(center), scale, np.array(head_box))


def _points(points: list[np.void]) -> tuple[np.ndarray, np.ndarray]:
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
        # empty or absent at neck and head top, which were derived from the head box: taken as seen
        flag = _number(_get(point, "is_visible"))
        visible[k] = flag is None or flag > 0
    if np.isnan(xy).all():
        raise _LeftOut("no joint with coordinates")
    return xy, visible


def _stack(names: list[str], rows: list[tuple[int, int, int, int, Annotation]]) -> People:
    people = [row[4] for row in rows]
    image, annolist_index, person, rects = (np.array([row[i] for row in rows], np.int64) for i in range(4))
    xy = np.stack([p.points for p in people])
    return People(
        images=tuple(names),
        image=image,
        annolist_index=annolist_index,
        person=person,
        rects_in_image=rects,
        joints=xy - 1.0,  # 1-based -> 0-based
        labelled=~np.isnan(xy[..., 0]),
        visible=np.stack([p.visible for p in people]),
        center=np.stack([p.center for p in people]) - 1.0,
        scale=np.array([p.scale for p in people]),
        head_box=np.stack([p.head_box for p in people]) - 1.0,
    )
