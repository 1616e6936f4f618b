"""The split of Tompson et al. (CVPR 2015), which every published MPII validation score stands on.

Val are the people that `valid.h5` lists by (image index, person), both 0-based: entry of `annolist`, annorect of that
entry. Train are all other annotated people in images that hold no val person.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.data.people import People
from pose_topo.errors import PoseTopoError

SIZES = {"train": (22_246, 14_679), "val": (2_958, 2_729)}  # people, images
Pairs = dict[tuple[int, int], str]  # (annolist index, person) -> image name, "" where the file has none


def read_pairs(path: Path) -> Pairs:
    """The val people.

    Raises:
        PoseTopoError: not such a file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            index, person = (np.asarray(file[name]).astype(np.int64).tolist() for name in ("index", "person"))
            names = [_text(name) for name in np.asarray(file["imgname"])] if "imgname" in file else [""] * len(index)
            return dict(zip(zip(index, person, strict=True), names, strict=True))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise PoseTopoError(
            f"{path}: not Tompson's valid.h5 ({error}); fetch it with `pose-topo download split`"
        ) from None


def _text(name: Any) -> str:
    """An image name, stored as bytes or (in the older files) as a row of character codes."""
    raw = name if isinstance(name, bytes) else bytes(np.asarray(name).astype(np.uint8).ravel())
    return raw.rstrip(b"\0").decode("ascii", "replace")


def divide(people: People, pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train and val, as ascending indices into `people`.

    Raises:
        PoseTopoError: an image has another name in the annotation: the two files do not belong together.
    """
    mine = list(zip(people.annolist_index.tolist(), people.person.tolist(), strict=True))
    names = people.names
    for pair, name in zip(mine, names, strict=True):
        listed = pairs.get(pair, "")
        if listed and listed != name:
            raise PoseTopoError(
                f"valid.h5 calls image {pair[0]} {listed}, the annotation {name}: the tompson split belongs to MPII's "
                "own annotation file; give --split random"
            )
    val = np.array([pair in pairs for pair in mine], bool)
    val_images = {index for index, _ in pairs}
    val_names = {name for name, held in zip(names, val, strict=True) if held}
    train = np.array(
        [index not in val_images and name not in val_names for (index, _), name in zip(mine, names, strict=True)], bool
    )
    return np.flatnonzero(train), np.flatnonzero(val)


def mismatch(people: People, train: NDArray[np.int64], val: NDArray[np.int64]) -> str | None:
    """How the split's sizes differ from the published ones; None if they do not."""
    found = []
    images = {"train": set(people.take(train).names), "val": set(people.take(val).names)}
    for side, index in (("train", train), ("val", val)):
        here = (len(index), len(images[side]))
        if here != SIZES[side]:
            found.append(
                f"{here[0]:,} {side} people in {here[1]:,} images instead of {SIZES[side][0]:,} in {SIZES[side][1]:,}"
            )
    if shared := images["train"] & images["val"]:
        found.append(f"{len(shared):,} images on both sides")
    return "; ".join(found) or None
