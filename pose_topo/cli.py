"""The command line: parse, call, print. Heavy imports happen inside the commands, so that --help answers at once."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pose_topo import __version__, options
from pose_topo.errors import UsageError, one_line

app = typer.Typer(
    name="pose-topo",
    help="Train, score and measure topographic human pose networks on MPII Human Pose.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RUNS = {
    "runs": (
        Annotated[
            list[Path], typer.Argument(help="A run folder, or a checkpoint in one; with --group results folders.")
        ],
        ...,
    )
}


def say(text: str) -> None:
    """Status goes to stderr; stdout is for results."""
    typer.echo(text, err=True)


@app.callback()
def _top(
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command("train-baseline")
@options.as_command(options.TrainOptions, {})
def train_baseline(chosen: options.TrainOptions) -> None:
    """Train SimpleBaseline: ResNet, three deconvolutions, one heatmap a joint."""
    _train(chosen)


@app.command("train-topo")
@options.as_command(options.TopoOptions, {})
def train_topo(chosen: options.TopoOptions) -> None:
    """Train TopoModel: SimpleBaseline with a topographic layer and its spatial loss."""
    _train(chosen)


def _train(chosen: options.TrainOptions) -> None:
    config = chosen.config()
    from pose_topo.data.dataset import check_layout, prepare
    from pose_topo.devices import pick_device
    from pose_topo.models.pose import build_model
    from pose_topo.models.weights import imagenet_file
    from pose_topo.training import hooks
    from pose_topo.training.distributed import team_from_environment
    from pose_topo.training.loop import Surroundings, check_run, train

    run = chosen.save_dir / (chosen.run_name or hooks.default_run_name(config))
    resume, team = chosen.resume == "auto", team_from_environment()
    aloud = say if team.writer else _silently
    # what cannot be is refused before anything is read: a network nobody can build, no data, weights not to be had
    pick_device(team.device(config.device), _silently)  # the training says it
    build_model(config)
    if team.writer:
        check_run(run, config, resume=resume, overwrite=chosen.overwrite)
    check_layout(config.data)
    if config.recipe.pretrained:
        imagenet_file(config, chosen.cache_dir, aloud)
    progress = chosen.progress and team.writer
    dataset = prepare(
        config.data, config.recipe, seed=config.seed, cache=chosen.cache_dir, progress=progress, say=aloud
    )
    wanted = {"plots": chosen.save_plts, "wandb": chosen.wandb}
    after = hooks.chosen_hooks(run, dataset, config, **wanted, say=aloud) if team.writer else ()
    around = Surroundings(chosen.cache_dir, progress, after, team, aloud)
    history = train(config, dataset, run, around, resume=resume, overwrite=chosen.overwrite)
    last = history[-1]
    aloud(
        f"{run}: epoch {last['epoch']}, validation PCKh@0.5 {last['val_pckh']:.2f} (no flip test); "
        f"next: pose-topo evaluate {run}"
    )


def _silently(_text: str) -> None:
    """What the processes other than the writer say."""


@app.command("evaluate")
@options.as_command(
    options.EvaluateOptions,
    {"run": (Annotated[Path | None, typer.Argument(help="A run folder, or a checkpoint in one.")], None)},
)
def evaluate(run: Path | None, chosen: options.EvaluateOptions) -> None:
    """Official PCKh of a checkpoint, or of a prediction file."""
    from pose_topo.evaluation import evaluate as stage
    from pose_topo.evaluation import report
    from pose_topo.evaluation.decoding import DECODES

    chosen.check(run)
    if chosen.predictions is not None and chosen.ground_truth is not None:
        result = stage.evaluate_predictions(chosen.predictions, chosen.ground_truth, chosen.out)
    else:
        if chosen.decode is not None and chosen.decode not in DECODES:
            raise UsageError(f"--decode {chosen.decode}: give one of {', '.join(DECODES)}")
        out = _out(run, chosen)
        result = stage.evaluate_checkpoint(
            run,  # type: ignore[arg-type]
            out,
            data=chosen.elsewhere(),
            decode=chosen.decode,
            flip_test=chosen.flip,
            **_shared(chosen),
        )
        say(f"written: {out / 'evaluation.json'}")
    typer.echo(report.evaluation(result))


@app.command("compare")
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A result folder: what `evaluate --out` wrote.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another, of the same people.")],
    out: Annotated[Path | None, typer.Option(help="Write comparison.json to this folder.")] = None,
) -> None:
    """PCKh of RUN_B minus RUN_A, with paired intervals over people, and the joints won and lost."""
    from pose_topo.evaluation import report
    from pose_topo.evaluation.compare import compare_results

    typer.echo(report.comparison(compare_results(first, second, out)))
    if out is not None:
        say(f"written: {out / 'comparison.json'}")


@app.command("analyze")
@options.as_command(options.AnalyzeOptions, RUNS)
def analyze(runs: list[Path], chosen: options.AnalyzeOptions) -> None:
    """Topography of a checkpoint: Moran's I, parcellation, correlations, controls; or of a group of seeds."""
    if chosen.group:
        from pose_topo.analysis import group

        out = chosen.out or Path("out/group")
        compared = group.analyze_group(runs, out)
        say(f"written: {out / 'group.json'}")
        typer.echo(group.table(compared))
        return
    if len(runs) > 1:
        raise UsageError(f"analyze takes one run, here are {len(runs)}; --group compares the results of several")
    from pose_topo.analysis.analyze import Extras, analyze_checkpoint
    from pose_topo.analysis.summary import summary

    out = _out(runs[0], chosen)
    extras = Extras(chosen.lesions, chosen.lesion_grids, chosen.untrained, chosen.control)
    result = analyze_checkpoint(
        runs[0],
        out,
        data=chosen.elsewhere(),
        permutations=chosen.permutations,
        extras=extras,
        **_shared(chosen),
    )
    say(f"written: {out / 'analysis.json'}")
    typer.echo(summary(result))


