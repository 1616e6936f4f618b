"""The analysis stage on random weights: analysis.json and analysis.npz with all extras."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reasons import without_reason

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.machine import seed_everything
from pose_topo.data.batches import Batch
from pose_topo.data.dataset import prepare
from pose_topo.models.pose import build_model, trained_order
from pose_topo.stages import analyze
from pose_topo.stages.analyze import control_of, network_before, responses_of
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import PROTOCOLS
from pose_topo.topography import moran


def config_of(data: Path, height: int = 4, width: int = 5, arm: str = "topo", **given: Any) -> RunConfig:
    recipe = replace(PROTOCOLS["small"], input_size=32, sigma=1.0, start="none")
    topography = Topography(height, width, weight=0.0 if arm == "control" else 0.5, **given)
    return RunConfig("resnet18", recipe, Data.at(data), topography, arm=arm)


def write(folder: Path, config: RunConfig) -> Path:
    """A run folder whose network is untrained, with head weights of ordinary size."""
    dataset = prepare(config.data, config.recipe, seed=config.seed, progress=False)
    seed_everything(config.seed)
    model = build_model(config)
    torch.nn.init.normal_(model.head.weight)
    runs.write_config(folder, config)
    runs.save_checkpoint(runs.Checkpoint(folder / "last.pt", config, 1, model.state_dict(), dataset.split_sha256))
    return folder


@pytest.fixture(scope="module")
def run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("runs") / "topo-s0", config_of(small_data))


def analyzed(run: Path, out: Path, **given: Any) -> dict[str, Any]:
    options = {"permutations": 49, "progress": False, "precision": "fp32", "device": "cpu"}
    return analyze.analyze_checkpoint(run, out, **options | given)


@pytest.fixture(scope="module")
def full(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis with all extras and itself as the control."""
    out = tmp_path_factory.mktemp("out")
    result = analyzed(run, out, lesion_grids=3, untrained=True, control=run)
    assert result == json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    return out


def test_extras_that_were_not_requested_are_null_with_a_reason(run: Path, tmp_path: Path) -> None:
    result = analyzed(run, tmp_path)
    assert result["lesions"] is None and "--lesions" in result["lesions_reason"]
    assert result["controls"]["untrained"] is None and "--untrained" in result["controls"]["untrained_reason"]
    assert result["controls"]["trained_grid"] is None and result["controls"]["trained_grid_reason"]
    assert result["controls"]["against"] is None and "--control" in result["controls"]["against_reason"]
    assert analyzed(run, tmp_path / "again") == result
    assert (tmp_path / "again" / "analysis.json").read_bytes() == (tmp_path / "analysis.json").read_bytes()
    explained = {key: value for key, value in result.items() if key not in ("checkpoint", "controls", "lesions")}
    assert without_reason(explained) == []


def test_a_permuted_grid_is_also_measured_as_the_loss_saw_it(small_data: Path, tmp_path: Path) -> None:
    config = config_of(small_data, permuted=True, arm="topo-permuted")
    result = analyzed(write(tmp_path / "run", config), tmp_path / "out")
    model, order = build_model(config), trained_order(config)
    model.load_state_dict(runs.load_checkpoint(tmp_path / "run" / "last.pt").model)
    maps = np.abs(model.head.weight.detach().double().numpy()[:, order, 0, 0])
    expected = moran.morans_i(maps, moran.weights(Lattice(4, 5))).mean()
    assert result["controls"]["trained_grid"]["mean_I"]["strength"] == pytest.approx(expected, abs=1e-12)
    assert result["moran"]["mean_I"] != pytest.approx(expected, abs=1e-6)
    assert result["permuted"] is True and result["topo_loss"] == "weight-similarity"


