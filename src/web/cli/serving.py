"""``web run``; and what other commands need of it: a target's server with what the command line says otherwise."""

from __future__ import annotations

import argparse
import traceback
from pathlib import Path

import web.server
from web._core import TlsContext
from web.cli.banner import banner
from web.cli.errors import DONE, FAILED, CommandError
from web.cli.target import Target, find
from web.errors import WebError
from web.listeners import Listeners
from web.problems import in_one_line
from web.server import Server
from web.worker_options import Workers

__all__ = ["HOST", "PORT", "configured", "run", "serve", "server_of"]

HOST, PORT = "127.0.0.1", 8000  # of an App, which has no address


def run(options: argparse.Namespace) -> int:
    """``web run``."""
    return serve(configured(find(options.target), options))


def configured(target: Target, options: argparse.Namespace) -> Server:
    """Its server, with what the command line says otherwise. CommandError: a certificate without a key."""
    server = server_of(target)
    tls = _context(options.cert, options.key)
    if tls is not None or options.host is not None or options.port is not None:
        _move_first(server, options.host, options.port, tls)
    if options.workers is not None:
        server._workers_option = Workers(options.workers)
    return server


def serve(server: Server) -> int:
    """Opens it where it is not open yet, and serves until it is stopped; the exit code. CommandError: it cannot
    start, or the application failed."""
    try:
        if not server.urls:
            server.open()
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    server._banner = banner
    try:
        server.run()
    except WebError:  # ours, and in one line
        raise
    except Exception as error:  # the application's, as a start hook's: its author needs the traceback
        text = f"the application failed: {in_one_line(error)}"
        raise CommandError(text, before=traceback.format_exc(), code=FAILED) from error
    return DONE


def server_of(target: Target) -> Server:
    """The server that it is, or one for the App that it is."""
    if isinstance(target.made, Server):
        return target.made
    server = Server(target.made, HOST, PORT)
    web.server._never_run.pop(server, None)  # commands that run none need it, too
    return server


def _context(cert: Path | None, key: Path | None) -> TlsContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        given, missing = ("--key", "--cert") if cert is None else ("--cert", "--key")
        raise CommandError(f"{given} goes with {missing}: a certificate is of use with its key only")
    return TlsContext(cert, key)


def _move_first(server: Server, host: str | None, port: int | None, tls: TlsContext | None) -> None:
    """Changes the first address; others stay."""
    first, *others = server._listeners.places
    where = first.address
    server._listeners = Listeners()
    server.listen(
        where.host if host is None else host,
        where.port if port is None else port,
        tls or first.context,
        dual_stack=where.dual_stack if host is None else False,
        proxy_protocol=first.proxies is not None,
    )
    for place in others:
        server._listeners.places.append(place)
