"""Published networks: each listed file whole and verified in its run's folder; an empty list is said, no failure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_sources_server import Server, impatient, one_line, random_bytes, running_server

from pose_topo import cli
from pose_topo.core.errors import PoseTopoError
from pose_topo.download.fetch import Done
from pose_topo.download.published import LIST, published_checkpoints
from pose_topo.download.targets import download

RUN = "mpii/standard/resnet18/topo-s0"
FILES = {f"{RUN}/last.pt": random_bytes(9000, 1), f"{RUN}/provenance.json": b"{}",
         "mpii/standard/resnet18/topo-s1/last.pt": random_bytes(8000, 2)}  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as opened:
        for number, content in enumerate(FILES.values()):
            opened.serve(f"files/{number}", content)
        yield opened


def entry(run: str, name: str, url: str, sha256: str, size: object) -> str:
    return f'[[checkpoint]]\nrun = "{run}"\nname = "{name}"\nurl = "{url}"\nsha256 = "{sha256}"\nsize = {size}\n'


def listing(server: Server, path: Path) -> Path:
    lines = []
    for number, (place, content) in enumerate(FILES.items()):
        run, name = place.rsplit("/", 1)
        digest = hashlib.sha256(content).hexdigest()
        lines.append(entry(run, name, server.url(f"files/{number}"), digest, len(content)))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def get(folder: Path, listed: Path, **options: object) -> tuple[list[Done], list[str]]:
    said: list[str] = []
    return download("checkpoints", folder, say=said.append, policy=impatient(), listing=listed, **options), said  # type: ignore[arg-type]


def test_every_file_comes_to_its_runs_folder_and_a_second_call_only_verifies(server: Server, tmp_path: Path) -> None:
    listed = listing(server, tmp_path / "list.toml")
    done, said = get(tmp_path / "nets", listed)
    assert [one.action for one in done] == ["fetched"] * 3 and sum("fetched and verified" in line for line in said) == 3
    assert {place: (tmp_path / "nets" / place).read_bytes() for place in FILES} == FILES
    server.seen.clear()
    assert [one.action for one in get(tmp_path / "nets", listed)[0]] == ["kept"] * 3 and not server.seen


def test_a_dry_run_says_all_of_it_and_writes_nothing(server: Server, tmp_path: Path) -> None:
    done, said = get(tmp_path / "nets", listing(server, tmp_path / "list.toml"), dry_run=True)
    assert [one.action for one in done] == ["planned"] * 3 and not server.seen and not (tmp_path / "nets").exists()
    assert server.url("files/0") in said[0] and hashlib.sha256(next(iter(FILES.values()))).hexdigest() in said[0]


def test_other_bytes_are_refused_and_leave_nothing(server: Server, tmp_path: Path) -> None:
    listed = listing(server, tmp_path / "list.toml")
    server.serve("files/0", random_bytes(9000, 3))
    with pytest.raises(PoseTopoError, match="sha256"):
        get(tmp_path / "nets", listed)
    assert not list((tmp_path / "nets").rglob("last.pt"))


def test_a_mirror_and_a_folder_on_disk_hold_the_same_tree(server: Server, tmp_path: Path) -> None:
    listed = listing(server, tmp_path / "list.toml")
    for place, content in FILES.items():
        server.serve(f"mirror/{place}", content)
    server.seen.clear()
    get(tmp_path / "nets", listed, mirror=server.url("mirror"))
    assert [path for path, _ in server.seen] == [f"/mirror/{place}" for place in FILES]
    server.seen.clear()
    done, _ = get(tmp_path / "again", listed, source=tmp_path / "nets")
    assert [one.action for one in done] == ["copied"] * 3 and not server.seen


def test_an_empty_list_is_said(tmp_path: Path) -> None:
    listed = tmp_path / "list.toml"
    listed.write_text("# nothing\n", encoding="utf-8")
    done, said = get(tmp_path / "nets", listed)
    assert done == [] and len(said) == 1 and "none is published" in said[0] and not (tmp_path / "nets").exists()


def test_the_command_reads_the_projects_own_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pose-topo", "download", "checkpoints", "--dry-run"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == max(1, len(published_checkpoints(LIST)))  # what the list holds, or that it holds nothing
    assert not list(tmp_path.iterdir())


GOOD = {"run": RUN, "name": "last.pt", "url": "https://h/x", "sha256": "a" * 64, "size": 5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "../other"}, "below the folder"),
        ({"run": "/etc"}, "below the folder"),
        ({"run": "a//b"}, "below the folder"),
        ({"name": ".."}, "below the folder"),
        ({"url": "file:///x"}, "http"),
        ({"sha256": "abc"}, "64 hex digits"),
        ({"size": '"5"'}, "whole number"),
        ({"size": 0}, "bytes"),
        ({"size": "5\nmd5 = 1"}, "unknown md5"),
    ],
)
def test_an_entry_that_makes_no_sense_is_one_line(tmp_path: Path, change: dict[str, str], message: str) -> None:
    listed = tmp_path / "list.toml"
    listed.write_text(entry(**(GOOD | change)), encoding="utf-8")  # type: ignore[arg-type]
    with pytest.raises(PoseTopoError, match=message) as caught:
        published_checkpoints(listed)
    assert str(listed) in one_line(caught.value)


def test_a_list_that_is_broken_missing_or_repeats_itself_is_one_line(tmp_path: Path) -> None:
    listed = tmp_path / "list.toml"
    for content, message in ((entry(**GOOD) * 2, "twice"), ("[[checkpoint", "not readable as TOML"), (None, "no such")):  # type: ignore[arg-type]
        if content is None:
            listed.unlink()
        else:
            listed.write_text(content, encoding="utf-8")
        with pytest.raises(PoseTopoError, match=message) as caught:
            published_checkpoints(listed)
        assert str(listed) in one_line(caught.value)
