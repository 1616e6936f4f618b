"""The laws of `download`: each target whole and verified in its place, from wherever it may come."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_targets import ARCHIVE, IMAGES, MAT, NEWELL, VALID, Lines, actions, assert_whole, get, served_targets
from test_sources_server import Server, contents, impatient, make_zip, one_line, random_bytes

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.download import catalog
from pose_topo.download import fetch as planning
from pose_topo.download.catalog import LICENCE
from pose_topo.download.targets import TARGET_NAMES, download
from pose_topo.download.transfer import urls_for


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the made-up targets."""
    with served_targets(monkeypatch) as opened:
        yield opened


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
        download("mpii", tmp_path / f"{terminal}{progress}", policy=impatient(progress=progress))
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


def test_a_complete_folder_is_not_written_to(server: Server, tmp_path: Path) -> None:
    (tmp_path / "valid.h5").write_bytes(VALID)
    assert actions(get("split", tmp_path)) == ["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["valid.h5"]


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


def test_the_catalogue_is_whole() -> None:
    assert {"mpii", "images", "annotations", "split", "weights", "reference", "gdrive"} == set(TARGET_NAMES)
    for remote in [*(r for group in catalog.TARGETS.values() for r in group), *catalog.WEIGHTS.values()]:
        assert all(url.startswith("https://") and url.endswith(remote.name) for url in remote.urls)
        assert remote.checks.hashed or remote.member_checks.hashed
    assert [r.target for r in catalog.TARGETS["mpii"]] == [
        "mpii_human_pose_v1_u12_1.mat", "valid.h5", "detections_our_format.mat", "images"
    ]  # fmt: skip
