"""Verdicts on claims: drifted values, missing runs and swapped arms are found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import made_up_results
import pytest

from paper_figures.claims import check
from paper_figures.claims.model import CLAIMS, load_study
from pose_topo.download.catalog import NEWELL

DATA = "synthetic-2400"
ORDERS = (
    *("baseline-learns", "topography-emerges", "topography-is-not-of-norms"),
    *("topography-costs-little", "control-is-flat"),
)
AGAIN = ("accuracy-comes-again", "topography-comes-again")
BOUNDS = ("topography-costs-at-most-one-point", "twins-lie-nearer")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The results of a demo: three arms with one seed. Tests must not change them."""
    return made_up_results.write_study(tmp_path_factory.mktemp("made"), seeds=(11,), data=DATA)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference results of the demo: three arms with six seeds. Tests must not change them."""
    root = tmp_path_factory.mktemp("reference")
    made_up_results.write_study(root / "small", seeds=(0, 1, 2, 3, 4, 5), data=DATA)
    return root


def judged(folders: list[Path], reference: Path, out: Path, *more: str) -> tuple[int, dict[str, str]]:
    """Return the exit code, and the verdicts on the claims of the profiles `demo` and `every`."""
    code = check.main(["--results", *map(str, folders), "--reference", str(reference), "--out", str(out), *more])
    content = json.loads((out / "claims.json").read_text(encoding="utf-8"))
    return code, {c["id"]: c["verdict"] for c in content["claims"] if c["profile"] in ("small", "every")}


def copied(folders: list[Path], to: Path) -> list[Path]:
    return [Path(shutil.copytree(folder, to / folder.name)) for folder in folders]


def test_a_good_demo_supports_all_claims_about_the_demo(
    made: list[Path], reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = judged(made, reference, tmp_path)
    assert code == 0 and {found.pop(id) for id in BOUNDS} == {"not run"}  # one seed has no spread
    assert found == dict.fromkeys(["numbers-follow-from-arrays", *ORDERS, *AGAIN], "supported")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load_study().claims) and sum(line.startswith("SUPPORTED") for line in lines) == len(found)
    assert all(line.startswith("NOT RUN") for line in lines if " mpii/" in line)
    content = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    claim = next(c for c in content["claims"] if c["id"] == "accuracy-comes-again" and c["profile"] == "small")
    baseline = claim["checks"][0]
    score = json.loads((made[0] / "evaluation.json").read_text())["pckh"]["0.5"]["mean"]
    assert baseline["here"] == {"11": score} and sorted(baseline["reference"]) == list("012345")
    assert baseline["wanted"]["low"] < score < baseline["wanted"]["high"]
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert text.count("**supported**") == len(found) and made_up_results.FASTER in text
    assert all(entry.what in " ".join(text.split()) for entry in load_study().never_run)


def test_a_drifted_value_is_contradicted(made: list[Path], reference: Path, tmp_path: Path) -> None:
    folders = copied(made, tmp_path)
    made_up_results.edit(folders[0], "evaluation.json", ("pckh", "0.5", "mean"), 76.0)  # still above 75
    code, found = judged(folders, reference, tmp_path)
    assert code == 1 and {id for id, verdict in found.items() if verdict == "contradicted"} == {"accuracy-comes-again"}
    assert judged(folders, reference, tmp_path, "--no-fail")[0] == 0
    made_up_results.edit(folders[0], "evaluation.json", ("pckh", "0.5", "mean"), 74.9)
    assert judged(folders, reference, tmp_path)[1]["baseline-learns"] == "contradicted"


def test_a_number_that_does_not_follow_from_its_arrays_is_contradicted(
    made: list[Path], reference: Path, tmp_path: Path
) -> None:
    folders = copied(made, tmp_path)
    I = json.loads((folders[2] / "analysis.json").read_text())["moran"]["mean_I"]  # noqa: E741
    made_up_results.edit(folders[2], "analysis.json", ("moran", "mean_I"), I + 1e-6)
    code, found = judged(folders, reference, tmp_path)
    assert code == 1 and {id for id, v in found.items() if v == "contradicted"} == {"numbers-follow-from-arrays"}
    tampered = Path(shutil.copytree(reference, tmp_path / "reference"))  # ... and in the committed ones, too
    made_up_results.edit(tampered / "small" / "topo-s3", "evaluation.json", ("auc",), 50.0)
    assert judged(made, tampered, tmp_path)[1]["numbers-follow-from-arrays"] == "contradicted"


def test_each_seed_must_be_significant(made: list[Path], reference: Path, tmp_path: Path) -> None:
    folders = made + made_up_results.write_study(tmp_path / "more", seeds=(12,), data=DATA)
    made_up_results.edit(folders[-1], "analysis.json", ("moran", "p_mean"), 0.0015)  # the mean stays below .001
    assert judged(folders, reference, tmp_path)[1]["topography-emerges"] == "contradicted"


def test_a_claim_without_its_runs_is_not_run(made: list[Path], reference: Path, tmp_path: Path) -> None:
    code, found = judged(made[1:2], reference, tmp_path)  # the control alone
    assert code == 0 and found["control-is-flat"] == "supported"
    assert {found[id] for id in (*ORDERS[:4], *AGAIN)} == {"not run"}
    (tmp_path / "none").mkdir()
    code, found = judged(made, tmp_path / "none", tmp_path)  # no reference: nothing to be predicted from
    assert code == 0 and {found[id] for id in AGAIN} == {"not run"} and found["topography-emerges"] == "supported"
    other = made_up_results.write_study(tmp_path / "paper", seeds=(1,), data=DATA, protocol="paper")
    assert set(judged(other, tmp_path / "none", tmp_path)[1].values()) == {"not run", "supported"}


def test_a_claim_about_a_null_is_not_run(made: list[Path], reference: Path, tmp_path: Path) -> None:
    folders = copied(made, tmp_path)
    made_up_results.edit(folders[1], "analysis.json", ("moran", "mean_I"), None)
    found = judged(folders, reference, tmp_path)[1]
    assert found["control-is-flat"] == found["topography-emerges"] == "not run"


def test_a_run_with_other_settings_judges_no_claim(made: list[Path], reference: Path, tmp_path: Path) -> None:
    short = made_up_results.write_study(tmp_path / "small-e2", seeds=(11,), data=DATA)
    for folder in short:
        for name in ("evaluation.json", "analysis.json"):
            made_up_results.edit(folder, name, ("as_protocol",), False)
        made_up_results.edit(folder, "evaluation.json", ("pckh", "0.5", "mean"), 10.0)
    assert judged([*made, *short], reference, tmp_path)[0] == 0
    code, found = judged(short, reference, tmp_path)
    assert code == 0 and {found[id] for id in (*ORDERS, *AGAIN)} == {"not run"}


def test_each_claim_takes_the_runs_of_its_profile(made: list[Path], reference: Path, tmp_path: Path) -> None:
    """Runs of another protocol do not change the verdicts."""
    other = made_up_results.write_study(tmp_path / "paper", seeds=(11,), data=DATA, protocol="paper")
    made_up_results.edit(other[0], "evaluation.json", ("pckh", "0.5", "mean"), 10.0)
    assert judged([*other, *made], reference, tmp_path)[1] == judged(made, reference, tmp_path)[1]


def test_swapped_arms_are_found(
    made: list[Path], reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = copied(made[1:], tmp_path)
    for folder, arm in zip(folders, ("topo", "control"), strict=True):
        for name in ("evaluation.json", "analysis.json"):
            made_up_results.edit(folder, name, ("arm",), arm)
    assert check.main(["--results", *map(str, folders), "--reference", str(reference), "--out", str(tmp_path)]) == 1
    assert "arms swapped?" in capsys.readouterr().err and not (tmp_path / "claims.json").exists()
    for folder, weight in zip(folders, (0.5, 0.0), strict=True):  # swapped to the last number
        made_up_results.edit(folder, "analysis.json", ("lambda",), weight)
    code, found = judged(folders, reference, tmp_path)
    assert code == 1 and found["topography-emerges"] == found["control-is-flat"] == "contradicted"


def test_the_reference_runs_alone_judge_orders_but_no_intervals(reference: Path, tmp_path: Path) -> None:
    made_up_results.write_study(tmp_path / "reference" / "sweep", arms=("control",), seeds=(0,), data=DATA)
    both = Path(shutil.copytree(reference, tmp_path / "reference", dirs_exist_ok=True))
    code, found = judged(sorted(both.glob("*/*")), both, tmp_path)  # two profiles hold a control of seed 0
    assert {found[id] for id in ORDERS} == {"supported"} and {found[id] for id in AGAIN} == {"not run"}
    # the made-up topo is 1.5 points below the control
    assert code == 1 and found["topography-costs-at-most-one-point"] == "contradicted"


def test_a_stray_reference_run_is_refused(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = Path(shutil.copytree(reference, tmp_path / "reference"))
    made_up_results.write_study(both / "small", arms=("topo",), seeds=(9,), data="other")
    assert check.main(["--reference", str(both), "--out", str(tmp_path)]) == 1
    assert "topo-s9: is not a run of profile small" in capsys.readouterr().err


def test_the_published_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, base = tmp_path / "evaluation.json", ["--reference", str(tmp_path), "--out", str(tmp_path)]
    made_up_results.dump(path, predictions(auc=56.4932))
    assert check.main([*base, "--predictions-evaluation", str(path)]) == 0
    assert "SUPPORTED    published/metric-is-pckh" in capsys.readouterr().out
    made_up_results.dump(path, predictions(auc=56.51))
    assert check.main([*base, "--predictions-evaluation", str(path)]) == 1
    assert "CONTRADICTED published/metric-is-pckh" in capsys.readouterr().out
    made_up_results.dump(path, predictions(auc=56.4932) | {"predictions_sha256": "0" * 64})  # somebody else's
    assert check.main([*base, "--predictions-evaluation", str(path)]) == 1
    assert "is not the evaluation of newell.h5" in capsys.readouterr().err


def predictions(auc: float) -> dict[str, object]:
    """Return the part of the evaluation of newell.h5 that claims read."""
    scores = {"0.5": 88.4301, "0.1": 21.589, "0.11": 25.44}
    return {
        "schema": 2,
        "kind": "evaluation",
        "predictions_sha256": NEWELL.checks.sha256,
        "data_sha256": "x",
        "pckh": {threshold: {"mean": value} for threshold, value in scores.items()},
        "auc": auc,
        "curve": {"thresholds": [0.0, 0.5], "mean": [0.0, 2 * auc]},
    }


@pytest.mark.data
def test_the_real_predictions(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pose_topo.stages.evaluate import evaluate_predictions

    files = real_data / "mpii-val"
    evaluate_predictions(files / "newell.h5", files / "detections_our_format.mat", tmp_path / "newell")
    given = ["--predictions-evaluation", str(tmp_path / "newell" / "evaluation.json"), "--out", str(tmp_path)]
    assert check.main(given) == 0
    assert "SUPPORTED    published/metric-is-pckh" in capsys.readouterr().out


def test_the_cost_comes_from_the_reference_runs(reference: Path, made: list[Path], tmp_path: Path) -> None:
    timed = Path(shutil.copytree(reference, tmp_path / "reference"))
    for folder in (timed / "small").iterdir():
        seconds = 600.0 if folder.name.startswith("topo") else 300.0
        session = {"wall_seconds": seconds, "device": "a CPU", "threads": 2, "precision": "fp32", "cuda": None}
        peak = {"rss": 2_000_000_000 + int(seconds)}
        made_up_results.dump(folder / "provenance.json", {"sessions": [session | {"peak_memory": peak}]})
    judged(made, timed, tmp_path)
    content = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    costs = {(c["profile"], c["id"]): c["cost"] for c in content["claims"]}
    assert costs["small", "topography-emerges"] == {
        "arms": 2, "minutes": 15.0, "memory": 2_000_000_600, "gpu_memory": None, "hardware": "a CPU, 2 threads, fp32"
    }  # fmt: skip
    assert costs["mpii", "topography-above-control"] is None


def test_a_claim_about_an_unknown_key_is_an_error(
    made: list[Path], reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(CLAIMS.read_text(encoding="utf-8").replace("moran.mean_I", "moran.mean"), encoding="utf-8")
    given = ["--results", *map(str, made), "--reference", str(reference), "--out", str(tmp_path), "--claims", str(path)]
    assert check.main(given) == 1
    assert "'moran.mean'" in capsys.readouterr().err
