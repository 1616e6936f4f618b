"""What is known of a file's bytes, and whether a file on disk agrees with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import git_blob_sha1_file, md5_file, sha256_file
from pose_topo.study.backbones import BACKBONES

BLOCK = 1 << 20


@dataclass(frozen=True)
class Checks:
    """Every size and hash known of a file; whatever is None is not known and not checked."""

    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    git_blob_sha1: str | None = None

    @property
    def hashed(self) -> bool:
        """Whether any hash is known: a size alone says nothing of the bytes."""
        return any((self.md5, self.sha256, self.sha256_prefix, self.git_blob_sha1))

    def describe(self) -> str:
        """One phrase for messages, such as `1,350,310 bytes, sha256 6c9e...`."""
        known = [] if self.size is None else [f"{self.size:,} bytes"]
        known += [f"{label} {value}" for label, value in self._hashes() if value]
        return ", ".join(known) or "no hash known"

    def _hashes(self) -> list[tuple[str, str | None]]:
        return [
            ("md5", self.md5),
            ("sha256", self.sha256),
            ("sha256 prefix", self.sha256_prefix),
            ("git blob sha1", self.git_blob_sha1),
        ]


def mismatch(path: Path, checks: Checks) -> str | None:
    """Why `path` is not the file that `checks` describes, or None when it is.

    Raises:
        PoseTopoError: the file cannot be read.
    """
    try:
        return _mismatch(path, checks)
    except OSError as error:
        raise PoseTopoError(f"{path}: cannot be read ({error.strerror})") from None


def _mismatch(path: Path, checks: Checks) -> str | None:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if checks.size is not None and size != checks.size:
        return f"has {size:,} bytes, not {checks.size:,}"
    sha256 = sha256_file(path) if checks.sha256 or checks.sha256_prefix else ""
    found = {
        "md5": md5_file(path) if checks.md5 else None,
        "sha256": sha256 if checks.sha256 else None,
        "sha256 prefix": sha256[: len(checks.sha256_prefix)] if checks.sha256_prefix else None,
        "git blob sha1": git_blob_sha1_file(path) if checks.git_blob_sha1 else None,
    }
    for label, wanted in checks._hashes():
        if wanted and found[label] != wanted.lower():
            return f"has {label} {found[label]}, not {wanted}"
    return None


def stream_mismatch(stream: IO[bytes], size: int, checks: Checks) -> str | None:
    """The same question for `size` bytes read from a stream (an archive's member)."""
    if checks.size is not None and size != checks.size:
        return f"has {size:,} bytes, not {checks.size:,}"
    digests: dict[str, Any] = {
        "md5": hashlib.md5(usedforsecurity=False),
        "sha256": hashlib.sha256(),
        "sha256 prefix": hashlib.sha256(),
        "git blob sha1": hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False),
    }
    wanted = {label: value.lower() for label, value in checks._hashes() if value}
    while block := stream.read(BLOCK):
        for label in wanted:
            digests[label].update(block)
    for label, value in wanted.items():
        found = digests[label].hexdigest()[: len(value)]
        if found != value:
            return f"has {label} {found}, not {value}"
    return None


# ---- Where each file comes from, how it is recognised, and where it goes.

_MPI = "https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr/"
_EVAL = "https://raw.githubusercontent.com/anibali/eval-mpii-pose/938ef9a57fde14fdd1754fa668ec13ec4c00adab/"
_HOURGLASS = "https://github.com/princeton-vl/pose-hg-train/raw/4637618a1b162d80436bfd0b557833b5824cbb21/"
_BEARPAW = "https://raw.githubusercontent.com/bearpaw/pytorch-pose/master/"
_TORCH = "https://download.pytorch.org/models/"

LICENCE = (
    "MPII Human Pose is for research only: its images must not be redistributed; "
    "the annotations are under the Simplified BSD licence."
)
DRIVE_FOLDER = "14PblxOBLduTq2CtRAGioKuL0o6W0W3-d"  # the study's pre-organised copy of the data


