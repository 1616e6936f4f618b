"""Files that other services read: CITATION.cff, and the workflow of GitHub Actions."""

import re
from pathlib import Path

import pytest

from pose_topo.core.files import read_toml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
yaml = pytest.importorskip("yaml")


def test_every_preprint_that_a_loss_names_is_cited():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert {"cff-version", "message", "title", "authors"} <= set(yaml.safe_load(text))
    named = set(re.findall(r"arXiv (\d{4}\.\d{5})", (ROOT / "pose_topo/models/regularizers.py").read_text("utf-8")))
    assert named and named <= set(re.findall(r"arXiv (\d{4}\.\d{5})", text))


@pytest.mark.skipif(not WORKFLOW.is_file(), reason="the image holds no workflow")
def test_the_workflow_checks_each_python_version_that_is_named_and_may_only_read():
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    named = [line.rpartition(" :: ")[2] for line in read_toml(ROOT / "pyproject.toml")["project"]["classifiers"]]
    assert job["strategy"]["matrix"]["python"] == [one for one in named if re.fullmatch(r"3\.\d+", one)]
    assert workflow["permissions"] == {"contents": "read"} and "permissions" not in job
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML reads the key `on` as true
    assert job["timeout-minutes"] <= 180
    *actions, last = job["steps"]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in actions)
    assert last == {"run": ".ci/run"} and (ROOT / ".ci" / "run").stat().st_mode & 0o100
