"""People as arrays: what every later stage knows of the annotations."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class People:
    """P annotated people. Pixels are 0-based: the 1-based convention of the `.mat` is undone at the door.

    `center` and `scale` are the annotation's own (scale: person height / 200 px), not yet adjusted for the crop.
    """

    images: tuple[str, ...]  # file names that `image` points into
    image: NDArray[np.int64]  # (P,) index into `images`
    annolist_index: NDArray[np.int64]  # (P,) 0-based entry of the `.mat`
    person: NDArray[np.int64]  # (P,) 0-based annorect of that entry
    rects_in_image: NDArray[np.int64]  # (P,) how many annorects that entry has
    joints: NDArray[np.float64]  # (P, 16, 2), NaN where not labelled
    labelled: NDArray[np.bool_]  # (P, 16)
    visible: NDArray[np.bool_]  # (P, 16); labelled and not occluded
    center: NDArray[np.float64]  # (P, 2)
    scale: NDArray[np.float64]  # (P,)
    head_box: NDArray[np.float64]  # (P, 4) x1, y1, x2, y2; who has none is left out

    def __len__(self) -> int:
        return len(self.image)

    def take(self, index: NDArray) -> People:
        """The people at `index` (integers or a mask), with the same image table."""
        arrays = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self) if f.name != "images"}
        return People(images=self.images, **arrays)

    @property
    def names(self) -> list[str]:
        """The image file name of each person."""
        return [self.images[i] for i in self.image]

    def sha256(self) -> str:
        """A hash over everything, in hex: equal people, equal hash."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for f in dataclasses.fields(self):
            if f.name not in ("images", "image"):
                digest.update(f.name.encode() + np.ascontiguousarray(getattr(self, f.name)).tobytes())
        return digest.hexdigest()


def head_size(head_box: NDArray[np.float64]) -> NDArray[np.float64]:
    """PCKh's unit, 0.6 x the diagonal of the head box: (..., 4) -> (...) pixels (the official MPII toolkit)."""
    return 0.6 * np.hypot(head_box[..., 2] - head_box[..., 0], head_box[..., 3] - head_box[..., 1])
