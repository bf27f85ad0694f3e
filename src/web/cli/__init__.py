"""The command line: ``web``, ``weblatch`` and ``python -m web``. Each command has a module; ``parser`` names them all.

Whatever keeps a command from what it is asked is told in one line on stderr, with an exit code of ``errors``. A
traceback is shown for the application's own code alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from web.cli.banner import colour, versions
from web.cli.errors import CANNOT_START, DONE, CommandError
from web.cli.parser import command_of, make_parser
from web.errors import WebError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Does what the arguments (``sys.argv``) say; the exit code. SystemExit(2): they say nothing that can be done."""
    name = Path(sys.argv[0]).name
    parser = make_parser(name if name in ("web", "weblatch") else "python -m web")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given or ["demo"])
    if options.version:
        print(versions())
        return DONE
    if options.command is None:
        parser.error("name a command")
    try:
        return command_of(options)(options)
    except CommandError as error:
        print(f"{error.before}{colour('red', f'web: {error}')}", file=sys.stderr)
    except (WebError, OSError, ValueError) as error:
        print(colour("red", f"web: {error}"), file=sys.stderr)
    return CANNOT_START
