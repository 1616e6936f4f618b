"""What is on disk already (`--from`): taken where it is right, refused where it is not, never fetched around."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_targets import ARCHIVE, IMAGES, MAT, VALID, ZIP, Lines, actions, assert_whole, get, served_targets
from test_sources_server import Server, contents, one_line

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.download import catalog, local
from pose_topo.download.archives import index_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the made-up targets."""
    with served_targets(monkeypatch) as opened:
        yield opened


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


def test_a_source_that_is_not_there_or_holds_nothing_is_a_usage_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        get("split", tmp_path, source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds nothing"):
        get("split", tmp_path, source=tmp_path / "empty")
