"""The tools run."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

from paper_figures.lib.command import exhibits
from pose_topo.models.regularizers import LOSSES

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_loss_scales_has_a_row_per_loss_before_and_after_training(small_data, monkeypatch, capsys):
    module = tool("loss_scales")
    monkeypatch.setattr(module, "DEMO", replace(module.DEMO, input_size=32, batch_size=4))
    module.main(["--data", str(small_data), "--steps", "2"])
    before, after = capsys.readouterr().out.split("after 2 steps without a spatial loss\n")
    rows = [dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", part, re.M)) for part in (before, after)]
    for found in rows:
        assert list(found) == list(LOSSES)
        assert all(float(value) >= 0 for row in found.values() for value in row.split(" | "))
    assert rows[0] != rows[1]  # it was trained


def test_the_scripts_of_figures_and_tables_are_found_without_importing_them():
    assert list(tool("study").scripts()) == list(exhibits())
