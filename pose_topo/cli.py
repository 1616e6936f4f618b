"""The command line `pose-topo`. An error is printed as one line."""

from __future__ import annotations

import sys

import typer

from pose_topo.commands import download, train, results, doctor  # isort: skip  # in the order of --help
from pose_topo.commands.app import app
from pose_topo.core.errors import one_line
from pose_topo.core.log import show_messages

__all__ = ["app", "doctor", "download", "main", "results", "train"]


def main() -> None:
    """Run the command line. After an error, print one line and exit with the error's code."""
    show_messages()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # also after the command
    try:
        code = app(arguments, standalone_mode=False)
    except Exception as error:  # every error becomes one line; --debug shows the traceback
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
