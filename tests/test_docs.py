"""Every command that README and docs show is run, unless its block says that it needs `mpii`, `gpu` or `docker`."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from paper_figures import docs as readme
from pose_topo import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^ *```(\S+)(?: needs=(\S+))?\n(.*?)^ *```", re.M | re.S)
NEEDS = {"mpii", "gpu", "docker"}
ASSIGNMENT = re.compile(r"^\w+=")


def blocks(page: str) -> list[tuple[str, str | None, list[str]]]:
    """(language, what it needs, lines) of every fenced block; a line continued by a backslash is one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        (language, needs, [line.strip() for line in body.replace("\\\n", " ").splitlines() if line.strip()])
        for language, needs, body in BLOCK.findall(text)
    ]


def commands(page: str) -> list[str]:
    """The lines to be run, in order: of the blocks that need nothing, and of README's table of figures."""
    found = [line for language, needs, lines in blocks(page) if language == "bash" and not needs for line in lines]
    table = re.findall(r"\| `(python -m paper_figures\.\S+ [^`]*)` \|", (ROOT / page).read_text(encoding="utf-8"))
    return [*found, *table]


def words(line: str, before: list[str]) -> list[str]:
    """A line as the shell reads it: without its comment, with variables and wildcards."""
    script = "\n".join([*before, f"set -- {line}", "printf '%s\\0' \"$@\""])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def run(command: list[str]) -> None:
    program, *rest = command
    if program.endswith("pose-topo"):
        assert not cli.app(rest, standalone_mode=False)
    elif program.endswith("python") and rest[0] == "-m" and rest[1].startswith("paper_figures."):
        assert importlib.import_module(rest[1]).main(rest[2:]) == 0
    elif program.endswith("python") and rest[:2] == ["-m", "pytest"]:
        pass  # this
    elif program == "make":
        subprocess.run(["make", "-n", "-C", str(ROOT), *rest], check=True, capture_output=True)
    else:
        raise AssertionError(f"{command}: nobody knows how to run this here")


@pytest.fixture(scope="module")
def world(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages assume it: data, a trained run (a very small one), results, photographs."""
    root = tmp_path_factory.mktemp("world")
    (root / "data").mkdir()
    (root / "data" / "synthetic-2400").symlink_to(small_data)
    (root / "paper_figures").symlink_to(ROOT / "paper_figures")
    shutil.copytree(
        ROOT / "paper_figures/reference/synthetic/topo-s0", root / "out/synthetic-2400/demo/resnet18/topo-s0"
    )
    photos = sorted((small_data / "images").glob("*.jpg"))
    shutil.copy(photos[0], root / "photo.jpg")
    (root / "holiday").mkdir()
    shutil.copy(photos[1], root / "holiday")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        options = ["--protocol", "demo", "--arch", "resnet18", "--epochs", "1", "--input-size", "64", "--no-progress"]
        where = ["--data", "data/synthetic-2400", "--save-dir", "runs/synthetic-2400/demo/resnet18"]
        cli.app(["train-topo", *options, *where, "--run-name", "topo-s0"], standalone_mode=False)
    return root


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_runs(page: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    variables: list[str] = []
    for line in commands(page):
        if ASSIGNMENT.match(line):
            variables.append(line)
        elif command := words(line, variables):
            run(command)


def test_what_a_block_needs_is_one_of_few_things() -> None:
    assert {needs for page in PAGES for _, needs, _ in blocks(page)} - {""} <= NEEDS


def test_commands_that_need_mpii_stop_for_want_of_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So their options are right: a bad one would be refused first, with 2."""
    monkeypatch.chdir(tmp_path)
    lines = [line for language, needs, body in blocks("README.md") if needs == "mpii" for line in body]
    given = [words(line, []) for line in lines if "pose-topo " in line]
    assert given
    for _, *rest in given:
        with pytest.raises(SystemExit) as left:
            monkeypatch.setattr("sys.argv", ["pose-topo", *rest, *(["--dry-run"] if rest[0] == "download" else [])])
            cli.main()
        said = capsys.readouterr().err
        assert left.value.code == 0 if rest[0] == "download" else (left.value.code == 1 and "mpii not found" in said)


@pytest.mark.parametrize("page", readme.PAGES)
def test_the_numbers_of_a_page_are_those_of_the_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert readme.filled(text) == text, "python -m paper_figures.docs"


def test_every_figure_and_table_stands_in_the_readme() -> None:
    from paper_figures import FIGURES, GROUP_TABLES, TABLES
    from paper_figures.__main__ import module

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [
        name for name in (*FIGURES, *TABLES, *GROUP_TABLES) if f"`{module(name).replace('.', '/')}.py`" not in text
    ] == []


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
