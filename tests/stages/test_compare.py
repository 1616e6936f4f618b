"""Comparison of two results of the same people: differences by hand, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from pose_topo.core.errors import PoseTopoError
from pose_topo.scoring.predictions import Record, read_record, write_predictions
from pose_topo.stages import terminal as report
from pose_topo.stages.compare import compare, compare_results
from pose_topo.study import joints as J

PEOPLE = 30


def truth(people: int = PEOPLE, seed: int = 0) -> dict[str, np.ndarray]:
    """1-based, as the file holds them; head box 30 x 40: head size 30 px."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 400, (people, 2))
    return {
        "joints": rng.uniform(1, 500, (people, J.K, 2)),
        "labelled": rng.random((people, J.K)) < 0.9,
        "head_box": np.concatenate([corner, corner + np.array([30, 40])], axis=1),
        "annolist_index": np.arange(people) // 2,
        "person": np.arange(people) % 2,
    }


def folder(path: Path, off: np.ndarray, order: np.ndarray | None = None, **changes) -> Path:
    """A results folder whose predictions lie `off` (P, 16, 2) px from the annotation."""
    arrays = {**truth(), **changes}
    order = np.arange(len(off)) if order is None else order
    found = arrays["joints"] - 1 + off
    write_predictions(path / "predictions.h5", found[order], **{k: v[order] for k, v in arrays.items()})
    return path


def offsets() -> tuple[np.ndarray, np.ndarray]:
    """a is wrong about every right wrist; b about the left wrists of the first five people and all thoraxes."""
    a, b = np.zeros((PEOPLE, J.K, 2)), np.zeros((PEOPLE, J.K, 2))
    a[:, J.R_WRIST], b[:5, J.L_WRIST], b[:, J.THORAX] = 100, 100, 100
    return a, b


def test_by_hand(tmp_path):
    a, b = offsets()
    result = compare_results(folder(tmp_path / "a", a), folder(tmp_path / "b", b), tmp_path / "out")
    labelled = truth()["labelled"]
    won, lost = int(labelled[:, J.R_WRIST].sum()), int(labelled[:5, J.L_WRIST].sum())
    assert result["won_and_lost"]["joints"] == {"won": won, "lost": lost}
    right, left = labelled[:, J.R_WRIST].astype(int), labelled[:, J.L_WRIST] & (np.arange(PEOPLE) < 5)
    more = right - left
    assert result["won_and_lost"]["people"] == {
        "won": int((more > 0).sum()), "lost": int((more < 0).sum()), "tied": int((more == 0).sum()),
    }  # fmt: skip
    assert (result["people"], result["joints"]) == (PEOPLE, int(labelled[:, list(J.SCORED)].sum()))
    mean, groups = result["pckh"]["0.5"]["mean"], result["pckh"]["0.5"]["groups"]
    assert mean["difference"] == pytest.approx(100 * (won - lost) / result["joints"])
    low, high = mean["interval"]
    assert low < mean["difference"] < high
    assert (groups["Wrist"]["a"], groups["Knee"]["difference"], groups["Knee"]["interval"]) == (50.0, 0.0, [0.0, 0.0])
    assert groups["Wrist"]["b"] == pytest.approx(100 - 50 * lost / labelled[:, J.L_WRIST].sum())
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == result
    text = report.comparison(result)
    assert f"b finds {won} joints that a misses and misses {lost}" in text and "a: a (a prediction file)" in text
    assert str(tmp_path) not in json.dumps(result)


def test_pairing_narrows_the_interval():
    """If two systems fail on the same people, they differ by a constant and the paired interval has no width."""
    rng = np.random.default_rng(0)
    hard = np.where(rng.random(200) < 0.5, 100.0, 0.0)[:, None, None]
    joints, labelled = rng.uniform(0, 500, (200, J.K, 2)), np.ones((200, J.K), bool)

    def record(off: np.ndarray) -> Record:
        return Record(joints + off, joints, labelled, np.full(200, 30.0), None)

    worse = np.tile(hard, (1, J.K, 2))
    worse[:, J.HEAD_TOP] = 100.0  # and on every head
    easy = np.tile(hard, (1, J.K, 2))
    easy[:, J.HEAD_TOP] = 0.0
    mean = compare(record(worse), record(easy), resamples=500)["pckh"]["0.5"]["mean"]
    assert mean["difference"] == pytest.approx(100 / 14)
    assert mean["interval"] == pytest.approx([100 / 14, 100 / 14])


def test_the_order_of_people_does_not_matter_and_swapping_changes_the_sign(tmp_path):
    a, b = offsets()
    shuffled = np.random.default_rng(1).permutation(PEOPLE)
    first, second = folder(tmp_path / "a", a), folder(tmp_path / "b", b)
    straight = compare_results(first, second)
    other = compare_results(first, folder(tmp_path / "c" / "b", b, shuffled))
    assert {k: v for k, v in other.items() if k != "b"} == {k: v for k, v in straight.items() if k != "b"}
    back = compare_results(second, first)
    assert back["pckh"]["0.1"]["mean"]["difference"] == -straight["pckh"]["0.1"]["mean"]["difference"]
    assert back["won_and_lost"]["joints"]["won"] == straight["won_and_lost"]["joints"]["lost"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {"person": t["person"] + 1}, "30 people are others"),
        (lambda t: {"joints": t["joints"] + 0.5}, "30 of 30 people have other true joints"),
        (lambda t: {"head_box": t["head_box"] * [1, 1, 1, 1.1]}, "30 of 30 people have other true joints"),
        (lambda t: {"labelled": ~t["labelled"]}, "30 of 30 people have other true joints"),
    ],
)
def test_other_people_are_refused(tmp_path, change, words):
    a, b = offsets()
    first, second = folder(tmp_path / "a", a), folder(tmp_path / "b", b, **change(truth()))
    with pytest.raises(PoseTopoError, match=words):
        compare_results(first, second)
    fewer = folder(tmp_path / "fewer", b, np.arange(29))
    with pytest.raises(PoseTopoError, match="30 people against 29"):
        compare_results(first, fewer)


def test_a_folder_without_results_is_refused(tmp_path):
    first = folder(tmp_path / "a", offsets()[0])
    with pytest.raises(PoseTopoError, match="no results folder"):
        compare_results(first, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PoseTopoError, match=r"a run, not its results.*pose-topo evaluate"):
        compare_results(tmp_path, first)
    write_predictions(tmp_path / "foreign" / "predictions.h5", np.zeros((3, J.K, 2)))
    with pytest.raises(PoseTopoError, match="predictions alone"):
        compare_results(first, tmp_path / "foreign")


def test_a_record_is_what_was_written(tmp_path):
    record = read_record(folder(tmp_path, offsets()[0]) / "predictions.h5")
    assert np.allclose(record.joints, truth()["joints"] - 1) and np.allclose(record.head_size, 30.0)
    assert record.found[0, J.R_WRIST] == pytest.approx(record.joints[0, J.R_WRIST] + 100)
    assert record.who is not None and record.who[3].tolist() == [1, 1]
