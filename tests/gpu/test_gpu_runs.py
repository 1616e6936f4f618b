"""Runs on a GPU: they resume to the bit, report a full memory, and are scored and measured as on a CPU."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from pose_topo.bench import costs
from pose_topo.bench.__main__ import measure
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json
from pose_topo.core.machine import forget_peak_memory, peak_memory
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import prepare
from pose_topo.data.people import Dataset
from pose_topo.stages.analyze import analyze_checkpoint
from pose_topo.stages.evaluate import evaluate_checkpoint
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import SMALL
from pose_topo.training import epoch as steps
from pose_topo.training.loop import RunContext, train
from pose_topo.training.processes import Interrupted

RECIPE = replace(SMALL, input_size=64, batch_size=4, epochs=2)


@pytest.fixture(scope="module")
def config(small_data) -> RunConfig:
    return RunConfig("resnet18", RECIPE, Data.at(small_data), Topography(4, 4), deterministic=True)


@pytest.fixture(scope="module")
def dataset(config) -> Dataset:
    return prepare(config.data, RECIPE, seed=0, workers=1, progress=False)


def fit(config, dataset, run):
    return train(config, dataset, run, RunContext(progress=False))


def saved(run):
    return runs.load_checkpoint(run / "last.pt")


@pytest.fixture
def undisturbed(config, dataset, tmp_path):
    fit(config, dataset, tmp_path / "undisturbed")
    return tmp_path / "undisturbed"


def test_a_run_uses_the_gpu_and_bf16_and_records_them(undisturbed):
    (session,) = read_json(undisturbed / "provenance.json")["sessions"]
    assert session["precision"] == "bf16" and session["cuda"] == torch.version.cuda and session["driver"]
    assert session["device"] == torch.cuda.get_device_name(0) and session["tf32"] is False
    assert session["peak_memory"]["cuda"] > 0
    assert all(torch.isfinite(value).all() for value in saved(undisturbed).model.values())


def test_a_run_stopped_in_an_epoch_goes_on_to_the_same_weights(config, dataset, undisturbed, tmp_path, monkeypatch):
    """In the second session crops are prefetched, which changes nothing."""
    honest, calls = steps.heatmap_loss, iter(range(1, 100))

    def stopped(*arguments):
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "heatmap_loss", stopped)
        with pytest.raises(Interrupted):
            fit(config, dataset, tmp_path / "run")
    begun = saved(tmp_path / "run")
    assert begun.epoch == 0 and begun.training is not None and begun.training["step"] == 2
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_fits", lambda _: False)
        fit(config, dataset, tmp_path / "run")
    one, other = saved(undisturbed), saved(tmp_path / "run")
    assert all(torch.equal(value, other.model[key]) for key, value in one.model.items())
    assert one.training is not None and other.training is not None
    for number, values in one.training["optimizer"]["state"].items():
        assert all(
            torch.equal(value, other.training["optimizer"]["state"][number][key]) for key, value in values.items()
        )


def test_a_network_is_scored_and_measured_as_on_a_cpu(undisturbed, tmp_path):
    found = {}
    for device in ("auto", "cpu"):
        how = {"device": device, "precision": "fp32", "progress": False}
        found[device] = (
            evaluate_checkpoint(undisturbed, tmp_path / device, **how),
            analyze_checkpoint(undisturbed, tmp_path / device, permutations=99, lesion_grids=2, untrained=True, **how),
        )
    (score, seen), (score_there, seen_there) = found.values()
    assert score["pckh"].keys() == score_there["pckh"].keys()
    assert seen["moran"] == seen_there["moran"]  # of the weights alone
    for key in ("neighbours", "all_pairs"):
        pair = seen["neighbour_correlation"][key], seen_there["neighbour_correlation"][key]
        assert pair[0] == pytest.approx(pair[1], abs=0.02)
    assert seen["controls"]["untrained"]["contiguity"] == seen_there["controls"]["untrained"]["contiguity"]
    assert seen["lesions"]["people"] == seen_there["lesions"]["people"] == seen["images"]


def test_a_full_gpu_memory_is_reported_with_a_batch_size_to_try(config, dataset, tmp_path):
    torch.cuda.empty_cache()
    free, whole = torch.cuda.mem_get_info()
    held = torch.cuda.memory_reserved()
    if free < 1 << 30:
        pytest.skip("others use this GPU")
    torch.cuda.set_per_process_memory_fraction((held + 150e6) / whole)  # 70 MB of weights, as much of gradients, ...
    try:
        with pytest.raises(PoseTopoError, match="out of memory with 4 people per step: try --batch-size 2"):
            fit(config, dataset, tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_the_benchmark_measures_a_gpu(config, tmp_path, monkeypatch):
    for name, value in (("TIMES", 1), ("CUDA_STEPS", 3), ("SECONDS", 0.1)):
        monkeypatch.setattr(costs, name, value)
    torch.empty(4 << 30, dtype=torch.uint8, device="cuda")  # a peak from before is not the training's
    result = measure(config.data, config, 8, tmp_path)
    assert result["machine"]["cuda"] == torch.version.cuda and result["machine"]["precision"] == "bf16"
    assert 100 < result["peak_cuda_mb"] < 4000
    assert result["images_per_s_full"] > 0 and result["full_over_ceiling"] > 0


def test_the_peak_memory_of_a_gpu_can_be_reset(device):
    torch.empty(1 << 28, dtype=torch.uint8, device=device)
    assert peak_memory(device)["cuda"] >= 1 << 28
    forget_peak_memory(device)
    assert peak_memory(device)["cuda"] < 1 << 28
