"""Two processes compute the gradients, losses and scores of a single process that takes the same micro-batches."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pose_topo.core.errors import UsageError
from pose_topo.core.files import read_json
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import prepare
from pose_topo.models.pose import build_model
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import SMALL
from pose_topo.training.epoch import validate
from pose_topo.training.optimisation import heatmap_loss, learning_rate, make_optimizer, set_learning_rate
from pose_topo.training.processes import Team, team_from_environment

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def recorded_config(data):
    # 3 people a process and step: the 13 or so people do not divide evenly, so shares matter
    recipe = replace(SMALL, input_size=32, batch_size=3, epochs=2)
    return RunConfig("resnet18", recipe, Data.at(data), Topography(4, 4), threads=1, device="cpu")


def fresh_model(config):
    torch.manual_seed(0)
    return build_model(config)


@pytest.fixture(scope="module")
def together(small_data, tmp_path_factory):
    """The results of two gloo processes, by rank, and the folder of the run that they trained."""
    folder = tmp_path_factory.mktemp("together")
    arguments = [*TORCHRUN, str(ROOT / "team_worker.py"), str(small_data), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT.parent.parent)}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)], folder


@pytest.fixture(scope="module")
def alone(small_data):
    config = recorded_config(small_data)
    return config, prepare(config.data, config.recipe, seed=0, workers=1, progress=False)


def test_gradients_of_the_first_step_are_those_of_one_process(together, alone):
    config, dataset = alone
    torch.set_num_threads(1)
    model = fresh_model(config).train()
    batches = Batches(dataset.store, dataset.people, dataset.split.train, config.recipe, CPU)
    micro = [next(batches.epoch(0, 1, 3, process=rank, processes=2)) for rank in (0, 1)]
    people = sum(len(batch.index) for batch in micro)
    # BatchNorm sees each micro-batch by itself; the spatial loss counts once
    loss = 0.5 * model.topo_reg_loss()
    for batch in micro:
        loss = loss + len(batch.index) / people * heatmap_loss(
            model(batch.images), batch.targets, batch.mask, config.recipe.loss, config.recipe.mask_unlabelled
        )
    loss.backward()
    found, _ = together
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        for rank in found:
            difference = (rank["gradients"][name] - parameter.grad).norm()
            assert difference <= 1e-6 * parameter.grad.norm() + 1e-12, name


def test_validation_is_the_same_to_the_bit(together, alone):
    config, dataset = alone
    torch.set_num_threads(1)
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, CPU)
    own = validate(fresh_model(config), val, dataset.people, "fp32", 2)
    assert [rank["scores"] for rank in together[0]] == [own, own]


def test_one_process_writes_and_every_person_is_counted_once(together, alone):
    _, dataset = alone
    run = together[1] / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "best.pt", "config.json", "last.pt", "metrics.csv", "provenance.json",
    ]  # fmt: skip
    (session,) = read_json(run / "provenance.json")["sessions"]
    assert session["processes"] == 2
    checkpoint = runs.load_checkpoint(run / "last.pt")
    assert checkpoint.training is not None and checkpoint.training["processes"] == 2
    assert checkpoint.training["step"] == 2 * -(-len(dataset.split.train) // 6)


def test_the_scores_of_an_epoch_are_those_of_the_saved_network(together, alone):
    """The BatchNorm of each process has seen other people, but all must score the network that the writer saves."""
    config, dataset = alone
    torch.set_num_threads(1)
    checkpoint = runs.load_checkpoint(together[1] / "run" / "last.pt")
    model = fresh_model(config)
    model.load_state_dict(checkpoint.model)
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, CPU)
    own = validate(model, val, dataset.people, "fp32", config.recipe.batch_size)
    row = checkpoint.training["history"][-1]  # type: ignore[index]
    assert {key: row[key] for key in own} == pytest.approx(own, rel=1e-6)


def test_the_loss_over_an_epoch_is_that_of_one_process(together, alone):
    """One process takes the same two micro-batches per step. Only the running statistics differ."""
    config, dataset = alone
    torch.set_num_threads(1)
    model = fresh_model(config).train()
    optimizer = make_optimizer(model, config.recipe)
    batches = Batches(dataset.store, dataset.people, dataset.split.train, config.recipe, CPU)
    per_epoch, total, people = batches.steps(3, 2), 0.0, 0
    both = zip(*(batches.epoch(0, 1, 3, process=rank, processes=2) for rank in (0, 1)), strict=True)
    for number, micro in enumerate(both):
        set_learning_rate(optimizer, learning_rate(config.recipe, number, per_epoch))
        here = sum(len(batch.index) for batch in micro)
        loss = 0.5 * model.topo_reg_loss()
        for batch in micro:
            own = heatmap_loss(
                model(batch.images), batch.targets, batch.mask, config.recipe.loss, config.recipe.mask_unlabelled
            )
            loss = loss + len(batch.index) / here * own
            total, people = total + own.item() * len(batch.index), people + len(batch.index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    first = runs.load_checkpoint(together[1] / "run" / "last.pt").training["history"][0]  # type: ignore[index]
    assert people == len(dataset.split.train)
    assert first["train_heatmap_loss"] == pytest.approx(total / people, rel=0.01)


@pytest.mark.slow
def test_the_command_under_torchrun(small_data, tmp_path):
    arguments = [
        *TORCHRUN, "-m", "pose_topo", "train-baseline", "--data", str(small_data), "--arch", "resnet18",
        "--protocol", "small", "--input-size", "32", "--batch-size", "4", "--epochs", "1", "--threads", "1",
        "--device", "cpu", "--save-dir", str(tmp_path), "--run-name", "run", "--no-progress",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("people to train on") == 1
    assert "8 people per step (2 processes x 4), learning rate 0.001" in done.stderr


def test_a_team_of_one_does_not_communicate(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    team = team_from_environment()
    assert team == Team() and team.writer
    assert team.gather(3) == [3] and team.from_writer("x") == "x"


def test_each_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    team = Team(rank=9, size=16, local_rank=1)
    assert (team.device("auto"), team.device("cuda"), team.device("cpu")) == ("cuda:1", "cuda:1", "cpu")
    with pytest.raises(UsageError, match="16 processes cannot share"):
        team.device("cuda:0")
