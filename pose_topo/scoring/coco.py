"""Found people as JSON, in the form of COCO's keypoint results (cocodataset.org/#format-results)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.data.crops import Box
from pose_topo.study import joints

SCHEMA = 1
PERSON = 1  # COCO's category
# what a reader of the file alone must know
NOTES = {
    "coordinates": "0-based pixel centres, x to the right and y down, of the photograph turned as its EXIF says",
    "confidence": "the maximum of a joint's heatmap: about 1 at best, 0 where the joint was not found; no probability",
}


@dataclass(frozen=True)
class FoundPerson:
    """One person in a photograph."""

    box: Box
    points: NDArray[np.float64]  # (16, 2) 0-based pixels of the photograph
    confidence: NDArray[np.float64]  # (16,)

    @property
    def found(self) -> NDArray[np.bool_]:
        """(16,) False where the heatmap was positive nowhere, so that the joint has no place."""
        return self.confidence > 0


def category() -> dict[str, Any]:
    """What the keypoints mean: the joints' names, and the limbs in COCO's 1-based counting."""
    return {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(joints.NAMES),
        "skeleton": [[a + 1, b + 1] for a, b in joints.LIMBS],
    }


def annotation(person: FoundPerson, number: int, image_id: int, file_name: str) -> dict[str, Any]:
    """One person: x, y, confidence of each joint in turn (0, 0, 0 where not found); the score is their mean."""
    triples = np.column_stack([person.points, person.confidence])
    triples[~person.found] = 0.0
    return {
        "id": number,
        "image_id": image_id,
        "file_name": file_name,
        "category_id": PERSON,
        "bbox": list(person.box),
        "keypoints": [round(float(v), digits) for row in triples for v, digits in zip(row, (2, 2, 4), strict=True)],
        "score": round(float(triples[:, 2].mean()), 4),
    }


def readable(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8, which a file system allows, replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


class Found:
    """The content of keypoints.json, gathered photograph by photograph."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, path: Path, width: int, height: int, overlay: str | None, persons: list[FoundPerson]) -> None:
        """One photograph and its people. Ids count from 1.

        Args:
            overlay: name of the picture drawn, if any.
        """
        number, size = len(self.images) + 1, {"width": width, "height": height}
        name, where, overlay = readable(path.name), readable(path.as_posix()), overlay and readable(overlay)
        self.images.append({"id": number, "file_name": name, "path": where, "overlay": overlay, **size})
        for person in persons:
            self.annotations.append(annotation(person, len(self.annotations) + 1, number, name))

    def as_json(self) -> dict[str, Any]:
        """`annotations` alone is what COCO's tools take as results."""
        return {
            "schema": SCHEMA,
            "kind": "keypoints",
            "notes": NOTES,
            "categories": [category()],
            "images": self.images,
            "annotations": self.annotations,
        }
