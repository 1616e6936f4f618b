"""Errors that a user can correct. The command line prints each as one line and exits with its code."""

from __future__ import annotations


class PoseTopoError(Exception):
    """Something failed. The message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(PoseTopoError):
    """A command was used wrongly, for example with an invalid option value. Exit code 2."""

    exit_code = 2


def one_line(error: BaseException) -> tuple[str, int]:
    """The line that a terminal shows for an error, and the exit code."""
    name = type(error).__name__
    # typer moves its own classes between modules from version to version, so they are recognised by name and methods
    if name == "NoArgsIsHelpError":
        return str(getattr(error, "message", error)), 2
    if isinstance(error, PoseTopoError):
        message, code = str(error), error.exit_code
    elif format_message := getattr(error, "format_message", None):
        message, code = format_message(), int(getattr(error, "exit_code", 2))
    elif name in ("Abort", "KeyboardInterrupt"):
        message, code = "interrupted", 130
    elif isinstance(error, OSError):
        message, code = f"{error.filename or ''}: {error.strerror or error}", 1
    else:
        message, code = f"{name}: {error} (--debug shows where)", 1
    return "pose-topo: error: " + " ".join(message.split()), code
