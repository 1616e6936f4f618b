"""The tools run."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from paper_figures.lib.command import exhibits
from pose_topo.data.dataset import cached_people
from pose_topo.data.splits import from_list, hashed
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


def test_the_joint_data_set_of_the_released_network_keeps_people_and_parts(tmp_path, monkeypatch):
    """Boxes and joints are those of the two data sets, and the part for tuning is in neither half."""
    module, work = tool("release_network"), tmp_path / "work"
    rng, count = np.random.default_rng(0), 60
    values = np.ones((14, 3, count))
    values[:, :2] = rng.uniform(20, 300, (14, 2, count))
    values[12:, 2, ::4] = 0  # no head
    lspet = tmp_path / "lspet"
    (lspet / "images").mkdir(parents=True)
    savemat(lspet / "joints.mat", {"joints": values})
    for i in range(count):
        (lspet / "images" / f"im{i + 1:05d}.jpg").write_bytes(b"")
    monkeypatch.setattr(module, "RENDERED", (4, 0))
    module.joint_data(work, lspet, tmp_path / "cache")

    people, _ = cached_people(work / "joint" / "annotations.json", tmp_path / "cache")
    alone, _ = cached_people(lspet / "joints.mat", tmp_path / "cache")
    rendered, _ = cached_people(next((work / "synthetic-4").glob("*.mat")), tmp_path / "cache")
    origin = {name: (alone, i) for i, name in enumerate(alone.names)}
    drawn = [i for i, name in enumerate(people.names) if name.startswith("rendered-")]
    assert len(drawn) == len(rendered) == 4
    for i, name in enumerate(people.names):
        source, j = (rendered, drawn.index(i)) if i in drawn else origin[name]
        np.testing.assert_array_equal(people.labelled[i], source.labelled[j])
        np.testing.assert_allclose(people.joints[i], source.joints[j])
        np.testing.assert_allclose(people.center[i], source.center[j])
        np.testing.assert_allclose(people.scale[i], source.scale[j])
    split = from_list(people, work / "joint" / "held-out.txt")
    parts = {rule: hashed(alone, 0.1, rule) for rule in ("hashed", "tune")}
    test, tune = ({alone.names[i] for i in parts[rule].val} for rule in parts)
    assert test and tune and {people.names[i] for i in split.val} == test
    assert not {people.names[i] for i in split.train} & (test | tune)
    assert cv2.imread(str(work / "joint" / "images" / people.names[drawn[0]])) is not None
