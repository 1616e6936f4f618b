"""Divide people into those who are trained on and those who are held out. No image is on both sides.

The rule `hashed` keeps a third part aside, on which recipes are tuned (rule `tune`).

The published validation scores on MPII use the split of Tompson et al. (CVPR 2015). Their file `valid.h5` lists the
held-out people by (image index, person), both 0-based: entry of `annolist`, annorect of that entry. Trained on are all
other annotated people in images without a held-out person.
"""

from __future__ import annotations

import hashlib
import heapq
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError, UsageError, in_short
from pose_topo.core.files import git_blob_sha1_file, read_lines, sha256_file
from pose_topo.data.people import People, Split
from pose_topo.study.config import Data, Recipe

RULES = ("auto", "tompson", "random", "paper", "hashed", "tune", "file")
PAPER_SHARE = 0.1  # share of the people that the original study held out
TOMPSON_SIZES = {"train": (22_246, 14_679), "val": (2_958, 2_729)}  # people, images
OFFICIAL_MAT_BLOB = "114563d045f8b537e978b3f63e03bc2b0f719e0b"  # git's name for the content of MPII's annotation file
LSPET_SHA256 = "cc66465117888d9f43aac78c15c4548e37df5022640a193f2002fd084cba13ef"  # of LSPET's joints.mat
NEAR_DUPLICATES = Path(__file__).with_name("lspet_near_duplicates.txt")  # one group of image names per line
PAIRS = ("index", "person", "imgname")  # the arrays of valid.h5
MOST_BYTES = 20_000_000  # of one of them; Tompson's whole file has 1.4 MB
Pairs = dict[tuple[int, int], str]  # (annolist index, person) -> image name, "" where the file has none


def make_split(people: People, recipe: Recipe, data: Data, *, seed: int, annotated: People | None = None) -> Split:
    """Return the split of `people` by the rule `recipe.split`, which is one of `RULES`.

    `auto` stands for `file` or `tompson` if `data.split_file` is given, else for `tompson` if its file lies beside
    MPII's own annotation file, else for `random`.

    Args:
        recipe: the rule, and `val_split`: the share of the images that `random` holds out, and the share of each of the
            two held-out parts of `hashed` and `tune`.
        data: the annotation file; whether to accept a `tompson` split that does not have the published sizes, and
            record it; and `split_file`: for `tompson` its `valid.h5` (default: beside the annotation file), for `file`
            a list of held-out image names, one per line.
        seed: of `random` and `paper`.
        annotated: all annotated people, from whom a protocol selected `people` (default: `people`). The sizes of the
            published split are checked on them.

    Raises:
        PoseTopoError: a file is missing, the split leaves one side empty, or `tompson` on MPII's own annotation file
            does not have the published sizes.
        UsageError: an unknown rule, or a split file for a rule that takes none.
    """
    rule, share = _resolve(recipe.split, data), recipe.val_split
    if rule == "tompson":
        split = _tompson(people, annotated or people, data)
    elif rule == "random":
        split = random_by_image(people, share, seed)
    elif rule == "paper":
        split = paper(people, seed)
    elif rule in ("hashed", "tune"):
        split = hashed(people, share, rule, near_duplicates(data.mat_path))
    elif data.split_file is None:
        raise UsageError("--split file needs --split-file: a text file with one held-out image name per line")
    else:
        split = from_list(people, Path(data.split_file))
    for side, index in (("train", split.train), ("val", split.val)):
        if not len(index):
            raise PoseTopoError(
                f"the {split.rule} split leaves no {side} people out of {len(people)}: change --val-split or the data"
            )
    return split


def _resolve(rule: str, data: Data) -> str:
    """Return the rule, or what `auto` stands for."""
    if rule not in RULES:
        raise UsageError(f"--split {rule}: give {', '.join(RULES[:-1])} or {RULES[-1]}")
    if data.split_file and rule in ("random", "paper", "hashed", "tune"):
        raise UsageError(f"--split {rule} takes no --split-file: give --split file or --split tompson with it")
    if rule != "auto":
        return rule
    valid = _valid_file(data)
    if data.split_file:
        import h5py

        return "tompson" if valid.is_file() and h5py.is_hdf5(valid) else "file"
    return "tompson" if valid.is_file() and is_official(data.mat_path) else "random"


def _valid_file(data: Data) -> Path:
    return Path(data.split_file or Path(data.mat_path).with_name("valid.h5"))


def is_official(mat_path: str | Path) -> bool:
    """Return whether the annotation file is MPII's own."""
    return git_blob_sha1_file(mat_path) == OFFICIAL_MAT_BLOB


# ---- By image name.


def random_by_image(people: People, val_split: float, seed: int) -> Split:
    """Hold out a random share of the images (at least one, and not all)."""
    present = set(people.names)
    count = min(max(1, round(val_split * len(present))), max(1, len(present) - 1))
    return _by_names(people, _draw(present, count, seed), "random")


def paper(people: People, seed: int) -> Split:
    """Hold out a random tenth, as the original study did; the draw is seeded here.

    The study drew people. Its recipe admits only people who are alone in their image, so drawing images is the same.
    Where the recipe was changed to admit others, images are drawn, so that no image is on both sides.
    """
    present = set(people.names)
    return _by_names(people, _draw(present, max(1, int(PAPER_SHARE * len(present))), seed), "paper")


