"""The training loop: it is repeatable, resumes, trains the control without the spatial loss, and stops on errors."""

import gc
import json
import resource
from collections import deque
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
import torch._dynamo.exc
from torch import nn

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import write_json
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import prepare
from pose_topo.models.pose import build_model
from pose_topo.study import runs
from pose_topo.study.config import TOPO_LOSSES, Data, RunConfig, Topography
from pose_topo.study.protocols import PAPER, SMALL
from pose_topo.training import epoch
from pose_topo.training import epoch as steps
from pose_topo.training.epoch import train_steps
from pose_topo.training.loop import RunContext, train
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.state import Meter

RECIPE = replace(SMALL, input_size=32, batch_size=4, epochs=2)


@pytest.fixture(scope="module")
def config(small_data):
    return RunConfig("resnet18", RECIPE, Data.at(small_data), Topography(4, 4), arm="topo", threads=1, device="cpu")


@pytest.fixture(scope="module")
def dataset(config):
    return prepare(config.data, config.recipe, seed=0, workers=1, progress=False)


def fit(config, dataset, run, *hooks, **options):
    return train(config, dataset, run, RunContext(progress=False, hooks=hooks), **options)


def weights(run):
    return runs.load_checkpoint(run / "last.pt").model


def equal(one, two):
    return all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def undisturbed(config, dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    return run, fit(config, dataset, run)


def test_equal_seeds_train_equal_networks_and_others_do_not(config, dataset, undisturbed, tmp_path):
    fit(config, dataset, tmp_path / "again")
    assert equal(weights(undisturbed[0]), weights(tmp_path / "again"))
    fit(replace(config, seed=1), dataset, tmp_path / "other")
    assert not equal(weights(undisturbed[0]), weights(tmp_path / "other"))


def test_a_run_cut_after_an_epoch_and_continued_equals_an_undisturbed_one(config, dataset, undisturbed, tmp_path):
    class Killed(BaseException):  # what a hook may not swallow
        pass

    def kill(_model, row):
        if row["epoch"] == 1:
            raise Killed

    with pytest.raises(Killed):
        fit(config, dataset, tmp_path / "run", kill)
    assert runs.load_checkpoint(tmp_path / "run" / "last.pt").epoch == 1
    history = fit(config, dataset, tmp_path / "run")
    assert equal(weights(undisturbed[0]), weights(tmp_path / "run"))
    same = ["epoch", "train_loss", "val_loss", "val_pckh", "moran_i", "lr"]
    assert [[row[key] for key in same] for row in history] == [[row[key] for key in same] for row in undisturbed[1]]


def test_a_failed_compilation_is_one_line_that_says_what_to_do(config, dataset, tmp_path, monkeypatch):
    def failing(*_):
        raise torch._dynamo.exc.InternalTorchDynamoError("a.so: file too short\nin line 5")

    monkeypatch.setattr("pose_topo.training.loop.run_epoch", failing)
    with pytest.raises(PoseTopoError, match=r"\(a\.so: file too short in line 5\): give --compile off, or remove"):
        fit(replace(config, compile="on"), dataset, tmp_path / "run")
    with pytest.raises(torch._dynamo.exc.InternalTorchDynamoError):
        fit(config, dataset, tmp_path / "other")


def test_a_run_is_not_continued_on_other_people(config, dataset, undisturbed):
    with pytest.raises(PoseTopoError, match="other people"):
        fit(config, replace(dataset, split_sha256="another split"), undisturbed[0])


def test_a_finished_run_is_left_alone(config, dataset, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed[0].iterdir()}
    assert fit(config, dataset, undisturbed[0])[-1]["epoch"] == 2
    after = {path: path.stat().st_mtime_ns for path in undisturbed[0].iterdir()}
    made_again = {"metrics.csv", "best.pt"}  # from last.pt, in case a kill came between
    assert {path: after[path] for path in after if path.name not in made_again} == {
        path: before[path] for path in before if path.name not in made_again
    }


def test_a_setting_that_is_missing_in_an_older_run_has_its_default(config, tmp_path):
    older = runs.plain(config)
    del older["recipe"]["warm_up"], older["compile"]
    write_json(tmp_path / "config.json", older)
    runs.check_run(tmp_path, config)
    with pytest.raises(PoseTopoError, match=r"recipe\.warm_up: 0\.0 -> 1\.0"):
        runs.check_run(tmp_path, replace(config, recipe=replace(config.recipe, warm_up=1.0)))


def test_every_person_is_trained_on_once_per_epoch(config, dataset):
    batches = Batches(dataset.store, dataset.people, dataset.split.train, config.recipe, torch.device("cpu"))
    seen = [index for batch in batches.epoch(0, 1, 4) for index in batch.index.tolist()]
    assert sorted(seen) == sorted(dataset.split.train.tolist())


def test_the_spatial_loss_falls_and_the_control_only_measures_it(config, dataset, undisturbed, tmp_path):
    control = replace(config, topography=Topography(4, 4, weight=0.0), arm="control")
    history = fit(control, dataset, tmp_path / "control")
    topo = undisturbed[1]
    assert topo[-1]["topo_loss"] < history[-1]["topo_loss"]  # still measured where it is not trained
    assert history[-1]["lambda"] == 0.0
    assert history[-1]["train_loss"] == history[-1]["train_heatmap_loss"]
    assert topo[-1]["train_loss"] == pytest.approx(topo[-1]["train_heatmap_loss"] + 0.5 * topo[-1]["topo_loss"])


def test_the_paper_recipe_trains_and_reports_its_best(small_data, tmp_path):
    recipe = replace(PAPER, input_size=32, batch_size=4, epochs=2, start="none", single_person=False, min_labelled=1)
    paper = RunConfig("resnet18", recipe, Data.at(small_data), Topography(2, 3), threads=1, device="cpu")
    data = prepare(paper.data, recipe, seed=0, workers=1, progress=False)
    history = fit(paper, data, tmp_path / "run")
    assert [row["lambda"] for row in history] == pytest.approx([0.05, 0.5])  # the study's cosine over two epochs
    best = min(history, key=lambda row: row["val_loss"])["epoch"]
    assert runs.reported_checkpoint(tmp_path / "run").name == "best.pt"
    assert runs.load_checkpoint(tmp_path / "run" / "best.pt").epoch == best


@pytest.mark.parametrize("loss", TOPO_LOSSES)
def test_every_spatial_loss_trains_and_logs_statistics_of_the_weights(config, dataset, tmp_path, loss):
    recipe = replace(config.recipe, batch_size=8, epochs=1)  # two steps
    history = fit(replace(config, recipe=recipe, topography=Topography(4, 4, loss=loss)), dataset, tmp_path / "run")
    row = history[-1]
    assert row["topo_loss"] > 0 and row["mean_row_norm"] > 0
    assert -2 <= row["cosine_excess"] <= 2 and 1 <= row["participation_ratio"] <= 16
    assert row["train_loss"] == pytest.approx(row["train_heatmap_loss"] + 0.5 * row["topo_loss"])
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"topo_loss", "mean_row_norm", "cosine_excess", "participation_ratio"} <= set(header)


