"""The evaluation stage: a checkpoint, or a prediction file, -> evaluation.json."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pose_topo import runs
from pose_topo.config import Data, Recipe, RunConfig
from pose_topo.data import geometry
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import Dataset, prepare
from pose_topo.data.people import head_size
from pose_topo.data.splits import Split
from pose_topo.devices import pick_device, pick_precision
from pose_topo.errors import PoseTopoError
from pose_topo.evaluation.inference import predict
from pose_topo.evaluation.pckh import score
from pose_topo.evaluation.predictions import (
    check_axes,
    check_same_people,
    read_ground_truth,
    read_predictions,
    write_predictions,
)
from pose_topo.files import atomic_path, sha256_file, write_json
from pose_topo.models.pose import SimpleBaseline, build_model
from pose_topo.protocols import as_protocol, deviations

SCHEMA = 1
EXAMPLES = 8  # held-out people kept for overlays
BATCH = 32


def load_model(checkpoint: runs.Checkpoint, device: torch.device) -> SimpleBaseline:
    """The network of a checkpoint, ready to be asked.

    Raises:
        PoseTopoError: its weights do not fit its own settings.
    """
    model = build_model(checkpoint.config)
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise PoseTopoError(
            f"{checkpoint.path}: weights do not fit: {str(error).splitlines()[-1].strip()[:160]}"
        ) from None
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def open_data(
    checkpoint: runs.Checkpoint,
    data: Data | None,
    *,
    cache: Path | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[Dataset, str]:
    """The data set a checkpoint was trained on, split as it was then, and its name.

    Args:
        data: take the files from here instead: the same data elsewhere, or another data set.

    Raises:
        PoseTopoError: the data are missing, or no longer those of the training, so that people it was trained on might
            be scored.
    """
    config = checkpoint.config
    where = config.data
    if data is not None:
        where = replace(where, mat_path=data.mat_path, img_dir=data.img_dir, name=data.name)
    dataset = prepare(where, config.recipe, seed=config.seed, cache=cache, progress=progress, say=say)
    if dataset.split_sha256 != checkpoint.split_sha256:
        what = "these are not the people that the network was trained on and tested with"
        if data is None:
            raise PoseTopoError(f"{where.mat_path}: {what}: the data have changed; --data names others on purpose")
        say(f"warning: {where.mat_path}: {what}")
    return dataset, where.name


def evaluate_checkpoint(
    run: str | Path,
    out: Path,
    *,
    data: Data | None = None,
    decode: str | None = None,
    flip_test: bool | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Score a checkpoint on its held-out people; write evaluation.json, predictions.h5 and examples.npz to `out`.

    Raises:
        PoseTopoError: no such checkpoint, or its data are missing.
    """
    path = runs.reported_checkpoint(run)
    checkpoint = runs.load_checkpoint(path)
    config = checkpoint.config
    where = pick_device(device, say)
    recipe = replace(
        config.recipe,
        decode=decode or config.recipe.decode,
        flip_test=config.recipe.flip_test if flip_test is None else flip_test,
    )
    dataset, name = open_data(checkpoint, data, cache=cache, progress=progress, say=say)
    model, precise = load_model(checkpoint, where), pick_precision(precision, where)
    val = Batches(dataset.store, dataset.people, dataset.split.val, recipe, where)
    found, confidence, rows = predict(
        model,
        val.in_order(BATCH),
        val.input_to_photo(),
        flip_test=recipe.flip_test,
        decode_by=recipe.decode,
        sigma=recipe.sigma,
        precision=precise,
    )
    people = dataset.people.take(rows)
    scores = score(found, people.joints, people.labelled, head_size(people.head_box))
    result = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "checkpoint_sha256": sha256_file(path),
        "data_sha256": dataset.sha256,
        "data": name,
        **identity(config, checkpoint.epoch),
        "settings": _settings(recipe, dataset.split, precise),
        **scores,
    }
    write_predictions(
        out / "predictions.h5",
        found,
        confidence=confidence,
        annolist_index=people.annolist_index,
        person=people.person,
        image=people.names,
        joints=people.joints + 1.0,
        labelled=people.labelled,
        head_box=people.head_box + 1.0,
    )
    _write_examples(out / "examples.npz", dataset, val, found, confidence)
    metrics = path.parent / "metrics.csv"
    if metrics.is_file():
        with atomic_path(out / "metrics.csv") as temporary:
            shutil.copyfile(metrics, temporary)
    write_json(out / "evaluation.json", result)
    return result


