"""The commands and their options. What a command does is imported when it is the one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal

__all__ = ["command_of", "make_parser"]

# command -> where it is done: "module:function" of web.cli
_DONE_BY = {
    "run": "serving:run",
    "dev": "dev:dev",
    "routes": "routes:routes",
    "check": "check:check",
    "new": "new:new",
    "demo": "demo:demo",
    "completion": "completion:completion",
}

_TARGET = (
    "module:name or path/file.py:name: a Server, an App, or name() that makes one; without a name `server`, then `app`"
)


def command_of(options: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    """The function that does what was asked for; it returns the exit code."""
    module, _, name = _DONE_BY[options.command].partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(import_module(f"web.cli.{module}"), name)
    return found


def make_parser(prog: str = "web") -> argparse.ArgumentParser:
    """The parser; ``options.command`` is None where no command is given."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve, look at and begin weblatch applications. Without a command: the demo.",
        epilog="Exit codes: 0 as asked; 1 something is wrong (check), or the application failed; 2 wrong usage; 3 it "
        "cannot start.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="say which versions these are")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    run = _add(commands, "run", "serve an application, as in production", target=True)
    _add_serving(run)

    dev = _add(commands, "dev", "serve on this machine only, and anew whenever a file changes", target=True)
    dev.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    dev.add_argument("--port", type=_port, help="port (default: 8000; 0: any)")
    dev.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name, besides those of this machine, under which it may be asked; repeatable",
    )
    dev.add_argument("--tls", action="store_true", help="HTTPS, by a throw-away certificate in .dev")
    dev.add_argument("--no-reload", action="store_true", help="do not watch files")
    dev.add_argument(
        "--also", action="append", default=[], metavar="EXT", help="files that count besides .py, like html; repeatable"
    )
    dev.add_argument("--fd", type=int, help=argparse.SUPPRESS)  # the parent's socket
    dev.add_argument("--alive", type=int, help=argparse.SUPPRESS)  # a pipe that ends when the parent does

    routes = _add(commands, "routes", "show the routes", target=True)
    routes.add_argument("--json", action="store_true", help="for programs")

    check = _add(
        commands, "check", "find what would go wrong: imports, names, certificates, limits, ports", target=True
    )
    _add_serving(check)

    new = _add(commands, "new", "begin an application with its tests")
    new.add_argument("folder", type=Path, metavar="DIR", help="a folder that is not there yet, or empty")

    demo = _add(commands, "demo", "serve the demonstration over HTTPS")
    demo.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    demo.add_argument("--port", type=_port, default=8443, help="port to listen on; 0: any (default: %(default)s)")
    demo.add_argument("--folder", default=".dev", help="folder of the throw-away certificate (default: %(default)s)")
    demo.add_argument("--plain", action="store_true", help="plain HTTP instead of HTTPS")

    completion = _add(commands, "completion", "write a script that completes these commands in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, *, target: bool = False
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False)
    if target:
        parser.add_argument("target", metavar="TARGET", help=_TARGET)
    return parser


def _add_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address of the first listener: 127.0.0.1, ::, unix:/path, fd:3")
    parser.add_argument("--port", type=_port, help="its port; 0: any")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate and chain (PEM): serve HTTPS")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument("--workers", type=_workers, metavar="N", help="processes; auto: one for each CPU; 0: this one")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: a port is 0 to 65535 (0: the system chooses one)")
    return int(text)


def _workers(text: str) -> int | Literal["auto"]:
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, or auto")
    return "auto" if text == "auto" else int(text)
