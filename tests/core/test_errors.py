"""The door for the unknown: whatever error reaches a user is one line."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from paper_figures.claims import check
from paper_figures.lib import command, style
from paper_figures.report import page
from pose_topo.core.errors import REPORT, PoseTopoError, UsageError, guarded, one_line
from pose_topo.scoring import predictions

MODULE = {"__name__": "pose_topo.made_up"}  # the line looks at the frames of this project
exec("def read(path):\n    inner(path.name)\n\ndef inner(name):\n    raise KeyError(f'what\\nis {name}?')\n", MODULE)


def test_an_unknown_error_is_one_line_that_names_the_file_and_asks_for_a_report(capsys) -> None:
    file = Path("some") / "folder" / "file.h5"
    assert guarded("figure", lambda: MODULE["read"](file)) == 1
    said = capsys.readouterr()
    assert said.err == f"figure: {file}: KeyError: 'what\\nis file.h5?'; {REPORT}\n" and said.out == ""


def test_debug_shows_where(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pose-topo", "--debug"])
    with pytest.raises(KeyError):
        guarded("figure", lambda: MODULE["read"](Path("file")))


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (PoseTopoError("a: no\n such file"), "a: no such file", 1),
        (UsageError("--b: give 1"), "--b: give 1", 2),
        (KeyboardInterrupt(), "interrupted", 130),
        (OSError(28, "No space left on device", "a.h5"), "a.h5: No space left on device", 1),
        (OSError(28, "No space left on device"), "No space left on device", 1),
        (OSError("no number"), "no number", 1),
        (BrokenPipeError(), "BrokenPipeError", 1),
        (MemoryError("900 GiB"), "not enough memory (900 GiB)", 1),
        (
            OSError(
                "Can't write (time = Fri, filename = 'a.h5', errno = 28, error message = 'No space left on device', "
                "buf = 0x55d0c7)"
            ),
            "No space left on device",
            1,
        ),
        (PoseTopoError("\x1b[2Jgone \udc80"), "?[2Jgone ?", 1),
    ],
)
def test_lines(error: BaseException, line: str, code: int) -> None:
    assert one_line(error) == (f"pose-topo: error: {line}", code)


def test_a_full_disk_is_one_line_without_addresses(tmp_path: Path) -> None:
    """A limit of the file size stands for the full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))
    try:
        with pytest.raises(PoseTopoError, match=r"^cannot write .*preds\.h5 \(File too large\)$"):
            predictions.write_predictions(tmp_path / "preds.h5", np.zeros((1000, 16, 2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_a_figure_is_one_line_that_names_it(tmp_path: Path, capsys) -> None:
    """matplotlib fails again when it closes the file."""
    figure = style.new_figure(5, 5)
    figure.add_subplot().scatter(*np.random.default_rng(0).random((2, 5000)))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))
    try:
        assert guarded("figure", lambda: style.save(figure, tmp_path, "a")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert capsys.readouterr().err == f"figure: {tmp_path}/a.pdf: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["paper_figures", "paper_figures.claims.check", "paper_figures.report.page"])
def test_figure_scripts_know_debug(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert "--debug" in done.stdout


@pytest.mark.parametrize("script", [command, check, page], ids=lambda script: script.__name__)
@pytest.mark.parametrize(("made", "said"), [(b"\xff\xd8", "not readable as text"), (None, "not a regular file")])
def test_a_list_of_results_that_is_no_list(tmp_path: Path, capsys, script: ModuleType, made, said: str) -> None:
    path = tmp_path / "list"
    os.mkfifo(path) if made is None else path.write_bytes(made)
    assert script.main(["--results", f"@{path}", "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: " in line and said in line and REPORT not in line


NOBODY = """
import os, pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import cache_folder
import torch._inductor.codecache, torch._dynamo
try: cache_folder()
except PoseTopoError as error: print(error)
"""


def test_a_user_without_a_name_and_without_a_home() -> None:
    """A container may run as a user id that is in no passwd file, without USER and HOME."""
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-400:]
    assert done.stdout == "no home folder for crops and weights: give --cache-dir, or set POSE_TOPO_CACHE\n"
