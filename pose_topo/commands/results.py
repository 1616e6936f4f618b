"""The commands `evaluate`, `compare`, `analyze` and `audit`: result files; `predict` and `show`: pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from pose_topo.commands.app import DataOptions, app, as_command, share_cores
from pose_topo.core.errors import UsageError
from pose_topo.core.files import read_lines
from pose_topo.core.log import log
from pose_topo.study.config import Data, Decode, Precision, Protocol
from pose_topo.study.protocols import PROTOCOLS


@dataclass(frozen=True)
class ResultOptions(DataOptions):
    """The options that `evaluate` and `analyze` share."""

    data: Annotated[Path | None, Option(help="Data folder [default: the one the run was trained on].")] = None
    out: Annotated[Path | None, Option(help="Folder of the result files [default: out/<run name>].")] = None
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[Precision, Option(help="auto: bf16 where the hardware multiplies it, else fp32.")] = "auto"
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def elsewhere(self) -> Data | None:
        """The data set that replaces the one of the training, if one was given."""
        if self.data is None and self.annotations is None:
            if self.img_dir:
                raise UsageError("--img-dir needs --data or --annotations here")
            return None
        return self.where()

    def shared(self) -> dict[str, Any]:
        """The arguments of the stages that come from these options."""
        how = {"device": self.device, "precision": self.precision, "progress": self.progress}
        return {"data": self.elsewhere(), "cache": self.cache_dir, **how}

    def folder(self, run: Path) -> Path:
        """`--out`, or a folder that is named after the run, or after the file of a checkpoint outside a run."""
        if run.is_dir():
            name = run.resolve().name
        else:
            name = run.resolve().parent.name if (run.parent / "config.json").is_file() else run.name.split(".")[0]
        return self.out or Path("out") / name


@dataclass(frozen=True)
class EvaluateOptions(ResultOptions):
    """The options of `evaluate`."""

    run: Annotated[Path | None, Argument(help="A run folder, or a checkpoint in one.")] = None
    decode: Annotated[Decode | None, Option(help="From heatmaps to joints [default: the protocol's].")] = None
    flip: Annotated[
        bool | None, Option("--flip/--no-flip", help="Average with the mirrored input [default: the protocol's].")
    ] = None
    test_set: Annotated[
        bool, Option("--test-set", help="Predict MPII's test set, and write pred_keypoints_mpii.mat for its benchmark.")
    ] = False
    predictions: Annotated[
        Path | None, Option(help="Score this .h5 or .mat prediction file instead of a checkpoint.")
    ] = None
    ground_truth: Annotated[
        Path | None, Option(help="With --predictions: detections_our_format.mat, or our own predictions.h5.")
    ] = None

    def __post_init__(self) -> None:
        if (self.run is None) == (self.predictions is None):
            raise UsageError("give either a run (or checkpoint), or --predictions FILE")
        if self.predictions is None:
            if self.ground_truth is not None:
                raise UsageError("--ground-truth goes with --predictions: a run is scored on its data set")
            return
        if self.ground_truth is None:
            raise UsageError("--predictions needs --ground-truth FILE")
        of_runs = {"--data": self.data, "--annotations": self.annotations, "--img-dir": self.img_dir,
                   "--decode": self.decode, "--flip": self.flip, "--test-set": self.test_set or None}  # fmt: skip
        if given := [name for name, value in of_runs.items() if value is not None]:
            raise UsageError(f"{' and '.join(given)}: of a run, they have no effect on --predictions")


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(ResultOptions):
    """The options of `analyze`."""

    runs: Annotated[list[Path], Argument(help="A run folder, or a checkpoint in one; with --group results folders.")]
    permutations: Annotated[int, Option(min=1, help="Permutations for every p value.")] = 9999
    untrained: Annotated[bool, Option("--untrained", help="Also measure the network before training.")] = False
    control: Annotated[
        Path | None, Option(help="The control's run, checkpoint or analysis: give I as a share of its best.")
    ] = None
    lesions: Annotated[
        bool, Option("--lesions", help="Also silence discs of the grid and score the held-out people each time.")
    ] = False
    lesion_grids: Annotated[int, Option(min=1, help="With --lesions: permuted grids for its p value.")] = 99
    robustness: Annotated[
        bool, Option("--robustness", help="Instead, score the network while weights, inputs or channels are harmed.")
    ] = False
    group: Annotated[
        bool, Option("--group", help="Compare the results folders of several seeds, arm by arm, with the control.")
    ] = False

    def __post_init__(self) -> None:
        measures = {"--lesions": self.lesions, "--untrained": self.untrained, "--control": self.control is not None,
                    "--robustness": self.robustness}  # fmt: skip
        given = [name for name, value in measures.items() if value]
        if self.group and given:
            raise UsageError(f"{' and '.join(given)}: not together with --group, which compares existing results")
        if self.robustness and len(given) > 1:
            raise UsageError(f"{' and '.join(given[:-1])}: not together with --robustness; run analyze once for each")


@app.command("evaluate")
@as_command(EvaluateOptions)
def evaluate(chosen: EvaluateOptions) -> None:
    """Compute official PCKh of a checkpoint or of a prediction file."""
    share_cores()
    from pose_topo.stages import evaluate as stage
    from pose_topo.stages.terminal import evaluation

    if chosen.predictions is not None and chosen.ground_truth is not None:
        typer.echo(evaluation(stage.evaluate_predictions(chosen.predictions, chosen.ground_truth, chosen.out)))
        return
    assert chosen.run is not None  # by `EvaluateOptions`
    out = chosen.folder(chosen.run)
    if chosen.test_set:  # beside the results of the held-out people
        out = chosen.out or out.with_name(f"{out.name}-test")
    how = {"decode": chosen.decode, "flip_test": chosen.flip, "test_set": chosen.test_set}
    result = stage.evaluate_checkpoint(chosen.run, out, **how, **chosen.shared())
    if chosen.test_set:
        log.info(f"written: {out / stage.SUBMISSION}")
    if result is None:
        log.info("the test set has no labels: the benchmark scores this file")
        return
    log.info(f"written: {out / 'evaluation.json'}")
    typer.echo(evaluation(result))


@app.command("compare")
def compare(
    first: Annotated[Path, Argument(metavar="RUN_A", help="A result folder: what `evaluate --out` wrote.")],
    second: Annotated[Path, Argument(metavar="RUN_B", help="Another result folder, of the same people.")],
    out: Annotated[Path | None, Option(help="Write comparison.json to this folder.")] = None,
) -> None:
    """Compute PCKh of RUN_B minus RUN_A, with paired intervals over people, and count the joints won and lost."""
    from pose_topo.stages.compare import compare_results
    from pose_topo.stages.terminal import comparison

    typer.echo(comparison(compare_results(first, second, out)))
    if out is not None:
        log.info(f"written: {out / 'comparison.json'}")


@app.command("analyze")
@as_command(AnalyzeOptions)
def analyze(chosen: AnalyzeOptions) -> None:
    """Measure the topography of a checkpoint: Moran's I, parcellation, correlations, controls; or its robustness; or
    compare seeds."""
    from pose_topo.stages import terminal

    if chosen.group:
        from pose_topo.stages.compare import analyze_group

        out, name = chosen.out or Path("out/group"), "group.json"
        said = terminal.group(analyze_group(chosen.runs, out))
    elif len(chosen.runs) > 1:
        raise UsageError(f"analyze takes one run, not {len(chosen.runs)}; --group compares the results of several")
    elif chosen.robustness:
        share_cores()
        from pose_topo.stages.robustness import measure_robustness

        out, name = chosen.folder(chosen.runs[0]), "robustness.json"
        said = terminal.robustness(measure_robustness(chosen.runs[0], out, **chosen.shared()))
    else:
        share_cores()
        from pose_topo.stages.analyze import analyze_checkpoint

        out, name = chosen.folder(chosen.runs[0]), "analysis.json"
        extras = {"untrained": chosen.untrained, "control": chosen.control}
        extras["lesion_grids"] = chosen.lesion_grids if chosen.lesions else None
        said = terminal.summary(
            analyze_checkpoint(chosen.runs[0], out, permutations=chosen.permutations, **extras, **chosen.shared())
        )
    log.info(f"written: {out / name}")
    typer.echo(said)


# ---- any layer of any network


@dataclass(frozen=True)
class AuditOptions:
    """The options of `audit`."""

    checkpoint: Annotated[Path | None, Argument(help="A run, a checkpoint or a state dict.")] = None
    model: Annotated[
        str | None, Option(help="torchvision:NAME or FILE.py:FUNCTION [default: the checkpoint is of this project].")
    ] = None
    layer: Annotated[str | None, Option(help="The layer, e.g. layer4.1.conv2 [default: the topographic layer].")] = None
    grid: Annotated[
        tuple[int, int] | None, Option(help="Height and width of its grid [default: the topographic layer's].")
    ] = None
    readout: Annotated[str | None, Option(help="The layer that reads its channels, e.g. fc.")] = None
    readout_names: Annotated[Path | None, Option(help="A text file with the name of each output, one a line.")] = None
    images: Annotated[Path | None, Option(help="A folder of photographs: also measure responses.")] = None
    responses: Annotated[str | None, Option(help="Module whose output is the response [default: LAYER].")] = None
    size: Annotated[int | None, Option(min=8, help="Side of an input in pixels [default: 224].")] = None
    most: Annotated[int, Option(min=2, help="The largest number of photographs.")] = 1000
    permutations: Annotated[int, Option(min=99, help="Permutations for every p value.")] = 9999
    out: Annotated[Path, Option(help="Folder of audit.json and audit.html.")] = Path("out/audit")
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"


@app.command("audit")
@as_command(AuditOptions)
def audit(chosen: AuditOptions) -> None:
    """Measure the topography of a layer of any network. Write audit.json and audit.html."""
    from pose_topo.stages import terminal
    from pose_topo.stages.audit import audit_named

    options = vars(chosen).copy()
    if chosen.readout_names is not None:
        options["readout_names"] = read_lines(chosen.readout_names)
    result = audit_named(**options)
    log.info(f"written: {chosen.out / 'audit.json'} and audit.html")
    typer.echo(terminal.audit(result))


# ---- pictures of people and their joints


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `predict`."""

    paths: Annotated[
        list[Path],
        Argument(
            metavar="[RUN] PHOTOS...",
            help="Photographs, or folders of them; before them a run folder or a checkpoint "
            "[default: the released network].",
        ),
    ]
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
    max_pixels: Annotated[int, Option(min=1, help="Skip larger photographs; a pixel takes 12 bytes of memory.")] = (
        100_000_000
    )
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[Precision, Option(help="auto: bf16 where the hardware multiplies it, else fp32.")] = "auto"
    progress: Annotated[
        bool | None, Option("--progress/--no-progress", help="Show a progress bar [default: in a terminal].")
    ] = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: give a number from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class ShowOptions(DataOptions):
    """The options of `show`."""

    data: Annotated[Path, Argument(help="Data folder: the annotation file and images/ in it.")] = field()
    split: Annotated[Literal["train", "val", "all"], Option(help="Whom to show.")] = "val"
    count: Annotated[int, Option(min=1, help="Number of people.")] = 24
    seed: Annotated[int, Option(min=0, help="Seed of the draw and of a random split; --worst: the run's.")] = 0
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

    def __post_init__(self) -> None:
        if self.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UsageError(f"--out {self.out}: give a name that ends in .png or .jpg")
        if self.worst is not None and self.protocol is not None:
            raise UsageError("--protocol goes without --worst: a run has its own")


