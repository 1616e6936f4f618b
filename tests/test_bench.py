"""The benchmark measures what it says; no time is asserted."""

from dataclasses import replace

import torch

from pose_topo.bench import timing, training
from pose_topo.bench.__main__ import measure, table
from pose_topo.bench.utilisation import summary, utilisation
from pose_topo.config import TOPO_LOSSES, Data, RunConfig, Topography
from pose_topo.protocols import DEMO


def test_every_part_is_measured(small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "TIMES", 1)
    monkeypatch.setattr(training, "STEPS", 2)
    recipe = replace(DEMO, input_size=32, batch_size=4)
    config = RunConfig("topo", "resnet18", recipe, Data.at(small_data), Topography(4, 4), device="cpu")
    result = measure(Data.at(small_data), config, 8, tmp_path)
    numbers = {key: value for key, value in result.items() if isinstance(value, int | float)}
    assert len(numbers) == 26 and all(value >= 0 for value in numbers.values())
    assert result["setting"]["people"] == 8 and result["machine"]["threads"] >= 1
    assert numbers["crop_build_over_decode"] > 0 and numbers["images_per_s_model_only"] > 0
    assert numbers["images_per_s_plain"] > 0 and numbers["peak_rss_mb"] > 0
    assert numbers["evaluation_over_model_only"] > 0 and numbers["evaluation_images_per_s"] > 0
    assert all(numbers[f"loss_{name}_ms"] > 0 for name in TOPO_LOSSES)
    assert all(key in table(result) for key in numbers)


def test_how_busy_a_gpu_is_leaves_out_what_was_before():
    assert summary("0\n3\n97\n99\n98\n98\n") == {"gpu_utilisation_percent": 98.0}
    assert summary("") == summary("[N/A]\nNo devices were found\n") == {}
    assert utilisation(lambda: None, torch.device("cpu")) == {}
