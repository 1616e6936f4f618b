"""The commands `predict` and `show`: pictures of people and their joints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from pose_topo.commands.app import DataOptions, app, as_command
from pose_topo.core.errors import UsageError
from pose_topo.core.log import log
from pose_topo.study.config import Precision, Protocol, Recipe
from pose_topo.study.protocols import PROTOCOLS


@dataclass(frozen=True)
class PredictOptions:
    """The options of `predict`."""

    box: Annotated[
        list[str] | None,
        Option(help="Box of a person in pixels, x,y,w,h; repeat it for more people [default: the whole photograph]."),
    ] = None
    out: Annotated[Path, Option(help="Folder of the overlays and of keypoints.json.")] = Path("out/predictions")
    min_confidence: Annotated[float, Option(help="Joints below it are drawn hollow; the JSON has all.")] = 0.3
    overlay: Annotated[
        Literal["auto", "png", "jpg", "none"], Option(help="auto: JPEG for a JPEG, else PNG; of the photograph's size.")
    ] = "auto"
    batch_size: Annotated[int, Option(min=1, help="Photographs in memory at a time.")] = 16
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[Precision, Option(help="auto: bf16 where the hardware multiplies it, else fp32.")] = "auto"
    progress: Annotated[
        bool | None, Option("--progress/--no-progress", help="Show a progress bar [default: in a terminal].")
    ] = None

    def check(self) -> None:
        """Check the values.

        Raises:
            UsageError: a value is out of range.
        """
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: give a number from 0 to 1")


@dataclass(frozen=True)
class ShowOptions(DataOptions):
    """The options of `show`."""

    split: Annotated[Literal["train", "val", "all"], Option(help="Whom to show.")] = "val"
    count: Annotated[int, Option(min=1, help="Number of people.")] = 24
    seed: Annotated[int, Option(min=0, help="Seed of the draw and of a random split, as in training.")] = 0
    protocol: Annotated[
        Protocol | None, Option(help="Recipe of the split and the crops [default: standard; --worst: the run's].")
    ] = None
    worst: Annotated[
        Path | None, Option(help="Show the people with the largest errors of this run or checkpoint, the worst first.")
    ] = None
    out: Annotated[Path, Option(help="The contact sheet, .png or .jpg.")] = Path("out/show.png")
    device: Annotated[str, Option(help="--worst: auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[Precision, Option(help="--worst: of the forward pass.")] = "auto"
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def recipe(self) -> Recipe:
        """The recipe that selects the people, the split and the crops.

        Raises:
            UsageError: a protocol was given together with a run, which has its own.
        """
        if self.worst is not None and self.protocol is not None:
            raise UsageError("--protocol goes without --worst: a run has its own")
        return PROTOCOLS[self.protocol or "standard"]

    def check(self) -> None:
        """Check the values.

        Raises:
            UsageError: the name of the contact sheet has another suffix.
        """
        if self.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UsageError(f"--out {self.out}: give a name that ends in .png or .jpg")


@app.command("predict")
@as_command(
    PredictOptions,
    {
        "checkpoint": (Annotated[Path, typer.Argument(help="A run folder, or a checkpoint in one.")], ...),
        "photos": (Annotated[list[Path], typer.Argument(help="Photographs, or folders of them.")], ...),
    },
)
def predict(checkpoint: Path, photos: list[Path], chosen: PredictOptions) -> None:
    """Find the joints of people in photographs. Write an overlay of each photograph, and COCO-style JSON.

    Photographs are turned by their EXIF orientation. Without --box a photograph is taken as one person.
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
    """Draw a contact sheet of people with their annotated joints, or of the largest errors of a checkpoint."""
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
