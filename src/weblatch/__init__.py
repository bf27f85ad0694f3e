"""weblatch: the package ``web`` under a name that nobody else has, and where its commands begin.

web.py installs a package ``web``, too, and installers overwrite files without a word; a file ``web.py`` of one's own
hides both. So this module looks whose ``web`` would be imported, before it imports it, and says what to do where it is
not ours: NameConflict, or one line for who typed the command. Else it has all public names of ``web``.
"""

from __future__ import annotations

import sys

from weblatch.names import NameConflict, conflict, is_command

if problem := conflict():
    if is_command():
        print(f"weblatch: {problem}", file=sys.stderr)
        raise SystemExit(3)
    raise NameConflict(problem)

import web
from web import *  # noqa: F403
from web import __version__  # noqa: F401

__all__ = [*web.__all__, "NameConflict", "main"]  # noqa: PLE0604 - these are names


def main(arguments: list[str] | None = None) -> int:
    """The command line (``sys.argv``, where no arguments are given); the exit code."""
    from web import cli

    return cli.main(arguments)
