"""A training that was interrupted is continued by the same command, to a bit-identical network."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json, sha256_file, write_json
from pose_topo.data.dataset import prepare
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import SMALL
from pose_topo.training import epoch
from pose_topo.training import epoch as steps
from pose_topo.training import epoch as validation
from pose_topo.training.loop import RunContext, train
from pose_topo.training.processes import Interrupted, Interruption
from pose_topo.training.state import find_checkpoint

RECIPE = replace(SMALL, input_size=32, batch_size=4, epochs=2)
TIMING = ("images_per_s", "seconds")
BOTH = pytest.mark.parametrize("undisturbed", ["fp32", "bf16"], indirect=True)  # others do not depend on the precision


@pytest.fixture(scope="module")
def dataset(small_data):
    return prepare(Data.at(small_data), RECIPE, seed=0, workers=1, progress=False)


def settings(small_data, precision):
    return RunConfig(
        "resnet18", RECIPE, Data.at(small_data), Topography(4, 4), threads=1, device="cpu", precision=precision
    )


def fit(config, dataset, run):
    return train(config, dataset, run, RunContext(progress=False))


def assert_same_run(one, other):
    """Weights, optimiser, best epoch and metrics are bit-identical."""
    bests = [runs.load_checkpoint(run / "best.pt") for run in (one, other)]
    assert bests[0].epoch == bests[1].epoch
    assert all(torch.equal(value, bests[1].model[key]) for key, value in bests[0].model.items())
    mine, theirs = (runs.load_checkpoint(run / "last.pt") for run in (one, other))
    assert mine.epoch == theirs.epoch
    assert all(torch.equal(value, theirs.model[key]) for key, value in mine.model.items())
    assert mine.training is not None and theirs.training is not None
    for number, values in mine.training["optimizer"]["state"].items():
        for name, value in values.items():
            assert torch.equal(value, theirs.training["optimizer"]["state"][number][name])
    assert metrics(one) == metrics(other)


def metrics(run):
    with (run / "metrics.csv").open(newline="") as stream:
        return [{key: cell for key, cell in row.items() if key not in TIMING} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module", params=["fp32"])
def undisturbed(request, small_data, dataset, tmp_path_factory):
    config = settings(small_data, request.param)
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    fit(config, dataset, run)
    return config, run


def signal_at(monkeypatch, module, name, call, signum):
    """Send a signal to this process when a function is called the n-th time."""
    honest, calls = getattr(module, name), iter(range(1, 1000))

    def wrapped(*args, **options):
        if next(calls) == call:
            os.kill(os.getpid(), signum)
        return honest(*args, **options)

    monkeypatch.setattr(module, name, wrapped)


@BOTH
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_step_saves_after_that_step(undisturbed, dataset, tmp_path, monkeypatch, signum):
    config, whole = undisturbed
    with monkeypatch.context() as patch:
        signal_at(patch, steps, "heatmap_loss", 2, signum)
        with pytest.raises(Interrupted, match="the same settings and --run-name go on") as stopped:
            fit(config, dataset, tmp_path / "run")
    assert stopped.value.exit_code == 128 + signum
    saved = runs.load_checkpoint(tmp_path / "run" / "last.pt")
    assert saved.training is not None
    two = sum(map(len, np.array_split(dataset.split.train, -(-len(dataset.split.train) // 4))[:2]))
    assert (saved.epoch, saved.training["step"], saved.training["begun"]["sums"]["people"]) == (0, 2, two)
    fit(config, dataset, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@BOTH
def test_a_signal_in_the_validation_loses_no_step(undisturbed, dataset, tmp_path, monkeypatch):
    config, whole = undisturbed
    with monkeypatch.context() as patch:
        signal_at(patch, validation, "heatmaps", 1, signal.SIGTERM)
        with pytest.raises(Interrupted):
            fit(config, dataset, tmp_path / "run")
    saved = runs.load_checkpoint(tmp_path / "run" / "last.pt").training
    assert saved is not None
    assert saved["begun"]["sums"]["people"] == len(dataset.split.train) and saved["history"] == []
    fit(config, dataset, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@BOTH
def test_files_that_a_kill_left_unwritten_are_repaired(undisturbed, dataset, tmp_path):
    config, whole = undisturbed
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    best = runs.load_checkpoint(run / "best.pt")
    lines = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join(lines[:-1]) + "\n")
    (run / "provenance.json").unlink()
    (run / ".last.abc.pt").write_bytes(b"half a")
    (run / ".gitignore").write_text("of the user's")
    if best.epoch == 2:
        (run / "best.pt").unlink()
    fit(config, dataset, run)
    assert_same_run(run, whole)
    assert not (run / ".last.abc.pt").exists() and (run / ".gitignore").is_file()
    sessions = read_json(run / "provenance.json")["sessions"]
    assert len(sessions) == 2 and all({"wall_seconds", "peak_memory"} <= set(session) for session in sessions)


@pytest.mark.parametrize("wrong", ["weights", "disk"])
def test_overwrite_deletes_the_old_run_only_when_nothing_else_can_fail(
    undisturbed, dataset, tmp_path, monkeypatch, wrong
):
    config, whole = undisturbed
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    if wrong == "weights":
        (tmp_path / "list.txt").write_text("no weights")
        config = replace(config, recipe=replace(RECIPE, start="imagenet"), weights=str(tmp_path / "list.txt"))
    else:
        monkeypatch.setattr("pose_topo.training.loop.Batches", None)
    with pytest.raises((PoseTopoError, TypeError)):
        train(config, dataset, run, RunContext(progress=False), overwrite=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_another_device_or_path_of_the_data_is_the_same_run(undisturbed, dataset, tmp_path, monkeypatch):
    config, whole = undisturbed
    shutil.copytree(whole, tmp_path / "run")
    monkeypatch.chdir(Path(config.data.img_dir).parents[1])
    relative = Data.at(Path(config.data.img_dir).parent.name)
    elsewhere = replace(config, device="auto", threads=2, data=relative, compile="on", precision="auto")
    before = (tmp_path / "run" / "last.pt").read_bytes()
    assert len(fit(elsewhere, dataset, tmp_path / "run")) == 2
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


def test_a_run_continued_with_other_threads_warns(undisturbed, dataset, tmp_path, monkeypatch, said):
    config, _ = undisturbed
    with monkeypatch.context() as patch:
        signal_at(patch, steps, "heatmap_loss", 2, signal.SIGTERM)
        with pytest.raises(Interrupted):
            fit(config, dataset, tmp_path / "run")
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    last["training"]["sessions"][0]["threads"] = 2
    torch.save(last, tmp_path / "run" / "last.pt")
    fit(config, dataset, tmp_path / "run")
    assert "warning: threads 1 now, 2 before: the result is not bit-identical" in said


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"arm": "other"}, {"arch": "resnet34"}, {"topography": Topography(4, 4, weight=1.0)},
     {"recipe": replace(RECIPE, lr=0.5)}, {"topography": None}],
)  # fmt: skip
def test_another_network_is_another_run(undisturbed, dataset, tmp_path, changed):
    config, whole = undisturbed
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(PoseTopoError, match="holds a run with other settings"):
        fit(replace(config, **changed), dataset, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(PoseTopoError, match=r"last\.pt is not of this run"):
        fit(replace(config, **changed), dataset, tmp_path / "run")


def test_other_data_with_the_same_names_are_not_taken_for_those_of_the_run(undisturbed, dataset, tmp_path, said):
    config, whole = undisturbed
    shutil.copytree(whole, tmp_path / "run")
    other = replace(dataset, sha256="other annotations or photographs")
    with pytest.raises(PoseTopoError, match="was trained on other data"):
        fit(replace(config, data=Data.at(tmp_path)), other, tmp_path / "run")
    fit(config, other, tmp_path / "run")  # the same folder, as on a machine that decodes photographs differently
    assert any("annotations or crops have changed" in line for line in said)


def test_other_imagenet_weights_are_another_run(undisturbed, dataset, tmp_path):
    config, whole = undisturbed
    given = tmp_path / "weights.pth"
    given.write_bytes(b"other weights")
    config = replace(config, recipe=replace(RECIPE, start="imagenet"), weights=str(given))
    shutil.copytree(whole, tmp_path / "run")
    last = torch.load(whole / "last.pt", weights_only=True)
    last["training"]["sessions"][0]["weights"] = {"file": "r18.pth", "sha256": "0", "source": "--weights"}
    torch.save({**last, "config": runs.plain(config)}, tmp_path / "run" / "last.pt")
    runs.write_config(tmp_path / "run", config)
    with pytest.raises(PoseTopoError, match="started from other weights"):
        fit(config, dataset, tmp_path / "run")


def test_another_network_to_start_from_is_another_run(undisturbed, dataset, tmp_path, monkeypatch, said):
    """Also where the start is given by the folder of its run, or is the released network."""
    config, whole = undisturbed
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    digest = sha256_file(other / "last.pt")

    def started_from(start, weights, sha256):
        config_now = replace(config, recipe=replace(RECIPE, start=start), weights=weights)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "run")
        last = torch.load(whole / "last.pt", weights_only=True)
        last["training"]["sessions"][0]["weights"] = {"file": "last.pt", "sha256": sha256, "source": "--start"}
        torch.save({**last, "config": runs.plain(config_now)}, tmp_path / "run" / "last.pt")
        runs.write_config(tmp_path / "run", config_now)
        return find_checkpoint(tmp_path / "run", config_now, dataset, 1)

    assert started_from("network", str(other), digest) is not None
    for start, weights in (("network", str(other)), ("network", str(other / "last.pt")), ("released", None)):
        monkeypatch.setattr(runs, "RELEASED", other / "last.pt")
        with pytest.raises(PoseTopoError, match="started from other weights"):
            started_from(start, weights, "0" * 64)
    assert started_from("network", str(tmp_path / "gone"), digest) is not None
    assert any("is not there any more" in line for line in said)


def test_a_run_of_an_earlier_version_is_continued(undisturbed, dataset, tmp_path, monkeypatch):
    """It has the number of joints and `compile: auto` in its settings."""
    config, whole = undisturbed
    with monkeypatch.context() as patch:
        signal_at(patch, steps, "heatmap_loss", 2, signal.SIGTERM)
        with pytest.raises(Interrupted):
            fit(config, dataset, tmp_path / "run")
    older = runs.plain(config) | {"num_keypoints": 16, "compile": "auto"}
    write_json(tmp_path / "run" / "config.json", older)
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    torch.save({**last, "config": older}, tmp_path / "run" / "last.pt")
    fit(config, dataset, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_overwrite_trains_again(undisturbed, dataset, tmp_path):
    config, whole = undisturbed
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "plots").mkdir()
    (run / "plots" / "epoch-009-predictions.png").write_bytes(b"of the old run")
    train(config, dataset, run, RunContext(progress=False), overwrite=True)
    assert_same_run(run, whole)
    assert len(read_json(run / "provenance.json")["sessions"]) == 1 and not list((run / "plots").iterdir())


def test_two_trainings_do_not_write_into_one_folder(undisturbed, dataset, tmp_path):
    config, _ = undisturbed
    with runs.claimed(tmp_path / "run"), pytest.raises(PoseTopoError, match="another training writes there"):
        fit(config, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_continued_run_needs_no_imagenet_weights(undisturbed, dataset, tmp_path):
    config, whole = undisturbed
    config = replace(config, recipe=replace(RECIPE, start="imagenet"), weights=str(tmp_path / "gone.pth"))
    shutil.copytree(whole, tmp_path / "run")
    last = torch.load(whole / "last.pt", weights_only=True)
    torch.save({**last, "config": runs.plain(config)}, tmp_path / "run" / "last.pt")
    runs.write_config(tmp_path / "run", config)
    assert len(fit(config, dataset, tmp_path / "run")) == 2


def test_patience_counts_the_epochs_before_an_interruption(undisturbed, dataset, tmp_path, monkeypatch):
    config = replace(undisturbed[0], recipe=replace(RECIPE, epochs=6, patience=2))
    scores = iter([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    monkeypatch.setattr(epoch, "validate", lambda *_, **__: {"val_loss": 0.0, "val_pckh": next(scores)})
    with monkeypatch.context() as patch:
        first = -(-len(dataset.split.train) // 4)
        signal_at(patch, steps, "heatmap_loss", 2 * first + 1, signal.SIGTERM)  # in the third epoch
        with pytest.raises(Interrupted):
            fit(config, dataset, tmp_path / "run")
    assert len(fit(config, dataset, tmp_path / "run")) == 3


def test_a_run_is_not_continued_by_another_number_of_processes(undisturbed, dataset, tmp_path):
    config, whole = undisturbed
    saved = torch.load(whole / "last.pt", weights_only=True)
    saved["training"]["processes"] = 2
    (tmp_path / "run").mkdir()
    torch.save(saved, tmp_path / "run" / "last.pt")
    with pytest.raises(PoseTopoError, match="by 2 processes, not 1"):
        fit(config, dataset, tmp_path / "run")


def test_handlers_are_restored_and_a_second_signal_has_its_usual_effect():
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.signum == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # the second one ends this
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)


def test_a_signal_that_torchrun_passes_on_counts_once(monkeypatch):
    """torchrun passes a SIGTERM on to processes that have already received it. A later SIGTERM is a new one."""
    inherited = signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    told = []
    try:
        with Interruption() as interruption:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
            assert interruption.signum == signal.SIGTERM and told == []
            monkeypatch.setattr("pose_topo.training.processes.SAME_SIGNAL", 0.0)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            assert told == [True]
    finally:
        signal.signal(signal.SIGTERM, inherited)


def command(data, folder, name, precision):
    options = {
        "--data": data, "--arch": "resnet18", "--protocol": "small", "--input-size": 32, "--batch-size": 4,
        "--epochs": 4, "--threads": 1, "--device": "cpu", "--save-dir": folder, "--run-name": name,
        "--precision": precision,
    }  # fmt: skip
    flat = [str(word) for pair in options.items() for word in pair]
    return [sys.executable, "-m", "pose_topo", "train-topo", *flat, "--topo-grid", "4", "4", "--no-progress"]


def killed(arguments, after, signum):
    """Start a training, send it a signal some seconds after it began its work; returns its exit code, what it said
    since then, and how long it worked."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "people to train on" in line:
            break
    began = time.perf_counter()
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signum)
        process.wait(timeout=60)
    seconds = time.perf_counter() - began
    said = process.stderr.read().splitlines()
    process.stderr.close()
    return process.returncode, said, seconds


