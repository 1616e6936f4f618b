"""The evaluation stage: score a checkpoint or a prediction file, and write evaluation.json."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path, sha256_file, write_json
from pose_topo.core.machine import pick_precision
from pose_topo.data import coco, geometry
from pose_topo.data.batches import Batches
from pose_topo.data.crops import photo_sizes
from pose_topo.data.dataset import prepare_test_set
from pose_topo.data.mpii import TestSet
from pose_topo.data.people import Dataset, People, Split
from pose_topo.models.pose import predict
from pose_topo.rendering.annotation import ImageEntry, RectEntry, write_mpii_predictions
from pose_topo.rendering.folder import is_rendered
from pose_topo.scoring.other_metrics import legacy_report, oks_report
from pose_topo.scoring.pckh import pck, score
from pose_topo.scoring.predictions import (
    check_axes,
    check_same_people,
    read_fields,
    read_ground_truth,
    read_predictions,
    write_predictions,
)
from pose_topo.stages.checkpoints import LoadedNetwork, identity, open_checkpoint, open_data
from pose_topo.study.config import Data, Recipe
from pose_topo.study.results import SCHEMAS

SUBMISSION = "pred_keypoints_mpii.mat"  # the name that MPII's benchmark gives to predictions of its test set
EXAMPLES = 8  # held-out people in examples.npz
COPIED = ("metrics.csv", "provenance.json")  # copied from the run, so that figures need the results folder only
BATCH = 32  # people


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
) -> dict[str, Any]:
    """Score a checkpoint on its held-out people, and write the results to the folder `out`.

    The files are evaluation.json, predictions.h5 and examples.npz, and copies of the run's metrics.csv and
    provenance.json.

    Args:
        run: A run folder or a checkpoint file.
        data: Use this data set instead of the run's. Required for a foreign checkpoint (one of another code base).
        decode, flip_test: Use these settings instead of those of the run's recipe.

    Returns:
        The content of evaluation.json.

    Raises:
        PoseTopoError: There is no such checkpoint, or its data are missing.
        UsageError: `data` is None for a foreign checkpoint.
    """
    opened, recipe = _open(run, device, decode, flip_test)
    dataset, name = open_data(opened, data, cache=cache, progress=progress)
    precise = pick_precision(precision, opened.device)
    val = Batches(dataset.store, dataset.people, dataset.split.val, recipe, opened.device)
    found, confidence, rows = predict(opened.model, val.in_order(BATCH), val.input_to_photo(), recipe, precise)
    settings = _settings(recipe, dataset.split, precise)
    about = {"data": name, **identity(opened, dataset, recipe), "settings": settings}
    return _write_results(out, opened, dataset, data or opened.config.data, val, rows, found, confidence, about)


def evaluate_test_set(
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
) -> dict[str, Any] | None:
    """Predict the people of MPII's test set, and write `SUBMISSION` to the folder `out` for the benchmark.

    If the annotation file has joints and head boxes of the people that the benchmark scores, they are scored, and the
    files of `evaluate_checkpoint` are written, too.

    Args:
        run, decode, flip_test: As for `evaluate_checkpoint`.
        data: Use this folder of MPII instead of the run's. Required if the run's data set is another one.

    Returns:
        The content of evaluation.json. None if the test set has no labels.

    Raises:
        PoseTopoError: There is no such checkpoint, or the data are missing.
        UsageError: The data set is not MPII.
    """
    opened, recipe = _open(run, device, decode, flip_test)
    where = data or opened.config.data
    test, dataset = prepare_test_set(where, recipe, cache=cache, progress=progress)
    precise = pick_precision(precision, opened.device)
    batches = Batches(dataset.store, dataset.people, dataset.split.val, recipe, opened.device)
    found, confidence, rows = predict(opened.model, batches.in_order(BATCH), batches.input_to_photo(), recipe, precise)
    write_mpii_predictions(out / SUBMISSION, _submission(test, rows, found))
    people = test.people
    is_scored = (test.single & people.labelled.any(1) & (people.head_size > 0))[rows]
    if not is_scored.any():
        return None
    scored = replace(dataset, split=replace(dataset.split, val=rows[is_scored]))
    batches = Batches(scored.store, people, scored.split.val, recipe, opened.device)
    settings = _settings(recipe, scored.split, precise)
    about = {"data": f"{where.name}-test", **identity(opened, scored, recipe), "settings": settings}
    part = rows[is_scored], found[is_scored], confidence[is_scored]
    return _write_results(out, opened, scored, where, batches, *part, about)


def _submission(test: TestSet, rows: NDArray[np.int64], found: NDArray[np.float64]) -> list[ImageEntry]:
    """The test images with the predictions (N, 16, 2), 0-based, of the people `rows`."""
    people = test.people
    rects = [[RectEntry() for _ in range(count)] for count in test.rects]
    for row, points in zip(rows, found + 1.0, strict=True):  # the file counts pixels from 1
        place = int(np.searchsorted(test.entries, people.annolist_index[row]))
        x, y = people.center[row] + 1.0
        rects[place][people.person[row]] = RectEntry(
            # double, as MATLAB makes it: in a row of small integers and doubles the doubles would be cut off at 255
            points=[(x, y, float(joint), None) for joint, (x, y) in enumerate(points)],
            scale=float(people.scale[row]),
            objpos=(x, y),
        )
    return [ImageEntry(name, one) for name, one in zip(test.names, rects, strict=True)]


def _open(run: str | Path, device: str, decode: str | None, flip_test: bool | None) -> tuple[LoadedNetwork, Recipe]:
    """Load a checkpoint. Return it with the recipe of its evaluation."""
    opened = open_checkpoint(run, device)
    own = opened.config.recipe
    flip_test = own.flip_test if flip_test is None else flip_test
    return opened, replace(own, decode=decode or own.decode, flip_test=flip_test)


def _write_results(
    out: Path,
    opened: LoadedNetwork,
    dataset: Dataset,
    where: Data,
    val: Batches,
    rows: NDArray[np.int64],
    found: NDArray[np.float64],
    confidence: NDArray[np.float64],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Score predictions, and write evaluation.json and the files beside it.

    Args:
        val: Serves the held-out people of the data set.
        rows: (N,) The people of the data set who were predicted.
        found, confidence: (N, 16, 2) and (N, 16).
        about: The entries of evaluation.json that say what was evaluated.

    Returns:
        The content of evaluation.json.
    """
    people = dataset.people.take(rows)
    unit = people.head_size
    sizes = photo_sizes(Path(where.img_dir), people.names)
    result = {
        "schema": SCHEMAS["evaluation"],
        "kind": "evaluation",
        "checkpoint_sha256": sha256_file(opened.path),
        "data_sha256": dataset.sha256,
        "rendered": is_rendered(Path(where.mat_path).parent),
        **about,
        **score(found, people.joints, people.labelled, unit),
        "pck": pck(found, people.joints, people.labelled, people.torso),
        "reference_lengths": people.reference_lengths(),
        "legacy": legacy_report(found, people.joints, people.labelled, unit, sizes),
        **_oks(Path(where.mat_path), people, found, confidence),
    }
    write_predictions(
        out / "predictions.h5",
        found,
        confidence=confidence,
        annolist_index=people.annolist_index,
        person=people.person,
        image=people.names,
        joints=people.joints + 1.0,  # the file counts pixels from 1, as MPII does
        labelled=people.labelled,
        **({"head_size": unit} if np.isnan(people.head_box).any() else {"head_box": people.head_box + 1.0}),
        **({} if sizes is None else {"image_size": sizes}),
    )
    _write_examples(out / "examples.npz", dataset, val, found, confidence)
    for file in COPIED if opened.foreign is None else ():
        if (opened.path.parent / file).is_file():
            with atomic_path(out / file) as temporary:
                shutil.copyfile(opened.path.parent / file, temporary)
    write_json(out / "evaluation.json", result)
    return result


