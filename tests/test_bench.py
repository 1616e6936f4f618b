"""The benchmark measures what it says; no time is asserted."""

from dataclasses import replace

from pose_topo.bench import timing, training
from pose_topo.bench.__main__ import measure, table
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
