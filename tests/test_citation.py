"""CITATION.cff is valid YAML with the required fields, and cites every work that the code names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
yaml = pytest.importorskip("yaml")


def test_every_preprint_that_a_loss_names_is_cited():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert {"cff-version", "message", "title", "authors"} <= set(yaml.safe_load(text))
    named = set(re.findall(r"arXiv (\d{4}\.\d{5})", (ROOT / "pose_topo/models/regularizers.py").read_text("utf-8")))
    assert named and named <= set(re.findall(r"arXiv (\d{4}\.\d{5})", text))