@app.command("predict")
@as_command(PredictOptions)
def predict(chosen: PredictOptions) -> None:
    """Find the joints of people in photographs. Write an overlay of each photograph, and COCO-style JSON.

    Photographs are turned by their EXIF orientation. Without --box a photograph is taken as one person.
    """
    from pose_topo.data.crops import parse_box
    from pose_topo.stages.predict import predict_photographs
    from pose_topo.study.runs import RELEASED, is_network

    values = vars(chosen).copy()
    paths, boxes = values.pop("paths"), tuple(parse_box(text) for text in values.pop("box") or ())
    checkpoint, photos = (paths[0], paths[1:]) if is_network(paths[0]) else (RELEASED, paths)
    if not photos:
        raise UsageError(f"predict {checkpoint}: give photographs, or folders of them")
    read, skipped = predict_photographs(checkpoint, photos, boxes=boxes, **values)
    and_skipped = f"; {skipped} skipped" if skipped else ""
    log.info(f"written: {chosen.out / 'keypoints.json'}, {read} photograph{'s' * (read != 1)}{and_skipped}")


@app.command("show")
@as_command(ShowOptions)
def show(chosen: ShowOptions) -> None:
    """Draw a contact sheet of people with their annotated joints, or of the largest errors of a checkpoint."""
    from pose_topo.stages.show import show_sample, show_worst

    where = {"split": chosen.split, "count": chosen.count, "cache": chosen.cache_dir}
    if chosen.worst is None:
        recipe = PROTOCOLS[chosen.protocol or "standard"]
        shown = show_sample(chosen.where(), chosen.out, recipe, seed=chosen.seed, **where)
    else:
        how = {"device": chosen.device, "precision": chosen.precision, "progress": chosen.progress}
        shown = show_worst(chosen.worst, chosen.where(), chosen.out, **how, **where)
    log.info(f"written: {chosen.out}, {shown} people")
