"""Small stand-ins of the real files, as bytes and as entries of the catalogue. No tests here."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from loopback import Server

from pose_topo.download.catalog import Checks, Remote
from pose_topo.download.fetch import FetchResult
from pose_topo.download.transfer import Policy

QUICK = Policy(attempts=4, timeout=0.3)  # the tests replace time.sleep


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def jpegs(number: int, size: int = 3000) -> dict[str, bytes]:
    """Names and contents of stand-in images: the first bytes of a JPEG, then noise."""
    return {f"{i:09d}.jpg": b"\xff\xd8" + random_bytes(size + i, i) for i in range(number)}


def make_tar(members: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """A .tar.gz. The `extra` members come last and have no content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra or []:
            tar.addfile(info)
    return buffer.getvalue()


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


IMAGES = jpegs(6)
ARCHIVE = make_tar({f"./images/{name}": content for name, content in IMAGES.items()})
MAT, VALID, NEWELL = random_bytes(4000, 11), random_bytes(5000, 12), random_bytes(600, 13)
ZIP = make_zip({"folder/": b"", "folder/release.mat": MAT, "folder/README": b"read me"})
JOINTS = random_bytes(900, 14)
PEOPLE = {"joints.mat": JOINTS, **{f"images/{name}": content for name, content in IMAGES.items()}}
MIRRORED = {"lsp-8fab/README.txt": b"read me", **{f"lsp-8fab/{name}": content for name, content in PEOPLE.items()}}


def listing(images: dict[str, bytes]) -> str:
    """What `sha256sum *.jpg | sha256sum` prints."""
    lines = [f"{hashlib.sha256(images[name]).hexdigest()}  {name}\n" for name in sorted(images)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_remote(server: Server, content: bytes, name: str = "valid.h5", **options: Any) -> Remote:
    """An entry for one file, served, with its size and sha256."""
    if f"/{name}" not in server.files:
        server.serve(name, content)
    checks = Checks(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    entry = {"name": name, "urls": (server.url(name),), "target": name, "about": len(content), "checks": checks}
    return Remote(**{**entry, **options})


def image_remote(server: Server, archive: bytes, count: int) -> Remote:
    """An entry for an image archive, served, with its md5."""
    checks = Checks(md5=hashlib.md5(archive).hexdigest())
    options = {"target": "images", "checks": checks, "folder": "images", "count": count, "unpacked": len(archive)}
    return file_remote(server, archive, "images.tar.gz", **options)


def mat_remote(server: Server, archive: bytes, content: bytes) -> Remote:
    """An entry for a zip without a known hash. Its member has a known git blob name."""
    options = {"target": "release.mat", "checks": Checks(), "unpacked": len(content)}
    member = {"member": "folder/release.mat", "member_checks": Checks(git_blob_sha1=git_blob(content))}
    return file_remote(server, archive, "annotations.zip", **options, **member)


def people_remotes(server: Server, archive: bytes, images: dict[str, bytes]) -> tuple[Remote, Remote]:
    """Entries of images and of JOINTS, which are in one archive without a known hash. Served at the first address."""
    server.serve("people.zip", archive)
    urls = (server.url("people.zip"), server.url("zip/8fab"))
    shared = {"name": "people.zip", "urls": urls, "about": len(archive)}
    checks = Checks(size=len(JOINTS), sha256=hashlib.sha256(JOINTS).hexdigest())
    return (
        Remote(**shared, target="images", folder="images", count=len(images), listing=listing(images)),
        Remote(**shared, target="joints.mat", member="joints.mat", member_checks=checks),
    )


def made_up_targets(server: Server) -> dict[str, tuple[Remote, ...]]:
    """The catalogue's targets, served by `server`."""
    images, mat = image_remote(server, ARCHIVE, len(IMAGES)), mat_remote(server, ZIP, MAT)
    valid = file_remote(server, VALID)
    newell = file_remote(server, NEWELL, "newell.h5", target="reference/newell.h5")
    server.serve("zip/8fab", make_zip(MIRRORED), etag='"mirror"')
    return {
        "mpii": (mat, valid, images),
        "images": (images,),
        "annotations": (mat,),
        "split": (valid,),
        "reference": (newell,),
        "lspet": people_remotes(server, make_zip(PEOPLE), IMAGES),
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_images(folder: Path, images: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in images.items():
        (folder / name).write_bytes(content)
    return folder


def actions(results: list[FetchResult]) -> list[str]:
    return [result.action for result in results]


def assert_complete(data: Path) -> None:
    assert contents(data / "images") == IMAGES
    assert (data / "release.mat").read_bytes() == MAT and (data / "valid.h5").read_bytes() == VALID


def one_line(error: BaseException) -> str:
    """The message of an error, after a check that it is one line."""
    text = str(error)
    assert text and "\n" not in text
    return text