def hashed(people: People, share: float, rule: str, groups: dict[str, str] | None = None) -> Split:
    """Divide the images into three parts by a hash of their names: for training, for tuning and for the test.

    Both rules train on the same people. `hashed` holds out the test part, which must never decide about a recipe.
    `tune` holds out the part on which recipes are chosen. The parts depend on no seed and on no other image.

    Args:
        share: of the test part, and of the part for tuning.
        rule: "hashed" or "tune".
        groups: image name -> the first name of its group, for near-duplicates, which stay in one part.
    """
    hashes = [hashlib.sha256((groups or {}).get(name, name).encode()).digest() for name in people.images]
    places = np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in hashes])[people.image]  # in [0, 1)
    low = 0.0 if rule == "hashed" else share
    return Split(rule, np.flatnonzero(places >= 2 * share), np.flatnonzero((places >= low) & (places < low + share)))


def near_duplicates(annotations: str | Path) -> dict[str, str]:
    """Return the near-duplicates as `hashed` takes them: those of LSPET (`data/lsp.py` found them), or none."""
    if sha256_file(annotations) != LSPET_SHA256:
        return {}
    lines = NEAR_DUPLICATES.read_text(encoding="utf-8").splitlines()
    return {name: names[0] for names in map(str.split, lines) for name in names}


def _draw(names: set[str], count: int, seed: int) -> set[str]:
    """Return the `count` names with the smallest hashes. One image more or less changes at most one other."""
    return set(heapq.nsmallest(count, names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()))


def from_list(people: People, path: Path) -> Split:
    """Hold out the images that a text file names, one per line."""
    names = {line.strip() for line in read_lines(path) if line.strip()}
    if unknown := names - set(people.images):
        raise PoseTopoError(
            f"split file {path}: {len(unknown)} names are no annotated image, such as {sorted(unknown)[0]}"
        )
    return _by_names(people, names, "file")


def _by_names(people: People, val_names: set[str], rule: str) -> Split:
    val = np.isin(people.image, [i for i, name in enumerate(people.images) if name in val_names])
    return Split(rule, np.flatnonzero(~val), np.flatnonzero(val))


# ---- The published split.


def _tompson(people: People, annotated: People, data: Data) -> Split:
    pairs = read_pairs(_valid_file(data))
    wrong_sizes = mismatch(annotated, *divide(annotated, pairs)) if is_official(data.mat_path) else None
    if wrong_sizes and not data.accept_split_mismatch:
        raise PoseTopoError(
            f"the tompson split is not the published one: {wrong_sizes}; "
            "complete the data (`pose-topo download mpii`) or give --accept-split-mismatch"
        )
    return Split("tompson", *divide(people, pairs), mismatch=wrong_sizes)


def read_pairs(path: Path) -> Pairs:
    """Return the held-out people of a `valid.h5`.

    Raises:
        PoseTopoError: it is not such a file.
    """
    import h5py

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("not a regular file")
        with h5py.File(path, "r") as file:
            if any(getattr(file[name], "nbytes", 0) > MOST_BYTES for name in PAIRS if name in file):
                raise ValueError("larger than any data set")
            with np.errstate(invalid="ignore"):  # NaN belongs to no person
                index, person = (np.asarray(file[name]).astype(np.int64).tolist() for name in PAIRS[:2])
            names = [_text(name) for name in np.asarray(file["imgname"])] if "imgname" in file else [""] * len(index)
            return dict(zip(zip(index, person, strict=True), names, strict=True))
    except Exception as error:  # broken bytes fail in many ways inside h5py
        what = f"{path}: not Tompson's valid.h5 ({in_short(error)})"
        raise PoseTopoError(f"{what}; fetch it with `pose-topo download split`") from None


def _text(name: Any) -> str:
    """Return an image name that is stored as bytes or, in older files, as a row of character codes."""
    raw = name if isinstance(name, bytes) else bytes(np.asarray(name).astype(np.uint8).ravel())
    return raw.rstrip(b"\0").decode("ascii", "replace")


def divide(people: People, pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return train and val by Tompson's `pairs`, as ascending indices into `people`.

    Raises:
        PoseTopoError: an image has another name in the annotation, so the two files do not belong together.
    """
    mine = list(zip(people.annolist_index.tolist(), people.person.tolist(), strict=True))
    names = people.names
    for pair, name in zip(mine, names, strict=True):
        if (listed := pairs.get(pair)) and listed != name:
            raise PoseTopoError(
                f"valid.h5 calls image {pair[0]} {listed}, the annotation {name}: the tompson split belongs to MPII's "
                "own annotation file; give --split random"
            )
    val = np.array([pair in pairs for pair in mine], bool)
    val_names = {name for name, held in zip(names, val, strict=True) if held}
    in_val_image = np.isin(people.annolist_index, [index for index, _ in pairs])
    train = ~in_val_image & ~np.array([name in val_names for name in names], bool)
    return np.flatnonzero(train), np.flatnonzero(val)


def mismatch(people: People, train: NDArray[np.int64], val: NDArray[np.int64]) -> str | None:
    """Return how the split's sizes differ from the published ones, or None if they do not."""
    differences = []
    images = {"train": set(people.take(train).names), "val": set(people.take(val).names)}
    for side, index in (("train", train), ("val", val)):
        sizes, published = (len(index), len(images[side])), TOMPSON_SIZES[side]
        if sizes != published:
            differences.append(
                f"{sizes[0]:,} {side} people in {sizes[1]:,} images instead of {published[0]:,} in {published[1]:,}"
            )
    if shared := images["train"] & images["val"]:
        differences.append(f"{len(shared):,} images on both sides")
    return "; ".join(differences) or None
