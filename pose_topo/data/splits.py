"""The split of Tompson et al. (CVPR 2015), which every published MPII validation score stands on.

Val are the people that `valid.h5` lists by (image index, person), both 0-based: entry of `annolist`, annorect of that
entry. Train are all other annotated people in images that hold no val person.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import git_blob_sha1_file
from pose_topo.data.people import People

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


# ---- Who is trained on and who is scored. An image is never split between the two.

OFFICIAL_MAT_BLOB = "114563d045f8b537e978b3f63e03bc2b0f719e0b"
PAPER_SHARE = 0.1  # of the people, held out by the original study
RULES = ("auto", "tompson", "random", "paper", "file")


@dataclass(frozen=True)
class Split:
    """Indices into People, ascending, and the rule that made them."""

    rule: str
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    mismatch: str | None = None  # how it differs from the published split, where that was accepted


def make_split(
    people: People,
    rule: str,
    *,
    val_split: float,
    seed: int,
    mat_path: str,
    split_file: str | None,
    annotated: People | None = None,
    accept_mismatch: bool = False,
) -> Split:
    """Apply a split rule: auto, tompson, random, paper or file.

    Args:
        val_split: share of the images held out by `random`.
        split_file: for `tompson` its `valid.h5` (default: beside the `.mat`); for `file` a list of val image names;
            `auto` then is the one or the other.
        annotated: everybody from whom the protocol chose `people` (default: `people`); the sizes of the published split
            are checked on these.
        accept_mismatch: go on where the published sizes do not come out, and record it.

    Raises:
        PoseTopoError: a file is missing, the split leaves one side empty, or `tompson` on the official annotation does
            not have the published sizes.
        UsageError: an unknown rule, or a split file for a rule that takes none.
    """
    valid = Path(split_file) if split_file else Path(mat_path).with_name("valid.h5")
    rule = _resolved(rule, mat_path, valid, split_file is not None)
    if rule == "tompson":
        split = _tompson(people, annotated or people, valid, is_official(mat_path), accept_mismatch)
    elif rule == "random":
        split = random_by_image(people, val_split, seed)
    elif rule == "paper":
        split = paper(people, seed)
    else:
        if split_file is None:
            raise UsageError("--split file needs --split-file: a text file with one val image name a line")
        split = from_list(people, Path(split_file))
    for side, index in (("train", split.train), ("val", split.val)):
        if not len(index):
            raise PoseTopoError(
                f"the {split.rule} split leaves no {side} people out of {len(people)}: change --val-split or the data"
            )
    return split


def _resolved(rule: str, mat_path: str, valid: Path, given: bool) -> str:
    """The rule, and what `auto` stands for: a file that was given decides, else whether Tompson's belongs here."""
    if rule not in RULES:
        raise UsageError(f"--split {rule}: give {', '.join(RULES[:-1])} or {RULES[-1]}")
    if given and rule in ("random", "paper"):
        raise UsageError(f"--split {rule} takes no --split-file: give --split file or --split tompson with it")
    if rule != "auto":
        return rule
    if given:
        import h5py

        return "tompson" if h5py.is_hdf5(valid) else "file"
    return "tompson" if valid.is_file() and is_official(mat_path) else "random"


def is_official(mat_path: str | Path) -> bool:
    """Whether the annotation file is MPII's own, by the name git gives its content."""
    return git_blob_sha1_file(mat_path) == OFFICIAL_MAT_BLOB


def random_by_image(people: People, val_split: float, seed: int) -> Split:
    """Hold out a seeded random share of the images (at least one, and not all)."""
    present = sorted({people.images[i] for i in people.image})
    count = min(max(1, round(val_split * len(present))), max(1, len(present) - 1))
    return _by_names(people, _drawn(present, count, seed), "random")


def paper(people: People, seed: int) -> Split:
    """The original study's: a random tenth of the people that its recipe admits, here seeded.

    The recipe admits only people who are alone in their image, so that drawing people is drawing images; where it was
    changed to admit others, images are drawn, and none is split.
    """
    present = sorted({people.images[i] for i in people.image})
    return _by_names(people, _drawn(present, max(1, int(PAPER_SHARE * len(present))), seed), "paper")


def _drawn(names: list[str], count: int, seed: int) -> set[str]:
    """The `count` names whose hashes with the seed are least: one image more or less moves at most one other."""

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode()).digest()

    return set(sorted(names, key=rank)[:count])


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


def _tompson(people: People, annotated: People, valid: Path, official: bool, accept_mismatch: bool) -> Split:
    pairs = read_pairs(valid)
    wrong_sizes = mismatch(annotated, *divide(annotated, pairs)) if official else None
    if wrong_sizes and not accept_mismatch:
        raise PoseTopoError(
            f"the tompson split is not the published one: {wrong_sizes}; "
            "complete the data (`pose-topo download mpii`) or give --accept-split-mismatch"
        )
    return Split("tompson", *divide(people, pairs), mismatch=wrong_sizes)
