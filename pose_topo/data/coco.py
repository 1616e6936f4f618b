"""Read a keypoint file in COCO's format (cocodataset.org/#format-data) into `People`.

Annotation tools export this format. The names in `keypoints` of a category say which joint is which: COCO's names, or
MPII's. COCO's nose, eyes and ears have no joint of MPII, and COCO has no pelvis, thorax, upper neck and head top. A
joint is unlabelled where v is 0, hidden where it is 1, and visible where it is 2. Coordinates are 0-based.
"""

from __future__ import annotations

import collections
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.log import log
from pose_topo.data import lsp, mpii
from pose_topo.data.people import AnnotationCounts, People
from pose_topo.study import joints

FACE = ("nose", "left eye", "right eye", "left ear", "right ear")
LIMBS = tuple(f"{side} {part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
              for side in ("left", "right"))  # fmt: skip
NAMES = (*FACE, *LIMBS)  # COCO's 17 joints, in COCO's order
PARTS = ("images", "annotations", "categories")


class _LeftOut(Exception):
    """The reason why an annotation is not a usable person."""


@dataclass(frozen=True)
class _Category:
    """A kind of people. `joints` are MPII's joints of its keypoints, -1 where MPII has none."""

    joints: NDArray[np.int64]
    is_coco: bool  # whether the keypoints are COCO's 17


@dataclass(frozen=True)
class _Annotation:
    """An annotation of a person: its place in the file, its image, and its number among the people of the image."""

    where: str
    image: int
    number: int
    category: _Category
    content: dict[str, Any]


def load_people(path: str | Path) -> tuple[People, AnnotationCounts]:
    """Return the usable people of a COCO keypoint file, and the counts of all annotations.

    Centre and scale come from `bbox`, or from the joints where there is none.

    Raises:
        PoseTopoError: the file is missing, not JSON, not COCO's format, contradicts itself, or holds no usable person.
    """
    try:
        return _load(Path(path))
    except PoseTopoError as error:
        raise PoseTopoError(f"{path}: {error}") from None


def areas(path: str | Path, people: People) -> tuple[NDArray[np.float64], bool]:
    """Return the `area` of each person (P,) in pixels, NaN where there is none, and whether all have COCO's 17 joints.

    Args:
        people: People from `load_people` of the same file.

    Raises:
        PoseTopoError: as `load_people`.
    """
    try:
        found = {(one.image, one.number): one for one in _annotations(_content(Path(path)), collections.Counter())[1]}
        mine = [found[key] for key in zip(people.annolist_index.tolist(), people.person.tolist(), strict=True)]
        values = np.array([(_numbers(one, "area", 1) or [np.nan])[0] for one in mine])
    except PoseTopoError as error:
        raise PoseTopoError(f"{path}: {error}") from None
    return np.where(np.isfinite(values) & (values > 0), values, np.nan), all(one.category.is_coco for one in mine)


