"""The application in which all commands are registered, and the options that they share."""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from pose_topo import __version__
from pose_topo.study.config import ANNOTATIONS, Data

app = typer.Typer(
    name="pose-topo",
    help="Train, score and measure topographic human pose networks on MPII Human Pose.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _asked: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


def as_command(options: type) -> Callable[[Callable], Callable]:
    """Decorate `f(chosen)` so that typer sees every field of `options` as an argument or option of the command.

    Args:
        options: A dataclass whose fields are annotated with typer's arguments and options. A field without a default
            must be given.
    """
    hints = typing.get_type_hints(options, include_extras=True)
    empty, kind = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
    defaults = {f.name: empty if f.default is dataclasses.MISSING else f.default for f in dataclasses.fields(options)}
    parameters = [inspect.Parameter(name, kind, annotation=hints[name], default=defaults[name]) for name in defaults]

    def wrap(function: Callable) -> Callable:
        def command(**values: Any) -> None:
            function(options(**values))

        command.__doc__, command.__name__, command.__annotations__ = function.__doc__, function.__name__, hints
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return command

    return wrap


def share_cores(threads: int | None = None) -> None:
    """Import torch so that its CPU threads leave other programs their share of the cores.

    The threads of an operation wait for each other. If two of them are on one core while another program uses the other
    core, both wait for a whole time slice. So each thread is bound to a core of its own, and waits only briefly before
    it sleeps. docs/benchmarks.md has the speeds with and without this. It changes no result.

    Nothing is changed if variables of OpenMP are set, if fewer threads are asked for (several programs with few threads
    would be bound to the same cores), or if torch is imported already.

    Args:
        threads: the CPU threads that were asked for; None for all.
    """
    given = any(name.startswith(("OMP_", "GOMP_")) for name in os.environ)
    if threads or given or sys.platform != "linux" or "torch" in sys.modules:
        return
    allowed, wanted = os.sched_getaffinity(0), {"OMP_PROC_BIND": "true", "GOMP_SPINCOUNT": "10000"}
    os.environ.update(wanted)
    try:
        import torch  # noqa: F401  # OpenMP reads the variables now, and binds this thread, too
    finally:
        for name in wanted:
            del os.environ[name]
        os.sched_setaffinity(0, allowed)  # threads and processes that this one starts may use all cores


@dataclass(frozen=True)
class DataOptions:
    """The options that say where the data are."""

    data: Annotated[
        Path | None, Option(help="Data folder [default: the folder of --annotations, or mpii].", show_default=False)
    ] = None
    annotations: Annotated[
        Path | None,
        Option(
            "--annotations",
            "--mat-path",
            help=f"Annotation file of MPII, LSPET or in COCO's format [default: {' or '.join(ANNOTATIONS)} in DATA].",
        ),
    ] = None
    img_dir: Annotated[Path | None, Option(help="Folder of the photographs [default: DATA/images].")] = None
    cache_dir: Annotated[
        Path | None, Option(help="Where crops and weights are kept [default: $POSE_TOPO_CACHE or ~/.cache/pose_topo].")
    ] = None

    def where(self) -> Data:
        """The data set at these paths."""
        return Data.at(self.data, self.annotations, self.img_dir)
