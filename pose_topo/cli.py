"""The command line `pose-topo`. An error is printed as one line."""

from __future__ import annotations

import sys

from pose_topo.commands import prepare, train, results  # isort: skip  # in the order of --help
from pose_topo.commands.app import app
from pose_topo.core.errors import INTERRUPTED, guarded

__all__ = ["app", "main", "prepare", "results", "train"]


def main() -> None:
    """Run the command line. After an error, print one line and exit with the error's code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # also after the command

    def command() -> object:
        code = app(arguments, standalone_mode=False)
        if code == INTERRUPTED:  # typer makes a code of Ctrl-C, without a word
            raise KeyboardInterrupt
        return code

    sys.exit(guarded("pose-topo: error", command))