def _load(path: Path) -> tuple[People, AnnotationCounts]:
    content, reasons = _content(path), collections.Counter[str]()
    names, annotations = _annotations(content, reasons)
    rects = collections.Counter(one.image for one in annotations)
    kept, parts = [], []
    for one in annotations:
        try:
            parts.append(_person(one))
            kept.append(one)
        except _LeftOut as reason:
            reasons[str(reason)] += 1
    counts = AnnotationCounts(len(names), len(content["annotations"]), len(kept), dict(reasons))
    if not kept:
        raise PoseTopoError(f"no usable person in {counts.rects:,} annotations ({counts.left_out})")
    points, flags, boxes = (np.stack([part[i] for part in parts]) for i in range(3))
    center, scale = _center_and_scale(points, boxes)
    image = np.array([one.image for one in kept], np.int64)
    return People(
        images=tuple(names),
        image=image,
        annolist_index=image,
        person=np.array([one.number for one in kept], np.int64),
        rects_in_image=np.array([rects[one.image] for one in kept], np.int64),
        joints=points,
        labelled=flags > 0,
        visible=flags > 1,
        center=center,
        scale=scale,
        head_box=np.full((len(kept), 4), np.nan),
    ), counts


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PoseTopoError(f"annotation file not readable ({error.strerror or error}): give --annotations") from None
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise PoseTopoError(f"not readable as JSON ({str(error)[:120]})") from None
    wrong = [part for part in PARTS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if wrong:
        raise PoseTopoError(f"not a COCO keypoint file: it has no list {' and no list '.join(wrong)}")
    for part in PARTS:
        if others := [k for k, entry in enumerate(content[part]) if not isinstance(entry, dict)]:
            raise PoseTopoError(f"{part}[{others[0]}] is {_shown(content[part][others[0]])}, not an object")
    return content


def _annotations(content: dict[str, Any], reasons: collections.Counter[str]) -> tuple[list[str], list[_Annotation]]:
    """Return the names of the images, and the annotations of people. The others are counted in `reasons`."""
    images: dict[int, int] = {}
    names: dict[str, int] = {}
    for k, entry in enumerate(content["images"]):
        number, name = _whole(entry, "id", f"images[{k}]"), _file_name(entry, f"images[{k}]")
        if number in images:
            raise PoseTopoError(f"images[{images[number]}] and images[{k}] both have the id {number}")
        if name in names:
            raise PoseTopoError(
                f"images[{names[name]}] and images[{k}] are both the file {name}, whatever their folders are: "
                "give every photograph another name"
            )
        images[number] = names[name] = k
    categories = _categories(content["categories"])
    people, count = [], collections.Counter[int]()
    for k, entry in enumerate(content["annotations"]):
        where = f"annotations[{k}]"
        category, image = _whole(entry, "category_id", where), _whole(entry, "image_id", where)
        if category not in categories:
            reasons["another category"] += 1
        elif image not in images:
            reasons["image unknown"] += 1
        else:
            at = images[image]
            people.append(_Annotation(where, at, count[at], categories[category], entry))
            count[at] += 1
    return list(names), people


def _categories(entries: list[dict[str, Any]]) -> dict[int, _Category]:
    """Return the categories that have joints of MPII, by their id."""
    found: dict[int, _Category] = {}
    for k, entry in enumerate(entries):
        number, given = _whole(entry, "id", f"categories[{k}]"), entry.get("keypoints")
        if given is None:  # a category of things
            continue
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise PoseTopoError(f"categories[{k}]: keypoints is not a list of names")
        names = [" ".join(re.split(r"[\s_-]+", name.strip().lower())) for name in given]
        if twice := [name for name, times in collections.Counter(names).items() if times > 1]:
            raise PoseTopoError(f"categories[{k}]: two keypoints have the name {twice[0]!r:.40}")
        which = np.array([joints.NAMES.index(name) if name in joints.NAMES else -1 for name in names], np.int64)
        if not (which >= 0).any():
            continue
        if number in found:
            raise PoseTopoError(f"categories[{k}]: another category has the id {number}, too")
        if unknown := [name for name in names if name not in joints.NAMES and name not in FACE]:
            log.warning(f"categories[{k}]: keypoints without a joint here are not read: {', '.join(unknown)!r:.120}")
        found[number] = _Category(which, set(names) == set(NAMES))
    if not found:
        raise PoseTopoError(
            f"no category has keypoints with known names: give COCO's ({', '.join(NAMES)}) or MPII's "
            f"({', '.join(joints.NAMES)})"
        )
    return found


def _person(one: _Annotation) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return joints (16, 2), NaN where not labelled, their flags v (16,), and the box (4,), NaN where there is none."""
    which = one.category.joints
    crowd = one.content.get("iscrowd")
    if crowd not in (None, 0, 1):
        raise PoseTopoError(f"{one.where}: iscrowd is {_shown(crowd)}, not 0 or 1")
    has_box = (box := _numbers(one, "bbox", 4)) is not None
    box = np.array(box if has_box else [np.nan] * 4)
    values = np.array(_numbers(one, "keypoints", 3 * len(which)) or [0.0] * 3 * len(which)).reshape(-1, 3)
    if len(strange := values[~np.isin(values[:, 2], (0, 1, 2)), 2]):
        what = f"a keypoint has v {strange[0]:g}, not 0, 1 or 2 (in a file of predictions it is a confidence)"
        raise PoseTopoError(f"{one.where}: {what}")
    points, flags = np.full((joints.K, 2), np.nan), np.zeros(joints.K)
    flags[which[which >= 0]] = values[which >= 0, 2]
    points[which[which >= 0]] = values[which >= 0, :2]
    points[flags == 0] = np.nan
    if crowd:
        raise _LeftOut("a crowd")
    if not flags.any():
        raise _LeftOut("no labelled joint")
    if not (np.abs(np.concatenate([points[flags > 0].ravel(), box if has_box else []])) <= mpii.FARTHEST).all():
        raise _LeftOut(f"coordinates not finite or beyond {mpii.FARTHEST:,.0f} px")
    size = box[2:] if has_box else np.ptp(points[flags > 0], axis=0)
    if size.max() < mpii.SMALLEST or size.min() < 0:
        raise _LeftOut("no usable size")
    return points, flags, box


def _center_and_scale(points: NDArray[np.float64], boxes: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre (P, 2) and scale (P,) in MPII's sense from joints (P, 16, 2) and boxes (P, 4), NaN where absent.

    As in `lsp.boxes`, the centre is moved up, so that the box of the standard recipe has the centre of the given one.
    """
    center, scale = lsp.boxes(points)
    given = ~np.isnan(boxes[:, 0])
    scale[given] = boxes[given, 2:].max(1, initial=0) / 200
    center[given] = boxes[given, :2] + boxes[given, 2:] / 2 - np.outer(15 * scale[given], (0, 1))
    return center, scale


# ---- Values of the file, with their types.


def _shown(value: Any) -> str:
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else f"{value!r:.40}"


def _whole(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        what = f"{key} is {_shown(value)}, not a whole number" if key in entry else f"it has no {key}"
        raise PoseTopoError(f"{where}: {what}")
    return value


def _numbers(one: _Annotation, key: str, length: int) -> list[float] | None:
    """Return the numbers at a key, infinite where they are huge; None where there is no value or an empty list.

    "area" is a number, and other keys have a list of `length` numbers.
    """
    if (value := one.content.get(key)) in (None, []):
        return None
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) == (key == "area") or not all(type(v) in (int, float) for v in values):
        raise PoseTopoError(f"{one.where}: {key} is not {'a number' if key == 'area' else 'a list of numbers'}")
    if len(values) != length:
        raise PoseTopoError(f"{one.where}: {key} has {len(values):,} numbers, not {length:,}")
    return [float(v) if abs(v) < 1e300 else math.inf for v in values]


def _file_name(entry: dict[str, Any], where: str) -> str:
    """Return the file's own name, without folders: photographs are looked up in one folder."""
    value = entry.get("file_name")
    if not isinstance(value, str):
        raise PoseTopoError(f"{where}: it has no file_name" if value is None else f"{where}: file_name is no text")
    name = re.split(r"[/\\]", value)[-1]
    if name in ("", ".", "..") or not name.isprintable():
        raise PoseTopoError(f"{where}: file_name {value!r:.60} names no file")
    return name
