"""Errors that a user can correct, and the one line that a user sees of any error."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from pose_topo.core.log import show_messages

INTERRUPTED = 130  # exit code
LONGEST = 2000  # characters of a message
REPORT = "this is a fault of pose_topo: please report it with what --debug prints"


class PoseTopoError(Exception):
    """Something failed. The message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(PoseTopoError):
    """A command was used wrongly, for example with an invalid option value. Exit code 2."""

    exit_code = 2


def guarded(name: str, action: Callable[[], object]) -> int:
    """Run a command and return its exit code. An error is printed as one line; with --debug it is raised.

    Args:
        name: The beginning of the line.
        action: The command. It returns its exit code, or anything else for 0.
    """
    show_messages()
    try:
        code = action()
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in sys.argv and isinstance(error, Exception):
            raise
        line, code = one_line(error, name)
        print(line, file=sys.stderr)
    return code if isinstance(code, int) else 0


def one_line(error: BaseException, name: str = "pose-topo: error") -> tuple[str, int]:
    """The line that a terminal shows for an error, and the exit code.

    The line of an error that this project did not expect names the file that was read, and asks for a report.
    """
    kind = type(error).__name__
    # typer moves its own classes between modules from version to version, so they are recognised by name and methods
    if kind == "NoArgsIsHelpError":
        return str(getattr(error, "message", error)), 2
    if isinstance(error, PoseTopoError):
        message, code = str(error), error.exit_code
    elif format_message := getattr(error, "format_message", None):
        message, code = format_message(), int(getattr(error, "exit_code", 2))
    elif kind in ("Abort", "KeyboardInterrupt"):
        message, code = "interrupted", INTERRUPTED
    else:
        file = (error.filename if isinstance(error, OSError) else None) or _file_at_hand(error)
        what = in_short(error) if isinstance(error, OSError) else f"{kind}: {in_short(error)}; {REPORT}"
        if isinstance(error, MemoryError):
            what = f"not enough memory ({in_short(error)})"
        message, code = f"{file}: {what}" if file else what, 1
    # a name in a file must neither control the terminal nor fill it
    return f"{name}: " + "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))[:LONGEST], code


def in_short(error: BaseException) -> str:
    """What an error of another library says, on one line of at most 160 characters."""
    text = str(error)
    if inside := re.search(r"error message = '([^']+)'", text):  # HDF5 puts the system's words between addresses
        return inside[1]
    return (isinstance(error, OSError) and error.strerror) or " ".join(text.split())[:160] or type(error).__name__


def _file_at_hand(error: BaseException) -> Path | None:
    """The file or folder that the code was reading: the first path in the innermost frame that holds one."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("pose_topo", "paper_figures"):
            read = [value for name, value in frame.f_locals.items() if name not in ("out", "temporary")]
            found = next((path for value in read if (path := _path_of(value))), found)
    return found


def _path_of(value: object) -> Path | None:
    """A path, or the path of an object or of the first of several: what it has as its `path` or `folder`."""
    if isinstance(value, list | tuple) and value:
        return _path_of(value[0])
    held = [value, *(getattr(value, "__dict__", {}).get(name) for name in ("path", "folder"))]
    return next((path for path in held if isinstance(path, Path)), None)
