"""Results folders are read, and are refused if they contradict themselves or each other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up_results
import numpy as np
import pytest

from paper_figures.lib import command
from paper_figures.lib.command import exhibits
from paper_figures.lib.results import Run, by_arm, check_comparable, load, one_run_per_arm
from pose_topo.core.errors import REPORT, PoseTopoError


def test_values_of_a_run(study: list[Path]) -> None:
    run = load([study[-1]])[0]
    assert (run.arm, run.seed, run.arch, run.protocol, run.data) == ("topo", 2, "resnet18", "small", "synthetic")
    assert run.deviations == (made_up_results.DEMO, made_up_results.FASTER)
    assert run.number("analysis", "grid.height") == 16
    assert run.number("evaluation", "pckh.0.5.groups.Head") == run.json["evaluation"]["pckh"]["0.5"]["groups"]["Head"]
    assert run.number("analysis", "moran.per_joint.right ankle.q") is not None
    assert run.maps["labels"].shape == (16, 16) and run.metrics["epoch"].tolist() == list(range(1, 9))
    assert np.isnan(load([study[0]])[0].metrics["topo_loss"]).all()  # empty fields
    for key in ("moran.nothing", "pckh", "moran.weights"):
        with pytest.raises(PoseTopoError, match=r"analysis\.json"):
            run.number("analysis", key)
    with pytest.raises(PoseTopoError, match="no array 'nothing'"):
        run.maps["nothing"]


def test_runs_have_the_order_of_the_study(study: list[Path]) -> None:
    runs = load(study[::-1])
    assert [(arm, [run.seed for run in group]) for arm, group in by_arm(runs).items()] == [
        (arm, [1, 2]) for arm in ("baseline", "control", "topo")
    ]


def test_one_run_per_arm_has_the_lowest_common_seed() -> None:
    runs = [
        Run(Path(), arm, seed, "r", "p", {}) for arm, seed in (("control", 1), ("control", 2), ("topo", 2), ("topo", 3))
    ]
    assert [run.seed for run in one_run_per_arm(runs)] == [2, 2]
    assert [run.seed for run in one_run_per_arm([runs[0], runs[3]])] == [1, 3]


def test_folders_without_results_are_skipped(study: list[Path], tmp_path: Path) -> None:
    assert load([tmp_path]) == []
    with pytest.raises(PoseTopoError, match="no such results folder"):
        load([tmp_path / "nowhere"])
    given = tmp_path / "given"
    shutil.copytree(study[0], given)
    for name in ("analysis.json", "robustness.json"):
        (given / name).unlink()
    made_up_results.edit(given, "evaluation.json", ("arm",), None)  # a prediction file of another system
    assert load([given]) == []


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("evaluation.json", "schema", 1, "not a schema 2 evaluation"),
        ("analysis.json", "arm", "control", "differ in arm"),
        ("analysis.json", "checkpoint_sha256", "other", "differ in checkpoint_sha256"),
        ("analysis.json", "lambda", 0.0, "arms swapped"),
    ],
)
def test_contradictions_are_refused(
    study: list[Path], tmp_path: Path, name: str, key: str, value: object, message: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(study[-1], folder)
    made_up_results.edit(folder, name, (key,), value)
    with pytest.raises(PoseTopoError, match=message):
        load([folder])


def test_an_error_names_the_damaged_file(study: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(study[-1], folder)
    (folder / "analysis.npz").write_bytes(b"PK\x03\x04 cut off")
    (folder / "metrics.csv").write_text("epoch,val_pckh\n1,much\n", encoding="utf-8")
    run = load([folder])[0]
    for part in ("maps", "metrics"):
        with pytest.raises(PoseTopoError, match=str(folder)):
            getattr(run, part)
    (folder / "evaluation.json").write_text("{", encoding="utf-8")
    with pytest.raises(PoseTopoError, match="not readable as JSON"):
        load([folder])


@pytest.mark.parametrize(
    ("file", "name", "change", "message"),
    [
        ("analysis.npz", "labels", lambda a: a[0], r"labels holds int64 of shape \(16,\), not h = 16 x w = 16"),
        ("analysis.npz", "labels", lambda a: a / 2, r"labels holds float64 of shape \(16, 16\), not"),
        ("analysis.npz", "strength", lambda a: a[:3], r"strength .* \(3, 16, 16\), not K = 16 x h = 16 x w = 16"),
        ("analysis.npz", "correlation_all", lambda a: a[1:], r"correlation_all .* \(39,\), not b-1"),
        ("examples.npz", "crops", lambda a: a[:, :5], r"crops holds uint8 of shape \(8, 5, 96, 3\)"),
        ("examples.npz", "labelled", lambda a: a[1:], r"labelled holds bool of shape \(7, 16\), not n = 8 x K = 16"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    study: list[Path], tmp_path: Path, file: str, name: str, change: Any, message: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(study[-1], folder)
    with np.load(folder / file) as saved:
        arrays = {key: saved[key] for key in saved.files}
    np.savez(folder / file, allow_pickle=False, **{**arrays, name: change(arrays[name])})
    with pytest.raises(PoseTopoError, match=message):
        _ = load([folder])[0].maps if file == "analysis.npz" else load([folder])[0].examples


def test_a_figure_script_has_a_last_door(study: list[Path], tmp_path: Path, monkeypatch, capsys) -> None:
    """An error that nobody expected is one line that names the results, and costs no other figure."""

    def fails(runs: list[Run]) -> None:
        folder = runs[0].folder
        raise ZeroDivisionError(f"in {folder.name}")

    exhibit = replace(exhibits()["table_metrics"], build=fails)
    monkeypatch.setattr(command, "selected", lambda names: [exhibit, exhibits()["table_topography"]])
    assert command.main(["table_metrics", "--results", str(study[0]), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said == f"table_metrics: {study[0]}: ZeroDivisionError: in {study[0].name}; {REPORT}\n"
    assert (tmp_path / "table_topography.caption.md").is_file()


def test_runs_that_cannot_be_compared_are_refused(study: list[Path], tmp_path: Path) -> None:
    shutil.copytree(study[0], tmp_path / "copy")
    with pytest.raises(PoseTopoError, match="both baseline, seed 1"):
        load([*study, tmp_path / "copy"])
    other = made_up_results.write_run(tmp_path / "other", "control", 1, protocol="paper")
    with pytest.raises(PoseTopoError, match="protocols"):
        check_comparable(load([study[0], other]))
    for name in ("evaluation.json", "analysis.json", "robustness.json"):
        made_up_results.edit(tmp_path / "copy", name, ("data_sha256",), "another split")
    with pytest.raises(PoseTopoError, match="seed 1 were measured on different data"):
        check_comparable(load([tmp_path / "copy", study[2]]))


def test_the_made_up_analysis_has_the_keys_of_a_real_one(study: list[Path]) -> None:
    """The made-up files have the keys and arrays that the analysis writes."""
    analyze = pytest.importorskip("pose_topo.topography.measures")
    lattice = pytest.importorskip("pose_topo.study.lattice").Lattice(4, 4)
    rng = np.random.default_rng(0)
    numbers, maps = analyze.all_measures(rng.normal(size=(16, 16)), rng.normal(size=(30, 16)), lattice, 19)
    run = load([study[-1]])[0]
    for part, content in numbers.items():
        assert set(content) == set(run.json["analysis"][part])
    for name, array in maps.items():
        assert run.maps[name].ndim == array.ndim


def test_the_made_up_evaluation_has_the_keys_of_a_real_one(study: list[Path]) -> None:
    """The made-up files have the keys that the evaluation writes."""
    from pose_topo.scoring.other_metrics import legacy_report
    from pose_topo.scoring.pckh import score

    truth = np.random.default_rng(0).uniform(0, 99, (3, 16, 2))
    people = truth, truth, np.ones((3, 16), bool), np.full(3, 9.0)
    said = load([study[-1]])[0].json["evaluation"]
    found = score(*people, resamples=9) | {"legacy": legacy_report(*people, np.full((3, 2), 100.0))}
    assert set(found) <= set(said)
    for part in ("curve", "intervals", "legacy"):
        assert set(found[part]) == set(said[part]), part
    assert set(found["pckh"]) == set(said["pckh"]) and set(found["pckh"]["0.5"]) == set(said["pckh"]["0.5"])


def test_the_made_up_lesions_have_the_keys_of_real_ones(study: list[Path]) -> None:
    """The made-up files have the keys that the lesions write."""
    intervention = pytest.importorskip("pose_topo.stages.silencing")
    damage = np.random.default_rng(0).normal(size=(3, 2, 16))  # (grids, discs, joints)
    found = intervention.specificity(damage, np.zeros((3, 2), np.int64)) | intervention.mean_damage(
        damage.mean(axis=-1)
    )
    for entry in load([study[-1]])[0].value("analysis", "lesions.radii"):
        assert set(entry) == {"radius", "channels", *found}
