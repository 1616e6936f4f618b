"""The errors a user can mend: each becomes one line on the terminal and an exit code."""

from __future__ import annotations


class PoseTopoError(Exception):
    """Something failed: the message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(PoseTopoError):
    """The command was used wrongly (a bad option value). Exit code 2."""

    exit_code = 2


def one_line(error: BaseException) -> tuple[str, int]:
    """What a terminal says of an error, in one line, and the exit code."""
    name = type(error).__name__
    # typer's own classes live in different modules from version to version: told by name and by what they can do
    if name == "NoArgsIsHelpError":
        return str(getattr(error, "message", error)), 2
    if isinstance(error, PoseTopoError):
        message, code = str(error), error.exit_code
    elif hasattr(error, "format_message"):
        message, code = error.format_message(), int(getattr(error, "exit_code", 2))  # type: ignore[attr-defined]
    elif name in ("Abort", "KeyboardInterrupt"):
        message, code = "interrupted", 130
    elif isinstance(error, OSError):
        message, code = f"{error.filename or ''}: {error.strerror or error}", 1
    else:
        message, code = f"{name}: {error} (--debug shows where)", 1
    return "pose-topo: error: " + " ".join(message.split()), code
