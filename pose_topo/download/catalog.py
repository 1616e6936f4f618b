"""What can be downloaded: the address of each file, its size and hashes, its place on disk, and the licence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pose_topo.core.errors import PoseTopoError
from pose_topo.study.backbones import BACKBONES


@dataclass(frozen=True)
class Checks:
    """The size and the hashes that are known of a file. None is unknown and is not checked.

    `sha256` may be the first digits only: torchvision publishes no more of its weights.
    """

    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    git_blob_sha1: str | None = None

    def hashes(self) -> dict[str, str]:
        """The known hashes by name, in lower case."""
        known = {"md5": self.md5, "sha256": self.sha256, "git blob sha1": self.git_blob_sha1}
        return {name: value.lower() for name, value in known.items() if value}

    def describe(self) -> str:
        """One phrase for messages, such as `1,350,310 bytes, sha256 6c9e...`."""
        size = [] if self.size is None else [f"{self.size:,} bytes"]
        return ", ".join([*size, *(f"{name} {value}" for name, value in self.hashes().items())]) or "no hash known"


def mismatch(path: Path, checks: Checks) -> str | None:
    """Why `path` is not the file that `checks` describes, or None if it is.

    Raises:
        PoseTopoError: the file cannot be read.
    """
    try:
        if not path.is_file():
            return "is missing"
        with path.open("rb") as stream:
            return stream_mismatch(stream, path.stat().st_size, checks)
    except OSError as error:
        raise PoseTopoError(f"{path}: cannot be read ({error.strerror})") from None


def stream_mismatch(stream: IO[bytes], size: int, checks: Checks) -> str | None:
    """The same question for a stream of `size` bytes, such as the member of an archive."""
    if checks.size is not None and size != checks.size:
        return f"has {size:,} bytes, not {checks.size:,}"
    wanted = checks.hashes()
    if not wanted:
        return None
    digests = {
        "md5": hashlib.md5(usedforsecurity=False),
        "sha256": hashlib.sha256(),
        "git blob sha1": hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False),
    }
    while block := stream.read(1 << 20):
        for name in wanted:
            digests[name].update(block)
    for name, value in wanted.items():
        found = digests[name].hexdigest()[: len(value)]
        if found != value:
            return f"has {name} {found}, not {value}"
    return None


@dataclass(frozen=True)
class Remote:
    """One file to download: as it is, or an archive (zip or tar) with one wanted `member` or a `folder` of images.

    Two entries of one name share the downloaded archive.
    """

    name: str  # at its addresses
    urls: tuple[str, ...]  # the addresses, in the order in which they are tried
    target: str  # the place below the data folder (for weights: below the weights folder)
    about: int  # its size in bytes, roughly: for plans, and to recognise an answer of an absurd length
    checks: Checks = field(default_factory=Checks)  # of the downloaded file
    member: str | None = None  # the wanted member of an archive
    member_checks: Checks = field(default_factory=Checks)  # of that member
    folder: str | None = None  # the folder of the images inside an archive
    count: int | None = None  # of the images in a complete folder
    listing: str | None = None  # the sha256 of what `sha256sum` prints of a complete folder's images, sorted by name
    unpacked: int = 0  # the size in bytes of what is extracted, roughly

    @property
    def is_archive(self) -> bool:
        """Whether the target is extracted from the downloaded file."""
        return self.member is not None or self.folder is not None

    @property
    def final_checks(self) -> Checks:
        """What is known of the target's bytes, if it is no image folder."""
        return self.member_checks if self.member else self.checks

    @property
    def lengths(self) -> tuple[int, int]:
        """The smallest and the largest length that a server may offer."""
        exact = self.checks.size
        return (self.about // 4, self.about * 4) if exact is None else (exact, exact)

    def describe(self) -> str:
        """What a person needs to recognise the downloaded file."""
        if self.member and not self.checks.hashes():
            return f"its member {self.member}: {self.member_checks.describe()}"
        return f"the list of its images has sha256 {self.listing}" if self.listing else self.checks.describe()


_MPI = "https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr/"
_EVAL = "https://raw.githubusercontent.com/anibali/eval-mpii-pose/938ef9a57fde14fdd1754fa668ec13ec4c00adab/"
_HOURGLASS = "https://github.com/princeton-vl/pose-hg-train/raw/4637618a1b162d80436bfd0b557833b5824cbb21/"
_BEARPAW = "https://raw.githubusercontent.com/bearpaw/pytorch-pose/master/"

_LICENCE = (
    "MPII Human Pose is for research only: its images must not be redistributed; "
    "the annotations are under the Simplified BSD licence."
)
DRIVE_FOLDER = "14PblxOBLduTq2CtRAGioKuL0o6W0W3-d"  # the study's pre-organised copy of the data

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

_LSPET = "lspet_dataset.zip"
_LSPET_URLS = (  # the authors' archive, whose hash is not known, and a mirror of its content
    "http://sam.johnson.io/research/lspet_dataset.zip",
    "https://codeload.github.com/axelcarlier/lsp/zip/8fabf3183516b1be5f9d44bd1c516609637e983e",
)
LSPET_IMAGES = Remote(
    name=_LSPET,
    urls=_LSPET_URLS,
    target="images",
    about=171_000_000,
    folder="images",
    count=10_000,
    listing="3533771070b7e44d26ba0296810607c461d0d7125727a6276082b321457f96af",
    unpacked=169_509_977,
)
LSPET_JOINTS = Remote(
    name=_LSPET,
    urls=_LSPET_URLS,
    target="joints.mat",
    about=171_000_000,
    member="joints.mat",
    member_checks=Checks(size=1_906_792, sha256="cc66465117888d9f43aac78c15c4548e37df5022640a193f2002fd084cba13ef"),
    unpacked=1_906_792,
)

# What `pose-topo download NAME` brings, in this order.
TARGETS: dict[str, tuple[Remote, ...]] = {
    "mpii": (ANNOTATIONS, VALID, DETECTIONS, IMAGES),  # the large one last: a wrong --mirror fails early
    "images": (IMAGES,),
    "annotations": (ANNOTATIONS,),
    "split": (VALID, DETECTIONS),
    "reference": (NEWELL,),
    "lspet": (LSPET_IMAGES, LSPET_JOINTS),  # the images first: an archive with other images is not kept
}
# The line that is printed before a target is fetched.
LICENCES: dict[str, str] = dict.fromkeys(("mpii", "images", "annotations", "split", "gdrive"), _LICENCE)
LICENCES["lspet"] = (
    "Leeds Sports Pose Extended: no licence is stated; for research; cite Johnson & Everingham, CVPR 2011; "
    "its photographs come from Flickr and must not be redistributed."
)

# The ImageNet weights of each backbone.
WEIGHTS: dict[str, Remote] = {
    arch: Remote(b.weights, (b.weights_url,), b.weights, b.weights_size, Checks(sha256=b.weights_sha256))
    for arch, b in BACKBONES.items()
}

# The released network, which comes with pose_topo.
RELEASED_CHECKS = Checks(size=30_789_664, sha256="c0213d6b8be51bfc904b09da40c1f02e41c0abba848fbee60f8b58bea2b6672e")
