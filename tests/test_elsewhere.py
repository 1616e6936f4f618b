"""Networks and predictions from elsewhere, on the command line."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from other_networks import Microsoft, Study, stir
from test_cli import one_line, run

from pose_topo.rendering.folder import render_dataset
from pose_topo.study import joints as J


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder of files as they are published."""
    folder = tmp_path_factory.mktemp("elsewhere")
    torch.save(stir(Microsoft("resnet18")).state_dict(), folder / "pose_resnet_18_128x128.pth.tar")
    torch.save(stir(Study("resnet18", 20)).state_dict(), folder / "resnet18_TopoModel_time_1755000000.pth")
    (folder / "metrics.csv").write_text("train_loss,val_loss\n1,2\n")  # the study's, with other columns than ours
    return folder


def test_microsofts_is_evaluated_under_the_standard_protocol(elsewhere, small_data, here, capsys):
    path = elsewhere / "pose_resnet_18_128x128.pth.tar"
    assert run("evaluate", path, "--data", small_data, "--no-progress") == 0
    said = capsys.readouterr()
    assert "BGR" in said.err and "input size 128, by the file's name" in said.err and "PCKh" in said.out
    assert "may have been trained on people who are scored here" in said.err
    result = json.loads((here / "out" / "pose_resnet_18_128x128" / "evaluation.json").read_text())
    assert result["checkpoint"] == {"layout": "microsoft", "colours": "bgr", "input_size": 128}
    assert (result["protocol"], result["arch"], result["epochs"]) == ("standard", "resnet18", None)
    assert result["arm"] is result["seed"] is result["as_protocol"] is None
    assert result["settings"]["flip_test"] and result["settings"]["decode"] == "quarter"
    words = " | ".join(result["deviations"])
    for part in ("colours bgr", "input size 128", "trained elsewhere (Xiao et al.'s code)", "may have been trained on"):
        assert part in words
    assert not (here / "out" / "pose_resnet_18_128x128" / "metrics.csv").exists()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """Rendered people, enough that some stand alone in their photograph."""
    folder = tmp_path_factory.mktemp("synthetic") / "more"
    render_dataset(folder, people=60, seed=5, workers=1, progress=False)
    return folder


def test_the_studys_is_evaluated_and_analysed_under_the_paper_protocol(elsewhere, alone, here, capsys):
    path, out = elsewhere / "resnet18_TopoModel_time_1755000000.pth", here / "out"
    where = ["--data", alone, "--out", out, "--no-progress"]
    assert run("evaluate", path, *where) == 0
    assert "channel k taken as joint (k + 1) mod 16" in capsys.readouterr().err
    assert run("analyze", path, *where, "--permutations", 99) == 0
    evaluation, analysis = (json.loads((out / f"{kind}.json").read_text()) for kind in ("evaluation", "analysis"))
    assert evaluation["protocol"] == "paper" and evaluation["settings"]["split"] == "paper"
    assert evaluation["checkpoint"] == analysis["checkpoint"]
    assert evaluation["deviations"] == analysis["deviations"]
    assert analysis["model"] == "topo" and analysis["grid"]["height"] == 4 and analysis["grid"]["width"] == 5
    assert analysis["lambda"] is analysis["topo_lr_mult"] is None


def test_predict_takes_them_too(elsewhere, small_data, here, capsys):
    photo = sorted((small_data / "images").iterdir())[0]
    assert run("predict", elsewhere / "pose_resnet_18_128x128.pth.tar", photo, "--out", here / "p") == 0
    assert "trained elsewhere" in capsys.readouterr().err
    (found,) = json.loads((here / "p" / "keypoints.json").read_text())["annotations"]
    assert len(found["keypoints"]) == 48


def test_without_data_it_is_said_what_is_needed(elsewhere, here, capsys):
    path = elsewhere / "pose_resnet_18_128x128.pth.tar"
    for command in ("evaluate", "analyze"):
        assert run(command, path) == 2
        assert "give --data" in one_line(capsys)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"conv1.weight": torch.zeros(1)}}, "missing: bn1.bias"),
        ({"backbone.stage2.0.weight": torch.zeros(1)}, "backbone.stage2.0.weight"),
        ([1, 2, 3], "list"),
        ("weights", "str"),
        ({"format": 99, "config": {}}, "format 1"),
    ],
)
def test_what_is_no_network_is_one_line(command, content, words, here, small_data, capsys):
    torch.save(content, here / "model.pth")
    more = ["--data", small_data] if command == "evaluate" else [small_data / "images"]
    assert run(command, here / "model.pth", *more) == 1
    assert words in one_line(capsys)
    assert [path.name for path in here.iterdir()] == ["model.pth"]


@pytest.mark.parametrize("spoil", [lambda p: p[..., ::-1], lambda p: p.transpose(0, 2, 1), lambda p: p[1:]])
def test_spoilt_predictions_are_one_line(spoil, here, capsys):
    rng = np.random.default_rng(0)
    joints = rng.uniform(1, [700, 300], (9, J.K, 2))
    with h5py.File(here / "truth.h5", "w") as file:
        file["joints"], file["labelled"], file["preds"] = joints, np.ones((9, J.K), bool), joints
        file["head_box"] = np.tile([1.0, 1.0, 31.0, 41.0], (9, 1))
    with h5py.File(here / "preds.h5", "w") as file:
        file["preds"] = spoil(joints)
    assert run("evaluate", "--predictions", here / "truth.h5", "--ground-truth", here / "truth.h5") == 0
    assert "100.00" in capsys.readouterr().out
    assert run("evaluate", "--predictions", here / "preds.h5", "--ground-truth", here / "truth.h5") == 1
    assert "preds.h5" in one_line(capsys)
