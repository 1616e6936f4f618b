"""`pose-topo download`: each target complete and verified in its place, from wherever it may come."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import Server
from made_up_targets import (
    ARCHIVE,
    IMAGES,
    MAT,
    NEWELL,
    QUICK,
    VALID,
    ZIP,
    actions,
    assert_complete,
    contents,
    make_zip,
    one_line,
    random_bytes,
    write_images,
)

from pose_topo.commands.prepare import download
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.download import catalog, fetch
from pose_topo.download.archives import index_path
from pose_topo.download.catalog import LICENCES
from pose_topo.download.fetch import FetchResult, Job, run
from pose_topo.download.transfer import Policy, urls_for

pytestmark = pytest.mark.usefixtures("targets")


def get(target: str, data: Path, *, dry_run: bool = False, policy: Policy = QUICK, **options: Any) -> list[FetchResult]:
    job = Job(data, policy=policy, **options)
    return run(catalog.TARGETS[target], job, dry_run=dry_run, licence=LICENCES.get(target))


def test_a_target_comes_complete_and_a_second_call_only_verifies(
    server: Server, tmp_path: Path, said: list[str]
) -> None:
    results = get("mpii", tmp_path)
    assert actions(results) == ["extracted", "fetched", "extracted"] and all(one.path.exists() for one in results)
    assert_complete(tmp_path)
    assert said.count(LICENCES["mpii"]) == 1
    server.seen.clear()
    said.clear()
    shutil.rmtree(tmp_path / "downloads")  # the archives are not needed again
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert actions(get("mpii", tmp_path)) == ["kept"] * 3
    assert not server.seen and LICENCES["mpii"] not in said
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_the_reference_has_its_own_folder_and_not_mpiis_licence(tmp_path: Path, said: list[str]) -> None:
    get("reference", tmp_path)
    assert (tmp_path / "reference" / "newell.h5").read_bytes() == NEWELL and LICENCES["mpii"] not in said


def test_a_dry_run_says_source_place_and_size_and_does_nothing(server: Server, tmp_path: Path, said: list[str]) -> None:
    assert actions(get("mpii", tmp_path / "data", dry_run=True)) == ["planned"] * 3
    assert not (tmp_path / "data").exists() and not server.seen
    text = "\n".join(said)
    assert server.url("images.tar.gz") in text and hashlib.md5(ARCHIVE).hexdigest() in text
    assert str(tmp_path / "data" / "images") in text and "kB" in text and LICENCES["mpii"] in said


def test_bars_are_for_terminals_and_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for terminal, progress in ((False, True), (True, False), (True, True)):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda answer=terminal: answer, raising=False)
        monkeypatch.setattr(sys, "stderr", stream)
        get("mpii", tmp_path / f"{terminal}{progress}", policy=Policy(progress=progress))
        seen.append(stream.getvalue())
    assert seen[:2] == ["", ""]
    assert "images.tar.gz: " in seen[2] and "B/s" in seen[2] and "extract images.tar.gz" in seen[2]


def test_too_small_a_disk_is_noticed_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "free_bytes", lambda root: 2 * len(ARCHIVE))  # enough for the images alone
    with pytest.raises(PoseTopoError, match=r"are needed and .* are free"):
        get("mpii", tmp_path / "data")
    assert not server.seen and not (tmp_path / "data").exists()
    assert actions(get("images", tmp_path / "data")) == ["extracted"]


@pytest.mark.parametrize("target", ["mpii", "images", "split"])
def test_without_a_network_one_line_says_what_to_do(server: Server, tmp_path: Path, target: str) -> None:
    """The line names the URL, the target path and the hash of the first file, and doing what it says is enough."""
    for served in server.files.values():
        served.stuck = ("reset",)
    with pytest.raises(PoseTopoError) as caught:
        get(target, tmp_path)
    remote = catalog.TARGETS[target][0]
    place = tmp_path / ("downloads/" + remote.name if remote.is_archive else remote.target)
    assert all(word in one_line(caught.value) for word in (remote.urls[0], str(place), remote.describe()))
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(server.files[f"/{remote.name}"].content)
    for served in server.files.values():
        served.stuck = ("none",)
    server.seen.clear()
    get(target, tmp_path)
    assert f"/{remote.name}" not in [path for path, _ in server.seen]


def test_the_compression_of_an_archive_is_not_undone(server: Server, tmp_path: Path) -> None:
    server.files["/images.tar.gz"].stuck = ("encoded", "gzip")  # as some servers call it
    assert actions(get("images", tmp_path)) == ["extracted"]
    assert contents(tmp_path / "images") == IMAGES


def test_a_bad_archive_in_its_place_is_set_aside_if_the_disk_can_hold_another(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    store = tmp_path / "downloads" / "images.tar.gz"
    store.parent.mkdir()
    store.write_bytes(ARCHIVE[:100])
    get("images", tmp_path, dry_run=True)
    assert "would fetch" in said[-1]
    store.write_bytes(bytes(len(ARCHIVE)))  # of the right size: its fault is only found when it is used
    get("images", tmp_path, dry_run=True)
    assert "if it verifies" in said[-1]
    with monkeypatch.context() as small:
        small.setattr(fetch, "free_bytes", lambda root: int(1.2 * len(ARCHIVE)))
        with pytest.raises(PoseTopoError, match=r"are needed and .* are free"):
            get("images", tmp_path)
    assert not server.seen and store.with_name("images.tar.gz.replaced").read_bytes() == bytes(len(ARCHIVE))
    assert actions(get("images", tmp_path)) == ["extracted"]


def test_a_zip_with_another_member_is_refused(server: Server, tmp_path: Path) -> None:
    server.serve("annotations.zip", make_zip({"folder/release.mat": random_bytes(4000, 99)}))
    with pytest.raises(PoseTopoError, match="git blob sha1"):
        get("annotations", tmp_path)
    assert not (tmp_path / "release.mat").exists()


def test_broken_targets_are_set_aside_and_replaced(tmp_path: Path) -> None:
    get("mpii", tmp_path)
    (tmp_path / "images" / "000000001.jpg").unlink()
    for name in ("valid.h5", "release.mat"):
        (tmp_path / name).write_bytes(b"broken")
    assert actions(get("mpii", tmp_path)) == ["extracted", "fetched", "extracted"]
    assert_complete(tmp_path)
    assert {"valid.h5.replaced", "release.mat.replaced", "images.replaced"} <= {p.name for p in tmp_path.iterdir()}


def test_a_complete_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "valid.h5").write_bytes(VALID)
    assert actions(get("split", tmp_path)) == ["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["valid.h5"]


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PoseTopoError) as caught:
        get("split", tmp_path / "file" / "data")
    assert str(tmp_path / "file") in one_line(caught.value)


# ---- --mirror


@pytest.mark.parametrize("mirror", ["m/", "m", "m/valid.h5"])
def test_a_mirror_is_tried_first(server: Server, tmp_path: Path, mirror: str) -> None:
    server.serve("m/valid.h5", VALID)
    get("split", tmp_path, mirror=server.url(mirror))
    assert [path for path, _ in server.seen] == ["/m/valid.h5"]


def test_after_a_mirror_with_wrong_or_missing_files_the_known_urls_are_tried(server: Server, tmp_path: Path) -> None:
    server.serve("m/valid.h5", random_bytes(5000, 77))
    get("mpii", tmp_path, mirror=server.url("m/"))
    assert_complete(tmp_path)


def test_a_mirror_that_is_a_file_serves_only_that_file(server: Server, tmp_path: Path) -> None:
    mat, valid, images = catalog.TARGETS["mpii"]
    url = server.url("x/valid.h5")
    assert urls_for(valid, url, sole=False)[0] == url and urls_for(mat, url, sole=False) == mat.urls
    assert urls_for(images, "https://h/get?id=3", sole=True)[0] == "https://h/get?id=3"
    with pytest.raises(UsageError, match="not an http"):
        urls_for(valid, "file:///x", sole=True)
    with pytest.raises(UsageError, match=r"of none that is wanted \(annotations\.zip, valid\.h5, images\.tar\.gz\)"):
        get("mpii", tmp_path, mirror="https://h/get?id=3")


# ---- --from


@pytest.mark.parametrize("layout", ["archives", "finished"])
def test_a_folder_on_disk_is_used_instead_of_the_network(server: Server, tmp_path: Path, layout: str) -> None:
    source, data = tmp_path / "source", tmp_path / "data"
    if layout == "finished":
        get("mpii", source)
        (source / "logo.jpg").write_bytes(b"\xff\xd8")  # does not make it an image folder
    else:
        source.mkdir()
        for name, content in (("images.tar.gz", ARCHIVE), ("annotations.zip", ZIP), ("valid.h5", VALID)):
            (source / name).write_bytes(content)
    server.seen.clear()
    expected = ["copied", "copied", "linked"] if layout == "finished" else ["extracted", "copied", "extracted"]
    assert actions(get("mpii", data, source=source)) == expected and not server.seen
    assert_complete(data)
    assert actions(get("mpii", data)) == ["kept"] * 3


@pytest.mark.parametrize("target, content", [("images", ARCHIVE), ("annotations", ZIP), ("annotations", MAT),
                                             ("split", VALID)])  # fmt: skip
def test_a_single_file_on_disk_may_have_any_name(server: Server, tmp_path: Path, target: str, content: bytes) -> None:
    source = tmp_path / "whatever"
    source.write_bytes(content)
    get(target, tmp_path / "data", source=source)
    assert actions(get(target, tmp_path / "data")) == ["kept"] and not server.seen
    source.write_bytes(b"PK\x03\x04 not it")
    with pytest.raises(PoseTopoError, match="not used") as caught:
        get(target, tmp_path / "other", source=source)
    assert str(source) in one_line(caught.value) and not server.seen  # refused, and not fetched instead


def test_what_is_on_disk_is_taken_and_the_rest_fetched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "valid.h5").write_bytes(VALID)
    server.files["/annotations.zip"].stuck = ("status", 404)
    with pytest.raises(PoseTopoError, match=r"annotations\.zip: not fetched"):
        get("mpii", tmp_path / "data", source=tmp_path / "here")
    assert (tmp_path / "data" / "valid.h5").read_bytes() == VALID  # taken although the network fails
    server.files["/annotations.zip"].stuck = ("none",)
    get("mpii", tmp_path / "data", source=tmp_path / "here")
    assert_complete(tmp_path / "data")
    assert {path for path, _ in server.seen} == {"/annotations.zip", "/images.tar.gz"}


def test_an_image_folder_on_disk_must_be_complete(server: Server, tmp_path: Path) -> None:
    source = write_images(tmp_path / "pictures", dict(list(IMAGES.items())[:-1]))
    with pytest.raises(PoseTopoError, match="holds 5 of 6 images"):
        get("images", tmp_path / "data", source=source)
    (source / "last.jpg").write_bytes(b"\xff\xd8")
    assert actions(get("images", tmp_path / "data", source=source)) == ["linked"]


def no_links(*_: Any, **__: Any) -> None:
    raise OSError("no links on this disk")


def test_without_links_an_image_folder_is_copied(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_images(tmp_path / "pictures", IMAGES)
    monkeypatch.setattr(Path, "symlink_to", no_links)
    assert actions(get("images", tmp_path / "data", source=source)) == ["copied"]
    assert contents(tmp_path / "data" / "images") == IMAGES and not server.seen


def test_an_interrupted_copy_is_not_taken_for_an_interrupted_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names and sizes are right, but the pictures are others."""
    blank = {name: b"\xff\xd8" + bytes(len(content) - 2) for name, content in IMAGES.items()}
    source, copytree = write_images(tmp_path / "pictures", blank), shutil.copytree

    def interrupted(*given: Any) -> None:
        copytree(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "symlink_to", no_links)
        patched.setattr(shutil, "copytree", interrupted)
        get("images", tmp_path / "data", source=source)
    assert actions(get("images", tmp_path / "data")) == ["extracted"]
    assert contents(tmp_path / "data" / "images") == IMAGES