@dataclass(frozen=True)
class Remote:
    """One thing to fetch: a file, a zip with one wanted `member`, or a tar whose members fill a `folder`.

    `target` is relative to the data (or weights) folder. `about` and `unpacked` are rough byte counts for
    plans and disk space; only `checks` decide. `count` is how many images make a folder placed by hand.
    """

    name: str
    urls: tuple[str, ...]
    target: str
    about: int
    checks: Checks = field(default_factory=Checks)
    member: str | None = None
    member_checks: Checks = field(default_factory=Checks)
    folder: str | None = None
    count: int | None = None
    unpacked: int = 0

    @property
    def is_archive(self) -> bool:
        """Whether the target is extracted from what is fetched."""
        return self.member is not None or self.folder is not None

    @property
    def final_checks(self) -> Checks:
        """What is known of the target's bytes (nothing, for a folder)."""
        return self.member_checks if self.member else Checks() if self.folder else self.checks

    @property
    def lengths(self) -> tuple[int, int]:
        """The lengths a server may offer: the exact one, or what is not absurd given `about`."""
        exact = self.checks.size
        return (exact, exact) if exact is not None else (self.about // 4, self.about * 4)

    def describe(self) -> str:
        """What a person needs to recognise the fetched file."""
        if self.checks.hashed or self.member is None:
            return self.checks.describe()
        return f"its member {self.member}: {self.member_checks.describe()}"


IMAGES = Remote(
    name="mpii_human_pose_v1.tar.gz",
    urls=(_MPI + "mpii_human_pose_v1.tar.gz",),
    target="images",
    about=12_900_000_000,
    checks=Checks(md5="b6bc9c6869d3f035a5570b2e68ec84c4"),
    folder="images",
    count=24_984,
    unpacked=13_100_000_000,
)
ANNOTATIONS = Remote(
    name="mpii_human_pose_v1_u12_2.zip",
    urls=(_MPI + "mpii_human_pose_v1_u12_2.zip",),
    target="mpii_human_pose_v1_u12_1.mat",
    about=12_500_000,
    member="mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat",
    member_checks=Checks(git_blob_sha1="114563d045f8b537e978b3f63e03bc2b0f719e0b"),
    unpacked=60_000_000,
)
VALID = Remote(
    name="valid.h5",
    urls=(_EVAL + "annot/valid.h5", _HOURGLASS + "data/mpii/annot/valid.h5"),
    target="valid.h5",
    about=1_350_310,
    checks=Checks(size=1_350_310, sha256="6c9e29d1472945abf370339d8a75e0da4117be52dcc3f589cb9f4a77cac2b760"),
)
DETECTIONS = Remote(
    name="detections_our_format.mat",
    urls=(_BEARPAW + "evaluation/data/detections_our_format.mat",),
    target="detections_our_format.mat",
    about=1_257_356,
    checks=Checks(size=1_257_356, sha256="1ab6874f858046c74acdd1b9dacb8746a2ddddc331952487a9774e3ee0c2b075"),
)
NEWELL = Remote(
    name="newell.h5",
    urls=(_EVAL + "preds/reference/newell.h5",),
    target="reference/newell.h5",
    about=759_392,
    checks=Checks(size=759_392, sha256="1814e043232b2bae94a4ac4190a46d3273249cdf85993d9dfa98082713bc77f2"),
)

TARGETS: dict[str, tuple[Remote, ...]] = {
    "mpii": (ANNOTATIONS, VALID, DETECTIONS, IMAGES),  # the long one last: a wrong mirror shows at once
    "images": (IMAGES,),
    "annotations": (ANNOTATIONS,),
    "split": (VALID, DETECTIONS),
    "reference": (NEWELL,),
}


WEIGHTS: dict[str, Remote] = {
    arch: Remote(b.weights, (_TORCH + b.weights,), b.weights, b.weights_size, Checks(sha256_prefix=b.weights_sha256))
    for arch, b in BACKBONES.items()
}
