"""The command line: ``web``, ``weblatch`` and ``python -m web``. Each command has a module; ``parser`` names them all.

Whatever keeps a command from what it is asked is told in one line on stderr, with an exit code of ``errors``. A
traceback is shown for the application's own code alone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from web.cli.banner import versions
from web.cli.errors import CANNOT_START, DONE, CommandError, tell
from web.cli.parser import command_of, make_parser
from web.errors import WebError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Does what the arguments (``sys.argv``) say; the exit code. SystemExit(2): they say nothing that can be done."""
    name = Path(sys.argv[0]).name
    parser = make_parser(name if name in ("web", "weblatch") else "python -m web")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given or ["demo"])
    if options.command is None and not options.version:
        parser.error("name a command")
    try:
        code = _say_versions() if options.version else command_of(options)(options)
        if sys.stdout is not None:  # it was closed
            sys.stdout.flush()  # what cannot be written is told below, and not by Python at its end
        return code
    except KeyboardInterrupt:  # before anything is served, as while a program is imported
        return _end_by(signal.SIGINT)
    except BrokenPipeError:  # web routes app | head
        return _end_by(signal.SIGPIPE)
    except CommandError as error:
        tell(error)
        return error.code
    except (WebError, OSError, ValueError) as error:
        tell(error)
        return CANNOT_START


def _say_versions() -> int:
    print(versions())
    return DONE


def _end_by(number: signal.Signals) -> int:
    """Ends the process as that signal ends others, which shells understand."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number  # it is blocked