def _oks(
    annotations: Path, people: People, found: NDArray[np.float64], confidence: NDArray[np.float64]
) -> dict[str, Any]:
    """The entry "oks", for people of a COCO file only."""
    if annotations.suffix.lower() != ".json":
        return {}
    area, all_coco = coco.areas(annotations, people)
    reason = None if all_coco else "OKS is defined for the 17 joints of COCO, and the annotation file has others"
    truth = (people.joints, people.labelled, area, people.image)
    return {"oks": oks_report(found, confidence, *truth, reason=reason)}


def _settings(recipe: Recipe, split: Split, precision: str) -> dict[str, Any]:
    return {
        "precision": precision,
        "decode": recipe.decode,
        "flip_test": recipe.flip_test,
        "framing": recipe.framing,
        "input_size": recipe.input_size,
        "split": split.rule,
        "split_mismatch": split.mismatch,  # how it differs from the published split, if that was accepted
    }


def _write_examples(
    path: Path, dataset: Dataset, val: Batches, found: NDArray[np.float64], confidence: NDArray[np.float64]
) -> None:
    """Write the crops of a few held-out people, with their true and predicted joints.

    All networks with the same split get the same people.
    """
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
    """Compare a prediction file with a ground-truth file. If `out` is given, write evaluation.json and predictions.h5.

    Returns:
        The content of evaluation.json.

    Raises:
        PoseTopoError: A file is missing or broken, or the two files do not hold the same people.
    """
    truth = read_ground_truth(ground_truth)
    found = read_predictions(predictions)
    if len(found) != len(truth.joints):
        raise PoseTopoError(f"{predictions} holds {len(found):,} people, {ground_truth} {len(truth.joints):,}")
    check_same_people(predictions, ground_truth)
    check_axes(predictions, found, truth)
    known = read_fields(ground_truth, ("image_size", "annolist_index", "person", "image"), len(found))
    scored = (found, truth.joints, truth.labelled, truth.head_size)
    result = {
        "schema": SCHEMAS["evaluation"],
        "kind": "evaluation",
        "checkpoint_sha256": None,
        "predictions_sha256": sha256_file(predictions),
        "data_sha256": sha256_file(ground_truth),
        "data": Path(ground_truth).stem,
        "rendered": None,
        **dict.fromkeys(("arm", "seed", "arch", "protocol", "epochs", "as_protocol", "checkpoint")),
        "deviations": [],
        "settings": None,
        **score(*scored),
        "legacy": legacy_report(*scored, known.get("image_size")),
    }
    if out is not None:
        own = out / "predictions.h5"
        if not (own.exists() and own.samefile(predictions)):  # never overwrite the file that is scored
            true = {"joints": truth.joints + 1.0, "labelled": truth.labelled, "head_size": truth.head_size}
            write_predictions(own, found, **true, **known)
        write_json(out / "evaluation.json", result)
    return result