def identity(config: RunConfig, epochs: int) -> dict[str, Any]:
    """Which run a result belongs to, as every result file says it."""
    return {
        "arm": config.arm,
        "seed": config.seed,
        "arch": config.arch,
        "protocol": config.recipe.protocol,
        "epochs": epochs,
        "as_protocol": as_protocol(config),
        "deviations": deviations(config),
    }


def _settings(recipe: Recipe, split: Split, precision: str) -> dict[str, Any]:
    return {
        "precision": precision,
        "decode": recipe.decode,
        "flip_test": recipe.flip_test,
        "framing": recipe.framing,
        "split": split.rule,
        "split_mismatch": split.mismatch,  # how it differs from the published one, if that was accepted
    }


def _write_examples(
    path: Path, dataset: Dataset, val: Batches, found: NDArray[np.float64], confidence: NDArray[np.float64]
) -> None:
    """Crops of a few held-out people, the same ones for every network of the same split."""
    chosen = np.unique(np.linspace(0, len(val) - 1, min(EXAMPLES, len(val))).round().astype(int))
    rows = dataset.split.val[chosen]
    inner = slice(val.margin, val.margin + val.recipe.input_size)
    to_input = geometry.invert(val.input_to_photo()[rows])
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            crops=np.stack([dataset.store.crops[row, inner, inner] for row in rows]),
            predicted=geometry.apply(to_input, found[chosen]),
            true=geometry.apply(to_input, dataset.people.joints[rows]),
            labelled=dataset.people.labelled[rows],
            confidence=confidence[chosen],
        )


def evaluate_predictions(predictions: str | Path, ground_truth: str | Path, out: Path | None = None) -> dict[str, Any]:
    """Score a prediction file against a ground truth file; writes evaluation.json if `out` is given.

    Raises:
        PoseTopoError: either file is missing or broken, or they are not of the same people.
    """
    truth = read_ground_truth(ground_truth)
    found = read_predictions(predictions)
    if len(found) != len(truth.joints):
        raise PoseTopoError(f"{predictions} holds {len(found):,} people, {ground_truth} {len(truth.joints):,}")
    check_same_people(predictions, ground_truth)
    check_axes(predictions, found, truth)
    result = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "checkpoint_sha256": None,
        "predictions_sha256": sha256_file(predictions),
        "data_sha256": sha256_file(ground_truth),
        "data": Path(ground_truth).stem,
        **dict.fromkeys(("arm", "seed", "arch", "protocol", "epochs", "as_protocol")),
        "deviations": [],
        "settings": None,
        **score(found, truth.joints, truth.labelled, truth.head_size),
    }
    if out is not None:
        write_json(out / "evaluation.json", result)
    return result


def table(result: dict[str, Any]) -> str:
    """The scores as a person reads them on a terminal."""
    first = result["pckh"]["0.5"]
    names = [*first["groups"], "Mean"]
    lines = ["PCKh   " + "".join(f"{name:>10}" for name in names)]
    for threshold, scores in result["pckh"].items():
        values = [*scores["groups"].values(), scores["mean"]]
        lines.append(f"@{threshold:<6}" + "".join(f"{'-' if v is None else format(v, '.2f'):>10}" for v in values))
    auc = "-" if result["auc"] is None else f"{result['auc']:.2f}"
    lines.append(f"AUC 0-0.5: {auc}; {result['people']:,} people, {result['joints']:,} labelled joints")
    return "\n".join(lines)
