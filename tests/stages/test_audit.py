"""The audit: found where topoloss trained a layer, not found without it; its numbers by brute force; its page."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision
from reasons import without_reason
from safetensors.torch import save_file
from topoloss import LaplacianPyramid, TopoLoss
from torch import nn

import pose_topo
from pose_topo import cli
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.models.pose import build_model
from pose_topo.stages import audit as stage
from pose_topo.study import joints, runs
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import DEMO
from pose_topo.topography import measures, moran, weight_statistics

LAYER, GRID = "layer2.1.conv2", (8, 16)


def small_network(outputs: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=outputs)


def trained(scale: float) -> nn.Module:
    """A torchvision network after a few steps on noise, with the official TopoLoss on a layer if `scale` is not 0."""
    model = small_network().train()
    x, classes = torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    official = TopoLoss([LaplacianPyramid.from_layer(model, model.get_submodule(LAYER), 3.0, 3.0, scale=scale)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(x), classes)
        if scale:
            loss = loss + official.compute(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def unexplained(result: dict[str, Any]) -> list[str]:
    """The nulls without a reason; that of a missing part stands beside it."""
    return without_reason({key: value for key, value in result.items() if not result.get(f"{key}_reason")})


@pytest.fixture(autouse=True)
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "_MAX_STEPS", 500)


@pytest.fixture(scope="module")
def ordered() -> nn.Module:
    return trained(5.0)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs of other shapes than the input, a broken one, and a file that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for n in range(6):
        pixels = random.integers(0, 255, (30 + 7 * n, 60 - 4 * n, 3), np.uint8)
        cv2.imwrite(str(folder / f"{n}.png"), pixels)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "notes.txt").write_text("none")
    return folder


def test_topography_is_found_where_the_official_loss_trained_and_only_there(ordered):
    with_it = pose_topo.audit(ordered, LAYER, GRID, permutations=999)
    without = pose_topo.audit(trained(0.0), LAYER, GRID, permutations=999)
    assert with_it["answer"]["found"] and with_it["answer"]["p"] == 0.002
    assert "found on this 8 x 16 grid (p = 0.002)" in with_it["answer"]["text"]
    found, missing = with_it["weights"], without["weights"]
    assert found["directions"]["mean_I"] > 0.1 and found["directions"]["p_mean"] == 0.001
    assert found["cosine"]["excess"] > 0.015 and found["cosine"]["p"] == 0.001
    assert not without["answer"]["found"] and without["answer"]["p"] > 0.05
    assert "that no loss arranged" in without["answer"]["text"]
    assert abs(missing["directions"]["mean_I"]) < 0.05 and abs(missing["cosine"]["excess"]) < 0.003
    # on a grid with height and width exchanged, the order of the same layer is lower
    turned = pose_topo.audit(ordered, LAYER, (16, 8), permutations=999)
    assert turned["weights"]["cosine"]["excess"] < 0.7 * found["cosine"]["excess"]


# ---- numbers by brute force


def test_directions_are_the_singular_vectors_of_the_centred_unit_rows():
    weights = np.random.default_rng(0).normal(size=(12, 5)) * np.linspace(1, 9, 12)[:, None]
    unit = weights / np.linalg.norm(weights, axis=1)[:, None]
    left, values, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    loadings, shares = weight_statistics.leading_directions(unit, 3)
    assert np.abs(np.abs(loadings) - np.abs(left[:, :3].T)).max() < 1e-12
    assert np.abs(shares - values[:3] ** 2 / (values**2).sum()).max() < 1e-12
    assert (loadings[np.arange(3), np.abs(loadings).argmax(1)] > 0).all()
    assert len(weight_statistics.leading_directions(unit, 99)[0]) == 5  # the rank
    assert len(weight_statistics.leading_directions(np.ones((4, 1)), 3)[0]) == 0  # equal rows


def test_the_cosine_test_by_loops():
    lattice = Lattice(2, 3)
    rows = np.random.default_rng(1).normal(size=(6, 4))
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    found = weight_statistics.cosine_test(unit, moran.weights(lattice), 199, seed=4)
    pairs = lattice.edges()

    def mean(order: np.ndarray) -> float:
        return float(np.mean([unit[order[a]] @ unit[order[b]] for a, b in pairs]))

    every = np.mean([unit[a] @ unit[b] for a in range(6) for b in range(a)])
    orders = np.random.default_rng(4).permuted(np.tile(np.arange(6), (199, 1)), axis=1)
    largest = sum(mean(order) >= mean(np.arange(6)) - 1e-10 for order in orders)
    assert found["neighbours"] == pytest.approx(mean(np.arange(6)), abs=1e-14)
    assert found["all_pairs"] == pytest.approx(every, abs=1e-14)
    assert found["p"] == pytest.approx((1 + largest) / 200, abs=1e-14)
    assert sum(found["histogram"]["all_pairs"]) == pytest.approx(1) == sum(found["histogram"]["neighbours"])
    assert weight_statistics.cosine_test(unit[:1], np.zeros((1, 1)), 99)["p"] is None


def test_weights_and_readout_are_those_of_the_pure_functions():
    model = nn.Sequential(nn.Linear(7, 12), nn.ReLU(), nn.Linear(12, 3))
    weights, head = (part.weight.detach().double().numpy() for part in (model[0], model[2]))
    lattice = Lattice(3, 4)
    found = pose_topo.audit(model, "0", lattice, "2", readout_names=["a", "b", "c"], permutations=199)
    unit = weights / np.linalg.norm(weights, axis=1)[:, None]
    directions, _ = weight_statistics.leading_directions(unit, 8)
    test = moran.moran_test(directions, lattice, 199)
    assert found["weights"]["directions"]["I"] == pytest.approx(test.I.tolist(), abs=1e-12)
    assert found["weights"]["directions"]["p_mean"] == test.p_mean
    norms = moran.moran_test(np.linalg.norm(weights, axis=1)[None], lattice, 199)
    assert found["weights"]["norms"]["I"] == pytest.approx(norms.I.tolist(), abs=1e-12)
    assert found["weights"]["participation_ratio"] == weight_statistics.participation_ratio(weights)
    assert found["weights"]["cosine"]["neighbours"] == pytest.approx(weight_statistics.cosines(weights, lattice)[0])
    read = moran.moran_test(np.abs(head), lattice, 199)
    main = found["readout"]["moran"]["strength"]
    assert main["I"] == pytest.approx(read.I.tolist(), abs=1e-12) and main["q"] == pytest.approx(read.q.tolist())
    assert found["readout"]["ranked"][0] == ["abc"[int(read.I.argmax())], pytest.approx(read.I.max())]
    assert "activity" not in found["readout"]["moran"]  # it needs images
    assert 0 < found["weights"]["directions"]["best_I"] >= found["weights"]["directions"]["mean_I"]
    assert np.allclose(found["maps"]["readout"], np.abs(head).reshape(3, 3, 4))


def test_responses_are_those_of_the_named_module():
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Flatten())
    x = torch.randn(40, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    for name, seen in (("0", model[0](x)), ("1", model[0](x).relu())):
        means = seen.mean((2, 3)).detach().double().numpy()
        found = pose_topo.audit(model, "0", (3, 4), images=x, responses=name, permutations=199)["responses"]
        each = moran.morans_i(means, Lattice(3, 4))
        assert found["images"] == 40 and found["module"] == name
        assert found["single_images"]["I"] == pytest.approx(each.tolist(), abs=1e-6)
        scores = (means - means.mean(0)) / means.std(0)
        assert found["standardised"]["mean_I"] == pytest.approx(moran.morans_i(scores, Lattice(3, 4)).mean(), abs=1e-6)
        table = np.corrcoef(means.T)
        near = np.mean([table[a, b] for a, b in Lattice(3, 4).edges()])
        assert found["correlation"]["neighbours"] == pytest.approx(near, abs=1e-6)
    assert all(not part._forward_hooks for part in model.modules()) and model.training


def test_dead_channels_leave_the_grid_and_every_null_has_a_reason():
    model = nn.Linear(6, 12)
    with torch.no_grad():
        model.weight[3] = 0
    network = nn.Sequential(model)
    found = pose_topo.audit(network, "0", (3, 4), permutations=99)
    assert found["weights"]["dead_channels"] == 1
    assert found["maps"]["directions"][0][0][3] is None
    assert unexplained(found) == []
    with torch.no_grad():
        model.weight[:] = 1.0
    alike = pose_topo.audit(network, "0", (3, 4), images=torch.ones(3, 6), permutations=99)
    assert alike["weights"]["directions"]["mean_I"] is None and alike["answer"]["found"] is False
    assert unexplained(alike) == []
    with torch.no_grad():
        model.weight[:] = 0.0
    empty = pose_topo.audit(network, "0", (3, 4), permutations=99)
    assert empty["answer"]["found"] is None and empty["answer"]["text"].startswith("Not tested")
    assert unexplained(empty) == []
    assert "Not tested" in stage.page(empty) and "<html" in stage.page(alike)


def test_a_map_is_a_picture_with_one_pixel_per_channel():
    uri = stage.picture([[-2.0, 0.0, 2.0], [1.0, None, -1.0]], signed=True)
    data = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/png;base64,")), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (2, 3, 4) and pixels[1, 1, 3] == 0 and (pixels[0, :, 3] == 255).all()
    blue, _, red = pixels[0, :, :3].astype(int).T
    assert blue[0] > red[0] and red[2] > blue[2] and abs(blue[1] - red[1]) < 5  # negative, positive, zero
    assert (
        stage.number(-0.0004) == "0.000"
        and stage.number(-0.25, 2) == "\N{MINUS SIGN}0.25"
        and stage.number(None) == "–"
    )


# ---- photographs and networks by name


def test_photographs_are_read_as_by_imagenets_validation(photographs, said):
    batch = torch.cat(list(stage._batches(photographs, 16, 1000)))
    assert batch.shape == (6, 3, 16, 16)
    assert any("broken.png" in line for line in said)
    # a flat photograph stays flat and is normalised: RGB, from OpenCV's BGR
    flat = photographs.parent / "flat"
    flat.mkdir()
    cv2.imwrite(str(flat / "one.png"), np.full((40, 90, 3), (255, 0, 51), np.uint8))
    (pixels,) = torch.cat(list(stage._batches(flat, 16, 9)))
    expected = [(0.2 - 0.485) / 0.229, (0 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert torch.allclose(pixels, torch.tensor(expected)[:, None, None].expand(3, 16, 16), atol=1e-5)
    assert len(torch.cat(list(stage._batches(photographs, 16, 3)))) <= 3


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_command_audits_a_torchvision_network_with_a_state_dict(ordered, suffix, photographs, tmp_path, capsys):
    file = tmp_path / f"weights{suffix}"
    code = tmp_path / "mine.py"
    code.write_text("import torchvision\n\ndef make():\n    return torchvision.models.resnet18(num_classes=5)\n")
    if suffix == ".pt":
        torch.save({"state_dict": {f"module.{key}": value for key, value in ordered.state_dict().items()}}, file)
    else:
        save_file(ordered.state_dict(), file)
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\nfour\n<five>\n")
    out = tmp_path / "out"
    options = ["--layer", "layer4.1.conv2", "--grid", "16", "32", "--readout", "fc", "--readout-names", str(names)]
    more = ["--images", str(photographs), "--size", "32", "--permutations", "99", "--out", str(out)]
    code_of = cli.app(["audit", str(file), "--model", f"{code}:make", *options, *more], standalone_mode=False)
    assert not code_of
    result = json.loads((out / "audit.json").read_text())
    assert result["weights_from"] == file.name and len(result["checkpoint_sha256"]) == 64
    assert result["readout"]["names"][4] == "<five>" and result["responses"]["images"] == 6
    assert unexplained(result) == []
    assert set(result["not_measured"]) == {"the task", "the cause"}
    page = (out / "audit.html").read_text()
    assert page.rstrip() == stage.page(result).rstrip()  # it is made from audit.json alone
    assert "&lt;five&gt;" in page and "<five>" not in page and "<script" not in page and "http" not in page
    assert page.count("data:image/png") == 8 + 1 + 5 + 1  # directions, norms, outputs, mean response
    printed = capsys.readouterr().out
    assert "layer4.1.conv2 of" in printed and "readout fc: I of |w|" in printed and "responses to 6 images" in printed


def test_names_of_outputs_that_are_no_text(tmp_path):
    (tmp_path / "names").write_bytes(b"\xff\xd8")
    command = ["audit", "--model", "torchvision:resnet18", "--layer", "fc", "--readout-names", str(tmp_path / "names")]
    with pytest.raises(PoseTopoError, match="names: not readable as text"):
        cli.app(command, standalone_mode=False)


def test_a_readout_of_many_outputs_is_tested_with_fewer_permutations_and_listed_by_its_highest(tmp_path):
    network = nn.Sequential(nn.Linear(5, 12), nn.Linear(12, 100))
    found = pose_topo.audit(network, "0", (3, 4), "1", permutations=1999, out=tmp_path)["readout"]
    assert found["permutations"] == 999 and found["names"][99] == "99"
    values = found["moran"]["strength"]["I"]
    assert [value for _, value in found["ranked"]] == sorted(values, reverse=True)[:20]
    page = (tmp_path / "audit.html").read_text()
    assert "the 20 highest of 100" in page and "How strongly each output" not in page


def test_a_run_of_this_project_needs_no_model(small_data, tmp_path):
    config = RunConfig("resnet18", DEMO, Data.at(small_data), Topography(4, 8), arm="control")
    torch.manual_seed(0)
    run = tmp_path / "run"
    run.mkdir()
    runs.write_config(run, config)
    runs.save_checkpoint(runs.Checkpoint(run / "last.pt", config, 1, build_model(config).state_dict(), ""))
    found = stage.audit_named(run, model=None, permutations=99, images=None)
    assert found["layer"] == {"name": "topo.conv", "type": "Conv2d", "channels": 32, "inputs": 256}
    assert (found["grid"]["height"], found["grid"]["width"]) == (4, 8)
    assert found["readout"]["names"] == list(joints.NAMES) and found["readout"]["layer"] == "head"
    other = stage.audit_named(run, model=None, layer="deconv.6", grid=(16, 16), permutations=99)
    assert other["layer"]["type"] == "ConvTranspose2d" and other["readout"] is None


def test_the_released_network_is_a_baseline_and_gets_the_null_answer():
    found = stage.audit_named(runs.RELEASED, model=None, permutations=199)
    assert found["layer"]["name"] == "deconv.6" and found["layer"]["channels"] == 256
    assert found["answer"]["found"] is False


def test_what_is_refused_and_how(photographs, tmp_path):
    model = small_network()
    audit = pose_topo.audit
    with pytest.raises(UsageError, match=r"512 channels and no grid: give --grid HEIGHT WIDTH, for example 16 32"):
        audit(model, "layer4.1.conv2")
    with pytest.raises(UsageError, match=r"a 3 x 3 grid has 9: give a grid of 512"):
        audit(model, "layer4.1.conv2", (3, 3))
    with pytest.raises(UsageError, match=r"reads 512 inputs, the layer has 128 channels"):
        audit(model, LAYER, GRID, "fc")
    with pytest.raises(UsageError, match="2 names for the 5 outputs"):
        audit(model, "layer4.1.conv2", (16, 32), "fc", readout_names=["a", "b"])
    with pytest.raises(UsageError, match=r"--responses layer9: .*layer4"):
        audit(model, LAYER, GRID, images=torch.zeros(3, 3, 32, 32), responses="layer9")
    with pytest.raises(UsageError, match="the network failed on the images"):
        audit(model, LAYER, GRID, images=torch.zeros(3, 5, 32, 32))
    with pytest.raises(UsageError, match="for a grid of 128 channels and at least 2 images"):
        audit(model, LAYER, GRID, images=torch.zeros(3, 3, 32, 32), responses="layer4")
    with pytest.raises(PoseTopoError, match="no photograph in this folder"):
        audit(model, LAYER, GRID, images=tmp_path)
    with torch.no_grad():
        model.get_submodule(LAYER).weight[0, 0, 0, 0] = math.nan
    with pytest.raises(PoseTopoError, match="its weights are not finite"):
        audit(model, LAYER, GRID)
    named = stage.audit_named
    with pytest.raises(UsageError, match="give a checkpoint of this project, or --model"):
        named(None, model=None)
    with pytest.raises(UsageError, match=r"no such model; similar names: .*resnet18"):
        named(None, model="torchvision:resnet19", layer="fc")
    with pytest.raises(UsageError, match=r"give torchvision:NAME, or FILE\.py:FUNCTION"):
        named(None, model="resnet18", layer="fc")
    with pytest.raises(UsageError, match="there is no file"):
        named(None, model=f"{tmp_path}/none.py:make", layer="fc")
    (tmp_path / "broken.py").write_text("def make():\n    return 3\n")
    with pytest.raises(UsageError, match=r"make\(\) returned int"):
        named(None, model=f"{tmp_path}/broken.py:make", layer="fc")
    with pytest.raises(UsageError, match="AttributeError"):
        named(None, model=f"{tmp_path}/broken.py:other", layer="fc")
    with pytest.raises(UsageError, match=r"give --layer, such as .*fc"):
        named(None, model="torchvision:resnet18")
    torch.save(small_network(3).state_dict(), tmp_path / "three.pt")
    with pytest.raises(PoseTopoError, match=r"weights do not fit: not of the right shape or type: fc\.bias"):
        named(tmp_path / "three.pt", model="torchvision:resnet18", layer="fc", grid=(20, 50))
    with pytest.raises(PoseTopoError, match="give --model"):
        torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
        named(tmp_path / "other.pt", model=None)
