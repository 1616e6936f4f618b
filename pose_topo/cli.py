"""The command line: every command, and what a user sees of an error."""

from __future__ import annotations

import sys

import typer

# in the order of --help
from pose_topo.commands import doctor, results, train
from pose_topo.commands import download as fetch
from pose_topo.commands import pictures as use
from pose_topo.commands.app import app
from pose_topo.core.errors import one_line
from pose_topo.core.log import show_messages

__all__ = ["app", "doctor", "fetch", "main", "results", "train", "use"]


def main() -> None:
    """Run the command line; an error is one line and an exit code."""
    show_messages()
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
