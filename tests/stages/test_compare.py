"""Comparisons of two results of the same people, and of arms over seeds: differences by hand, and refusals."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import stats

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.scoring.intervals import family_wise, paired_test, sign_flip
from pose_topo.scoring.predictions import Record, read_record, write_predictions
from pose_topo.stages import terminal as report
from pose_topo.stages.compare import METRICS, analyze_group, compare, compare_results
from pose_topo.study import joints as J
from pose_topo.study.results import SCHEMAS

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
        return Record(joints, labelled, np.full(200, 30.0), joints + off, None)

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


def spoilt(path: Path, name: str, **kind: Any) -> None:
    """Replace a field of predictions.h5."""
    with h5py.File(path / "predictions.h5", "r+") as file:
        del file[name]
        file.create_dataset(name, **kind)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("joints", {"shape": (10**10, J.K, 2), "dtype": "f8", "chunks": True}, "joints has shape .*more than any data"),
        ("joints", {"data": np.zeros((PEOPLE, J.K, 3))}, r"joints has shape \(30, 16, 3\), not \(30, 16, 2\)"),
        ("joints", {"data": np.full((PEOPLE, J.K, 2), np.nan)}, "some labelled joints are not finite"),
        ("joints", {"data": 3.0}, r"joints has shape \(\), not"),
        ("labelled", {"data": np.full((PEOPLE, J.K), b"yes")}, "labelled holds .S3, not numbers"),
        ("head_box", {"data": np.ones((PEOPLE, 2))}, r"head_box has shape \(30, 2\), not \(30, 4\)"),
        ("person", {"data": np.ones(PEOPLE)}, "person holds float64, not numbers"),
    ],
)
def test_a_damaged_predictions_file_is_one_line(tmp_path: Path, name: str, kind: dict[str, Any], words: str) -> None:
    a, b = offsets()
    one, other = folder(tmp_path / "a", a), folder(tmp_path / "b", b)
    spoilt(other, name, **kind)
    with pytest.raises(PoseTopoError, match=rf"predictions\.h5: {words}"):
        compare_results(one, other)


def test_a_damaged_evaluation_beside_it_is_one_line(tmp_path: Path) -> None:
    a, b = offsets()
    one, other = folder(tmp_path / "a", a), folder(tmp_path / "b", b)
    (other / "evaluation.json").write_text("[1, 2]")
    with pytest.raises(PoseTopoError, match=r"evaluation\.json is not a schema 2 evaluation file"):
        compare_results(one, other)


# ---- arms over seeds


def results(folder: Path, arm: str, seed: int, mean_i: float | None, pckh: float, **given: Any) -> Path:
    identity = {
        "arm": arm,
        "seed": seed,
        "arch": "resnet18",
        "protocol": "small",
        "as_protocol": True,
        "checkpoint_sha256": f"{arm}{seed}",
        "data_sha256": f"data{seed}",
        **given,
    }
    analysis = {"grid": {"height": 4, "width": 4}, "moran": {"mean_I": mean_i}, "health": {"mean_row_norm": 1.0}}
    analysis["controls"] = {"rearranged": {"mean_I": 0.5}}
    where = folder / f"{arm}-s{seed}"
    where.mkdir(parents=True)
    for kind, content in (("analysis", analysis), ("evaluation", {"pckh": {"0.5": {"mean": pckh}}})):
        (where / f"{kind}.json").write_text(json.dumps({**identity, **content, "kind": kind, "schema": SCHEMAS[kind]}))
    return where


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    folders = [results(tmp_path, "control", s, 0.01 * s, 80.0 + s) for s in range(5)]
    folders += [results(tmp_path, "topo", s, 0.4 + 0.01 * s + 0.001 * rng.normal(), 79.5 + s) for s in range(1, 6)]
    return folders


def test_differences_are_paired_by_seed(study: list[Path], tmp_path: Path) -> None:
    result = analyze_group(study[::-1], tmp_path)
    assert result == json.loads((tmp_path / "group.json").read_text(encoding="utf-8"))
    found = result["comparisons"]["topo - control"]
    assert found["seeds"] == [1, 2, 3, 4] and found["seeds_without_partner"] == [0, 5]
    gain = found["metrics"]["I"]
    assert gain["mean"] == pytest.approx(0.4, abs=0.002) and gain["low"] < gain["mean"] < gain["high"]
    assert gain["p"] == gain["smallest_p"] == 0.125  # four seeds can show no more
    loss = found["metrics"]["PCKh@0.5"]
    assert loss["differences"] == [-0.5] * 4 and loss["sd"] == 0
    assert found["I_over_best"] == pytest.approx(np.mean(gain["differences"]) / 0.5 + 0.05, abs=1e-9)
    assert result["arms"]["control"]["seeds"] == [0, 1, 2, 3, 4]
    assert result["arms"]["control"]["metrics"]["I"]["mean"] == pytest.approx(0.02)
    assert "topo - control, seeds 1, 2, 3, 4" in report.group(result) and "at least 0.1250" in report.group(result)


def test_a_number_that_is_missing_is_null_with_its_reason(study: list[Path], tmp_path: Path) -> None:
    (study[1] / "evaluation.json").unlink()
    result = analyze_group(study, tmp_path)
    metrics = result["comparisons"]["topo - control"]["metrics"]
    assert set(metrics) == set(METRICS)
    assert metrics["PCKh@0.5"]["seeds"] == [2, 3, 4] and metrics["I"]["n"] == 4
    assert metrics["AUC"]["n"] == 0 and metrics["AUC"]["mean"] is None and metrics["AUC"]["reason"]


def test_one_seed_gives_no_interval(study: list[Path], tmp_path: Path) -> None:
    one = analyze_group([study[1], study[5]], tmp_path)["comparisons"]["topo - control"]["metrics"]["I"]
    assert one["mean"] is not None and one["low"] is None and one["p"] == 1.0 and one["reason"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"protocol": "paper"}, "protocols"),
        ({"arch": "resnet50"}, "backbones"),
        ({"data_sha256": "other"}, "seed 7 were measured on different data"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, given: dict[str, str], words: str) -> None:
    folders = [results(tmp_path, "control", 7, 0.0, 80.0), results(tmp_path, "topo", 7, 0.4, 80.0, **given)]
    with pytest.raises(UsageError, match=words):
        analyze_group(folders, tmp_path)
    assert not (tmp_path / "group.json").exists()


@pytest.mark.parametrize("given", [{"deviations": ["epochs 2 (the demo protocol: 6)"]}, {"images_sha256": "others"}])
def test_runs_of_other_settings_or_people_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    faster = "the topographic layer's learning rate is 10 times that of the rest (the study: 1)"
    folders = [results(tmp_path, "control", 0, 0.0, 80.0), results(tmp_path, "topo", 0, 0.4, 80.0, deviations=[faster])]
    assert analyze_group(folders, tmp_path)["comparisons"]
    folders[1] = results(tmp_path / "other", "topo", 0, 0.4, 80.0, **given)
    with pytest.raises(UsageError, match=r"were not made alike .*epochs 2|on different data"):
        analyze_group(folders, tmp_path)


def test_results_without_a_run_are_refused(study: list[Path], tmp_path: Path) -> None:
    foreign = results(tmp_path / "foreign", "control", 9, 0.0, 80.0)
    for name in ("analysis.json", "evaluation.json"):
        content = json.loads((foreign / name).read_text())
        (foreign / name).write_text(json.dumps({**content, "arm": None, "seed": None}))
    with pytest.raises(PoseTopoError, match="names no arm and no seed"):
        analyze_group([*study, foreign], tmp_path)


def test_broken_folders_are_one_line(study: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="control"):
        analyze_group(study[5:], tmp_path)
    with pytest.raises(UsageError, match="both topo, seed 1"):
        analyze_group([*study, results(tmp_path / "copy", "topo", 1, 0.4, 80.0)], tmp_path)
    with pytest.raises(PoseTopoError, match=r"no analysis\.json"):
        analyze_group([tmp_path], tmp_path)
    (study[0] / "evaluation.json").write_text('{"kind": "evaluation", "schema": 9}')
    with pytest.raises(PoseTopoError, match=f"schema {SCHEMAS['evaluation']}"):
        analyze_group(study, tmp_path)


VALUES = [0.31, 0.42, -0.02, 0.18, 0.25, 0.40]


def test_interval_is_that_of_scipy() -> None:
    found = paired_test(VALUES)
    exact = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(exact))
    assert found.mean == pytest.approx(np.mean(VALUES)) and found.sd == pytest.approx(np.std(VALUES, ddof=1))


def test_sign_flips_by_loops_and_by_scipy() -> None:
    flips = [abs(sum(s * v for s, v in zip(signs, VALUES, strict=True))) for signs in product((1, -1), repeat=6)]
    expected = np.mean(np.array(flips) >= sum(VALUES) - 1e-12)
    assert paired_test(VALUES).p == expected
    scipy_p = stats.permutation_test((VALUES,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert expected == pytest.approx(scipy_p)


def test_family_wise_p_by_loops() -> None:
    rows = np.random.default_rng(0).normal(0.5, 1, (4, 6))
    rows[1] *= 1000  # the scale of a metric does not matter
    rows[3] = 0.0

    def largest(signs: tuple[int, ...]) -> float:
        return max(abs(signs @ row) / np.linalg.norm(row) for row in rows[:3])

    every = np.array([largest(np.array(signs)) for signs in product((1, -1), repeat=6)])  # type: ignore[arg-type]
    found = family_wise(rows)
    for row, p in zip(rows[:3], found, strict=False):
        assert p == np.mean(every >= abs(row.sum()) / np.linalg.norm(row) - 1e-10)
        assert p >= paired_test(row).p  # type: ignore[operator]
    assert found[3] == 1.0
    assert family_wise(rows[:1])[0] == paired_test(rows[0]).p  # of a single metric


def test_the_family_wise_error_is_held() -> None:
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(400):
        common = rng.normal(size=7)  # metrics depend on each other
        errors.append(family_wise(rng.normal(size=(12, 7)) + common).min() <= 0.05)
    assert np.mean(errors) < 0.083  # .05 and three standard errors


@pytest.mark.parametrize(("n", "smallest"), [(2, 0.5), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_the_smallest_p_is_reached_by_equal_signs(n: int, smallest: float) -> None:
    found = paired_test([1.0 + 0.1 * k for k in range(n)])
    assert found.p == found.smallest_p == smallest


def test_many_seeds_use_random_sign_patterns() -> None:
    p, smallest = sign_flip(np.full(30, 1.0))
    assert p == smallest == 1e-5
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    assert sign_flip(values)[0] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_too_few_seeds_give_a_reason() -> None:
    one = paired_test([0.3])
    assert (one.mean, one.sd, one.low, one.p) == (0.3, None, None, 1.0) and one.reason
    none = paired_test([])
    assert none.mean is None and none.p is None and none.reason


def test_no_difference_has_p_one() -> None:
    found = paired_test([0.0] * 6)
    assert found.p == 1.0 and (found.low, found.high) == (0.0, 0.0)
