"""The tools run."""

import importlib.util
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from paper_figures.lib.command import exhibits
from pose_topo.data.dataset import cached_people
from pose_topo.data.splits import from_list, hashed
from pose_topo.models.regularizers import LOSSES
from pose_topo.rendering.folder import render_dataset

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_loss_scales_has_a_row_per_loss_before_and_after_training(small_data, monkeypatch, capsys):
    module = tool("loss_scales")
    monkeypatch.setattr(module, "SMALL", replace(module.SMALL, input_size=32, batch_size=4))
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


def test_the_released_network_never_saw_the_people_of_the_demo(tmp_path):
    """The demo starts from it. Its people come from other seeds, which share no person and no photograph."""
    module = tool("release_network")
    makefile = (TOOLS.parent / "Makefile").read_text(encoding="utf-8")
    (seed,) = set(re.findall(r"download synthetic --data \S+ --people \S+ --seed (\d+)", makefile))
    seeds = {int(seed), module.RENDERED[1], module.OTHER_RENDERED[1]}
    assert len(seeds) == 3
    joints, manifests = [], []
    for seed in seeds:
        manifests.append(render_dataset(tmp_path / str(seed), 12, seed=seed, workers=1, progress=False))
        people, _ = cached_people(next((tmp_path / str(seed)).glob("*.mat")), tmp_path / "cache")
        joints += [np.nan_to_num(person).tobytes() for person in people.joints]
    assert [manifest["seed"] for manifest in manifests] == list(seeds)
    assert len({manifest["content_sha256"] for manifest in manifests}) == 3
    assert len(set(joints)) == 3 * 12


# ---- how long a demo takes


def test_the_time_of_a_demo_follows_from_a_record_and_the_speed_of_a_step_here(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(TOOLS))
    module = tool("costs")
    study = module.Study({"STUDY": "demo", "OUT": str(tmp_path), "RUNS": str(tmp_path / "runs"), "VENV": "venv"})
    past = module.recorded()["demo"]
    monkeypatch.setattr(module, "step_time", lambda _: 3 * past["seconds_per_step"])
    module.write_expected(tmp_path / "times", study)
    lines = [line.split() for line in (tmp_path / "times").read_text().splitlines()]
    found = {target.rpartition("/")[2]: float(seconds) for seconds, target in lines}
    assert found["manifest.json"] == pytest.approx(3 * past["seconds"]["data"], abs=0.1)
    assert found["evaluation.json"] == pytest.approx(3 * past["seconds"]["evaluate"], abs=0.1)
    total = 3 * sum(seconds * (3 if step in ("train", "evaluate", "analyze") else 1)
                    for step, seconds in past["seconds"].items() if step != "time")  # fmt: skip
    assert sum(float(seconds) for seconds, _ in lines) == pytest.approx(total, rel=0.05)
    assert f"about {total / 60:.0f} min" in capsys.readouterr().out
    # what remains is the sum of what does not exist yet
    times = tmp_path / "short"
    times.write_text(f"100.4 {tmp_path}/a\n60.2 {tmp_path}/b\n")
    left = ["bash", str(TOOLS / "left.sh"), str(times)]
    assert subprocess.run(left, capture_output=True, text=True).stdout == "(about 3 min left)\n"
    (tmp_path / "a").touch()
    assert subprocess.run(left, capture_output=True, text=True).stdout == "(about 60 s left)\n"


def test_the_record_of_a_demo_holds_the_time_of_each_step(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    module = tool("costs")
    monkeypatch.chdir(TOOLS.parent)
    study = module.Study({"STUDY": "demo", "OUT": str(tmp_path), "RUNS": str(tmp_path / "runs"), "VENV": "venv"})
    study.data = str(tmp_path / "data/synthetic-800")
    monkeypatch.setattr(module, "step_time", lambda _: 0.25)
    rules = module.Rules(study, finished=False)
    list(rules.lines())
    clock = 1000.0
    spent = {"data": 9, "show": 4, "train": 40, "evaluate": 6, "analyze": 8, "draw": 10, "claims": 2, "report": 1}
    order = {f"{study.data}/manifest.json": "data", **rules.targets}
    for target, step in [(rules.expected, "time"), *sorted(order.items(), key=lambda item: list(spent).index(item[1]))]:
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"people": 800}')
        clock += spent.get(step, 0)
        os.utime(path, (clock, clock))
    module.write_took(tmp_path / "took.json", study)
    found = json.loads((tmp_path / "took.json").read_text())
    assert found["seconds"] == pytest.approx(spent)
    assert found["total"] == pytest.approx(clock - 1000)
    assert found["steps"] == pytest.approx(560 * 2 / 4) and found["seconds_per_step"] == 0.25
