"""The errors a user can mend: each becomes one line on the terminal and an exit code."""

from __future__ import annotations


class PoseTopoError(Exception):
    """Something failed: the message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(PoseTopoError):
    """The command was used wrongly (a bad option value). Exit code 2."""

    exit_code = 2