def kill_often(data, folder, precision, kills):
    code, _, seconds = killed(command(data, folder, "whole", precision), 300, signal.SIGKILL)
    assert code == 0
    draw = random.Random(kills)
    codes = []
    for _ in range(kills):
        codes.append(killed(command(data, folder, "cut", precision), draw.uniform(0, seconds / 2), signal.SIGKILL)[0])
    assert -signal.SIGKILL in codes
    assert subprocess.run(command(data, folder, "cut", precision), capture_output=True).returncode == 0
    assert_same_run(folder / "cut", folder / "whole")
    assert not list((folder / "cut").glob(".*"))


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(small_data, tmp_path):
    kill_often(small_data, tmp_path, "fp32", 3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_twenty_kills_change_nothing(small_data, tmp_path, precision):
    kill_often(small_data, tmp_path, precision, 20)


@pytest.mark.slow
def test_the_command_leaves_by_sigterm_with_143_and_one_line(small_data, tmp_path):
    arguments = command(small_data, tmp_path, "run", "fp32")
    code, said, _ = killed([*arguments, "--epochs", "500"], 1.5, signal.SIGTERM)
    assert code == 143
    assert len(said) == 1 and said[0].startswith("pose-topo: error: stopped by SIGTERM")
    assert runs.load_checkpoint(tmp_path / "run" / "last.pt").training is not None
