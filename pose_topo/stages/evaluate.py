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
from pose_topo.data import coco, geometry
from pose_topo.data.batches import Batches
from pose_topo.data.crops import photo_sizes
from pose_topo.data.dataset import prepare_test_set
from pose_topo.data.mpii import TestSet
from pose_topo.data.people import Dataset, People
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
from pose_topo.stages.checkpoints import identity, load_network, open_data
from pose_topo.study.config import Data
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
    test_set: bool = False,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Any] | None:
    """Score a checkpoint on its held-out people, and write the results to the folder `out`.

    The files are evaluation.json, predictions.h5 and examples.npz, and copies of the run's metrics.csv and
    provenance.json.

    Args:
        run: A run folder or a checkpoint file.
        data: Use this data set instead of the run's. Required for a foreign checkpoint (one of another code base).
        decode, flip_test: Use these settings instead of those of the run's recipe.
        test_set: Predict the people of MPII's test set instead, and write `SUBMISSION` for the benchmark. The people
            that the benchmark scores are scored here if the annotation file has their joints and head boxes.

    Returns:
        The content of evaluation.json. None if the test set has no labels.

    Raises:
        PoseTopoError: There is no such checkpoint, or its data are missing.
        UsageError: `data` is None for a foreign checkpoint, or the data set of `test_set` is not MPII.
    """
    network = load_network(run, device, precision)
    where, recipe = data or network.config.data, network.recipe
    flip_test = recipe.flip_test if flip_test is None else flip_test
    recipe = replace(recipe, decode=decode or recipe.decode, flip_test=flip_test)
    if test_set:
        test, dataset = prepare_test_set(where, recipe, cache=cache, progress=progress)
    else:
        test, dataset = None, open_data(network, data, cache=cache, progress=progress)
    batches = Batches(dataset.store, dataset.people, dataset.split.val, recipe, network.device)
    crops, to_photo = batches.in_order(BATCH), batches.input_to_photo()
    found, confidence, rows = predict(network.model, crops, to_photo, recipe, network.precision)
    if test is not None:
        write_mpii_predictions(out / SUBMISSION, _submission(test, rows, found))
        scored = (test.single & test.people.labelled.any(1) & (test.people.head_size > 0))[rows]
        if not scored.any():
            return None
        found, confidence, rows = found[scored], confidence[scored], rows[scored]
        dataset = replace(dataset, split=replace(dataset.split, val=rows))
    people = dataset.people.take(rows)
    unit = people.head_size
    sizes = photo_sizes(Path(where.img_dir), people.names)
    result = {
        **identity("evaluation", network, dataset, recipe),
        "data": f"{where.name}-test" if test_set else where.name,
        "rendered": is_rendered(Path(where.mat_path).parent),
        "settings": {
            **{key: getattr(recipe, key) for key in ("decode", "flip_test", "framing", "input_size")},
            "precision": network.precision,
            "split": dataset.split.rule,
            "split_mismatch": dataset.split.mismatch,  # how it differs from the published split, if that was accepted
        },
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
    _write_examples(out / "examples.npz", dataset, batches, found, confidence)
    for file in COPIED if network.foreign is None else ():
        if (network.path.parent / file).is_file():
            with atomic_path(out / file) as temporary:
                shutil.copyfile(network.path.parent / file, temporary)
    write_json(out / "evaluation.json", result)
    return result


def _submission(test: TestSet, rows: NDArray[np.int64], found: NDArray[np.float64]) -> list[ImageEntry]:
    """The test images with the predictions (N, 16, 2), 0-based, of the people `rows`."""
    people = test.people
    rects = [[RectEntry() for _ in range(count)] for count in test.rects]
    for row, points in zip(rows, found + 1.0, strict=True):  # the file counts pixels from 1
        place = int(np.searchsorted(test.entries, people.annolist_index[row]))
        x, y = people.center[row] + 1.0
        rects[place][people.person[row]] = RectEntry(
            # all as double: MATLAB cuts a row of mixed types off at 255
            points=[(x, y, float(joint), None) for joint, (x, y) in enumerate(points)],
            scale=float(people.scale[row]),
            objpos=(x, y),
        )
    return [ImageEntry(name, one) for name, one in zip(test.names, rects, strict=True)]


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


def _write_examples(
    path: Path, dataset: Dataset, batches: Batches, found: NDArray[np.float64], confidence: NDArray[np.float64]
) -> None:
    """Write the crops of a few held-out people, with their true and predicted joints.

    All networks with the same split get the same people.
    """
    held_out, inner = dataset.split.val, slice(batches.margin, batches.margin + batches.recipe.input_size)
    chosen = np.unique(np.linspace(0, len(held_out) - 1, min(EXAMPLES, len(held_out))).round().astype(int))
    rows = held_out[chosen]
    to_input = geometry.invert(batches.input_to_photo()[rows])
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
