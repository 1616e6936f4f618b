"""The names of `import pose_topo`: they load lazily, they are documented, and docs/python.md's examples run."""

import inspect
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pose_topo
from pose_topo.core.errors import PoseTopoError
from pose_topo.models.pose import build_model
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import SMALL

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = "import sys, pose_topo; print([name for name in ('torch', 'numpy', 'cv2', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", pose_topo.__all__)
def test_every_name_has_a_complete_docstring(name: str) -> None:
    """Each parameter of a public function or class stands in its docstring."""
    item = getattr(pose_topo, name)
    text = inspect.getdoc(item) or ""
    parameters = [p for p in inspect.signature(item).parameters if p not in ("self",)]
    assert [p for p in parameters if not re.search(rf"\b{p}\b", text)] == []
    assert "Raises:" in text


def test_what_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pose_topo.nothing
    assert set(pose_topo.__all__) <= set(dir(pose_topo))


@pytest.fixture
def world(small_data: Path, tmp_path: Path) -> Path:
    """A folder as the page assumes it: a run of the demo (untrained, 32 px) and a photograph."""
    recipe = replace(SMALL, input_size=32)
    config = RunConfig(arch="resnet18", recipe=recipe, data=Data.at(small_data), arm="baseline")
    torch.manual_seed(0)
    run = tmp_path / "runs/synthetic-800/demo/resnet18/topo-s0"
    run.mkdir(parents=True)
    runs.write_config(run, config)
    runs.save_checkpoint(runs.Checkpoint(run / "last.pt", config, 1, build_model(config).state_dict(), ""))
    shutil.copy(sorted((small_data / "images").glob("*.jpg"))[0], tmp_path / "photo.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("page", "names"), [("python.md", pose_topo.__all__), ("audit.md", ["TopographicLoss", "audit"])]
)
def test_the_examples_of_the_page_run(
    page: str, names: list[str], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    text = "\n".join(blocks)
    assert [name for name in names if f"pose_topo.{name}(" not in text] == []
    monkeypatch.chdir(world)
    exec(compile(text, page, "exec"), {})


def test_predict_takes_a_file_and_the_same_pixels_alike(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.chdir(world)
    network = pose_topo.load_network("runs/synthetic-800/demo/resnet18/topo-s0", "cpu", "fp32")
    pixels = cv2.cvtColor(cv2.imread("photo.jpg"), cv2.COLOR_BGR2RGB)
    of_file, of_pixels = (pose_topo.predict(network, one) for one in ("photo.jpg", pixels))
    assert np.array_equal(of_file[0], of_pixels[0]) and of_file[0].shape == (1, 16, 2)
    with pytest.raises(PoseTopoError, match="lies outside the photograph"):
        pose_topo.predict(network, "photo.jpg", boxes=[(-50, -50, 10, 10)])
    with pytest.raises(PoseTopoError, match="not readable"):
        pose_topo.predict(network, "no.jpg")