def test_the_pictures_are_recorded(full: Path) -> None:
    result, maps = json.loads((full / "analysis.json").read_text()), np.load(full / "analysis.npz")
    assert len(maps["images"]) == len(maps["persons"]) == result["images"] > 0
    lines = "".join(f"{n} {p}\n" for n, p in zip(maps["images"].tolist(), maps["persons"].tolist(), strict=True))
    assert result["images_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_lesions_of_a_small_grid(full: Path) -> None:
    result, maps = json.loads((full / "analysis.json").read_text()), np.load(full / "analysis.npz")
    found = result["lesions"]
    assert result["lesions_reason"] is None
    assert found["people"] == result["images"] and found["permuted_grids"] == 3 and found["smallest_p"] == 0.25
    assert [disc["radius"] for disc in found["radii"]] == [1, 2, 3, 4]
    assert found["centres"] == 16 and maps["lesion_damage"].shape == (4, 16, 16)
    assert maps["lesion_null_damage"].shape == (4, 3, 16, 16)
    assert maps["lesion_owner"].shape == (4, 16) and maps["lesion_null_owner"].shape == (4, 3, 16)
    assert without_reason(found) == []


def test_the_arrangement_is_the_one_whose_i_is_reported(full: Path) -> None:
    result, maps = json.loads((full / "analysis.json").read_text()), np.load(full / "analysis.npz")
    strength = maps["strength"].reshape(16, 20)[:, maps["arrangement"].ravel()]
    best = moran.morans_i(strength, moran.weights(Lattice(4, 5))).mean()
    assert result["controls"]["rearranged"]["mean_I"] == pytest.approx(best)
    assert result["controls"]["rearranged"]["share"] == pytest.approx(result["moran"]["mean_I"] / best)
    against = result["controls"]["against"]
    assert against["I_over_best"] == pytest.approx(result["controls"]["rearranged"]["share"])
    assert (against["arm"], against["seed"]) == ("topo", 0)


def test_the_untrained_network_has_the_initial_weights_of_the_run(small_data: Path) -> None:
    config = config_of(small_data)
    torch.manual_seed(99)
    model = network_before(config, None)
    seed_everything(config.seed)
    for one, two in zip(model.state_dict().values(), build_model(config).state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_control_is_read_from_a_run_a_checkpoint_or_an_analysis(run: Path, full: Path) -> None:
    lattice = Lattice(4, 5)
    found = [control_of(path, lattice) for path in (run, run / "last.pt", full, full / "analysis.json")]
    best, inner = found[0]
    assert inner is not None and inner.shape == (20, 20)
    for each, weights in found[1:]:
        assert each == pytest.approx(best) and weights == pytest.approx(inner, rel=1e-6)


def test_a_control_that_does_not_fit_is_one_line(run: Path, full: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its grid is 4 x 5, not 5 x 4"):
        control_of(full, Lattice(5, 4))
    with pytest.raises(PoseTopoError, match="neither a checkpoint"):
        analyzed(run, tmp_path, control=tmp_path / "nowhere")
    old = tmp_path / "analysis.json"
    old.write_text('{"grid": {"height": 4, "width": 5}}')
    with pytest.raises(PoseTopoError, match="make it again"):
        control_of(old, Lattice(4, 5))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "analysis.json").write_bytes((full / "analysis.json").read_bytes())
    assert control_of(broken, Lattice(4, 5))[1] is None  # results of an older version
    np.savez(broken / "analysis.npz", gram=np.zeros(3))
    with pytest.raises(PoseTopoError, match=r"gram holds float64 of shape \(3,\)"):
        control_of(broken, Lattice(4, 5))
    (broken / "analysis.npz").write_bytes(b"no archive")
    with pytest.raises(PoseTopoError, match="not readable"):
        control_of(broken, Lattice(4, 5))


def test_the_directions_are_compared_with_nulls_made_from_the_control(full: Path, run: Path, tmp_path: Path) -> None:
    found = json.loads((full / "analysis.json").read_text())["directions"]
    assert [row["removed"] for row in found["trained"]] == [0, 1, 2, 4]
    assert found["reason"] is None  # the network is its own control: nothing to smooth, and nothing to collapse
    for null in ("smoothed", "collapsed"):
        assert found[null]["table"][0]["I"] == pytest.approx(found["trained"][0]["I"], abs=1e-4)
    alone = analyzed(run, tmp_path)["directions"]
    assert alone["smoothed"] is None and "--control" in alone["reason"]


def test_responses_by_hand() -> None:
    """Two channels on a 2 x 2 map. The target of joint 0 is the first cell; joint 1 is not in the picture."""

    class Doubled(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 2 * images

    network = torch.nn.Sequential(Doubled())
    images = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [3.0, 4.0]]]])
    targets = torch.zeros(1, 16, 2, 2)
    targets[0, 0, 0, 0], targets[0, 1, 0, 1] = 1.0, 1.0
    mask = torch.zeros(1, 16)
    mask[0, 0] = 1
    found = responses_of(network, network[0], [Batch(images, targets, mask, np.array([0]))], "fp32")
    assert found.mean.tolist() == [[2.0, 5.0]]
    assert found.near[0, 0].tolist() == [8.0, 2.0] and np.isnan(found.near[0, 1:]).all()
    assert found.far[0, 0].tolist() == [0.0, 6.0] and np.isnan(found.far[0, 1:]).all()


def test_a_grid_that_does_not_match_the_checkpoint_is_one_line(small_data: Path, run: Path, tmp_path: Path) -> None:
    checkpoint = runs.load_checkpoint(run / "last.pt")
    other = config_of(small_data, 3, 3)
    runs.save_checkpoint(runs.Checkpoint(tmp_path / "last.pt", other, 1, checkpoint.model, checkpoint.split_sha256))
    with pytest.raises(PoseTopoError, match="weights do not fit"):
        analyzed(tmp_path / "last.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_grid_without_neighbours_is_refused_when_the_network_is_built(small_data: Path) -> None:
    with pytest.raises(UsageError, match="no neighbours"):
        build_model(config_of(small_data, 1, 1))


def test_the_hook_is_removed_even_if_the_network_fails(small_data: Path) -> None:
    model = build_model(config_of(small_data))
    with pytest.raises(AttributeError):
        responses_of(model, model.deconv, [None], "fp32")  # type: ignore[list-item]
    assert not model.deconv._forward_hooks
