"""Of the commands for looking: `predict` and `show`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from pose_topo.commands.app import DataOptions, app, as_command, one_of
from pose_topo.core.errors import UsageError
from pose_topo.core.log import log
from pose_topo.study.config import Recipe
from pose_topo.study.protocols import PROTOCOLS


@dataclass(frozen=True)
class PredictOptions:
    """What `predict` takes."""

    box: Annotated[
        list[str] | None,
        Option(help="A person's box in pixels, x,y,w,h; again for each further person [default: the whole picture]."),
    ] = None
    out: Annotated[Path, Option(help="Folder of the overlays and of keypoints.json.")] = Path("out/predictions")
    min_confidence: Annotated[float, Option(help="Draw joints below it hollow; the JSON holds all.")] = 0.3
    overlay: Annotated[
        str, Option(help="png, jpg, none, or auto: JPEG of a JPEG, else PNG; at the photograph's own size.")
    ] = "auto"
    batch_size: Annotated[int, Option(min=1, help="Photographs in memory at a time.")] = 16
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto"
    progress: Annotated[
        bool | None, Option("--progress/--no-progress", help="Show a progress bar [default: in a terminal].")
    ] = None

    def check(self) -> None:
        """Raises:
        UsageError: a value that makes no sense."""
        one_of("--overlay", self.overlay, ("auto", "png", "jpg", "none"))
        one_of("--precision", self.precision, ("auto", "fp32", "bf16"))
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: give a number from 0 to 1")


@dataclass(frozen=True)
class ShowOptions(DataOptions):
    """What `show` takes."""

    split: Annotated[str, Option(help="Whom to show: train, val or all.")] = "val"
    count: Annotated[int, Option(min=1, help="How many people.")] = 24
    seed: Annotated[int, Option(min=0, help="Seed of the draw and of a random split, as in training.")] = 0
    protocol: Annotated[
        str | None,
        Option(
            help="Whose split and crops: standard, paper, synthetic or demo [default: standard; --worst: the run's]."
        ),
    ] = None
    worst: Annotated[
        Path | None, Option(help="Show those that this run or checkpoint finds worst, the worst first.")
    ] = None
    out: Annotated[Path, Option(help="The contact sheet, .png or .jpg.")] = Path("out/show.png")
    device: Annotated[str, Option(help="--worst: auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="--worst: auto, fp32 or bf16.")] = "auto"
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def recipe(self) -> Recipe:
        """The protocol that chooses people, split and crops.

        Raises:
            UsageError: no such protocol, or one beside a run, which has its own.
        """
        if self.worst is not None and self.protocol is not None:
            raise UsageError("--protocol goes without --worst: a run has its own")
        name = self.protocol or "standard"
        one_of("--protocol", name, tuple(PROTOCOLS))
        return PROTOCOLS[name]

    def check(self) -> None:
        """Raises:
        UsageError: a value that makes no sense."""
        one_of("--split", self.split, ("train", "val", "all"))
        one_of("--precision", self.precision, ("auto", "fp32", "bf16"))
        if self.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UsageError(f"--out {self.out}: give a name that ends in .png or .jpg")


# ---- predict and show: pictures of people and their joints.


@app.command("predict")
@as_command(
    PredictOptions,
    {
        "checkpoint": (Annotated[Path, typer.Argument(help="A run folder, or a checkpoint in one.")], ...),
        "photos": (Annotated[list[Path], typer.Argument(help="Photographs, or folders of them.")], ...),
    },
)
def predict(checkpoint: Path, photos: list[Path], chosen: PredictOptions) -> None:
    """Find the joints of people in photographs: an overlay each, and COCO-style JSON.

    Photographs are turned as their EXIF orientation says. A person without --box is sought in the whole picture.
    """
    chosen.check()
    from pose_topo.data.crops import parse_box
    from pose_topo.stages.predict import predict_photographs

    values = dataclasses.asdict(chosen)
    boxes = tuple(parse_box(text) for text in values.pop("box") or ())
    read, skipped = predict_photographs(checkpoint, photos, boxes=boxes, **values)
    and_skipped = f"; {skipped} skipped" if skipped else ""
    log.info(f"written: {chosen.out / 'keypoints.json'}, {read} photograph{'s' * (read != 1)}{and_skipped}")


@app.command("show")
@as_command(
    ShowOptions,
    {"data": (Annotated[Path, typer.Argument(help="Data folder: the annotation file and images/ in it.")], ...)},
)
def show(chosen: ShowOptions) -> None:
    """Draw a contact sheet of people with their annotated joints, or of those that a checkpoint finds worst."""
    chosen.check()
    recipe = chosen.recipe()
    from pose_topo.stages.show import show_sample, show_worst

    where = {"split": chosen.split, "count": chosen.count, "cache": chosen.cache_dir}
    if chosen.worst is None:
        shown = show_sample(chosen.where(), chosen.out, recipe, seed=chosen.seed, **where)
    else:
        how = {"device": chosen.device, "precision": chosen.precision, "progress": chosen.progress}
        shown = show_worst(chosen.worst, chosen.where(), chosen.out, **how, **where)
    log.info(f"written: {chosen.out}, {shown} people")
