"""``web check``: what would keep a server from starting, or from serving as its author thinks, found before it starts.

Each look is a function that yields findings: (level, text), where the level is "ok", "warn" or "fail". Nothing is
served, and no port stays bound.
"""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from web.app import App
from web.certificate_watch import last_mark
from web.cli.banner import colour, expiry, versions
from web.cli.errors import DONE, FAILED
from web.cli.serving import server_of
from web.cli.target import find
from web.errors import WebError
from web.fd_limit import connections_possible
from web.listeners import Place
from web.privileges import identity
from web.server import Server
from web.worker_options import usable_cpus

__all__ = ["check"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_LOCAL = ("127.", "::1", "localhost", "unix:", "fd:")

Findings = Iterator[tuple[str, str]]


def check(options: argparse.Namespace) -> int:
    """``web check``. FAILED: something would keep it from serving."""
    import sys

    target = find(options.target)
    server = server_of(target)
    looks = (_names(), _application(target.label, server), _people(server), _limits(server), _addresses(server))
    failed = False
    for level, text in (finding for look in looks for finding in look):
        print(f"{colour(_COLOURS[level], level.ljust(4), sys.stdout)}  {text}")
        failed = failed or level == "fail"
    return FAILED if failed else DONE


def _names() -> Findings:
    from weblatch.names import strangers

    if text := strangers():
        yield "fail", text
    else:
        yield "ok", versions()


def _application(label: str, server: Server) -> Findings:
    app: App = server.app
    try:
        app._compile()
    except WebError as error:
        yield "fail", str(error)
    else:
        routes, folders = len(list(app._routes)), len(app._folders)
        yield "ok", f"{label}: {routes} route{'s'[: routes != 1]}, {folders} static folder{'s'[: folders != 1]}"
    if server.dev:
        yield "warn", "dev=True shows tracebacks, with source code, to clients: leave it out where others can reach it"


def _people(server: Server) -> Findings:
    try:
        who = identity(server._user, server._group)
    except WebError as error:
        yield "fail", str(error)
        return
    if who is None and os.geteuid() == 0:
        yield "warn", "it would serve as root: user='www-data' gives that up once ports are bound and keys are read"


def _limits(server: Server) -> Findings:
    wanted = server.limits.connections
    possible = connections_possible(wanted)
    number, cpus = server._workers.number, usable_cpus()
    if possible < wanted:
        yield (
            "warn",
            f"Limits(connections={wanted}): file descriptors allow {possible} only; raise ulimit -Hn (LimitNOFILE=)",
        )
    else:
        yield "ok", f"up to {wanted} connections{' for each worker' if number else ''}"
    if number > cpus:
        yield "warn", f"{number} workers on {cpus} usable CPUs: more than one for each takes memory and gives nothing"


def _addresses(server: Server) -> Findings:
    for place in server._listeners.places:
        yield from _certificates(place)
        yield from _address(place)


def _certificates(place: Place) -> Findings:
    context = place.context
    if context is None:
        if not place.address.host.startswith(_LOCAL) and place.proxies is None:
            yield (
                "warn",
                f"{_where(place)} is plain HTTP for whoever reaches it: defserver_tls(), or a proxy in front of it",
            )
        return
    try:
        context.load()
    except (WebError, OSError) as error:
        yield "fail", str(error)
        return
    for certificate in context.certificates:
        soon = last_mark(certificate) is not None
        yield "warn" if soon else "ok", f"{_where(place)}: certificate {expiry(certificate)}"
    for path in context.files:
        with suppress(OSError):
            mode = stat.S_IMODE(Path(path).stat().st_mode)
            if path == context.key_file and mode & 0o077:
                yield "warn", f"{path}: others may read this key (mode {mode:04o}): chmod 600 {path}"


def _address(place: Place) -> Findings:
    if place.address.host.startswith(
        ("unix:", "fd:")
    ):  # to bind one would remove what a dead process left; is another's
        return
    try:
        place.address.bind().close()
    except WebError as error:
        in_use = "already does" in str(error)
        yield "warn" if in_use else "fail", str(error)
    else:
        yield "ok", f"{_where(place)} can be listened on"


def _where(place: Place) -> str:
    return f"{place.address.host or '0.0.0.0'}:{place.address.port}"
