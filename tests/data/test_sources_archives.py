"""The laws of extraction: no member leaves the folder, and a folder is whole or absent."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from test_sources_server import contents, git_blob, jpegs, make_tar, make_zip, one_line

from pose_topo.core.errors import PoseTopoError
from pose_topo.download.archives import (
    extract_images,
    extract_zip_member,
    incomplete,
    index_path,
    partial_path,
    zip_mismatch,
)
from pose_topo.download.catalog import Checks

IMAGES = jpegs(5)
GOOD = {f"./images/{name}": content for name, content in IMAGES.items()}


def extract(tmp_path: Path, archive: bytes) -> Path:
    path, folder = tmp_path / "archive.tar.gz", tmp_path / "data" / "images"
    path.write_bytes(archive)
    extract_images(path, "images", folder, len(IMAGES))
    return folder


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


EVIL_NAMES = [
    "/etc/passwd",
    "../outside.jpg",
    "images/../../outside.jpg",
    "./images/sub/../../../outside.jpg",
    "..",
    "C:/outside.jpg",
    "C:outside.jpg",
    "images\\..\\..\\outside.jpg",
]
EVIL_MEMBERS = [
    *(member(name) for name in EVIL_NAMES),
    member("../folder", tarfile.DIRTYPE),
    member("images/soft.jpg", tarfile.SYMTYPE, "/etc/passwd"),
    member("images/inner.jpg", tarfile.SYMTYPE, "000000000.jpg"),
    member("images/hard.jpg", tarfile.LNKTYPE, "../../outside"),
    member("images/char.jpg", tarfile.CHRTYPE),
    member("images/block.jpg", tarfile.BLKTYPE),
    member("images/pipe.jpg", tarfile.FIFOTYPE),
]


@pytest.mark.parametrize("evil", EVIL_MEMBERS, ids=lambda info: f"{info.type!r} {info.name}")
def test_a_tar_member_that_would_leave_the_folder_is_refused_by_name(tmp_path: Path, evil: tarfile.TarInfo) -> None:
    with pytest.raises(PoseTopoError) as caught:
        extract(tmp_path, make_tar(GOOD, [evil]))
    assert repr(evil.name) in one_line(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.tar.gz", "data"]  # nothing is left


@pytest.mark.parametrize("name", [*EVIL_NAMES, "folder/x\0../../y.mat"])
def test_a_zip_member_that_would_leave_the_folder_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(_zip_with_raw_name(name))
    for action in (
        lambda: zip_mismatch(path, "folder/release.mat", Checks()),
        lambda: extract_zip_member(path, "folder/release.mat", tmp_path / "out"),
    ):
        with pytest.raises(PoseTopoError) as caught:
            action()
        assert repr(name) in one_line(caught.value) and not (tmp_path / "out").exists()


def _zip_with_raw_name(name: str) -> bytes:
    """zipfile mends names as it writes them, so a harmless one of the same length is replaced afterwards."""
    harmless = "n" * len(name)
    return make_zip({"folder/release.mat": b"good", harmless: b"evil"}).replace(harmless.encode(), name.encode())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_zip_member_that_is_no_file_is_refused_by_name(tmp_path: Path, kind: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        info = zipfile.ZipInfo("folder/release.mat")
        info.external_attr = (kind | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    path = tmp_path / "a.zip"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(PoseTopoError, match=r"'folder/release\.mat' refused"):
        extract_zip_member(path, "folder/release.mat", tmp_path / "out")


def test_a_member_larger_than_any_real_one_is_refused_by_name(tmp_path: Path) -> None:
    bomb = member("images/bomb.jpg")
    bomb.size = 1 << 31
    with pytest.raises(PoseTopoError, match=r"'images/bomb\.jpg' refused, it is 2,147,483,648 bytes"):
        extract(tmp_path, make_tar(GOOD, [bomb]))
    content = b"0123456789"
    zipped = make_zip({"folder/release.mat": content}).replace(
        len(content).to_bytes(4, "little") + len("folder/release.mat").to_bytes(2, "little"),
        (1 << 31).to_bytes(4, "little") + len("folder/release.mat").to_bytes(2, "little"),
    )
    (tmp_path / "a.zip").write_bytes(zipped)
    with pytest.raises(PoseTopoError, match=r"'folder/release\.mat' refused, it is 2,147,483,648 bytes"):
        extract_zip_member(tmp_path / "a.zip", "folder/release.mat", tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.6, 0.95])
def test_a_cut_or_empty_archive_is_one_line_and_leaves_nothing(tmp_path: Path, keep: float) -> None:
    archive = make_tar(GOOD)
    size = int(keep * len(archive)) if isinstance(keep, float) else keep
    with pytest.raises(PoseTopoError) as caught:
        extract(tmp_path, archive[:size])
    one_line(caught.value)
    assert not list((tmp_path / "data").iterdir())
    zipped = make_zip({"folder/release.mat": bytes(1000)})
    (tmp_path / "a.zip").write_bytes(zipped[: int(size * len(zipped) / len(archive))])
    with pytest.raises(PoseTopoError) as caught:
        zip_mismatch(tmp_path / "a.zip", "folder/release.mat", Checks())
    one_line(caught.value)


def test_a_flipped_bit_anywhere_is_noticed_or_harmless(tmp_path: Path) -> None:
    content = b"release " * 50
    zipped = make_zip({"folder/release.mat": content})
    path, checks = tmp_path / "a.zip", Checks(git_blob_sha1=git_blob(content))
    for position in range(len(zipped)):
        damaged = bytearray(zipped)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        try:
            if zip_mismatch(path, "folder/release.mat", checks) is None:
                extract_zip_member(path, "folder/release.mat", tmp_path / "out")
                assert (tmp_path / "out").read_bytes() == content
        except PoseTopoError as error:
            one_line(error)


def test_only_the_images_of_the_folder_are_extracted(tmp_path: Path) -> None:
    others = {
        "README": b"x",
        "./images/._a.jpg": b"x",
        "./images/deep/a.jpg": b"x",
        "./images/notes.txt": b"x",
    }
    folder = extract(tmp_path, make_tar({**others, **GOOD}))
    assert contents(folder) == IMAGES and incomplete(folder, 5) is None
    assert sorted(path.name for path in folder.parent.iterdir()) == [".images.index.json", "images"]


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoseTopoError, match="holds no image"):
        extract(tmp_path, make_tar({"images2/a.jpg": b"x"}))


def test_extraction_goes_on_from_what_a_killed_one_left_and_cleans_up(tmp_path: Path) -> None:
    partial = partial_path(tmp_path / "data" / "images")
    partial.mkdir(parents=True)
    names = sorted(IMAGES)
    (partial / names[0]).write_bytes(IMAGES[names[0]])
    before = (partial / names[0]).stat()
    (partial / names[1]).write_bytes(b"of another size")
    (partial / f"{names[2]}.tmp").write_bytes(b"half")
    (partial / "stray.jpg").write_bytes(b"of no member")
    folder = extract(tmp_path, make_tar(GOOD))
    assert contents(folder) == IMAGES
    after = (folder / names[0]).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)  # not written again


def test_an_incomplete_folder_is_told_from_a_whole_one(tmp_path: Path) -> None:
    folder = extract(tmp_path, make_tar(GOOD))
    (folder / "000000003.jpg").write_bytes(b"\xff\xd8 cut")
    assert "lacks 1 of 5" in (incomplete(folder, 5) or "")
    (folder / "000000003.jpg").unlink()
    assert "000000003.jpg" in (incomplete(folder, 5) or "")
    index_path(folder).unlink()  # as if placed by hand
    assert incomplete(folder, 5) == "holds 4 of 5 images" and incomplete(folder, 4) is None
    (folder / "000000002.jpg").write_bytes(b"")
    assert incomplete(folder, 4) == "holds 3 of 4 images"


def test_an_incomplete_folder_is_set_aside_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    (folder / "mine.jpg").write_bytes(b"mine")
    extract(tmp_path, make_tar(GOOD))
    assert contents(folder) == IMAGES
    assert contents(folder.with_name("images.replaced")) == {"mine.jpg": b"mine"}
