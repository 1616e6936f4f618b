"""The laws of `download`: each target whole and verified in its place, from wherever it may come."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sources_server import (
    Server,
    contents,
    image_remote,
    impatient,
    jpegs,
    make_tar,
    make_zip,
    mat_remote,
    one_line,
    plain_remote,
    random_bytes,
    running_server,
)

from pose_topo.data.sources import LICENCE, TARGET_NAMES, Done, catalog, download, local
from pose_topo.data.sources import plan as planning
from pose_topo.data.sources.images import index_path
from pose_topo.data.sources.mirrors import urls_for
from pose_topo.errors import PoseTopoError, UsageError

IMAGES = jpegs(6)
ARCHIVE = make_tar({f"./images/{name}": content for name, content in IMAGES.items()})
MAT, VALID, NEWELL = random_bytes(4000, 11), random_bytes(5000, 12), random_bytes(600, 13)
ZIP = make_zip({"folder/": b"", "folder/release.mat": MAT, "folder/README": b"read me"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of small stand-ins, with the catalogue turned to it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as opened:
        images = image_remote(opened, ARCHIVE, len(IMAGES))
        mat = mat_remote(opened, ZIP, MAT)
        valid = plain_remote(opened, VALID)
        newell = plain_remote(opened, NEWELL, "newell.h5", target="reference/newell.h5")
        table = {"mpii": (mat, valid, images), "images": (images,), "annotations": (mat,),
                 "split": (valid,), "reference": (newell,)}  # fmt: skip
        for name, remotes in table.items():
            monkeypatch.setitem(catalog.TARGETS, name, remotes)
        yield opened


class Lines(list[str]):
    """A `say` that keeps what it is told."""

    def __call__(self, line: str) -> None:
        assert "\n" not in line
        self.append(line)


def get(target: str, data: Path, say: Lines | None = None, **options: Any) -> list[Done]:
    return download(target, data, say=say if say is not None else Lines(), policy=impatient(), **options)


def actions(done: list[Done]) -> list[str]:
    return [one.action for one in done]


def assert_whole(data: Path) -> None:
    assert contents(data / "images") == IMAGES
    assert (data / "release.mat").read_bytes() == MAT and (data / "valid.h5").read_bytes() == VALID


def test_a_target_comes_whole_and_a_second_call_only_verifies(server: Server, tmp_path: Path) -> None:
    lines = Lines()
    done = get("mpii", tmp_path, lines)
    assert actions(done) == ["extracted", "fetched", "extracted"]
    assert_whole(tmp_path)
    assert all(one.path.exists() for one in done)
    assert lines.count(LICENCE) == 1
    server.seen.clear()
    shutil.rmtree(tmp_path / "downloads")  # the archives are not needed again
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    lines = Lines()
    assert actions(get("mpii", tmp_path, lines)) == ["kept"] * 3
    assert not server.seen and LICENCE not in lines
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_the_reference_has_a_folder_of_its_own_and_no_mpii_licence(server: Server, tmp_path: Path) -> None:
    lines = Lines()
    get("reference", tmp_path, lines)
    assert (tmp_path / "reference" / "newell.h5").read_bytes() == NEWELL and LICENCE not in lines


def test_a_dry_run_says_source_place_and_size_and_does_nothing(server: Server, tmp_path: Path) -> None:
    lines = Lines()
    done = get("mpii", tmp_path / "data", lines, dry_run=True)
    assert actions(done) == ["planned"] * 3 and not (tmp_path / "data").exists() and not server.seen
    text = "\n".join(lines)
    assert server.url("images.tar.gz") in text and hashlib.md5(ARCHIVE).hexdigest() in text
    assert str(tmp_path / "data" / "images") in text and "kB" in text and LICENCE in lines


def test_bars_are_for_terminals_and_can_be_switched_off(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for terminal, progress in ((False, True), (True, False), (True, True)):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda answer=terminal: answer, raising=False)
        monkeypatch.setattr(sys, "stderr", stream)
        download("mpii", tmp_path / f"{terminal}{progress}", say=Lines(), policy=impatient(progress=progress))
        seen.append(stream.getvalue())
    assert seen[:2] == ["", ""]
    assert "images.tar.gz: " in seen[2] and "B/s" in seen[2] and "extract images.tar.gz" in seen[2]


def test_too_small_a_disk_is_noticed_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "free_bytes", lambda root: 2 * len(ARCHIVE))  # the mat does not fit besides
    with pytest.raises(PoseTopoError, match=r"are needed and .* are free"):
        get("mpii", tmp_path / "data")
    assert not server.seen and not (tmp_path / "data").exists()
    assert actions(get("images", tmp_path / "data")) == ["extracted"]


@pytest.mark.parametrize("target", ["mpii", "images", "annotations", "split", "reference"])
def test_offline_is_one_line_naming_url_path_and_hash(server: Server, tmp_path: Path, target: str) -> None:
    for served in server.files.values():
        served.stuck = ("reset",)
    with pytest.raises(PoseTopoError) as caught:
        get(target, tmp_path)
    remote = catalog.TARGETS[target][0]
    line = one_line(caught.value)
    place = tmp_path / ("downloads/" + remote.name if remote.is_archive else remote.target)
    checks = remote.member_checks if remote.member else remote.checks
    assert remote.urls[0] in line and str(place) in line and checks.describe() in line
    place.parent.mkdir(exist_ok=True)  # ... and doing what the line says is enough
    place.write_bytes(next(s.content for p, s in server.files.items() if p == f"/{remote.name}"))
    for served in server.files.values():
        served.stuck = None
    server.seen.clear()
    get(target, tmp_path)
    assert f"/{remote.name}" not in [path for path, _ in server.seen]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_an_archive_whose_own_compression_is_called_an_encoding_is_taken(
    server: Server, tmp_path: Path, encoding: str
) -> None:
    server.files["/images.tar.gz"].stuck = ("encoded", encoding)
    assert actions(get("images", tmp_path)) == ["extracted"]
    assert contents(tmp_path / "images") == IMAGES


def test_an_archive_that_lies_there_cut_counts_as_one_to_fetch(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "downloads" / "images.tar.gz"
    store.parent.mkdir()
    store.write_bytes(ARCHIVE[:100])
    lines = Lines()
    get("images", tmp_path, lines, dry_run=True)
    assert "would fetch" in lines[-1]
    monkeypatch.setattr(planning, "free_bytes", lambda root: int(1.2 * len(ARCHIVE)))
    with pytest.raises(PoseTopoError, match=r"are needed and .* are free"):
        get("images", tmp_path)
    wrong = bytes(len(ARCHIVE))  # a likely one, whose fault is only found when it is used
    store.write_bytes(wrong)
    lines = Lines()
    get("images", tmp_path, lines, dry_run=True)
    assert "if it verifies" in lines[-1]
    with pytest.raises(PoseTopoError, match=r"are needed and .* are free"):
        get("images", tmp_path)
    assert not server.seen and store.with_name("images.tar.gz.replaced").read_bytes() == wrong
    assert not (tmp_path / "images").exists()


def test_a_mirror_that_is_the_address_of_another_file_is_a_usage_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"of none that is wanted \(annotations\.zip, valid\.h5, images\.tar\.gz\)"):
        get("mpii", tmp_path, mirror="https://h/get?id=3")
    assert actions(get("split", tmp_path, mirror=server.url("valid.h5"))) == ["fetched"]


def test_a_zip_with_another_mat_is_refused(server: Server, tmp_path: Path) -> None:
    server.serve("annotations.zip", make_zip({"folder/release.mat": random_bytes(4000, 99)}))
    with pytest.raises(PoseTopoError, match="git blob sha1"):
        get("annotations", tmp_path)
    assert not (tmp_path / "release.mat").exists()


def test_an_unsafe_zip_is_refused_by_the_members_name(server: Server, tmp_path: Path) -> None:
    server.serve("annotations.zip", make_zip({"folder/release.mat": MAT, "../../evil": b"x"}))
    with pytest.raises(PoseTopoError, match=r"'\.\./\.\./evil' refused"):
        get("annotations", tmp_path)
    assert not (tmp_path / "release.mat").exists()


def test_a_broken_target_is_mended_and_set_aside(server: Server, tmp_path: Path) -> None:
    get("mpii", tmp_path)
    (tmp_path / "images" / "000000001.jpg").unlink()
    for name in ("valid.h5", "release.mat"):
        (tmp_path / name).write_bytes(b"broken")
    assert actions(get("mpii", tmp_path)) == ["extracted", "fetched", "extracted"]
    assert_whole(tmp_path)
    assert {"valid.h5.replaced", "release.mat.replaced", "images.replaced"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("form", ["base", "base without slash", "full"])
def test_a_mirror_is_tried_first(server: Server, tmp_path: Path, form: str) -> None:
    server.serve("m/valid.h5", VALID)
    mirror = {"base": "m/", "base without slash": "m", "full": "m/valid.h5"}[form]
    get("split", tmp_path, mirror=server.url(mirror))
    assert [path for path, _ in server.seen] == ["/m/valid.h5"]


def test_a_mirror_that_lies_or_lacks_the_file_falls_back(server: Server, tmp_path: Path) -> None:
    server.serve("m/valid.h5", random_bytes(5000, 77))
    get("mpii", tmp_path, mirror=server.url("m/"))
    assert_whole(tmp_path)


def test_a_full_mirror_url_serves_only_its_own_file(server: Server) -> None:
    mat, valid, images = catalog.TARGETS["mpii"]
    url = server.url("x/valid.h5")
    assert urls_for(valid, url, sole=False)[0] == url
    assert urls_for(mat, url, sole=False) == list(mat.urls)
    assert urls_for(images, "https://h/get?id=3", sole=True)[0] == "https://h/get?id=3"
    with pytest.raises(UsageError, match="not an http"):
        urls_for(valid, "file:///x", sole=True)


@pytest.mark.parametrize("layout", ["archives", "finished"])
def test_what_is_on_disk_is_taken_without_the_network(server: Server, tmp_path: Path, layout: str) -> None:
    source, data = tmp_path / "source", tmp_path / "data"
    if layout == "finished":
        get("mpii", source)
    else:
        source.mkdir()
        for name, content in (("images.tar.gz", ARCHIVE), ("annotations.zip", ZIP), ("valid.h5", VALID)):
            (source / name).write_bytes(content)
    server.seen.clear()
    done = get("mpii", data, source=source)
    expected = ["copied", "copied", "linked"] if layout == "finished" else ["extracted", "copied", "extracted"]
    assert actions(done) == expected and not server.seen
    assert_whole(data)
    assert actions(get("mpii", data)) == ["kept"] * 3


def test_a_single_file_on_disk_may_have_any_name(server: Server, tmp_path: Path) -> None:
    for target, content in (
        ("images", ARCHIVE),
        ("annotations", ZIP),
        ("annotations", MAT),
        ("split", VALID),
    ):
        source = tmp_path / "whatever"
        source.write_bytes(content)
        data = tmp_path / f"{target}{len(content)}"
        get(target, data, source=source)
        assert actions(get(target, data)) == ["kept"]
    assert not server.seen


def test_a_part_on_disk_is_taken_and_the_rest_fetched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "images.tar.gz").write_bytes(ARCHIVE)
    get("mpii", tmp_path / "data", source=tmp_path / "images.tar.gz")
    assert_whole(tmp_path / "data")
    assert {path for path, _ in server.seen} == {"/annotations.zip", "/valid.h5"}


def test_what_is_on_disk_is_taken_even_where_the_network_fails(server: Server, tmp_path: Path) -> None:
    for served in server.files.values():
        served.stuck = ("status", 404)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "valid.h5").write_bytes(VALID)
    with pytest.raises(PoseTopoError, match=r"annotations\.zip: not fetched"):
        get("mpii", tmp_path / "data", source=tmp_path / "here")
    assert (tmp_path / "data" / "valid.h5").read_bytes() == VALID


@pytest.mark.parametrize("target, name", [("images", "images.tar.gz"), ("annotations", "annotations.zip"),
                                          ("annotations", "release.mat"), ("split", "valid.h5")])  # fmt: skip
def test_wrong_bytes_on_disk_are_refused_and_not_fetched_around(
    server: Server, tmp_path: Path, target: str, name: str
) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 not it")
    with pytest.raises(PoseTopoError, match="not used") as caught:
        get(target, tmp_path / "data", source=tmp_path / name)
    assert str(tmp_path / name) in one_line(caught.value) and not server.seen


def test_an_image_folder_on_disk_must_be_complete_and_of_jpegs(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for name, content in list(IMAGES.items())[:-1]:
        (source / name).write_bytes(content)
    with pytest.raises(PoseTopoError, match="holds 5 of 6 images"):
        get("images", tmp_path / "data", source=source)
    (source / "last.jpg").write_bytes(b"<html>")
    with pytest.raises(PoseTopoError, match=r"last\.jpg, which is no JPEG"):
        get("images", tmp_path / "data", source=source)
    (source / "last.jpg").write_bytes(b"\xff\xd8")
    assert actions(get("images", tmp_path / "data", source=source)) == ["linked"]


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no links on this disk")

    monkeypatch.setattr(Path, "symlink_to", refuse)


def test_where_no_link_can_be_made_a_folder_is_copied(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for name, content in IMAGES.items():
        (source / name).write_bytes(content)
    no_links(monkeypatch)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(PoseTopoError, match=r"cannot be linked, and its .* bytes do not fit"):
        local.take_folder(source, catalog.TARGETS["images"][0], tmp_path / "data" / "images")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    lines = Lines()
    assert actions(get("images", tmp_path / "data", source=source)) == ["copied"]
    assert contents(tmp_path / "data" / "images") == IMAGES and not server.seen
    get("images", tmp_path / "data", lines)
    assert lines[-1].endswith("there (its images were counted)")


def test_a_copy_that_was_cut_short_is_not_taken_for_what_was_extracted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for name, content in IMAGES.items():  # of the right names and sizes, but other pictures
        (source / name).write_bytes(b"\xff\xd8" + bytes(len(content) - 2))
    copytree = shutil.copytree

    def cut(*given: Any) -> None:
        copytree(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        no_links(patched)
        patched.setattr(shutil, "copytree", cut)
        get("images", tmp_path / "data", source=source)
    assert actions(get("images", tmp_path / "data")) == ["extracted"]
    assert contents(tmp_path / "data" / "images") == IMAGES


def test_a_stray_picture_beside_the_image_folder_makes_no_image_folder(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    get("images", source)
    (source / "logo.jpg").write_bytes(b"\xff\xd8")
    assert actions(get("images", tmp_path / "data", source=source)) == ["linked"]
    assert contents(tmp_path / "data" / "images") == IMAGES


@pytest.mark.parametrize("damaged", ["[]", "{", "{}"])
def test_a_damaged_list_of_the_images_is_none(server: Server, tmp_path: Path, damaged: str) -> None:
    get("images", tmp_path)
    index_path(tmp_path / "images").write_text(damaged)
    assert actions(get("images", tmp_path)) == ["kept"]
    next((tmp_path / "images").iterdir()).unlink()
    assert actions(get("images", tmp_path)) == ["extracted"]
    assert contents(tmp_path / "images") == IMAGES


def test_a_linked_folder_is_not_judged_by_the_index_of_the_one_before(server: Server, tmp_path: Path) -> None:
    get("images", tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images")
    source = tmp_path / "pictures"
    source.mkdir()
    for name, content in IMAGES.items():
        (source / f"other_{name}").write_bytes(content)
    assert actions(get("images", tmp_path / "data", source=source)) == ["linked"]
    assert actions(get("images", tmp_path / "data")) == ["kept"]


def test_a_complete_folder_is_not_written_to(server: Server, tmp_path: Path) -> None:
    (tmp_path / "valid.h5").write_bytes(VALID)
    assert actions(get("split", tmp_path)) == ["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["valid.h5"]


def test_a_source_that_is_not_there_or_holds_nothing_is_a_usage_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        get("split", tmp_path, source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds nothing"):
        get("split", tmp_path, source=tmp_path / "empty")


@pytest.mark.parametrize("options", [{"target": "everything"}, {"target": "split", "arch": "resnet18"},
                                     {"target": "weights"}, {"target": "weights", "arch": "vgg"},
                                     {"target": "gdrive", "mirror": "http://h/"}])  # fmt: skip
def test_a_wrong_use_is_a_usage_error(tmp_path: Path, options: Any) -> None:
    with pytest.raises(UsageError) as caught:
        get(data=tmp_path, **options)
    one_line(caught.value)


def test_a_data_folder_that_cannot_be_made_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PoseTopoError) as caught:
        get("split", tmp_path / "file" / "data")
    assert str(tmp_path / "file") in one_line(caught.value)


def fake_gdown(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes] | Exception) -> None:
    def download_folder(id: str, output: str, resume: bool = False) -> list[str]:
        assert id == catalog.DRIVE_FOLDER and resume
        if isinstance(files, Exception):
            raise files
        for name, content in files.items():
            path = Path(output) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return list(files)

    module = types.ModuleType("gdown")
    module.__dict__["download_folder"] = download_folder
    monkeypatch.setitem(sys.modules, "gdown", module)


def test_the_drive_folder_is_verified_like_any_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"mpii/images/{name}": content for name, content in IMAGES.items()}
    fake_gdown(monkeypatch, {**files, "mpii/annotations/release.mat": MAT})
    lines = Lines()
    assert actions(get("gdrive", tmp_path / "data", lines)) == ["copied", "absent", "linked"]
    assert contents(tmp_path / "data" / "images") == IMAGES and not server.seen and LICENCE in lines
    (tmp_path / "data").rename(tmp_path / "moved")  # the link goes with the data
    assert contents(tmp_path / "moved" / "images") == IMAGES
    fake_gdown(monkeypatch, {**files, "mpii/release.mat": b"another"})
    with pytest.raises(PoseTopoError, match="not used"):
        get("gdrive", tmp_path / "other")


@pytest.mark.parametrize("failure", [RuntimeError("quota\nexceeded"), {}, None])
def test_a_drive_folder_that_does_not_come_is_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    if failure is None:
        monkeypatch.setitem(sys.modules, "gdown", None)
    else:
        fake_gdown(monkeypatch, failure)
    with pytest.raises(PoseTopoError) as caught:
        get("gdrive", tmp_path)
    line = one_line(caught.value)
    assert "drive.google.com" in line and (failure is None or str(tmp_path / "downloads" / "gdrive") in line)
    assert not (tmp_path / "downloads" / "gdrive").exists()  # nothing came into it


def test_what_a_hand_put_into_the_drives_folder_is_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gdown(monkeypatch, RuntimeError("quota exceeded"))
    folder = tmp_path / "downloads" / "gdrive" / "mpii"
    for name, content in {"images/" + name: content for name, content in IMAGES.items()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(PoseTopoError, match="quota exceeded"):
        get("gdrive", tmp_path)
    (folder / "release.mat").write_bytes(MAT)
    (folder / "valid.h5").write_bytes(VALID)
    assert actions(get("gdrive", tmp_path)) == ["copied", "copied", "linked"]
    assert_whole(tmp_path)


def test_without_a_network_the_drives_line_is_short(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = RuntimeError("Max retries exceeded with url: /embeddedfolderview (Caused by NameResolutionError(...))")
    wrapped.__context__ = socket.gaierror(-2, "Name or service not known")
    fake_gdown(monkeypatch, wrapped)
    with pytest.raises(PoseTopoError, match=r"not fetched \(Name or service not known\); fetch it by hand into"):
        get("gdrive", tmp_path)


def test_gdown_is_not_imported_unless_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    get("mpii", tmp_path)
    lines = Lines()
    assert actions(get("gdrive", tmp_path, lines, dry_run=True)) == ["kept"] * 3 and "would" not in "".join(lines)
    (tmp_path / "valid.h5").unlink()
    lines = Lines()
    assert actions(get("gdrive", tmp_path, lines, dry_run=True)) == ["kept", "planned", "kept"]
    assert "drive.google.com" in lines[0] and "about 5.0 kB" in lines[0]


def test_the_catalogue_is_whole() -> None:
    assert {"mpii", "images", "annotations", "split", "weights", "reference", "checkpoints", "gdrive"} == set(
        TARGET_NAMES
    )
    for remote in [*(r for group in catalog.TARGETS.values() for r in group), *catalog.WEIGHTS.values()]:
        assert all(url.startswith("https://") and url.endswith(remote.name) for url in remote.urls)
        assert remote.checks.hashed or remote.member_checks.hashed
    assert [r.target for r in catalog.TARGETS["mpii"]] == [
        "mpii_human_pose_v1_u12_1.mat", "valid.h5", "detections_our_format.mat", "images"
    ]  # fmt: skip
