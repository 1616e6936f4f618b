"""Who is trained on and who is scored. An image is never split between the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_topo.data.people import People
from pose_topo.errors import PoseTopoError, UsageError
from pose_topo.files import git_blob_sha1_file

OFFICIAL_MAT_BLOB = "114563d045f8b537e978b3f63e03bc2b0f719e0b"
TOMPSON_SIZES = {"train": (22_246, 14_679), "val": (2_958, 2_729)}  # people, images


@dataclass(frozen=True)
class Split:
    """Indices into People, ascending, and the rule that made them."""

    rule: str
    train: NDArray[np.int64]
    val: NDArray[np.int64]


def make_split(
    people: People, rule: str, *, val_split: float, seed: int, mat_path: str, split_file: str | None
) -> Split:
    """Apply a split rule: auto, tompson, random or file.

    Args:
        val_split: share of the images held out by `random`.
        split_file: for `tompson` its `valid.h5` (default: beside the `.mat`); for `file` a list of val image names.

    Raises:
        PoseTopoError: a file is missing, or the split leaves one side empty.
        UsageError: an unknown rule.
    """
    valid = Path(split_file) if split_file else Path(mat_path).with_name("valid.h5")
    if rule == "auto":
        official = valid.is_file() and git_blob_sha1_file(mat_path) == OFFICIAL_MAT_BLOB
        rule = "tompson" if official else "random"
    if rule == "tompson":
        split = tompson(people, valid)
    elif rule == "random":
        split = random_by_image(people, val_split, seed)
    elif rule == "file":
        if split_file is None:
            raise UsageError("--split file needs --split-file: a text file with one val image name a line")
        split = from_list(people, Path(split_file))
    else:
        raise UsageError(f"--split {rule}: give auto, tompson, random or file")
    for side, index in (("train", split.train), ("val", split.val)):
        if not len(index):
            raise PoseTopoError(
                f"the {split.rule} split leaves no {side} people out of {len(people)}: change --val-split or the data"
            )
    return split


def random_by_image(people: People, val_split: float, seed: int) -> Split:
    """Hold out a seeded random share of the images (at least one)."""
    # names, not indices: the same photographs are held out whatever else was left out of the data
    present = sorted({people.images[i] for i in people.image})
    count = min(max(1, round(val_split * len(present))), max(1, len(present) - 1))
    held = np.random.default_rng([seed, 0x5711]).permutation(len(present))[:count]
    return _by_names(people, {present[i] for i in held}, "random")


def from_list(people: People, path: Path) -> Split:
    """Hold out the images that a text file names, one a line."""
    try:
        names = {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise PoseTopoError(f"split file {path}: {error}") from None
    if unknown := names - set(people.images):
        raise PoseTopoError(
            f"split file {path}: {len(unknown)} names are no annotated image, such as {sorted(unknown)[0]}"
        )
    return _by_names(people, names, "file")


def _by_names(people: People, val_names: set[str], rule: str) -> Split:
    val = np.isin(people.image, [i for i, name in enumerate(people.images) if name in val_names])
    return Split(rule, np.flatnonzero(~val), np.flatnonzero(val))


def tompson(people: People, valid_path: Path) -> Split:
    """Tompson et al.'s split: val = the (index, person) pairs of `valid.h5`, train = everybody in images without a val person."""
    pairs = _valid_pairs(valid_path)
    mine = list(zip(people.annolist_index.tolist(), people.person.tolist(), strict=True))
    val = np.array([pair in pairs for pair in mine], bool)
    val_images = {index for index, _ in pairs}
    train = np.array([index not in val_images for index, _ in mine], bool)
    return Split("tompson", np.flatnonzero(train), np.flatnonzero(val))


def _valid_pairs(path: Path) -> set[tuple[int, int]]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return set(zip(np.asarray(file["index"]).astype(int), np.asarray(file["person"]).astype(int), strict=True))
    except (OSError, KeyError, ValueError) as error:
        raise PoseTopoError(
            f"{path}: not Tompson's valid.h5 ({error}); fetch it with `pose-topo download split`"
        ) from None
