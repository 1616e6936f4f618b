"""Messages: every module writes to `log`; the command line prints them, a library user sees warnings only."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

log = logging.getLogger("pose_topo")


class _Console(logging.Handler):
    """Prints one line per message to stderr, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            print(line(record), file=sys.stderr)


def line(record: logging.LogRecord) -> str:
    """The message as a user reads it: a warning begins with "warning: "."""
    prefix = "warning: " if record.levelno >= logging.WARNING else ""
    return prefix + record.getMessage()


def show_messages() -> None:
    """Print the messages of this process to stderr. Results go to stdout."""
    if not any(isinstance(handler, _Console) for handler in log.handlers):
        log.addHandler(_Console())
    log.setLevel(logging.INFO)
    log.propagate = False


def hide_messages() -> None:
    """Print nothing below an error: for the processes of a training that do not write."""
    log.setLevel(logging.ERROR)