def _out(run: Path | None, chosen: options.ResultOptions) -> Path:
    """A folder named after the run; after the file, where a checkpoint lies in no run."""
    if run is None or run.is_dir():
        name = run.resolve().name if run else "predictions"
    else:
        name = run.resolve().parent.name if (run.parent / "config.json").is_file() else run.name.split(".")[0]
    return chosen.out or Path("out") / name


def _shared(chosen: options.ResultOptions) -> dict[str, Any]:
    return {
        "device": chosen.device,
        "precision": chosen.precision,
        "cache": chosen.cache_dir,
        "progress": chosen.progress,
        "say": say,
    }


@app.command("download")
def download(
    target: Annotated[
        str,
        typer.Argument(help="mpii, images, annotations, split, weights, reference, checkpoints, gdrive or synthetic."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder to fill [default: mpii; for checkpoints: checkpoints].")
    ] = None,
    people: Annotated[int, typer.Option(help="synthetic: how many annotated people.")] = 2000,
    seed: Annotated[int, typer.Option(help="synthetic: seed of the renderer.")] = 0,
    arch: Annotated[str | None, typer.Option(help="weights: which ResNet, or all [default: resnet50].")] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Try this address first: a file's URL, or a folder of such files.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take archives or folders from this place on disk.")
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="weights: where they are kept.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, where to and how large.")
    ] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress bars.")] = True,
) -> None:
    """Fetch and verify MPII, its split, ImageNet weights, published networks; or render the synthetic data set."""
    data = data or Path("checkpoints" if target == "checkpoints" else "mpii")
    if target == "synthetic":
        from pose_topo.data.synthetic import render_dataset, synthetic_size

        if dry_run:
            say(f"would render {people:,} people, seed {seed}, into {data} (about {synthetic_size(people)})")
            return
        manifest = render_dataset(data, people, seed, progress=progress)
        say(
            f"{data}: {manifest['people']:,} people in {manifest['images']:,} photographs, "
            f"version {manifest['version']}"
        )
        return
    from pose_topo.data import sources
    from pose_topo.data.sources import cache_folder

    sources.download(
        target,
        data,
        mirror=mirror,
        source=source,
        cache=cache_folder(cache_dir),
        dry_run=dry_run,
        say=say,
        arch=arch or ("resnet50" if target == "weights" else None),
        policy=sources.Policy(progress=progress),
    )


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


@app.command("doctor")
def doctor(
    data: Annotated[Path, typer.Option(help="Data folder to look at.")] = Path("mpii"),
    profile: Annotated[str, typer.Option(help="demo (CPU, rendered data) or full (MPII).")] = "demo",
) -> None:
    """Look at this machine: can it run the study? One line a finding."""
    from pose_topo.doctor import PROFILES, examine

    if profile not in PROFILES:
        raise UsageError(f"--profile {profile}: give one of {', '.join(PROFILES)}")
    findings = examine(data, profile)
    for finding in findings:
        typer.echo(finding.line())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error is one line and an exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # welcome after the command, too
    try:
        code = app(arguments, standalone_mode=False)
    except Exception as error:  # the last door: a user gets a line, a developer --debug
        if debug:
            raise
        sys.exit(_leave(error))
    except KeyboardInterrupt:
        sys.exit(_leave(KeyboardInterrupt()))
    sys.exit(code if isinstance(code, int) else 0)


def _leave(error: BaseException) -> int:
    line, code = one_line(error)
    typer.echo(line, err=True)
    return code
