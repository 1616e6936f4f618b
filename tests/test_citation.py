"""CITATION.cff: well formed, of one word with the project, and naming what the code says it rests on."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
yaml = pytest.importorskip("yaml")


def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_asks_for():
    found = citation()
    assert found["cff-version"] == "1.2.0" and found["message"] and found["title"] and found["authors"]
    for work in found["references"]:
        assert {"type", "title", "authors", "year"} <= set(work), work["title"]
        assert all({"family-names", "given-names"} == set(author) for author in work["authors"])


def test_the_licence_is_the_projects():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'license = "{citation()["license"]}"' in project
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(f"{citation()['license']} License")


def test_every_preprint_that_a_loss_names_is_cited():
    named = set(re.findall(r"arXiv (\d{4}\.\d{5})", (ROOT / "pose_topo/models/regularizers.py").read_text("utf-8")))
    cited = set(re.findall(r"arXiv (\d{4}\.\d{5})", (ROOT / "CITATION.cff").read_text("utf-8")))
    assert named and named <= cited
