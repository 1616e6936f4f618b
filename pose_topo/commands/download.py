"""The command `download`: data sets and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pose_topo.commands.app import app
from pose_topo.core.errors import UsageError
from pose_topo.core.log import log
from pose_topo.download.catalog import LICENCES, TARGETS, WEIGHTS


@app.command("download")
def download(
    target: Annotated[
        str,
        typer.Argument(help="mpii, images, annotations, split, lspet, weights, reference, gdrive or synthetic."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder to fill [default: lspet for the target lspet, mpii for others].")
    ] = None,
    people: Annotated[int, typer.Option(help="synthetic: number of annotated people.")] = 2000,
    seed: Annotated[int, typer.Option(help="synthetic: seed of the renderer.")] = 0,
    arch: Annotated[str | None, typer.Option(help=f"weights: {', '.join(WEIGHTS)} or all [default: resnet50].")] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address to try first: of a file, or of a folder of such files.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="File, folder or git repository on disk to take the data from.")
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="weights: folder that keeps them.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be fetched, from where, and its size.")
    ] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress bars.")] = True,
) -> None:
    """Download and verify MPII, its split, LSPET or ImageNet weights, or render the synthetic data set."""
    data = data or Path("lspet" if target == "lspet" else "mpii")
    if target == "synthetic":
        from pose_topo.rendering.folder import render_dataset, synthetic_size

        if dry_run:
            log.info(f"would render {people:,} people, seed {seed}, into {data} (about {synthetic_size(people)})")
            return
        manifest = render_dataset(data, people, seed, progress=progress)
        log.info(
            f"{data}: {manifest['people']:,} people in {manifest['images']:,} photographs, "
            f"version {manifest['version']}"
        )
        return
    from pose_topo.download.fetch import Job, run, run_drive
    from pose_topo.download.transfer import Policy
    from pose_topo.download.weights import fetch_weights

    policy = Policy(progress=progress)
    if target == "weights":
        for name in WEIGHTS if arch == "all" else (arch or "resnet50",):
            fetch_weights(name, cache_dir, mirror=mirror, source=source, dry_run=dry_run, policy=policy)
        return
    if arch is not None:
        raise UsageError(f"--arch belongs to the target weights, not to {target}")
    job = Job(data, mirror, source, policy=policy)
    if target == "gdrive":
        run_drive(job, dry_run=dry_run)
    elif target in TARGETS:
        run(TARGETS[target], job, dry_run=dry_run, licence=LICENCES.get(target))
    else:
        raise UsageError(f"no target {target!r}: one of {', '.join(TARGETS)}, weights, gdrive, synthetic")
