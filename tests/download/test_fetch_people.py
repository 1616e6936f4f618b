"""`pose-topo download lspet`: images and a file of one archive, which is verified by its content."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from loopback import Server
from made_up_targets import (
    IMAGES,
    JOINTS,
    MIRRORED,
    PEOPLE,
    QUICK,
    actions,
    contents,
    listing,
    make_tar,
    make_zip,
    one_line,
    write_images,
)

from pose_topo.commands import prepare
from pose_topo.commands.prepare import download
from pose_topo.core.errors import PoseTopoError
from pose_topo.download import archives, catalog
from pose_topo.download.catalog import LICENCES
from pose_topo.download.fetch import FetchResult, Job, run

pytestmark = pytest.mark.usefixtures("targets")
OTHER = {**PEOPLE, "images/000000003.jpg": b"\xff\xd8 another photograph"}


def get(data: Path, *, dry_run: bool = False, **options: Any) -> list[FetchResult]:
    job = Job(data, policy=QUICK, **options)
    return run(catalog.TARGETS["lspet"], job, dry_run=dry_run, licence=LICENCES["lspet"])


def assert_people(data: Path) -> None:
    """Joints and images are there, and nothing that is not hidden but the archive."""
    assert contents(data / "images") == IMAGES and (data / "joints.mat").read_bytes() == JOINTS
    names = {path.name for path in data.iterdir() if not path.name.startswith(".")}
    assert names - {"downloads"} == {"images", "joints.mat"}


def asked(server: Server) -> list[str]:
    return [path for path, _ in server.seen]


def test_one_archive_brings_both_and_a_second_call_only_verifies(
    server: Server, tmp_path: Path, said: list[str]
) -> None:
    assert actions(get(tmp_path)) == ["extracted", "extracted"]
    assert_people(tmp_path)
    assert asked(server) == ["/people.zip"] and said.count(LICENCES["lspet"]) == 1
    assert sum("no longer needed" in line for line in said) == 1 and "no longer needed" in said[-1]
    said.clear()
    shutil.rmtree(tmp_path / "downloads")
    assert actions(get(tmp_path)) == ["kept", "kept"] and asked(server) == ["/people.zip"]
    assert all("verified" in line for line in said)


@pytest.mark.parametrize("archive", [
    make_zip(OTHER), make_zip({name: PEOPLE[name] for name in list(PEOPLE)[:-1]}), make_zip({"joints.mat": JOINTS}),
    make_zip(PEOPLE)[:-5000], make_tar(OTHER), b"<html>" + bytes(9000),
], ids=["another photograph", "one less", "no photograph", "truncated", "tar", "no archive"])  # fmt: skip
def test_after_an_archive_of_other_content_the_mirror_is_asked_once(
    server: Server, tmp_path: Path, archive: bytes
) -> None:
    server.serve("people.zip", archive)
    get(tmp_path)
    assert_people(tmp_path)
    assert asked(server) == ["/people.zip", "/zip/8fab"]


def test_wrong_joints_are_refused_although_the_images_are_right(server: Server, tmp_path: Path) -> None:
    wrong = {**PEOPLE, "joints.mat": JOINTS[::-1]}
    for path in ("people.zip", "zip/8fab"):
        server.serve(path, make_zip(wrong))
    with pytest.raises(PoseTopoError, match=r"holds a joints\.mat that has sha256"):
        get(tmp_path)
    assert not (tmp_path / "joints.mat").exists()


@pytest.mark.parametrize("faults", [[("cut", 4096)] * 2, [("reset",), ("status", 503)], [("chunked", 5000)],
                                    [("stall", 8192)]])  # fmt: skip
def test_an_interrupted_transfer_is_continued(server: Server, tmp_path: Path, faults: list[Any]) -> None:
    server.files["/people.zip"].faults.extend(faults)
    get(tmp_path)
    assert_people(tmp_path)
    assert set(asked(server)) == {"/people.zip"}


def test_a_later_call_asks_only_for_the_rest(server: Server, tmp_path: Path) -> None:
    for served in server.files.values():
        served.stuck = ("status", 404)
    server.files["/people.zip"].faults.append(("cut", 8192))
    with pytest.raises(PoseTopoError) as caught:
        get(tmp_path)
    assert all(
        word in one_line(caught.value) for word in (server.url("people.zip"), server.url("zip/8fab"), listing(IMAGES))
    )
    server.files["/people.zip"].stuck = ("none",)
    get(tmp_path)
    assert server.seen[-1] == ("/people.zip", "bytes=8192-")
    assert_people(tmp_path)


def test_a_mirror_is_tried_first(server: Server, tmp_path: Path) -> None:
    server.serve("mine/lsp.tar.gz", make_tar(MIRRORED))
    get(tmp_path, mirror=server.url("mine/lsp.tar.gz"))
    assert_people(tmp_path)
    assert asked(server) == ["/mine/lsp.tar.gz"]


def test_a_dry_run_writes_nothing_and_counts_the_archive_once(server: Server, tmp_path: Path, said: list[str]) -> None:
    assert actions(get(tmp_path / "data", dry_run=True)) == ["planned", "planned"]
    assert not (tmp_path / "data").exists() and not server.seen and said[0] == LICENCES["lspet"]
    assert (
        server.url("people.zip") in said[1]
        and listing(IMAGES) in said[1]
        and str(tmp_path / "data" / "images") in said[1]
    )
    assert "would use" in said[2] and "joints.mat" in said[2] and "needs 0 B" in said[2]


# ---- --from


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def git(*command: str) -> None:
    who = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *command], check=True, capture_output=True, env=environment)


def bare_repository(tmp_path: Path, files: dict[str, bytes]) -> Path:
    if shutil.which("git") is None:
        pytest.skip("no git")
    work, bare = str(lay(tmp_path / "work", files)), tmp_path / "bare"
    git("init", "--quiet", work)
    git("-C", work, "add", ".")
    git("-C", work, "commit", "--quiet", "--message", "all")
    git("clone", "--quiet", "--bare", work, str(bare))
    return bare


@pytest.mark.parametrize("kind", ["folder", "zip", "zip of a mirror", "tar", "tar of a mirror", "git", ".git"])
def test_what_is_on_disk_is_taken_instead_of_the_network(server: Server, tmp_path: Path, kind: str) -> None:
    files = MIRRORED if "mirror" in kind else PEOPLE
    source = tmp_path / "whatever"
    if kind == "folder":
        lay(source, {**PEOPLE, "README.txt": b"read me"})
    elif kind == "git":
        source = bare_repository(tmp_path, {**PEOPLE, "README.txt": b"read me"})
    elif kind == ".git":
        source = bare_repository(tmp_path, PEOPLE).with_name("work") / ".git"
    else:
        source.write_bytes(make_zip(files) if "zip" in kind else make_tar(files))
    before = {path: path.stat().st_mtime_ns for path in [source, *source.rglob("*")]}
    get(tmp_path / "dry", source=source, dry_run=True)
    assert not (tmp_path / "dry").exists()
    expected = ["linked", "copied"] if kind == "folder" else ["extracted", "extracted"]
    assert actions(get(tmp_path / "data", source=source)) == expected
    assert_people(tmp_path / "data")
    assert before == {path: path.stat().st_mtime_ns for path in [source, *source.rglob("*")]}
    assert not list((tmp_path / "data").rglob("*.tar"))  # git's is removed
    assert actions(get(tmp_path / "data")) == ["kept", "kept"] and not server.seen


def test_other_photographs_on_disk_are_refused(server: Server, tmp_path: Path) -> None:
    archive = tmp_path / "lspet.zip"
    archive.write_bytes(make_zip(OTHER))
    sources = [lay(tmp_path / "folder", OTHER), archive, bare_repository(tmp_path, OTHER)]
    for source in sources:
        with pytest.raises(PoseTopoError, match=r"whose list has sha256 .*; not used") as caught:
            get(tmp_path / "data", source=source)
        assert str(source) in one_line(caught.value)
    assert not (tmp_path / "data" / "images").exists() and not server.seen


def test_a_git_repository_that_does_not_serve_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = bare_repository(tmp_path, {"README.txt": b"read me"})
    with pytest.raises(PoseTopoError, match="git archive fails") as caught:
        get(tmp_path / "data", source=bare)
    one_line(caught.value)
    monkeypatch.setattr(archives.shutil, "which", lambda name: None)
    with pytest.raises(PoseTopoError, match="git is not installed"):
        get(tmp_path / "data", source=bare)


# ---- What is there is verified by its content


def test_a_photograph_of_the_right_size_but_other_content_is_noticed(tmp_path: Path) -> None:
    get(tmp_path)
    name, content = next(iter(IMAGES.items()))
    (tmp_path / "images" / name).write_bytes(content[::-1])
    assert actions(get(tmp_path)) == ["extracted", "kept"]
    assert contents(tmp_path / "images") == IMAGES


def test_what_a_killed_extraction_left_is_verified(tmp_path: Path) -> None:
    name, content = next(iter(IMAGES.items()))
    write_images(archives.partial_path(tmp_path / "images"), {name: bytes(len(content))})  # as after a power cut
    with pytest.raises(PoseTopoError, match="what was extracted holds images whose list has sha256"):
        get(tmp_path)
    get(tmp_path)
    assert_people(tmp_path)


def test_the_command_has_its_own_folder_and_the_doctor_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSE_TOPO_CACHE", str(tmp_path / "cache"))
    download("lspet")
    assert_people(tmp_path / "lspet")

    def finding() -> prepare.Finding:
        return next(one for one in prepare.check_folders(Path("lspet"), "full") if one.what == "data")

    assert finding().level == "ok" and "images, joints.mat are there and verified" in finding().state
    (tmp_path / "lspet" / "images" / "000000000.jpg").unlink()
    assert finding().level == "FAIL" and "`pose-topo download lspet --data lspet`" in finding().state