@pytest.mark.parametrize("loss", ["weight-similarity", "topographic"])
def test_the_best_is_chosen_with_the_spatial_term(config, dataset, tmp_path, monkeypatch, loss):
    monkeypatch.setattr(epoch, "validate", lambda *_, **__: {"val_loss": 1.0, "val_pckh": 0.0})
    ends = []
    recipe = replace(config.recipe, select="loss", epochs=1)
    row = fit(
        replace(config, recipe=recipe, topography=Topography(4, 4, loss=loss, weight=3.0)), dataset, tmp_path / "run",
        lambda model, _: ends.append(model.topo_reg_loss().item() if loss == "weight-similarity" else None),
    )[0]  # fmt: skip
    # weights are there after the epoch; activations were there on the training batches: their mean
    assert row["val_loss"] == pytest.approx(1.0 + 3.0 * (ends[0] or row["topo_loss"]))


def test_patience_ends_a_run_early(config, dataset, tmp_path, monkeypatch):
    scores = iter([4.0, 3.0, 2.0, 1.0])
    monkeypatch.setattr(epoch, "validate", lambda *_, **__: {"val_loss": 0.0, "val_pckh": next(scores)})
    impatient = replace(config, recipe=replace(config.recipe, epochs=4, patience=1))
    assert len(fit(impatient, dataset, tmp_path / "run")) == 2


