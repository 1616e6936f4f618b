"""Messages. Every module writes to `log`; the command line prints them, a library user sees only warnings."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("pose_topo")


class _Console(logging.Handler):
    """Prints one line per message to stderr, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # slow to import

        with tqdm.external_write_mode(file=sys.stderr):
            print(line(record), file=sys.stderr)


def line(record: logging.LogRecord) -> str:
    """The message as a user reads it. A warning begins with "warning: "."""
    prefix = "warning: " if record.levelno >= logging.WARNING else ""
    return prefix + record.getMessage()


def show_messages() -> None:
    """Print the messages of this process to stderr. Results go to stdout."""
    if not any(isinstance(handler, _Console) for handler in log.handlers):
        log.addHandler(_Console())
    log.setLevel(logging.INFO)
    log.propagate = False


def hide_messages() -> None:
    """Print nothing below an error. Used by the processes of a distributed training that do not write the run."""
    log.setLevel(logging.ERROR)
