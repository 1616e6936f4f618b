"""Extraction: no member leaves the folder, and an image folder is complete or absent."""

from __future__ import annotations

import gzip
import io
import itertools
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from made_up_targets import contents, git_blob, jpegs, make_tar, make_zip, one_line, write_images

from pose_topo.core.errors import PoseTopoError
from pose_topo.download.archives import (
    _unsafe,
    extract_images,
    incomplete,
    index_path,
    member_mismatch,
    partial_path,
)
from pose_topo.download.catalog import Checks

IMAGES = jpegs(5)
GOOD = {f"./images/{name}": content for name, content in IMAGES.items()}


def extract(tmp_path: Path, archive: bytes) -> Path:
    path, folder = tmp_path / "archive.tar.gz", tmp_path / "data" / "images"
    tmp_path.mkdir(exist_ok=True)
    path.write_bytes(archive)
    extract_images(path, "images", folder, len(IMAGES))
    return folder


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("evil", [
    member("../outside.jpg"), member("images/../../outside.jpg"), member("../folder", tarfile.DIRTYPE),
    member("images/soft.jpg", tarfile.SYMTYPE, "/etc/passwd"),
    member("images/hard.jpg", tarfile.LNKTYPE, "../../outside"), member("images/pipe.jpg", tarfile.FIFOTYPE),
], ids=lambda info: f"{info.type!r} {info.name}")  # fmt: skip
def test_an_unsafe_tar_member_is_refused_by_name(tmp_path: Path, evil: tarfile.TarInfo) -> None:
    with pytest.raises(PoseTopoError) as caught:
        extract(tmp_path, make_tar(GOOD, [evil]))
    assert f"member {evil.name!r} refused" in one_line(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.tar.gz", "data"]  # nothing is left


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python has no data_filter before 3.10.12 and 3.11.4")
def test_what_is_unsafe_is_what_the_filter_of_tarfile_refuses(tmp_path: Path) -> None:
    names = ["a", "/a", "../a", "a/../../b", "a/../b", "..", "...", "a/..b", "//../a", "./a", "a/b/../../.."]
    kinds = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    for name, kind, link in itertools.product(names, kinds, [*names, "../b", "../../b"]):
        one = member(name, kind, link)
        try:
            tarfile.data_filter(one, str(tmp_path / "nothing"))
            refused = False
        except tarfile.FilterError:
            refused = True
        assert (_unsafe(one) is not None) == refused, (name, kind, link)


def zipped(name: str, link: str = "", size: int = 0) -> bytes:
    """GOOD in a zip, and one more member: a file whose header names `size` bytes, or a link."""
    buffer = io.BytesIO(make_zip(GOOD))
    with zipfile.ZipFile(buffer, "a") as opened:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (stat.S_IFLNK if link else stat.S_IFREG) << 16
        opened.writestr(info, link)
        info.file_size = size or info.file_size  # the central directory is written when the zip is closed
    return buffer.getvalue()


@pytest.mark.parametrize("name, options, why", [
    ("../outside.jpg", {}, "outside the destination"), ("images/../../outside.jpg", {}, "outside the destination"),
    ("../folder/", {}, "outside the destination"), ("images/soft.jpg", {"link": "/etc/passwd"}, "absolute path"),
    ("images/up.jpg", {"link": "../../outside"}, "outside the destination"),
    ("images/bomb.jpg", {"size": 1 << 31}, "it has 2,147,483,648 bytes"),
])  # fmt: skip
def test_an_unsafe_zip_member_is_refused_by_name(tmp_path: Path, name: str, options: Any, why: str) -> None:
    with pytest.raises(PoseTopoError, match=why) as caught:
        extract(tmp_path, zipped(name, **options))
    assert f"member {name!r} refused" in one_line(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.tar.gz", "data"]


def test_only_the_images_of_the_folder_are_extracted_from_a_zip(tmp_path: Path) -> None:
    folder = extract(tmp_path, zipped("images/inner.jpg", link="000000000.jpg"))
    assert contents(folder) == IMAGES and not any(path.is_symlink() for path in folder.iterdir())
    others = dict.fromkeys(["README", "__MACOSX/images/._a.jpg", "a/b/images/a.jpg", "images/deep/a.jpg"], b"x")
    below = {f"lsp-8fab/images/{name}": content for name, content in IMAGES.items()}
    folder = extract(tmp_path / "second", make_zip({**others, **below}))
    assert contents(folder) == IMAGES


def test_a_link_on_the_disk_does_not_make_members_unsafe(tmp_path: Path) -> None:
    """The archive lies beside `images`, which is a link to another place."""
    (tmp_path / "images").symlink_to("/")
    assert contents(extract(tmp_path, make_tar(GOOD))) == IMAGES


@pytest.mark.parametrize("kept", range(1, len(IMAGES)))
def test_a_tar_that_ends_between_two_members_is_noticed(tmp_path: Path, kept: int) -> None:
    """The compressed stream is whole, and tarfile takes the end of its content for the end of the archive."""
    tar = gzip.decompress(make_tar(GOOD))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        end = opened.getmembers()[kept].offset
    with pytest.raises(PoseTopoError, match=f"holds {kept} of 5 images") as caught:
        extract(tmp_path, gzip.compress(tar[:end]))
    one_line(caught.value)
    assert not list((tmp_path / "data").iterdir())


def test_a_member_is_found_in_a_tar_by_its_path_or_its_name(tmp_path: Path) -> None:
    path, wanted = tmp_path / "a.tar.gz", b"right"
    checks = Checks(size=5, git_blob_sha1=git_blob(wanted))
    path.write_bytes(make_tar({"lsp-8fab/joints.mat": b"other", "joints.mat": wanted}))
    assert member_mismatch(path, "joints.mat", checks) is None
    path.write_bytes(make_tar({"lsp-8fab/joints.mat": wanted}))
    assert member_mismatch(path, "joints.mat", checks) is None
    path.write_bytes(make_tar({"joints.mat": b"wrong"}))
    assert "holds a joints.mat that has git blob" in (member_mismatch(path, "joints.mat", checks) or "")


def test_only_the_images_of_the_folder_are_extracted(tmp_path: Path) -> None:
    others = ["README", "/images/absolute.jpg", "images/._a.jpg", "images/deep/a.jpg", "images/notes.txt"]
    inner = member("images/inner.jpg", tarfile.SYMTYPE, "000000000.jpg")
    folder = extract(tmp_path, make_tar({**dict.fromkeys(others, b"x"), **GOOD}, [inner]))
    assert contents(folder) == IMAGES and incomplete(folder, 5) is None
    assert sorted(path.name for path in folder.parent.iterdir()) == [".images.index.json", "images"]
    with pytest.raises(PoseTopoError, match="holds no image"):
        extract(tmp_path, make_tar({"images2/a.jpg": b"x"}))


def test_a_member_larger_than_any_real_one_is_refused(tmp_path: Path) -> None:
    bomb = member("images/bomb.jpg")
    bomb.size = 1 << 31
    with pytest.raises(PoseTopoError, match=r"'images/bomb\.jpg' refused, it has 2,147,483,648 bytes"):
        extract(tmp_path, make_tar(GOOD, [bomb]))
    name = b"release.mat"
    small, large = ((size).to_bytes(4, "little") + len(name).to_bytes(2, "little") for size in (10, 1 << 31))
    (tmp_path / "a.zip").write_bytes(make_zip({name.decode(): b"0123456789"}).replace(small, large))
    with pytest.raises(PoseTopoError, match=r"'release\.mat' refused, it has 2,147,483,648 bytes"):
        member_mismatch(tmp_path / "a.zip", "folder/release.mat", Checks())


@pytest.mark.parametrize("keep", [0, 0.3, 0.95])
def test_a_cut_archive_is_one_line_and_leaves_nothing(tmp_path: Path, keep: float) -> None:
    archive, zipped = make_tar(GOOD), make_zip({"release.mat": bytes(1000)})
    with pytest.raises(PoseTopoError, match="damaged") as caught:
        extract(tmp_path, archive[: int(keep * len(archive))])
    one_line(caught.value)
    assert not list((tmp_path / "data").iterdir())
    (tmp_path / "a.zip").write_bytes(zipped[: int(keep * len(zipped))])
    with pytest.raises(PoseTopoError, match="damaged") as caught:
        member_mismatch(tmp_path / "a.zip", "release.mat", Checks())
    one_line(caught.value)


def test_a_tar_that_ends_after_some_of_its_images_is_refused(tmp_path: Path) -> None:
    """Its gzip is whole, and the tar within it ends between two members, without its closing blocks."""
    whole = gzip.decompress(make_tar(GOOD))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        third = tar.getmembers()[2].offset
    with pytest.raises(PoseTopoError, match="what was extracted holds 2 of 5 images; not used"):
        extract(tmp_path, gzip.compress(whole[:third]))
    assert not list((tmp_path / "data").iterdir())


def test_a_flipped_bit_of_a_zip_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Whichever bit it is, the errors of zipfile become one line."""
    zipped = make_zip({"folder/release.mat": b"release " * 50})
    path, checks = tmp_path / "a.zip", Checks(git_blob_sha1=git_blob(b"release " * 50))
    refused = 0
    for position in range(len(zipped)):
        damaged = bytearray(zipped)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        try:
            member_mismatch(path, "folder/release.mat", checks)
        except PoseTopoError as error:
            refused += 1
            one_line(error)
    assert refused > len(zipped) // 4


def test_extraction_continues_what_a_killed_one_left(tmp_path: Path) -> None:
    first, second, *_ = sorted(IMAGES)
    partial = write_images(partial_path(tmp_path / "data" / "images"), {first: IMAGES[first]})
    (partial / second).write_bytes(b"cut")
    (partial / "stray.jpg").write_bytes(b"of no member")
    before = (partial / first).stat()
    folder = extract(tmp_path, make_tar(GOOD))
    assert contents(folder) == IMAGES
    after = (folder / first).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)  # not written again


def test_an_incomplete_folder_is_noticed(tmp_path: Path) -> None:
    folder = extract(tmp_path, make_tar(GOOD))
    (folder / "000000003.jpg").write_bytes(b"\xff\xd8 cut")
    assert "lacks 1 of 5" in (incomplete(folder, 5) or "")
    (folder / "000000003.jpg").unlink()
    assert "000000003.jpg" in (incomplete(folder, 5) or "")
    index_path(folder).unlink()  # as if it was placed by hand
    assert incomplete(folder, 5) == "holds 4 of 5 images" and incomplete(folder, 4) is None
    (folder / "000000002.jpg").write_bytes(b"")
    assert incomplete(folder, 4) == "holds 3 of 4 images"


def test_an_incomplete_folder_is_set_aside(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data" / "images", {"mine.jpg": b"mine"})
    extract(tmp_path, make_tar(GOOD))
    assert contents(folder) == IMAGES
    assert contents(folder.with_name("images.replaced")) == {"mine.jpg": b"mine"}
