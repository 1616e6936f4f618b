"""Result files are checked where they come in: every part has the type that docs/results.md describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pose_topo.core.errors import PoseTopoError
from pose_topo.study.results import COUNT, LAYOUTS, NUMBER, SCHEMAS, Whole, misfit, read_document, read_documents

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = sorted(path.parent for path in (ROOT / "paper_figures" / "reference").glob("*/*/analysis.json"))


def test_the_reference_results_have_the_layouts() -> None:
    assert len(REFERENCE) > 100
    for folder in REFERENCE:
        assert {"evaluation", "analysis"} <= set(read_documents(folder)) <= {"evaluation", "analysis", "robustness"}


@pytest.mark.parametrize(
    ("value", "layout", "said"),
    [
        ({"a": 1}, {"a": float}, None),
        ({"a": True}, {"a": float}, "a is True, not a number"),
        ({"a": 1e400}, {"a": float}, "a is inf, not a number"),
        ({"a": "1"}, {"a": NUMBER}, "a is '1', not a number"),
        ({"a": None, "more": object}, {"a": NUMBER}, None),
        ({}, {"a": float}, None),
        ({}, Whole({"a": float}), "a is missing"),
        ({"a": {"b": [1, 2.5]}}, {"a": {...: [COUNT]}}, "a.b[1] is 2.5, not a whole number from 0 to 999999999999"),
        ({"a": -1}, {"a": COUNT}, "a is -1, not a whole number from 0 to 999999999999"),
        ({"a": 3}, {"a": [float]}, "a is 3, not a list"),
        ([], {"a": float}, "the content is a list, not an object"),
        ({"a": "x" * 10_001}, {"a": str}, f"a is {repr('x' * 99)[:40]}, not text of at most 10,000 characters"),
        ({"a": {}, "b": {}}, {"a": dict, ...: bool}, "b is an object, not true or false"),
    ],
)
def test_misfits_are_named(value: Any, layout: Any, said: str | None) -> None:
    assert misfit(value, layout) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"pckh": {"0.5": {"mean": "high"}}}', "pckh.0.5.mean is 'high', not a number"),
        ('{"settings": {"decode": "dark"}}', "settings.flip_test is missing"),
        ('{"curve": {"thresholds": [0, 1], "mean": [3]}}', "curve.thresholds and curve.mean have different lengths"),
        ('{"seed": -1}', "seed is -1, not a whole number"),
        ('{"auc": NaN}', "not readable as JSON (it contains NaN)"),
        ('{"auc": ' + "[" * 100_000 + "]" * 100_000 + "}", "not readable as JSON (maximum recursion depth exceeded"),
    ],
)
def test_a_damaged_evaluation_is_one_line_that_names_the_file(tmp_path: Path, content: str, said: str) -> None:
    kind = f'{{"kind": "evaluation", "schema": {SCHEMAS["evaluation"]}, '
    (tmp_path / "evaluation.json").write_text(kind + content[1:])
    with pytest.raises(PoseTopoError) as refused:
        read_document(tmp_path / "evaluation.json", "evaluation")
    assert str(refused.value).startswith(f"{tmp_path / 'evaluation.json'}: {said}")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "evaluation.json").open("wb") as stream:
        stream.truncate(200_000_000)
    with pytest.raises(PoseTopoError, match="200 MB, more than any file of pose_topo"):
        read_document(tmp_path / "evaluation.json", "evaluation")


def test_every_kind_that_is_read_has_a_layout() -> None:
    assert set(LAYOUTS) == set(SCHEMAS) - {"audit", "comparison"}  # these are written, but not read


def test_a_document_without_its_parts_can_be_read(tmp_path: Path) -> None:
    """Earlier results lack newer parts. What needs them says so."""
    whole = {"kind": "analysis", "schema": SCHEMAS["analysis"], "arm": "topo"}
    (tmp_path / "analysis.json").write_text(json.dumps(whole))
    assert read_document(tmp_path / "analysis.json", "analysis") == whole
