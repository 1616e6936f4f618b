"""predict and show: pictures of people and their joints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from pose_topo import options
from pose_topo.commands.app import app, say


@app.command("predict")
@options.as_command(
    options.PredictOptions,
    {
        "checkpoint": (Annotated[Path, typer.Argument(help="A run folder, or a checkpoint in one.")], ...),
        "photos": (Annotated[list[Path], typer.Argument(help="Photographs, or folders of them.")], ...),
    },
)
def predict(checkpoint: Path, photos: list[Path], chosen: options.PredictOptions) -> None:
    """Find the joints of people in photographs: an overlay each, and COCO-style JSON.

    Photographs are turned as their EXIF orientation says. A person without --box is sought in the whole picture.
    """
    chosen.check()
    from pose_topo.data.boxes import parse_box
    from pose_topo.evaluation.photographs import predict_photographs

    values = dataclasses.asdict(chosen)
    boxes = tuple(parse_box(text) for text in values.pop("box") or ())
    read, skipped = predict_photographs(checkpoint, photos, boxes=boxes, say=say, **values)
    and_skipped = f"; {skipped} skipped" if skipped else ""
    say(f"written: {chosen.out / 'keypoints.json'}, {read} photograph{'s' * (read != 1)}{and_skipped}")


@app.command("show")
@options.as_command(
    options.ShowOptions,
    {"data": (Annotated[Path, typer.Argument(help="Data folder: the annotation file and images/ in it.")], ...)},
)
def show(chosen: options.ShowOptions) -> None:
    """Draw a contact sheet of people with their annotated joints, or of those that a checkpoint finds worst."""
    chosen.check()
    recipe = chosen.recipe()
    from pose_topo.evaluation.show import show_sample, show_worst

    where = {"split": chosen.split, "count": chosen.count, "cache": chosen.cache_dir, "say": say}
    if chosen.worst is None:
        shown = show_sample(chosen.where(), chosen.out, recipe, seed=chosen.seed, **where)
    else:
        how = {"device": chosen.device, "precision": chosen.precision, "progress": chosen.progress}
        shown = show_worst(chosen.worst, chosen.where(), chosen.out, **how, **where)
    say(f"written: {chosen.out}, {shown} people")
