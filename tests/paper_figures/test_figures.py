"""Every figure and table is made from results folders alone, with a caption, and has the same bytes anywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_up_results
import numpy as np
import pytest
from PIL import Image

from paper_figures.lib import captions, command, style
from paper_figures.lib.command import PaperFigure, RunsExhibit, exhibits, main
from paper_figures.lib.results import FILES, load
from pose_topo.stages.compare import analyze_group
from pose_topo.study import joints

OF_RUNS = [exhibit for exhibit in exhibits().values() if isinstance(exhibit, RunsExhibit)]
FIGURES = [exhibit.name for exhibit in OF_RUNS if isinstance(exhibit, PaperFigure)]
NEEDS = [(exhibit.name, FILES.get(part, "analysis.json")) for exhibit in OF_RUNS for part in exhibit.needs]
ROOT = Path(__file__).parents[2]
DPI = 100  # a third of what is published: faster
HOSTILE = """
backend: TkAgg
font.size: 30
font.family: serif
text.usetex: True
text.latex.preamble: \\usepackage{nothing}
axes.prop_cycle: cycler('color', ['red'])
pdf.fonttype: 3
figure.dpi: 17
figure.constrained_layout.use: True
savefig.bbox: tight
savefig.dpi: 31
"""
BUILD = """
import sys
from paper_figures.lib import style
style.SETTINGS["savefig.dpi"] = int(sys.argv.pop())
from paper_figures.lib.command import main
code = main(sys.argv[1:])
assert not any(name.split('.')[0] == 'torch' for name in sys.modules)
raise SystemExit(code)
"""


def run(name: str, folders: list[Path], out: Path, *more: str) -> int:
    return main([name, *more, "--results", *map(str, folders), "--out", str(out)])


@pytest.fixture(scope="module")
def drawn(study: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Everything drawn twice, in two processes that cannot import torch.

    The second runs in another folder, with the results in other places and another order, and with settings that would
    change every figure.
    """
    root = tmp_path_factory.mktemp("drawn")
    for name in ("torch", "torchvision"):
        (root / "none" / name).mkdir(parents=True)
        (root / "none" / name / "__init__.py").write_text("raise ImportError('torch is not for figures')\n")
    for place in ("elsewhere", "config/stylelib"):
        (root / place).mkdir(parents=True)
    for place in ("elsewhere/matplotlibrc", "config/matplotlibrc", "hostile", "config/stylelib/default.mplstyle"):
        (root / place).write_text(HOSTILE.replace("backend: TkAgg\n", "" if "style" in place else "backend: TkAgg\n"))
    copies = [Path(shutil.copytree(folder, root / "copies" / folder.name)) for folder in study[::-1]]
    analyze_group(study, root / "group")
    shutil.copytree(root / "group", root / "copies" / "group")
    hostile = {"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "2"}
    hostile |= {"MATPLOTLIBRC": str(root / "hostile"), "MPLCONFIGDIR": str(root / "config"), "MPLBACKEND": "TkAgg"}
    hostile |= {"SOURCE_DATE_EPOCH": "1", "COLUMNS": "20"}
    builds = [
        (root / "here", study, root / "group", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, ROOT),
        (root / "there" / "deeper", copies, root / "copies" / "group", hostile, root / "elsewhere"),
    ]
    processes = []
    for out, folders, group, settings, where in builds:
        given = ["--results", *map(str, folders), "--out", str(out), "--group", str(group / "group.json"), str(DPI)]
        paths = {"PYTHONPATH": os.pathsep.join(map(str, (root / "none", ROOT)))}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MPL")} | settings | paths
        processes.append(subprocess.Popen([sys.executable, "-c", BUILD, *given], env=environment, cwd=where))
    assert [process.wait() for process in processes] == [0, 0]
    return builds[0][0], builds[1][0]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_with_its_caption(name: str, drawn: tuple[Path, Path]) -> None:
    out = drawn[0]
    assert {p.name for p in out.glob(f"{name}.*")} == {f"{name}.caption.md", f"{name}.pdf", f"{name}.png"}
    with Image.open(out / f"{name}.png") as picture:
        assert picture.width in (round(DPI * style.ONE_COLUMN), round(DPI * style.TWO_COLUMNS))
        assert np.asarray(picture.convert("L")).std() > 10
    pdf = (out / f"{name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"/Type3" not in pdf
    text = (out / f"{name}.caption.md").read_text(encoding="utf-8")
    assert re.match(r"\*\*[^*]+\.\*\* \S", text)  # the finding comes first
    if name == "schematic":
        return  # of no run in particular
    for said in ("Protocol small, resnet18, data synthetic", made_up_results.DEMO, made_up_results.FASTER, "Seeds: 1"):
        assert said in text
    assert "nan" not in text and "None" not in text


def test_captions_hold_the_numbers(study: list[Path], drawn: tuple[Path, Path]) -> None:
    text = (drawn[0] / "moran.caption.md").read_text(encoding="utf-8")
    means = [
        json.loads((f / "analysis.json").read_text())["moran"]["mean_I"] for f in study if f.name.startswith("topo")
    ]
    assert f"topo {sum(means) / 2:.3f} ({min(means):.3f} to {max(means):.3f})" in text
    assert "queen, bounded, binary" in text and "9999 permutations" in text and "E[I] = -0.0039" in text


@pytest.mark.parametrize(("name", "file"), NEEDS)
def test_a_missing_file_is_one_line(
    name: str, file: str, study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(study[-1], folder)
    (folder / file).unlink()
    assert run(name, [folder], tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and file in error and str(folder) in error
    assert not (tmp_path / "out").exists()


def test_a_run_without_the_file_is_skipped(study: list[Path], tmp_path: Path) -> None:
    arms = []
    for source in (study[2], study[4]):
        shutil.copytree(source, tmp_path / source.name)
        arms.append(tmp_path / source.name)
    (arms[0] / "analysis.json").unlink()
    assert run("moran", arms, tmp_path / "out") == 0
    assert "Seeds: 1 (topo)." in (tmp_path / "out" / "moran.caption.md").read_text(encoding="utf-8")


def test_missing_values_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(style.SETTINGS, "savefig.dpi", 50)  # fast
    folder = made_up_results.write_run(tmp_path / "run", "control", 1)
    for key in ("I", "z", "p", "q", "p_max"):
        made_up_results.edit(folder, "analysis.json", ("moran", "per_joint", "right ankle", key), None)
    made_up_results.edit(folder, "analysis.json", ("coactivation", "distance"), [None] * 9)
    made_up_results.edit(folder, "analysis.json", ("coactivation", "pairs"), [0] * 9)
    arrays = dict(np.load(folder / "analysis.npz"))
    arrays |= {"labels": np.full_like(arrays["labels"], -1), "neighbour_map": np.full((16, 16), np.nan)}
    arrays |= {key: np.full(len(arrays[key]), np.nan) for key in ("correlation_by_distance", "band_low", "band_high")}
    np.savez(folder / "analysis.npz", **arrays)
    for name in ("moran", "coactivation", "parcellation", "neighbour_correlation", "correlation_distance"):
        assert run(name, [folder], tmp_path / "out") == 0


def test_right_joints_are_darker_than_left_and_all_colors_differ() -> None:
    colors = [joints.colour(k) for k in range(joints.K)]
    assert sorted(style.JOINT_ORDER) == list(range(joints.K)) and len(set(colors)) == joints.K
    for right, left in joints.FLIP_PAIRS:
        assert np.dot(colors[right], (0.3, 0.59, 0.11)) + 0.15 < np.dot(colors[left], (0.3, 0.59, 0.11))


def test_bytes_are_the_same_anywhere(drawn: tuple[Path, Path]) -> None:
    """Neither folders, order of runs, time zone, locale, hash seed nor matplotlib settings change a byte."""
    first, second = ({p.name: p.read_bytes() for p in out.iterdir()} for out in drawn)
    assert len(first) == 3 * len(FIGURES) + 5 * (len(exhibits()) - len(FIGURES))
    assert [name for name in first if first[name] != second.get(name)] == [] and len(second) == len(first)


def test_the_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out.split()
    assert listed == list(exhibits()) and listed[0] == "schematic" and {"lesions", "table_seeds"} <= set(listed)


def test_a_script_that_fails_does_not_stop_the_others(
    study: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError("a bug")

    known = exhibits()
    broken = {name: replace(known[name], build=fails) for name in ("table_pckh",)}
    monkeypatch.setattr(command, "exhibits", lambda: {name: broken.get(name, known[name]) for name in known})
    assert run("table_pckh", study, tmp_path, "table_metrics") == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"table_metrics"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["zebra"], "no figure or table zebra"),
        (["moran"], "--results: give at least one"),
        (["table_seeds"], "--group: give the group.json"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_seeds_as_text(study: list[Path]) -> None:
    runs = [replace(load([study[0]])[0], arm=arm, seed=seed) for arm in ("control", "topo") for seed in range(6)]
    runs += [replace(runs[0], arm="topo-m1", seed=seed) for seed in (0, 2, 4)]
    assert captions.seeds_by_arm(runs) == "0 to 5 (control, topo); 0, 2, 4 (topo-m1)"
    many = [replace(runs[0], arm=f"topo-l{weight}", seed=seed) for weight in range(9) for seed in (0, 1)]
    assert captions.seeds_by_arm(many) == "0, 1 (each of 9 arms)"
