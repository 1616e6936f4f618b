"""Every script draws from results folders alone, says what it drew, and gives the same bytes anywhere."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import made_up_results
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from paper_figures import style
from pose_topo import joints

FIGURES = {
    "training_curves": "metrics.csv",
    "parcellation": "analysis.npz",
    "neighbour_correlation": "analysis.npz",
    "moran": "analysis.json",
    "correlation_distance": "analysis.npz",
    "coactivation": "analysis.json",
    "overlays": "examples.npz",
    "strength_maps": "analysis.npz",
}
TABLES = {"table_pckh": "evaluation.json", "table_topography": "analysis.json"}
ROOT = Path(__file__).parents[2]
DPI = 100  # a third of what is published: faster
HOSTILE = """
backend: TkAgg
font.size: 30
font.family: serif
text.usetex: True
pdf.fonttype: 3
figure.dpi: 17
savefig.bbox: tight
"""


def run(name: str, folders: list[Path], out: Path, *more: str) -> int:
    main = importlib.import_module(f"paper_figures.{name}").main
    return main(["--results", *map(str, folders), "--out", str(out), *more])


BUILD = """
import importlib, importlib.abc, sys
class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision'):
            raise ImportError('torch is not for figures')
sys.meta_path.insert(0, NoTorch())
from paper_figures import style
style.SETTINGS["savefig.dpi"] = int(sys.argv.pop())
names, out, folders = sys.argv[1].split(','), sys.argv[2], sys.argv[3:]
for name in names:
    assert importlib.import_module('paper_figures.' + name).main(['--results', *folders, '--out', out]) == 0, name
assert not any(name.split('.')[0] == 'torch' for name in sys.modules)
"""


@pytest.fixture(scope="module")
def drawn(study: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Everything built twice at once: here, and in another process under hostile settings without torch."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there") / "deeper"
    rc = tmp_path_factory.mktemp("rc") / "matplotlibrc"
    rc.write_text(HOSTILE, encoding="utf-8")
    settings = {"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "2", "MATPLOTLIBRC": str(rc)}
    names = [*FIGURES, *TABLES, "check"]
    other = subprocess.Popen(
        [sys.executable, "-c", BUILD, ",".join(names), str(there), *map(str, study[::-1]), str(DPI)],
        env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
        cwd=rc.parent,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    before = dict(matplotlib.rcParams)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(style.SETTINGS, "savefig.dpi", DPI)
        codes = {name: run(name, study, here) for name in names}
    error = other.communicate()[1].decode()
    assert other.returncode == 0, error
    assert codes == dict.fromkeys(names, 0) and dict(matplotlib.rcParams) == before
    return here, there


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
    for said in ("Protocol demo, resnet18, data synthetic", made_up_results.DEMO, made_up_results.FASTER, "topo 1"):
        assert said in text
    assert "nan" not in text and "None" not in text


def test_captions_hold_the_numbers(study: list[Path], drawn: tuple[Path, Path]) -> None:
    text = (drawn[0] / "moran.caption.md").read_text(encoding="utf-8")
    means = [
        json.loads((f / "analysis.json").read_text())["moran"]["mean_I"] for f in study if f.name.startswith("topo")
    ]
    assert f"topo {sum(means) / 2:.3f} ({min(means):.3f} to {max(means):.3f})" in text
    assert "queen, bounded, binary" in text and "9999 permutations" in text and "E[I] = -0.0039" in text


@pytest.mark.parametrize("name", FIGURES | TABLES)
def test_missing_file_is_one_clear_line(
    name: str, study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(study[0], folder)
    (folder / (FIGURES | TABLES)[name]).unlink()
    assert run(name, [folder], tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and (FIGURES | TABLES)[name] in error and str(folder) in error
    assert not (tmp_path / "out").exists()


def test_a_run_without_the_file_is_left_out(study: list[Path], tmp_path: Path) -> None:
    arms = []
    for source in (study[2], study[4]):
        shutil.copytree(source, tmp_path / source.name)
        arms.append(tmp_path / source.name)
    (arms[0] / "analysis.json").unlink()
    assert run("moran", arms, tmp_path / "out") == 0
    assert "Seeds: topo 1." in (tmp_path / "out" / "moran.caption.md").read_text(encoding="utf-8")


def test_what_does_not_exist_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_unknown_arm_keeps_its_look() -> None:
    assert style.arm_style("topoloss") == style.arm_style("topoloss")
    assert style.arm_style("topoloss") not in style.ARMS.values()
    assert sorted(("z", "topo", "a", "control", "baseline"), key=style.arm_order) == [
        "baseline",
        "control",
        "topo",
        "a",
        "z",
    ]


def test_right_joints_are_darker_than_left_and_all_colors_differ() -> None:
    colors = [style.joint_color(k) for k in range(joints.K)]
    assert sorted(style.JOINT_ORDER) == list(range(joints.K)) and len(set(colors)) == joints.K
    for right, left in joints.FLIP_PAIRS:
        assert np.dot(colors[right], (0.3, 0.59, 0.11)) + 0.15 < np.dot(colors[left], (0.3, 0.59, 0.11))
    lightness = sorted(np.dot(to_rgb(look.color), (0.3, 0.59, 0.11)) for look in style.ARMS.values())
    assert len({(str(look.dashes), look.marker) for look in style.ARMS.values()}) == len(lightness)


def test_bytes_are_the_same_anywhere(drawn: tuple[Path, Path]) -> None:
    """Other folder, order of runs, time zone, locale and hash seed; a hostile matplotlibrc; and no torch."""
    first, second = ({p.name: p.read_bytes() for p in out.iterdir()} for out in drawn)
    assert len(first) == 3 * len(FIGURES) + 4 * len(TABLES) + 2
    assert [name for name in first if first[name] != second.get(name)] == [] and len(second) == len(first)
