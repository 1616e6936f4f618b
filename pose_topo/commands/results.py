"""evaluate, compare and analyze: result files of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pose_topo import options
from pose_topo.commands.app import app, say
from pose_topo.errors import UsageError

RUNS = {
    "runs": (
        Annotated[
            list[Path], typer.Argument(help="A run folder, or a checkpoint in one; with --group results folders.")
        ],
        ...,
    )
}


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
