"""What the command line says where it cannot do what it is asked, and with which exit code."""

from __future__ import annotations

__all__ = ["CANNOT_START", "DONE", "FAILED", "USAGE", "CommandError"]

DONE = 0
FAILED = 1  # `web check` found something wrong, or the application failed while it ran
USAGE = 2  # argparse's
CANNOT_START = 3  # the program cannot be imported, a port or certificate cannot be had; a Master's BOOT_FAILURE, too


class CommandError(Exception):
    """A message of one line that says what to do; ``before``: what is shown above it, such as a traceback."""

    def __init__(self, message: str, *, before: str = "") -> None:
        super().__init__(message)
        self.before = before
