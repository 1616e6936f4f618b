"""The benchmark measures all of its parts. No time is asserted."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from pose_topo.bench import __main__ as commands
from pose_topo.bench import costs
from pose_topo.bench.__main__ import main, measure, table
from pose_topo.bench.costs import summary, utilisation
from pose_topo.data.crops import read_photograph
from pose_topo.data.mpii import load_people
from pose_topo.models.regularizers import LOSSES
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import SMALL


def test_every_part_is_measured(small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "TIMES", 1)
    monkeypatch.setattr(costs, "STEPS", 2)
    monkeypatch.setattr(costs, "AUDITED", 4)
    monkeypatch.setattr(costs, "audit", partial(costs.audit, permutations=99))
    recipe = replace(SMALL, input_size=32, batch_size=4)
    config = RunConfig("resnet18", recipe, Data.at(small_data), Topography(4, 4), device="cpu")
    result = measure(Data.at(small_data), config, 8, tmp_path, score=11)
    numbers = {key: value for key, value in result.items() if isinstance(value, int | float)}
    assert all(value >= 0 for value in numbers.values())
    assert result["setting"]["people"] == 8 and result["machine"]["threads"] >= 1
    assert numbers["crop_build_over_decode"] > 0 and numbers["images_per_s_model_only"] > 0
    assert numbers["images_per_s_plain"] > 0 and numbers["peak_rss_mb"] > 0
    for size in costs.SIZES:
        assert numbers[f"{size}_crop_build_over_decode"] > 0
        assert numbers[f"{size}_people_per_photograph"] == pytest.approx(costs.MPII_CROWD, abs=0.1)
    assert numbers["batch_standard_one_thread_ms_per_person"] > 0
    assert numbers["evaluation_people"] == 11 and numbers["evaluation_s"] > 0
    assert numbers["evaluation_over_model_only"] > 0 and numbers["evaluation_images_per_s"] > 0
    assert numbers["robustness_people"] == 8 and numbers["robustness_s"] > 0
    assert numbers["audit_pictures"] == 4 and numbers["audit_weights_s"] > 0 and numbers["audit_pictures_s"] > 0
    assert all(numbers[f"loss_{name}_ms"] > 0 for name in LOSSES)
    assert all(
        numbers[f"cores_{how}_{where}_images_per_s"] > 0
        for how in ("shared", "default") for where in ("alone", "each_of_two")
    )  # fmt: skip
    assert all(key in table(result) for key in numbers)


def test_the_use_of_a_gpu_leaves_out_the_first_values():
    assert summary("0\n3\n97\n99\n98\n98\n") == {"gpu_utilisation_percent": 98.0}
    assert summary("") == summary("[N/A]\nNo devices were found\n") == {}
    assert utilisation(lambda: None, torch.device("cpu")) == {}


def test_no_data_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "--data", str(tmp_path / "nowhere"), "--device", "cpu"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "nowhere not found" in said.err and said.out == ""


def test_training_steps_are_measured_by_backbone_and_batch_size(small_data, monkeypatch, capsys):
    for where, name in ((commands, "IMAGES"), (commands, "FEWEST_STEPS"), (costs, "TIMES")):
        monkeypatch.setattr(where, name, 1)
    words = f"steps --data {small_data} --protocol demo --archs resnet18 --batch-sizes 2 3 --people 6 --device cpu"
    monkeypatch.setattr("sys.argv", ["bench", *words.split()])
    main()
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert [(row["arch"], row["batch"]) for row in result["rows"]] == [("resnet18", 2), ("resnet18", 3)]
    for row in result["rows"]:
        assert row["full_over_ceiling"] == pytest.approx(row["images_per_s"] / row["images_per_s_ceiling"])
    assert said.err.count("images_per_s_ceiling") == 2


def test_photographs_are_enlarged_around_the_same_people(small_data, tmp_path):
    people = load_people(Data.at(small_data).mat_path)[0].take(np.arange(3))
    costs._resized(people, small_data / "images", tmp_path / "large", 1280, 720)
    for name in set(people.names):
        before, after = (read_photograph(folder / name) for folder in (small_data / "images", tmp_path / "large"))
        assert after.shape == (720, 1280, 3)
        height, width = min(720, before.shape[0]), min(1280, before.shape[1])
        assert np.abs(after[:height, :width].astype(int) - before[:height, :width]).mean() < 4  # JPEG twice


def test_photographs_hold_as_many_people_as_those_of_mpii(small_data):
    people = load_people(Data.at(small_data).mat_path)[0]
    photographs = set(people.names)
    thinned = costs._thinned(people, 1.25)
    assert set(thinned.names) == photographs
    assert len(people) > len(thinned) == round(1.25 * len(photographs))
    assert len(costs._thinned(people, 99)) == len(people)
    assert pytest.approx(1.448, abs=1e-3) == costs.MPII_CROWD  # 25,204 people in 17,408 photographs


def test_a_slow_function_is_timed_once(monkeypatch):
    def taken() -> int:
        calls = []
        costs.side_by_side({"a": lambda: calls.append(1)}, torch.device("cpu"))
        return len(calls)

    assert taken() == 1 + costs.TIMES
    monkeypatch.setattr(costs, "LONG", -1.0)
    assert taken() == 1 + 1
