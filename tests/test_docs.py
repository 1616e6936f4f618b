"""All commands in the README and the docs run, except those of blocks that need something that is not here."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_own_photographs import write_coco

from paper_figures import docs
from paper_figures.claims.model import load_study
from paper_figures.lib import style
from pose_topo import cli
from pose_topo.data import coco
from pose_topo.study.config import MAT_NAME

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^ *```(\S+)(?: needs=(\S+))?\n(.*?)^ *```", re.M | re.S)
NEEDS = {"mpii", "gpu", "docker", "network", "slurm"}
ASSIGNMENT = re.compile(r"^\w+=")


def blocks(page: str) -> list[tuple[str, str | None, list[str]]]:
    """Return (language, what it needs, lines) of every fenced block. Lines continued by a backslash are joined."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        (language, needs, [line.strip() for line in body.replace("\\\n", " ").splitlines() if line.strip()])
        for language, needs, body in BLOCK.findall(text)
    ]


def commands(page: str) -> list[str]:
    """Return the lines to run: of the blocks that need nothing, and of the list of figures."""
    found = [line for language, needs, lines in blocks(page) if language == "bash" and not needs for line in lines]
    table = re.findall(r"\| `(python -m paper_figures [^`]*)` \|", (ROOT / page).read_text(encoding="utf-8"))
    return [*found, *table]


def words(line: str, before: list[str]) -> list[str]:
    """Return the words of a line as the shell reads it, with variables and wildcards, without the comment."""
    script = "\n".join([*before, f"set -- {line}", "printf '%s\\0' \"$@\""])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def run(command: list[str]) -> None:
    program, *rest = command
    if program.endswith("pose-topo"):
        assert not cli.app(rest, standalone_mode=False)
    elif program.endswith("python") and rest[0] == "-m" and rest[1].startswith("paper_figures"):
        name = "paper_figures.lib.command" if rest[1] == "paper_figures" else rest[1]
        assert importlib.import_module(name).main(rest[2:]) == 0
    elif program.endswith("python") and rest[:2] == ["-m", "pytest"]:
        pass  # these are the tests
    elif program == "make":
        subprocess.run(["make", "-n", "-C", str(ROOT), *rest], check=True, capture_output=True)
    else:
        raise AssertionError(f"{command}: this test cannot run it")


@pytest.fixture(scope="module")
def world(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages assume it: data, a very short training, results and photographs."""
    root = tmp_path_factory.mktemp("world")
    (root / "data").mkdir()
    (root / "data" / "synthetic-800").symlink_to(small_data)
    (root / "paper_figures").symlink_to(ROOT / "paper_figures")
    shutil.copytree(
        ROOT / "paper_figures/reference/synthetic/topo-s0", root / "out/synthetic-800/demo/resnet18/topo-s0"
    )
    photos = sorted((small_data / "images").glob("*.jpg"))
    shutil.copy(photos[0], root / "photo.jpg")
    (root / "my_people").mkdir()
    (root / "my_people" / "images").symlink_to(small_data / "images")
    write_coco(root / "my_people" / "annotations.json", small_data / MAT_NAME, coco.NAMES)
    (root / "holiday").mkdir()
    shutil.copy(photos[1], root / "holiday")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        options = ["--protocol", "demo", "--arch", "resnet18", "--epochs", "1", "--input-size", "64", "--no-progress"]
        where = ["--data", "data/synthetic-800", "--save-dir", "runs/synthetic-800/demo/resnet18"]
        cli.app(["train-topo", *options, *where, "--run-name", "topo-s0"], standalone_mode=False)
    return root


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_runs(page: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setitem(style.SETTINGS, "savefig.dpi", 31)  # fast; what is drawn is tested elsewhere
    variables: list[str] = []
    for line in commands(page):
        if ASSIGNMENT.match(line):
            variables.append(line)
        elif command := words(line, variables):
            run(command)


def test_blocks_need_known_things_only() -> None:
    assert {needs for page in PAGES for _, needs, _ in blocks(page)} - {""} <= NEEDS


def test_commands_that_need_mpii_fail_only_because_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option would be an error before that, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    lines = [line for language, needs, body in blocks("docs/mpii.md") if needs == "mpii" for line in body]
    given = [words(line, []) for line in lines if "pose-topo " in line]
    assert given
    for _, *rest in given:
        with pytest.raises(SystemExit) as left:
            monkeypatch.setattr("sys.argv", ["pose-topo", *rest, *(["--dry-run"] if rest[0] == "download" else [])])
            cli.main()
        said = capsys.readouterr().err
        assert left.value.code == 0 if rest[0] == "download" else (left.value.code == 1 and "mpii not found" in said)


@pytest.mark.parametrize("page", docs.PAGES)
def test_the_generated_sections_are_up_to_date(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert docs.filled(text) == text, "python -m paper_figures.docs"


def test_the_appendix_numbers_all_claims_and_experiments_and_adds_up_their_minutes() -> None:
    study, text = load_study(), (ROOT / "docs" / "appendix.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \*\*\((C\d+)\) (\S+)\*\*: (.*) Judged by", text, re.M)
    assert {(name, said) for _, name, said in listed} == {(claim.id, claim.statement) for claim in study.claims}
    assert [number for number, *_ in listed] == [f"C{place}" for place in range(1, len(listed) + 1)]
    found = dict(re.findall(r"^### \(E\d+\) (\S+): \d+ human-minutes \+ (.*)$", text, re.M))
    assert list(found) == list(study.profiles)
    part = docs.study_of("pose-topo download lspet; make photographs")
    assert part and part.start and docs.study_of("make check") is None
    # each of these networks has one reference run
    files = [docs.REFERENCE / "photographs" / run.name / "provenance.json" for run in part.runs()]
    sessions = [one for file in files for one in json.loads(file.read_text(encoding="utf-8"))["sessions"]]
    seconds = sum(session["wall_seconds"] for session in sessions)
    assert found["photographs"] == f"{seconds / 60:,.0f} compute-minutes"


def test_links_between_the_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