def test_a_diverging_run_stops_and_keeps_the_epoch_before(config, dataset, tmp_path):
    def spoil(model, row):
        if row["epoch"] == 1:
            with torch.no_grad():
                model.head.weight.fill_(float("nan"))

    with pytest.raises(PoseTopoError, match=r"not finite at step \d+ \(learning rate"):
        fit(config, dataset, tmp_path / "run", spoil)
    kept = runs.load_checkpoint(tmp_path / "run" / "last.pt")
    assert kept.epoch == 1 and torch.isfinite(kept.model["head.weight"]).all()


def test_a_full_disk_leaves_the_last_checkpoint(config, dataset, undisturbed, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    path.write_bytes((undisturbed[0] / "last.pt").read_bytes())

    def full(_content, temporary):
        temporary.write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PoseTopoError, match="No space left"):
        runs.save_checkpoint(runs.Checkpoint(path, config, 3, {}, "people"))
    assert path.read_bytes() == (undisturbed[0] / "last.pt").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_failing_write_leaves_the_last_checkpoint(config, tmp_path):
    """A limit on the size of files acts as a full disk, so that torch's own writer fails."""
    path = tmp_path / "last.pt"
    runs.save_checkpoint(runs.Checkpoint(path, config, 1, {"weight": torch.ones(4)}, "people"))
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(PoseTopoError, match="previous one, if any, is untouched"):
            runs.save_checkpoint(runs.Checkpoint(path, config, 2, {"weight": torch.ones(1 << 20)}, "people"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_the_first_step_that_is_not_finite_is_named(config, dataset, tmp_path, monkeypatch):
    counted = iter(range(1, 100))
    honest = steps.heatmap_loss
    monkeypatch.setattr(steps, "heatmap_loss", lambda *a: honest(*a) * (float("inf") if next(counted) == 2 else 1.0))
    with pytest.raises(PoseTopoError, match="not finite at step 2 "):
        fit(config, dataset, tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists()


def test_weights_that_are_not_finite_are_not_saved(config, dataset, tmp_path, monkeypatch):
    """The loss of that step was finite, so only the weights show it."""
    honest = epoch.train_steps

    def spoiled(model, *args, **options):
        yield from honest(model, *args, **options)
        if options["first_step"] > 0:
            with torch.no_grad():
                model.head.weight.fill_(float("nan"))

    monkeypatch.setattr(epoch, "train_steps", spoiled)
    with pytest.raises(PoseTopoError, match="weights are not finite after step"):
        fit(config, dataset, tmp_path / "run")
    kept = runs.load_checkpoint(tmp_path / "run" / "last.pt")
    assert kept.epoch == 1 and torch.isfinite(kept.model["head.weight"]).all()
    assert not (tmp_path / "run" / "provenance.json").exists()


def test_a_picture_that_fails_does_not_stop_the_training(config, dataset, tmp_path, said: list[str]):
    def broken(_model, _row):
        raise OSError("disk full")

    around = RunContext(progress=False, hooks=(broken,))
    assert len(train(config, dataset, tmp_path / "run", around)) == 2
    assert sum("has no picture or log (disk full)" in line for line in said) == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_a_full_gpu_memory_is_reported_with_a_batch_size_to_try(config, dataset, tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(steps, "heatmap_loss", full)
    with pytest.raises(PoseTopoError, match="try --batch-size 2"):
        fit(config, dataset, tmp_path / "run")


def test_another_error_in_a_step_is_not_reported_as_full_memory(config, dataset, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(steps, "heatmap_loss", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        fit(config, dataset, tmp_path / "run")


def test_the_best_epoch_is_the_one_of_highest_pckh(config, dataset, tmp_path, monkeypatch):
    scores = iter([2.0, 4.0, 3.0])
    monkeypatch.setattr(epoch, "validate", lambda *_, **__: {"val_loss": 0.0, "val_pckh": next(scores)})
    longer = replace(config, recipe=replace(config.recipe, epochs=3))
    fit(longer, dataset, tmp_path / "run")
    assert runs.load_checkpoint(tmp_path / "run" / "best.pt").epoch == 2
    assert runs.load_checkpoint(tmp_path / "run" / "last.pt").epoch == 3


def test_wandb_offline_keeps_every_epoch_and_its_pictures(config, dataset, tmp_path, monkeypatch, said: list[str]):
    import wandb

    from pose_topo.training.loop import chosen_hooks

    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    hooks = chosen_hooks(run, dataset, config, plots=False, wandb=True)
    history = fit(config, dataset, run, *hooks)
    wandb.teardown()  # waits for its service to write the file; `finish` may return before that
    assert not any(line.startswith("warning") for line in said)
    (log,) = tmp_path.rglob("*.wandb")
    kept = log.read_bytes()
    for row in history:
        for key in ("train_loss", "val_pckh", "moran_i"):
            assert key.encode() in kept and json.dumps(row[key]).encode() in kept
    assert b"ABNS" in kept
    assert len(list(tmp_path.rglob("media/images/*.png"))) == 4  # predictions and parcellation, two epochs


class NoServer:
    """A log whose server has stopped."""

    def log(self, *_args, **_options):
        raise ConnectionError("server gone")


@pytest.mark.parametrize(("begins", "lines"), [(False, ["no wandb logging"]), (True, ["lost epoch 1", "lost epoch 2"])])
def test_a_log_without_a_connection_does_not_stop_the_training(
    config, dataset, tmp_path, monkeypatch, begins, lines, said: list[str]
):
    import wandb

    from pose_topo.training.loop import wandb_hook

    def init(**_options):
        if not begins:
            raise ConnectionError("no route to host")
        return NoServer()

    monkeypatch.setattr(wandb, "init", init)
    history = fit(config, dataset, tmp_path / "run", wandb_hook(tmp_path / "run", config))
    assert len(history) == 2 and (tmp_path / "run" / "provenance.json").is_file()
    warnings = [line for line in said if line.startswith("warning")]
    assert all(words in line for words, line in zip(lines, warnings, strict=True))


def test_two_hundred_steps_leak_no_memory(config, dataset):
    """The loop keeps nothing of a step. The network is small, so that kept tensors would be visible."""
    batches = Batches(dataset.store, dataset.people, dataset.split.train, config.recipe, torch.device("cpu"))
    model = build_model(config)
    model.backbone, model.deconv = nn.Conv2d(3, 8, 32, stride=32), nn.ConvTranspose2d(8, 256, 8, stride=8)
    optimizer, meter = make_optimizer(model, config.recipe), Meter(torch.device("cpu"))

    def after(steps):
        epochs = chain.from_iterable(batches.epoch(0, n, 4) for n in range(steps))
        deque(train_steps(
            model, optimizer, islice(epochs, steps), config.recipe, precision="fp32", spatial_lambda=0.5,
            rate=lambda _: 1e-5, first_step=0, meter=meter,
        ), maxlen=0)  # fmt: skip
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        return resident, sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())

    before, tensors_before = after(50)
    resident, tensors = after(200)
    assert tensors == tensors_before
    pictures = 200 * 4 * 3 * 32 * 32 * 4
    assert resident - before < pictures  # the least that could be kept of each step
