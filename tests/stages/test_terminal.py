"""Text for the terminal: scores, intervals, and published rows for the same people only."""

import copy

import numpy as np
import pytest

from pose_topo.download import catalog
from pose_topo.scoring import published
from pose_topo.scoring.other_metrics import legacy_report
from pose_topo.scoring.pckh import score
from pose_topo.stages import terminal as report
from pose_topo.study import joints as J


@pytest.fixture(scope="module")
def result() -> dict:
    rng = np.random.default_rng(0)
    truth, labelled = rng.uniform(0, 600, (40, J.K, 2)), rng.random((40, J.K)) < 0.9
    scored = truth + rng.normal(0, 10, truth.shape), truth, labelled, np.full(40, 30.0)
    settings = {"split": "tompson", "split_mismatch": None, "input_size": 256, "decode": "quarter"}
    return {
        "data": "mpii", "data_sha256": "x", "arch": "resnet50", "rendered": False, "settings": settings,
        "legacy": legacy_report(*scored, np.full((40, 2), 600.0)), **score(*scored, resamples=200),
    }  # fmt: skip


def test_the_table_holds_the_numbers_and_the_interval(result):
    head, half, tenth, eleventh, *rest = report.evaluation(result).splitlines()
    assert head.split()[2:10] == [*J.GROUPS, "Mean"]
    scores = result["pckh"]["0.5"]
    assert half.split()[:9] == ["@0.5", *(f"{v:.2f}" for v in (*scores["groups"].values(), scores["mean"]))]
    low, high = result["intervals"]["0.5"]["mean"]
    assert half.endswith(f"[{low:.2f}, {high:.2f}]") and tenth.endswith("]")
    assert eleventh.startswith("@0.11") and 'calls "@0.1"' in eleventh
    legacy = next(line for line in rest if line.startswith("legacy"))
    assert f"{result['legacy']['pckh']:.2f}" in legacy and "no PCKh" in legacy
    assert f"{result['legacy']['head_ratio']['median']:.2f} x" in legacy


def test_published_rows_of_the_backbone_are_shown_for_mpii_val(result):
    text = report.evaluation(result)
    xiao = next(line for line in text.splitlines() if "Xiao" in line and "source" not in line)
    assert " ".join(xiao.split()[6:]) == "96.35 95.33 88.99 83.18 88.42 83.96 79.59 88.53 mean@0.11: 33.911"
    assert "mmpose, 256 px" in text and "mean@0.1: 28.6" in text
    assert text.count("source: MPII val") == 2 and "384" not in text
    assert "MPII val (Tompson's 2,958 people)" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rendered": True, "settings": {"split": "random"}}, "are rendered: none is comparable"),
        ({"settings": {"split": "random"}}, "are others: none is comparable"),
        ({"settings": {"split_mismatch": "1 val people instead"}}, "are others: none is comparable"),
        ({"arch": "resnet18"}, "nothing for resnet18 at 256 px"),
        ({"arch": None, "settings": None, "data_sha256": catalog.DETECTIONS.checks.sha256}, "listed by backbone"),
    ],
)
def test_published_rows_are_shown_for_nothing_else(result, change, words):
    other = copy.deepcopy(result)
    for key, value in change.items():
        other[key] = {**other[key], **value} if isinstance(value, dict) else value
    text = report.evaluation(other)
    assert words in text and "Xiao" not in text


def test_missing_numbers_are_a_dash(result):
    other = copy.deepcopy(result)
    other["legacy"] |= {"pckh": None, "pckh_labelled": None, "reason": "the sizes of the photographs are not known"}
    other["pckh"]["0.5"]["groups"]["Knee"] = None
    text = report.evaluation(other)
    assert "- (the sizes of the photographs are not known)" in text and text.splitlines()[1].split()[6] == "-"


def test_every_published_row_has_its_source():
    assert len(published.rows()) == 9
    for row in published.rows():
        assert row.source.startswith("MPII val, ") and row.values["mean_0.5"] is not None
