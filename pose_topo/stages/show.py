"""Contact sheets of a data set's people: some of them with their annotation, or those that a network finds worst."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.core.devices import pick_precision
from pose_topo.core.errors import PoseTopoError
from pose_topo.data import geometry
from pose_topo.data.batches import Batches
from pose_topo.data.crop_store import open_or_build
from pose_topo.data.dataset import select_and_split
from pose_topo.data.people import CropSettings, CropStore, People, Split, head_size
from pose_topo.models.prediction import predict
from pose_topo.pictures import drawing as legends
from pose_topo.pictures import drawing as plots
from pose_topo.pictures import drawing as skeletons
from pose_topo.pictures import sheets
from pose_topo.pictures.sheets import CELL, Cell
from pose_topo.scoring.pckh import normalised_errors
from pose_topo.stages.checkpoints import open_checkpoint, open_data
from pose_topo.stages.evaluate import BATCH
from pose_topo.stages.predict import MIN_CONFIDENCE
from pose_topo.study import joints
from pose_topo.study.config import Data, Recipe

PCKH_AT = 0.5
SEAM = 4  # pixels between a person's two pictures
FRAME = (150, 150, 150)  # around the network's input, where more than that is shown
WHO = {"train": "people to train on", "val": "held-out people", "all": "people"}


def show_sample(
    data: Data,
    out: Path,
    recipe: Recipe,
    *,
    split: str,
    count: int,
    seed: int,
    cache: Path | None = None,
) -> int:
    """Draw `count` people, chosen at random, with their annotated joints; returns how many there were.

    Only their photographs are opened: no store of everybody is built.

    Raises:
        PoseTopoError: the data are missing or broken, or a photograph among the chosen is unreadable.
    """
    people, halves = select_and_split(data, recipe, seed=seed, cache=cache)
    rows = _rows(halves, split)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    shown = people.take(chosen)
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    with tempfile.TemporaryDirectory() as folder:
        store = open_or_build(shown, Path(data.img_dir), settings, Path(folder), progress=False)
        cells = [_annotated(store, shown, row, recipe) for row in range(len(shown))]
    title = f"{len(shown)} of {len(rows):,} {WHO[split]} of {data.name} ({recipe.protocol} protocol), seed {seed}"
    entries = [legends.LEFT, legends.RIGHT, legends.MIDDLE, legends.hollow("annotated, but hidden")]
    plots.write_picture(out, sheets.draw_sheet(cells, title, entries))
    return len(cells)


def show_worst(
    checkpoint: Path,
    data: Data,
    out: Path,
    *,
    split: str,
    count: int,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
) -> int:
    """Draw the `count` people of a checkpoint's split with the largest mean error, the largest first; returns how many.

    Raises:
        PoseTopoError: no such checkpoint, or the data are missing or broken.
    """
    opened = open_checkpoint(checkpoint, device)
    recipe, where = opened.config.recipe, opened.device
    dataset, name = open_data(opened, data, cache=cache, progress=progress)
    served = Batches(dataset.store, dataset.people, _rows(dataset.split, split), recipe, where)
    found, confidence, rows = predict(
        opened.model, served.in_order(BATCH), served.input_to_photo(), recipe, pick_precision(precision, where)
    )
    people = dataset.people.take(rows)
    errors = normalised_errors(found, people.joints, people.labelled, head_size(people.head_box))
    mean, share = person_scores(errors)
    worst = worst_first(mean)[:count]
    if not len(worst):
        raise PoseTopoError(f"{data.mat_path}: none of {len(rows):,} people has a joint that is scored")
    cells = []
    for i in worst:
        below = f"error {mean[i]:.2f} heads, PCKh@{PCKH_AT} {share[i]:.0f}%"
        cells.append(_compared(dataset.store, dataset.people, int(rows[i]), recipe, found[i], confidence[i], below))
    title = (
        f"The {len(cells)} worst of {len(rows):,} {WHO[split]} of {name}, by mean error in head sizes: "
        "each as annotated, and as predicted over the annotation in white"
    )
    rings = legends.hollow(f"annotated but hidden; predicted with confidence < {MIN_CONFIDENCE:g}")
    entries = [legends.LEFT, legends.RIGHT, legends.MIDDLE, rings, legends.REFERENCE]
    plots.write_picture(out, sheets.draw_sheet(cells, title, entries))
    return len(cells)


def person_scores(errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each person's mean error in head sizes (P,) and PCKh@0.5 in percent (P,), from `normalised_errors` (P, 16).

    Over the labelled joints that PCKh's mean counts (neither pelvis nor thorax); NaN for a person without any.
    """
    scored = errors[:, list(joints.SCORED)]
    labelled = ~np.isnan(scored)
    number = np.where(labelled.any(1), labelled.sum(1), np.nan)
    mean = np.where(labelled, scored, 0.0).sum(1) / number
    right = (np.where(labelled, scored, np.inf) <= PCKH_AT).sum(1)
    return mean, 100.0 * right / number


