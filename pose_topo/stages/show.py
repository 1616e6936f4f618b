"""Contact sheets of a data set: a random sample with its annotation, or the people that a network predicts worst."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import geometry
from pose_topo.data.batches import Batches
from pose_topo.data.crop_store import open_or_build
from pose_topo.data.dataset import select_and_split
from pose_topo.data.people import CropSettings, CropStore, People, Split
from pose_topo.models.pose import predict
from pose_topo.pictures import drawing
from pose_topo.pictures.drawing import CELL, Cell
from pose_topo.scoring.pckh import hits, normalised_errors
from pose_topo.stages.checkpoints import load_network, open_data
from pose_topo.stages.evaluate import BATCH
from pose_topo.stages.predict import MIN_CONFIDENCE
from pose_topo.study import joints
from pose_topo.study.config import Data, Recipe

Array = NDArray[np.float64]

SEAM = 4  # pixels between the two pictures of a person
FRAME = (150, 150, 150)  # the grey of the frame around the network's input, if more than the input is shown
WHO = {"train": "people to train on", "val": "held-out people", "all": "people"}


def show_sample(
    data: Data, out: Path, recipe: Recipe, *, split: str, count: int, seed: int, cache: Path | None = None
) -> int:
    """Draw a random sample of people with their annotated joints. Only their photographs are opened.

    Args:
        split: "train", "val" or "all".
        count: The largest number of people.
        seed: Seed of the sample and of a random split.

    Returns:
        The number of people that were drawn.

    Raises:
        PoseTopoError: The data are missing or broken, or a photograph of the sample is unreadable.
    """
    people, halves = select_and_split(data, recipe, seed=seed, cache=cache)
    rows = _rows(halves, split)
    sample = people.take(np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)))
    settings = CropSettings(recipe.framing, recipe.input_size, recipe.antialias)
    with tempfile.TemporaryDirectory() as folder:
        store = open_or_build(sample, Path(data.img_dir), settings, Path(folder), progress=False)
        cells = [_annotated(store, sample, row, recipe) for row in range(len(sample))]
    title = f"{len(sample)} of {len(rows):,} {WHO[split]} of {data.name} ({recipe.protocol} protocol), seed {seed}"
    entries = [*drawing.BODY, drawing.hollow("annotated, but hidden")]
    drawing.write_picture(out, drawing.draw_sheet(cells, title, entries))
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
    """Draw the people with the largest mean error of a checkpoint, the largest first.

    Arguments and result are those of `show_sample`.

    Raises:
        PoseTopoError: There is no such checkpoint, or the data are missing or broken.
    """
    network = load_network(checkpoint, device, precision)
    recipe = network.recipe
    dataset = open_data(network, data, cache=cache, progress=progress)
    batches = Batches(dataset.store, dataset.people, _rows(dataset.split, split), recipe, network.device)
    crops, to_photo = batches.in_order(BATCH), batches.input_to_photo()
    found, confidence, rows = predict(network.model, crops, to_photo, recipe, network.precision)
    people = dataset.people.take(rows)
    score, unit, threshold = people.validation_unit()
    errors = normalised_errors(found, people.joints, people.labelled, unit)
    mean, share = person_scores(errors, threshold)
    worst = worst_first(mean)[:count]
    if not len(worst):
        raise PoseTopoError(f"{data.mat_path}: none of {len(rows):,} people has a joint that is scored")
    length = "head" if score == "PCKh@0.5" else "torso"
    cells = []
    for i in worst:
        below = f"error {mean[i]:.2f} {length}s, {score} {share[i]:.0f}%"
        cells.append(_compared(dataset.store, dataset.people, int(rows[i]), recipe, found[i], confidence[i], below))
    title = (
        f"The {len(cells)} worst of {len(rows):,} {WHO[split]} of {data.name}, by mean error in {length} lengths: "
        "each as annotated, and as predicted over the annotation in white"
    )
    rings = drawing.hollow(f"annotated but hidden; predicted with confidence < {MIN_CONFIDENCE:g}")
    drawing.write_picture(out, drawing.draw_sheet(cells, title, [*drawing.BODY, rings, drawing.TRUE]))
    return len(cells)


def _rows(halves: Split, split: str) -> NDArray[np.int64]:
    if split == "all":
        return np.sort(np.concatenate([halves.train, halves.val]))
    return halves.train if split == "train" else halves.val


def person_scores(errors: Array, threshold: float) -> tuple[Array, Array]:
    """The mean error (P,) and the percentage of correct joints (P,) of each person.

    Both are over the labelled joints that PCKh counts. NaN for a person without any.

    Args:
        errors: (P, 16), from `normalised_errors`.
    """
    scored = errors[:, list(joints.SCORED)]
    labelled = ~np.isnan(scored)
    number = np.where(labelled.any(1), labelled.sum(1), np.nan)
    return np.where(labelled, scored, 0.0).sum(1) / number, 100.0 * hits(scored, threshold).sum(1) / number


def worst_first(mean: Array) -> NDArray[np.int64]:
    """The people by falling mean error (P,). People without an error are left out."""
    order = np.argsort(-mean, kind="stable")  # NaN comes last
    return order[~np.isnan(mean[order])]


# ---- One person of a sheet


def _annotated(store: CropStore, people: People, row: int, recipe: Recipe) -> Cell:
    """One person with the annotation."""
    true, labelled, visible = people.joints[row], people.labelled[row], people.visible[row]
    picture, move = _window(store, row, true[labelled], recipe)
    hidden = int((labelled & ~visible).sum())
    below = f"{int(labelled.sum())} joints" + (f", {hidden} hidden" if hidden else "")
    picture = drawing.draw_person(picture, move(true), solid=visible, shown=labelled)
    return Cell(picture, (f"{people.names[row]} #{people.person[row]}", below))


def _compared(
    store: CropStore, people: People, row: int, recipe: Recipe, found: Array, confidence: Array, below: str
) -> Cell:
    """One person twice: as annotated, and with the predicted joints (16, 2), given in pixels of the photograph.

    Both are in colour, because a network may only have confused left and right.
    """
    labelled, annotated = people.labelled[row], _annotated(store, people, row, recipe)
    picture, move = _window(store, row, people.joints[row][labelled], recipe)
    true = move(people.joints[row])
    picture = drawing.draw_person(picture, true, shown=labelled, reference=True)
    size, solid = drawing.extent(true, labelled), confidence >= MIN_CONFIDENCE
    picture = drawing.draw_person(picture, move(found), solid=solid, shown=confidence > 0, size=size)
    seam = np.full((CELL, SEAM, 3), drawing.WHITE, np.uint8)
    return Cell(np.concatenate([annotated.picture, seam, picture], axis=1), (annotated.lines[0], below))


def _window(
    store: CropStore, row: int, points: Array, recipe: Recipe
) -> tuple[NDArray[np.uint8], Callable[[Array], Array]]:
    """The part of a stored crop that is shown, (CELL, CELL, 3), and the map from photograph pixels to its pixels.

    The part is the network's input. If a point (n, 2) of the photograph lies outside the input, more of the stored crop
    is shown, with a frame around the input.
    """
    to_crop = geometry.invert(store.to_photo[row])
    side, inner = store.settings.side, recipe.input_size
    margin = (side - inner) // 2
    off = np.abs(geometry.apply(to_crop, points) - (side - 1) / 2)
    reach = float(off.max()) * 1.04 - inner / 2 if len(points) else 0.0
    more = int(np.clip(np.ceil(reach), 0, margin))
    low, size = margin - more, inner + 2 * more
    part = np.ascontiguousarray(store.crops[row, low : low + size, low : low + size])
    ratio = CELL / size
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(part, (CELL, CELL), interpolation=method), np.uint8)
    if more:
        corner, far = round(more * ratio), round((more + inner) * ratio) - 1
        cv2.rectangle(picture, (corner, corner), (far, far), FRAME, 1)
    return picture, lambda where: (geometry.apply(to_crop, where) - low + 0.5) * ratio - 0.5
