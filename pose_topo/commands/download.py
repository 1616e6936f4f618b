"""download: data sets and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pose_topo.commands.app import app
from pose_topo.core.log import log
from pose_topo.study.backbones import BACKBONES


@app.command("download")
def download(
    target: Annotated[
        str,
        typer.Argument(help="mpii, images, annotations, split, weights, reference, gdrive or synthetic."),
    ],
    data: Annotated[Path, typer.Option(help="Folder to fill.")] = Path("mpii"),
    people: Annotated[int, typer.Option(help="synthetic: how many annotated people.")] = 2000,
    seed: Annotated[int, typer.Option(help="synthetic: seed of the renderer.")] = 0,
    arch: Annotated[
        str | None, typer.Option(help=f"weights: {', '.join(BACKBONES)} or all [default: resnet50].")
    ] = None,
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
    """Fetch and verify MPII, its split, ImageNet weights; or render the synthetic data set."""
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
    from pose_topo.core.files import cache_folder
    from pose_topo.download import targets
    from pose_topo.download.transfer import Policy

    targets.download(
        target,
        data,
        mirror=mirror,
        source=source,
        cache=cache_folder(cache_dir),
        dry_run=dry_run,
        arch=arch or ("resnet50" if target == "weights" else None),
        policy=Policy(progress=progress),
    )
