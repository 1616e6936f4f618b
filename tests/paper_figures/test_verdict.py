"""Claims: supported, contradicted, not run; and arms that were swapped do not pass."""

from __future__ import annotations

import json
from pathlib import Path

import made_up_results
import pytest

from paper_figures import verdict
from paper_figures.claims import Interval, Order, Quantity, Threshold, load_claims
from pose_topo.errors import PoseTopoError

IDS = ["baseline-learns", "topography-costs-little", "topography-emerges", "control-is-flat"]
A, B = Quantity("a", "analysis", "x"), Quantity("b", "analysis", "x")


def judged(folders: list[Path], out: Path, *more: str) -> tuple[int, dict[str, str]]:
    code = verdict.main(["--results", *map(str, folders), "--out", str(out), *more])
    claims = json.loads((out / "verdict.json").read_text(encoding="utf-8"))["claims"]
    return code, {claim["id"]: claim["verdict"] for claim in claims}


def test_a_good_study_supports_every_claim(
    study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(study, tmp_path, "--check") == (0, dict.fromkeys(IDS, "supported"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == IDS and all("SUPPORTED" in line for line in lines)
    measured = json.loads((tmp_path / "verdict.json").read_text())["claims"][0]["checks"][0]["measured"]
    said = {f.name[-1]: json.loads((f / "evaluation.json").read_text())["pckh"]["0.5"]["mean"] for f in study[:2]}
    assert measured == {"baseline evaluation:pckh.0.5.mean": said}
    text = (tmp_path / "verdict.md").read_text(encoding="utf-8")
    assert text.count("**supported**") == 4 and made_up_results.FASTER in text


def test_a_contradicted_claim(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", seeds=(1,))
    made_up_results.edit(folders[0], "evaluation.json", ("pckh", "0.5", "mean"), 74.9)
    expected = dict.fromkeys(IDS, "supported") | {"baseline-learns": "contradicted"}
    assert judged(folders, tmp_path) == (0, expected)
    assert judged(folders, tmp_path, "--check") == (1, expected)


def test_each_seed_must_be_significant(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs")
    made_up_results.edit(folders[-1], "analysis.json", ("moran", "p_mean"), 0.0015)  # the mean stays below .001
    assert judged(folders, tmp_path)[1]["topography-emerges"] == "contradicted"


def test_missing_runs_are_not_run(study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = dict.fromkeys(IDS, "not run") | {"control-is-flat": "supported"}
    assert judged(study[2:4], tmp_path, "--check") == (0, found)
    assert "NOT RUN: " in capsys.readouterr().out
    assert judged([study[2], study[5]], tmp_path)[1]["topography-costs-little"] == "not run"  # seeds 1 and 2: no pair
    other = made_up_results.write_study(tmp_path / "paper", seeds=(1,), protocol="paper")
    assert judged(other, tmp_path)[1] == dict.fromkeys(IDS, "not run")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert judged([empty], tmp_path) == (0, dict.fromkeys(IDS, "not run"))


def test_a_null_is_not_run(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", seeds=(1,))
    made_up_results.edit(folders[1], "analysis.json", ("moran", "mean_I"), None)
    found = judged(folders, tmp_path)[1]
    assert found["control-is-flat"] == found["topography-emerges"] == "not run"


def test_swapped_arms_are_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", arms=("control", "topo"), seeds=(1,))
    for folder, arm in zip(folders, ("topo", "control"), strict=True):
        for name in ("evaluation.json", "analysis.json"):
            made_up_results.edit(folder, name, ("arm",), arm)
    assert verdict.main(["--results", *map(str, folders), "--out", str(tmp_path), "--check"]) == 1
    assert "arms swapped?" in capsys.readouterr().err
    for folder, weight in zip(folders, (0.5, 0.0), strict=True):  # swapped to the last number
        made_up_results.edit(folder, "analysis.json", ("lambda",), weight)
    code, found = judged(folders, tmp_path, "--check")
    assert code == 1 and found["topography-emerges"] == found["control-is-flat"] == "contradicted"


@pytest.mark.parametrize(
    ("check", "values", "holds"),
    [
        (Threshold(A, at_least=75), (75.0,), True),
        (Threshold(A, above=75), (75.0,), False),
        (Threshold(A, at_most=1), (1.0,), True),
        (Threshold(A, below=1), (1.0,), False),
        (Threshold(A, at_least=0, at_most=1), (1.5,), False),
        (Order(A, B), (1.0, 1.0), False),
        (Order(A, B, by=0.25), (0.75, 0.5), True),
        (Order(A, B, by=0.25), (0.5, 0.75), False),
        (Interval(A, 1.0, 0.5), (1.5,), True),
        (Interval(A, B, 3), (75.0, 78.5), False),
        (Interval(A, B, 3), (78.0, 75.0), True),
    ],
)
def test_checks_by_hand(check: Threshold | Order | Interval, values: tuple[float, ...], holds: bool) -> None:
    assert check.holds(values) is holds and len(check.quantities()) == len(values)
    assert str(A) in check.wanted()


@pytest.mark.parametrize(
    "text",
    [
        "[[claim",
        "",
        '[[claim]]\nid="a"\nstatement="s"\nprofile="demo"\ncheck=[]',
        '[[claim]]\nid="a"\nstatement="s"\nprofile="demo"\n[[claim.check]]\nkind="guess"',
        '[[claim]]\nid="a"\nstatement="s"\nprofile="demo"\n[[claim.check]]\nkind="threshold"\nquantity={arm="a",file="b",key="c"}',
        '[[claim]]\nid="a"\nstatement="s"\nprofile="demo"\nclause=1\n[[claim.check]]\nkind="order"',
    ],
)
def test_a_bad_claims_file_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PoseTopoError, match="not a claims file"):
        load_claims(path)


def test_a_claim_on_a_key_that_is_not_there_says_so(
    study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(verdict.CLAIMS.read_text(encoding="utf-8").replace("moran.mean_I", "moran.mean"), encoding="utf-8")
    assert verdict.main(["--results", *map(str, study), "--out", str(tmp_path), "--claims", str(path)]) == 1
    assert "'moran.mean'" in capsys.readouterr().err
