"""Listening sockets: from an address as people write it to a bound socket, with errors that say what to do.

Addresses: ``"127.0.0.1"``, ``"::1"``, a host name, ``""`` or ``"0.0.0.0"`` (all IPv4), ``"::"`` (all IPv6; both families only
when ``dual_stack`` says so), ``"unix:/run/app.sock"`` (a Unix socket), ``"fd:3"`` (a listening socket that was inherited).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass

from web.errors import WebError

__all__ = ["Address", "ListenError"]

BACKLOG = 2048


class ListenError(WebError, OSError):
    """An address cannot be listened on: in use, not permitted, not this machine's. The message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``port`` 0: the system chooses one; ignored for ``unix:`` and ``fd:``."""

    host: str
    port: int
    dual_stack: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.host, str):
            raise TypeError(f"host: text is needed (like '127.0.0.1'), not {type(self.host).__name__}")
        if type(self.port) is not int:
            raise TypeError(f"port: an int is needed, not {type(self.port).__name__}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port}: a port is 0 to 65535 (0: the system chooses one)")
        if self.host.startswith("fd:") and not self.host[3:].isdecimal():
            raise ValueError(f"host {self.host!r}: write fd: and the number of an inherited listening socket, like 'fd:3'")
        if self.dual_stack and self.host != "::":
            raise ValueError(f"dual_stack goes with host '::', not {self.host!r}")

    @property
    def unix_path(self) -> str | None:
        """The path of a Unix socket, else None."""
        return self.host[5:] if self.host.startswith("unix:") else None

    def bind(self) -> socket.socket:
        """A listening, non-blocking socket. ListenError says why there is none."""
        try:
            if self.unix_path is not None:
                return _bind_unix(self.unix_path)
            if self.host.startswith("fd:"):
                return _inherited(int(self.host[3:]))
            return self._bind_internet()
        except ListenError:
            raise
        except OSError as error:
            raise ListenError(error.errno, _advice(self, error)) from error

    def _bind_internet(self) -> socket.socket:
        family, kind, proto, _, address = socket.getaddrinfo(
            self.host or "0.0.0.0", self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not self.dual_stack)
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock


def _bind_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            os.unlink(path)  # left behind by a process that is gone: nobody answers on it
            sock.bind(path)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_stale(path: str) -> bool:
    """Whether the path is a Unix socket that nobody listens on."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def _inherited(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 1:
        sock.detach()  # it is not ours: whoever passed it keeps it
        raise ListenError(errno.EINVAL, f"fd:{fd} is a socket that does not listen; pass one on which listen() was called")
    sock.setblocking(False)
    return sock


def _advice(address: Address, error: OSError) -> str:
    where = address.host if address.unix_path is not None else f"{address.host or '0.0.0.0'}:{address.port}"
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {where}: the host name is not known here ({error.strerror})"
    match error.errno:
        case errno.EADDRINUSE:
            return f"cannot listen on {where}: another process already does; stop it, or choose another port (0: any)"
        case errno.EACCES | errno.EPERM:
            return f"cannot listen on {where}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE or root"
        case errno.EADDRNOTAVAIL:
            return f"cannot listen on {where}: this machine has no such address; 127.0.0.1 is this machine only, 0.0.0.0 all"
        case errno.EBADF | errno.ENOTSOCK:
            return f"cannot listen on {where}: no socket was inherited under that number"
    return f"cannot listen on {where}: {error.strerror}"


def url_of(sock: socket.socket, *, tls: bool) -> str:
    """The URL under which a client on this machine reaches a listening socket."""
    scheme = "https" if tls else "http"
    if sock.family == socket.AF_UNIX:
        return f"{scheme}+unix:{os.fsdecode(sock.getsockname())}"
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
