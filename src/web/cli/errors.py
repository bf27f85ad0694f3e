"""What the command line says where it cannot do what it is asked, and with which exit code."""

from __future__ import annotations

import sys

from web.cli.banner import colour

__all__ = ["CANNOT_START", "DONE", "FAILED", "USAGE", "CommandError", "printable", "tell"]

DONE = 0
FAILED = 1  # `web check` found something wrong, or the application failed while it ran
USAGE = 2  # argparse's
CANNOT_START = 3  # the program cannot be imported, a port or certificate cannot be had; a Master's BOOT_FAILURE, too


class CommandError(Exception):
    """A message of one line that says what to do; ``before``: what is shown above it, such as a traceback; ``code``:
    the exit code."""

    def __init__(self, message: str, *, before: str = "", code: int = CANNOT_START) -> None:
        super().__init__(message)
        self.before = before
        self.code = code


def tell(error: Exception) -> None:
    """On stderr."""
    before = error.before if isinstance(error, CommandError) else ""
    print(f"{before}{colour('red', f'web: {printable(str(error))}')}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """In one line, and nothing that a terminal obeys: names of files and texts of exceptions may hold anything."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
