"""Contact sheets of a data set: the people, their order, and the places of their joints."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pose_topo.data.dataset import prepare, select_and_split
from pose_topo.data.people import CropSettings, CropStore, head_size
from pose_topo.models.pose import build_model
from pose_topo.pictures import drawing
from pose_topo.pictures.drawing import CELL
from pose_topo.scoring.predictions import read_ground_truth, read_predictions
from pose_topo.stages import show
from pose_topo.stages.evaluate import evaluate_checkpoint
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import SMALL

TINY = replace(SMALL, input_size=32)


@pytest.fixture
def cells(monkeypatch) -> list[drawing.Cell]:
    """Collects the cells of the sheets that the test draws."""
    kept: list[drawing.Cell] = []
    draw = drawing.draw_sheet

    def keep(given, title, entries):
        kept.extend(given)
        return draw(given, title, entries)

    monkeypatch.setattr(drawing, "draw_sheet", keep)
    return kept


def sample(data, out, **options) -> int:
    options = {"split": "all", "count": 24, "seed": 0, **options}
    return show.show_sample(Data.at(data), out, TINY, **options)


def test_a_sample_shows_each_person_of_the_split_once(small_data, tmp_path, cells):
    people, split = select_and_split(Data.at(small_data), TINY, seed=0)
    assert sample(small_data, tmp_path / "all.png") == len(people)
    names = [f"{name} #{person}" for name, person in zip(people.names, people.person, strict=True)]
    assert [cell.lines[0] for cell in cells] == names
    rows = -(-len(people) // 6)
    assert cv2.imread(str(tmp_path / "all.png")).shape == (62 + rows * 300 + 14, 1614, 3)
    cells.clear()
    assert sample(small_data, tmp_path / "val.png", split="val") == len(split.val)
    assert [cell.lines[0] for cell in cells] == [names[row] for row in split.val]


def test_the_same_seed_draws_the_same_sheet(small_data, tmp_path, cells):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert sample(small_data, tmp_path / f"{name}.png", count=4, seed=seed) == 4
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert [cell.lines for cell in cells[:4]] == [cell.lines for cell in cells[4:8]]
    assert [cell.lines for cell in cells[:4]] != [cell.lines for cell in cells[8:]]


def test_labelled_and_hidden_joints_are_counted(small_data, tmp_path, cells):
    people, _ = select_and_split(Data.at(small_data), TINY, seed=0)
    sample(small_data, tmp_path / "all.png")
    for cell, labelled, visible in zip(cells, people.labelled, people.visible, strict=True):
        words = cell.lines[1].replace(",", "").split()
        assert int(words[0]) == labelled.sum()
        assert (int(words[2]) if len(words) > 2 else 0) == (labelled & ~visible).sum()


def test_the_window_by_hand():
    """A stored crop of 56 px around an input of 32, from 12 to 43. Where everything lies inside, the input is shown 8
    times as large, and its first pixel's centre at 3.5."""
    crop = np.random.default_rng(0).integers(0, 255, (1, 56, 56, 3), dtype=np.uint8)
    store = CropStore(crop, np.eye(2, 3)[None], np.ones(1, bool), CropSettings("person", 32), {})
    picture, move = show._window(store, 0, np.array([[20.0, 40.0]]), TINY)
    assert move(np.array([[12.0, 12.0], [13, 43]])).tolist() == [[3.5, 3.5], [11.5, 251.5]]
    assert np.array_equal(picture, cv2.resize(crop[0, 12:44, 12:44], (CELL, CELL), interpolation=cv2.INTER_CUBIC))
    # a joint at 50 lies 22.5 from the middle: 22.5 * 1.04 - 16 = 7.4, so 8 px more on each side, from 4 to 51
    _, move = show._window(store, 0, np.array([[50.0, 30.0]]), TINY)
    assert move(np.array([[4.0, 52.0]])) == pytest.approx(np.array([[0.5 * 256 / 48 - 0.5, 48.5 * 256 / 48 - 0.5]]))
    # beyond the stored crop there is nothing to show
    _, move = show._window(store, 0, np.array([[900.0, 30.0]]), TINY)
    assert move(np.array([[0.0, 55.0]])) == pytest.approx(np.array([[0.5 * 256 / 56 - 0.5, 55.5 * 256 / 56 - 0.5]]))
    _, move = show._window(store, 0, np.zeros((0, 2)), TINY)
    assert move(np.array([[12.0, 12.0]])).tolist() == [[3.5, 3.5]]


def test_a_persons_score_by_hand():
    """Pelvis and thorax (6, 7) do not count. An error of exactly 0.5 is correct."""
    errors = np.full((3, 16), np.nan)
    errors[0, [0, 1, 2, 6]] = 0.5, 0.6, 1.0, 9.0
    errors[1, [6, 7]] = 0.1
    errors[2, 9] = 0.2
    mean, share = show.person_scores(errors, 0.5)
    assert mean[[0, 2]] == pytest.approx([0.7, 0.2]) and np.isnan(mean[1])
    assert share[[0, 2]] == pytest.approx([100 / 3, 100]) and np.isnan(share[1])


def test_the_worst_come_first_and_people_without_an_error_are_left_out():
    assert show.worst_first(np.array([0.5, np.nan, 2.0, 0.5, 3.0, np.nan])).tolist() == [4, 2, 0, 3]
    assert show.worst_first(np.array([np.nan])).tolist() == []


def test_the_worst_people_agree_with_the_evaluation(small_data, tmp_path, cells):
    config = RunConfig(arch="resnet18", recipe=TINY, data=Data.at(small_data), arm="baseline")
    torch.manual_seed(0)
    model = build_model(config)
    torch.nn.init.normal_(model.head.weight)
    split = prepare(config.data, TINY, seed=0, progress=False).split_sha256
    runs.save_checkpoint(runs.Checkpoint(tmp_path / "last.pt", config, 1, model.state_dict(), split))
    how = {"device": "cpu", "precision": "fp32", "progress": False}
    evaluate_checkpoint(tmp_path / "last.pt", tmp_path, **how)
    shown = show.show_worst(tmp_path / "last.pt", Data.at(small_data), tmp_path / "w.png", split="val", count=2, **how)
    found, truth = read_predictions(tmp_path / "predictions.h5"), read_ground_truth(tmp_path / "predictions.h5")
    people, halves = select_and_split(Data.at(small_data), TINY, seed=0)
    expected = []
    for i, row in enumerate(halves.val):
        errors = [
            float(np.linalg.norm(found[i, k] - truth.joints[i, k]) / head_size(people.head_box[row]))
            for k in range(16)
            if truth.labelled[i, k] and k not in (6, 7)
        ]
        share = 100 * sum(error <= 0.5 for error in errors) / len(errors)
        name = f"{people.names[row]} #{people.person[row]}"
        mean = sum(errors) / len(errors)
        expected.append((-mean, (name, f"error {mean:.2f} heads, PCKh@0.5 {share:.0f}%")))
    assert shown == min(2, len(expected)) == len(cells)
    assert [cell.lines for cell in cells] == [lines for _, lines in sorted(expected)[:2]]
    assert (tmp_path / "w.png").is_file()
