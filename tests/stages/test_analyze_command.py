"""`pose-topo analyze` on the command line: a group of results, and wrong usage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from test_compare import results

from pose_topo import cli


def run(*arguments: object) -> int:
    old = sys.argv
    sys.argv = ["pose-topo", "analyze", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        sys.argv = old
    return int(left.value.code or 0)


def test_a_group_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [results(tmp_path, arm, s, mean, 80.0) for arm, mean in (("control", 0.0), ("topo", 0.4)) for s in (0, 1)]
    assert run("--group", *folders, "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "group.json").read_text())["kind"] == "group"
    said = capsys.readouterr()
    assert "topo - control, seeds 0, 1" in said.out and "group.json" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a", "b"], 2, "--group"),
        (["--group", "nowhere"], 1, "no analysis.json"),
        (["nowhere", "--control", "nowhere"], 1, "nowhere"),
        (["nowhere", "--lesion-grids", "0"], 2, "lesion-grids"),
        (["nowhere", "--robustness"], 1, "nowhere"),
        (["nowhere", "--robustness", "--lesions"], 2, "--lesions: not together with --robustness"),
        (["--group", "nowhere", "--lesions", "--untrained"], 2, "--lesions and --untrained: not together with --group"),
        (["--group", "nowhere", "--robustness"], 2, "--robustness: not together with --group"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pose-topo: error: ")]
    assert len(lines) == 1 and words in lines[0]
    assert list(tmp_path.iterdir()) == []
