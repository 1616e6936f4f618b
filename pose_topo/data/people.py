"""The types of a data set: annotated people, their division, and their crops.

This module only describes data. `mpii` reads annotations, `splits` divides the people, `crop_store` cuts the crops,
`dataset` does all of it, and `batches` serves the result. Nothing here imports OpenCV, SciPy or PyTorch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.data import geometry
from pose_topo.study import joints


@dataclass(frozen=True)
class People:
    """P annotated people.

    Pixel coordinates are 0-based; a reader of a 1-based annotation file subtracts 1. `center` and `scale` are those of
    the annotation (scale: height of the person / 200 px), before any adjustment for the crop. A joint that a data set
    does not have is not labelled.
    """

    images: tuple[str, ...]  # file names of the photographs, which `image` indexes
    image: NDArray[np.int64]  # (P,) index into `images`
    annolist_index: NDArray[np.int64]  # (P,) 0-based entry of the annotation file
    person: NDArray[np.int64]  # (P,) 0-based number of the person within that entry
    rects_in_image: NDArray[np.int64]  # (P,) number of people in that entry, whether annotated fully or not
    joints: NDArray[np.float64]  # (P, 16, 2), NaN where not labelled
    labelled: NDArray[np.bool_]  # (P, 16)
    visible: NDArray[np.bool_]  # (P, 16) labelled and not occluded
    center: NDArray[np.float64]  # (P, 2)
    scale: NDArray[np.float64]  # (P,)
    head_box: NDArray[np.float64]  # (P, 4) x1, y1, x2, y2; NaN in a data set without head boxes

    def __len__(self) -> int:
        return len(self.image)

    def take(self, index: NDArray) -> People:
        """Return the people at `index` (integers or a mask), with the same table of images."""
        arrays = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self) if f.name != "images"}
        return People(images=self.images, **arrays)

    @property
    def names(self) -> list[str]:
        """The image file name of each person."""
        return [self.images[i] for i in self.image]

    @property
    def head_size(self) -> NDArray[np.float64]:
        """PCKh's unit in pixels, (P,): 0.6 x the diagonal of the head box, or the length of the head segment (from
        upper neck to head top) in a data set without head boxes. NaN where neither is annotated."""
        neck, top = self.joints[:, joints.UPPER_NECK], self.joints[:, joints.HEAD_TOP]
        segment = np.hypot(*(top - neck).T)
        segment = np.where(segment > 0, segment, np.nan)
        return np.where(np.isnan(self.head_box).any(1), segment, head_size(self.head_box))

    @property
    def torso(self) -> NDArray[np.float64]:
        """The unit of PCK in pixels, (P,): from the left shoulder to the right hip. NaN where one is not labelled."""
        length = np.hypot(*(self.joints[:, joints.L_SHOULDER] - self.joints[:, joints.R_HIP]).T)
        return np.where(length > 0, length, np.nan)

    def reference_lengths(self) -> dict[str, dict[str, Any]]:
        """Return what PCKh and PCK measure distances with, how many people have it, and how many do not."""
        boxes = not np.isnan(self.head_box).any()
        found = {}
        for score, length, values in (
            ("pckh", "head box" if boxes else "head segment", self.head_size),
            ("pck", "torso", self.torso),
        ):
            number = int((values > 0).sum())
            found[score] = {"length": length, "people": number, "without": len(self) - number}
        return found

    def validation_unit(self) -> tuple[str, NDArray[np.float64], float]:
        """Return the score that a training reports: its name, its unit in pixels (P,) and its threshold.

        This is PCKh@0.5, or PCK@0.2 for people who have no head size.
        """
        head = self.head_size
        return ("PCKh@0.5", head, 0.5) if (head > 0).any() else ("PCK@0.2", self.torso, 0.2)

    def sha256(self) -> str:
        """Return a hash over all fields, in hex. Equal people have equal hashes."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for f in dataclasses.fields(self):
            if f.name not in ("images", "image"):
                digest.update(f.name.encode() + np.ascontiguousarray(getattr(self, f.name)).tobytes())
        return digest.hexdigest()


def head_size(head_box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return PCKh's unit, 0.6 x the diagonal of the head box: (..., 4) -> (...) pixels (the official MPII toolkit)."""
    return 0.6 * np.hypot(head_box[..., 2] - head_box[..., 0], head_box[..., 3] - head_box[..., 1])


@dataclass
class AnnotationCounts:
    """How many people an annotation file has, how many were kept, and why the others were left out."""

    images: int = 0
    rects: int = 0
    kept: int = 0
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> number of people

    def lines(self) -> list[str]:
        """Return the counts as a table for the console."""
        rows = [("images in the annotation file", self.images), ("annorects", self.rects)]
        rows += [(f"left out: {reason}", count) for reason, count in sorted(self.left_out.items())]
        rows += [("annotated people kept", self.kept)]
        return [f"{count:>8,}  {label}" for label, count in rows]

    def leave_out(self, reason: str, count: int) -> AnnotationCounts:
        """Return the counts after `count` of the kept people were left out for a further reason."""
        if not count:
            return self
        more = {**self.left_out, reason: self.left_out.get(reason, 0) + count}
        return replace(self, kept=self.kept - count, left_out=more)


@dataclass(frozen=True)
class Split:
    """Who is trained on and who is held out: ascending indices into `People`, and the rule that chose them."""

    rule: str
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    mismatch: str | None = None  # how the split differs from the published one, if that was accepted


@dataclass(frozen=True)
class CropSettings:
    """The settings that determine a crop's pixels, given the person and the photograph."""

    framing: str  # "person" or "squeeze"
    input_size: int
    antialias: bool = False  # halve the photograph by area averages until the warp shrinks it less than 2 x

    @property
    def side(self) -> int:
        """Side of the stored crop in pixels."""
        return self.input_size if self.framing == "squeeze" else geometry.stored_size(self.input_size)


@dataclass(frozen=True)
class CropStore:
    """The crops of P people. Row i belongs to person i."""

    crops: NDArray[np.uint8]  # (P, S, S, 3) RGB, memory-mapped, read-only
    to_photo: NDArray[np.float64]  # (P, 2, 3) affines from the stored crop to the photograph; zero where not ok
    ok: NDArray[np.bool_]  # (P,) whether the photograph was readable
    settings: CropSettings
    manifest: dict


@dataclass(frozen=True)
class Dataset:
    """A data set that is ready for training and scoring. Row i of every array is the same person."""

    people: People
    split: Split
    store: CropStore
    sha256: str  # over the annotations, the crops and the split
    split_sha256: str  # over the names of the people on each side; independent of how photographs are decoded