def worst_first(mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """People by falling mean error (P,), the earlier one first among equals; those without an error are left out."""
    order = np.argsort(-mean, kind="stable")  # NaN comes last
    return order[~np.isnan(mean[order])]


def _rows(halves: Split, split: str) -> NDArray[np.int64]:
    if split == "all":
        return np.sort(np.concatenate([halves.train, halves.val]))
    return halves.train if split == "train" else halves.val


def _annotated(store: CropStore, people: People, row: int, recipe: Recipe) -> Cell:
    """One person with the annotation."""
    labelled = people.labelled[row]
    true = _in_crop(store, row, people.joints[row])
    picture, move = _window(store, row, true[labelled], recipe)
    picture = skeletons.draw_person(picture, move(true), solid=people.visible[row], shown=labelled)
    hidden = int((labelled & ~people.visible[row]).sum())
    below = f"{int(labelled.sum())} joints" + (f", {hidden} hidden" if hidden else "")
    return Cell(picture, (f"{people.names[row]} #{people.person[row]}", below))


def _compared(
    store: CropStore,
    people: People,
    row: int,
    recipe: Recipe,
    found: NDArray[np.float64],
    confidence: NDArray[np.float64],
    below: str,
) -> Cell:
    """One person twice: as annotated, in colours too, since a network may only have mistaken left for right; and with
    the predicted joints (16, 2), given in pixels of the photograph."""
    labelled, annotated = people.labelled[row], _annotated(store, people, row, recipe)
    true, predicted = _in_crop(store, row, people.joints[row]), _in_crop(store, row, found)
    picture, move = _window(store, row, true[labelled], recipe)
    picture = skeletons.draw_reference(picture, move(true), labelled)
    size = skeletons.extent(move(true), labelled)
    picture = skeletons.draw_person(
        picture, move(predicted), solid=confidence >= MIN_CONFIDENCE, shown=confidence > 0, size=size
    )
    between = np.full((CELL, SEAM, 3), 255, np.uint8)
    return Cell(np.concatenate([annotated.picture, between, picture], axis=1), (annotated.lines[0], below))


def _in_crop(store: CropStore, row: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (16, 2) of the photograph in pixels of the stored crop."""
    return geometry.apply(geometry.invert(store.to_photo[[row]]), points[None])[0]


def _window(
    store: CropStore, row: int, points: NDArray[np.float64], recipe: Recipe
) -> tuple[NDArray[np.uint8], Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """The part of a stored crop to show, (CELL, CELL, 3), and what moves crop pixels there.

    The network's input; or, where a point (n, 2) lies outside it, as much of the stored crop as shows that too, with
    a frame around the input.
    """
    side, inner = store.settings.side, recipe.input_size
    margin = (side - inner) // 2
    reach = float(np.abs(points - (side - 1) / 2).max()) * 1.04 - inner / 2 if len(points) else 0.0
    more = int(np.clip(np.ceil(reach), 0, margin))
    low, size = margin - more, inner + 2 * more
    part = np.ascontiguousarray(store.crops[row, low : low + size, low : low + size])
    ratio = CELL / size
    picture = cv2.resize(part, (CELL, CELL), interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC)
    if more:
        corner, far = round(more * ratio), round((more + inner) * ratio) - 1
        cv2.rectangle(picture, (corner, corner), (far, far), FRAME, 1)
    return picture, lambda where: (where - low + 0.5) * ratio - 0.5  # type: ignore[return-value]