@pytest.mark.parametrize("damaged", ["[]", "{", "{}"])
def test_with_a_damaged_index_the_images_are_counted(tmp_path: Path, damaged: str) -> None:
    get("images", tmp_path)
    index_path(tmp_path / "images").write_text(damaged)
    assert actions(get("images", tmp_path)) == ["kept"]
    next((tmp_path / "images").iterdir()).unlink()
    assert actions(get("images", tmp_path)) == ["extracted"]
    assert contents(tmp_path / "images") == IMAGES


def test_a_linked_folder_is_not_compared_with_the_index_of_an_earlier_one(tmp_path: Path) -> None:
    get("images", tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images")
    source = write_images(tmp_path / "pictures", {f"other_{name}": content for name, content in IMAGES.items()})
    assert actions(get("images", tmp_path / "data", source=source)) == ["linked"]
    assert actions(get("images", tmp_path / "data")) == ["kept"]


def test_a_source_without_any_wanted_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        get("split", tmp_path, source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds nothing"):
        get("split", tmp_path, source=tmp_path / "empty")


# ---- The command


def test_the_command_fetches_a_target(tmp_path: Path, said: list[str]) -> None:
    download("split", data=tmp_path)
    assert (tmp_path / "valid.h5").read_bytes() == VALID and LICENCES["split"] in said


@pytest.mark.parametrize("options", [{"target": "everything"}, {"target": "split", "arch": "resnet18"},
                                     {"target": "weights", "arch": "vgg"},
                                     {"target": "gdrive", "mirror": "http://h/"}])  # fmt: skip
def test_a_wrong_use_is_a_usage_error(tmp_path: Path, options: Any) -> None:
    with pytest.raises(UsageError) as caught:
        download(data=tmp_path, **options)
    one_line(caught.value)


def test_every_entry_of_the_catalogue_can_be_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real catalogue
    for remote in [*(r for group in catalog.TARGETS.values() for r in group), *catalog.WEIGHTS.values()]:
        if remote in catalog.TARGETS["lspet"]:  # its authors' server has no https, and its mirror's files have no name
            assert remote.urls[0].endswith(remote.name) and (remote.listing or remote.member_checks.sha256)
            continue
        assert all(url.startswith("https://") and url.endswith(remote.name) for url in remote.urls)
        assert remote.checks.hashes() or remote.member_checks.hashes()
    assert [remote.target for remote in catalog.TARGETS["mpii"]] == [
        "mpii_human_pose_v1_u12_1.mat", "valid.h5", "detections_our_format.mat", "images"
    ]  # fmt: skip
