"""``web check``: what would keep a server from starting, or from serving as its author thinks, found before it starts.

Each look is a function that yields findings: (level, text), where the level is "ok", "warn" or "fail". Nothing is
served; ports are bound together, as the server would, and given back.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import shlex
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path

from web._core import TlsContext
from web.certificate_watch import last_mark
from web.cli.banner import colour, expiry, versions
from web.cli.errors import DONE, FAILED
from web.cli.serving import configured
from web.cli.target import find
from web.errors import WebError
from web.fd_limit import connections_possible
from web.listeners import Place
from web.privileges import identity
from web.proxies import check_use
from web.server import Server
from web.sockets import Address, ListenError
from web.worker_options import usable_cpus

__all__ = ["check"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_LOCAL = re.compile(r"127\..*|::1|localhost|(unix|fd):.*")

Findings = Iterator[tuple[str, str]]


def check(options: argparse.Namespace) -> int:
    """``web check``. FAILED: something would keep it from serving."""
    with redirect_stdout(sys.stderr):  # what the program says has no level
        target = find(options.target)
    server = configured(target, options)
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
    routes, folders = len(list(server.app._routes)), len(server.app._folders)
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
    places = server._listeners.places
    try:
        check_use(server._proxies, ((place.address, place.proxies is not None) for place in places))
    except ValueError as error:
        yield "fail", str(error)
    with ExitStack() as bound:
        ports: set[int] = set()
        for place in places:
            yield from _plain(place, server) if place.context is None else _certificates(place, place.context)
            if (path := place.address.unix_path) is not None:
                yield from _unix_socket(path)
            elif not place.address.host.startswith("fd:"):  # who starts the server passes it
                yield from _port(place.address, bound, ports)


def _plain(place: Place, server: Server) -> Findings:
    if not _LOCAL.fullmatch(place.address.host) and place.proxies is None and server._proxies is None:
        yield (
            "warn",
            f"{place.address} is plain HTTP for whoever reaches it: defserver_tls(), or proxies= where one is in front",
        )


def _certificates(place: Place, context: TlsContext) -> Findings:
    try:
        context.load()
    except (WebError, OSError) as error:
        yield "fail", str(error)
        return
    for certificate in context.certificates:
        soon = last_mark(certificate) is not None
        yield "warn" if soon else "ok", f"{place.address}: certificate {expiry(certificate, sys.stdout)}"
    for path in context.files:
        with suppress(OSError):
            mode = stat.S_IMODE(Path(path).stat().st_mode)
            if mode & 0o077 and b"PRIVATE KEY-----" in Path(path).read_bytes():
                yield "warn", f"{path}: others may read this key (mode {mode:04o}): chmod 600 {shlex.quote(path)}"


def _port(address: Address, bound: ExitStack, ports: set[int]) -> Findings:
    """``ports``: what ``bound`` holds for the addresses before it."""
    try:
        sock = bound.enter_context(address.bind())
    except ListenError as error:
        in_use = error.errno == errno.EADDRINUSE
        if in_use and address.port in ports:
            yield "fail", f"cannot listen on {address}: this server already does by another of its addresses"
        else:
            yield "warn" if in_use else "fail", str(error)
    else:
        ports.add(sock.getsockname()[1])
        yield "ok", f"{address} can be listened on"


def _unix_socket(path: str) -> Findings:
    """Without binding it, which would remove what a dead process left."""
    folder = Path(path).parent
    fail = f"cannot listen on unix:{path}: "
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            reached = probe.connect_ex(path)
        except OSError as error:  # before anything is asked of the system: the path is too long
            yield "fail", f"{fail}{error}"
            return
    if not folder.is_dir():
        yield "fail", f"{fail}there is no folder {folder}; make it"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield "fail", f"{fail}not permitted; choose a folder that this user may write to"
    elif reached in (0, errno.EAGAIN):
        yield "warn", f"{fail}another process already does; stop it, or choose another path"
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        yield "fail", f"{fail}the path exists and is no socket; choose another"
    else:
        yield "ok", f"unix:{path} can be listened on"
