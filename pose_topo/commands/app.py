"""What all commands are registered with, and how they speak."""

from __future__ import annotations

from typing import Annotated

import typer

from pose_topo import __version__

app = typer.Typer(
    name="pose-topo",
    help="Train, score and measure topographic human pose networks on MPII Human Pose.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def say(text: str) -> None:
    """Status goes to stderr; stdout is for results."""
    typer.echo(text, err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _asked: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass
