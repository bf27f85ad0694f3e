"""Listening sockets: from an address as people write it to a bound socket, with errors that say what to do.

Addresses: ``"127.0.0.1"``, ``"::1"``, a host name (its first address), ``""`` or ``"0.0.0.0"`` (all IPv4), ``"::"``
(all IPv6; both families only when ``dual_stack`` says so), ``"unix:/run/app.sock"`` (a Unix socket), ``"fd:3"`` (a
listening socket that was inherited), ``"fd:web"`` (one that systemd passed under that name).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass

from web.errors import WebError
from web.port_holder import holder_of
from web.systemd import passed_fds

__all__ = ["Address", "ListenError"]

BACKLOG = 2048
_BALANCES = sys.platform.startswith("linux")  # elsewhere SO_REUSEPORT gives all connections to one of the sockets


class ListenError(WebError, OSError):
    """An address cannot be listened on: in use, not permitted, not this machine's. The message says what to do."""

    def __str__(self) -> str:
        return str(self.strerror)  # it says more than "[Errno 98]", which OSError puts before it


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
        if "\0" in self.host:
            raise ValueError(f"host {self.host!r}: a NUL is in no address")
        if self.unix_path == "":
            raise ValueError("host 'unix:': write unix: and a path, like 'unix:/run/app.sock'")
        if self.host == "fd:" or (self.host[:3] == "fd:" and self.host[3:].isdecimal() and int(self.host[3:]) >= 2**31):
            raise ValueError(
                f"host {self.host!r}: write fd: and the number of an inherited listening socket, like 'fd:3', or its "
                "name in systemd"
            )
        if self.dual_stack and self.host != "::":
            raise ValueError(f"dual_stack goes with host '::', not {self.host!r}")

    def __str__(self) -> str:
        """``127.0.0.1:8000``, ``[::]:8000``, ``unix:/run/app.sock``, ``fd:3``."""
        if self.host.startswith(("unix:", "fd:")):
            return self.host
        host = self.host or "0.0.0.0"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def unix_path(self) -> str | None:
        """The path of a Unix socket, else None."""
        return self.host[5:] if self.host.startswith("unix:") else None

    @property
    def can_balance(self) -> bool:
        """Whether several sockets can listen on it, over which the kernel spreads connections."""
        return _BALANCES and self.unix_path is None and not self.host.startswith("fd:")

    def bind(self, *, balanced: bool = False) -> socket.socket:
        """A listening, non-blocking socket; ``balanced``: bind_again() can make more of it. ListenError says why
        there is none."""
        try:
            if self.unix_path is not None:
                return _bind_unix(self.unix_path)
            if self.host.startswith("fd:"):
                return _inherited(_fd_of(self.host[3:]))
            return self._bind_internet(balanced)
        except ListenError:
            raise
        except UnicodeError:  # the name was refused before anybody was asked for it
            raise ListenError(errno.EINVAL, f"cannot listen on {self.host!r}: this is no host name") from None
        except OSError as error:
            raise ListenError(error.errno or errno.EINVAL, _advice(self, error)) from None

    def _bind_internet(self, balanced: bool) -> socket.socket:
        family, kind, proto, _, address = socket.getaddrinfo(
            self.host or "0.0.0.0", self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not self.dual_stack)
            sock.bind(address)
            if balanced:  # only now: a port that another program listens on must not be shared with it
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock


def bind_again(first: socket.socket) -> socket.socket:
    """One more socket on the address of a balanced one. Where the kernel refuses, a duplicate of that one: no
    connection is lost then, but they are spread less evenly."""
    sock = socket.socket(first.family, first.type, first.proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(first.getsockname())
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        return first.dup()
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
        raise ListenError(
            errno.EEXIST, f"cannot listen on unix:{path}: the path exists and is no socket; choose another"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a live server whose queue is full would keep us waiting
        return probe.connect_ex(path) == errno.ECONNREFUSED


def remove_unix_file(path: str, inode: int) -> None:
    """Removes the file of a Unix socket, if it is still the one that was bound: a successor may have replaced it."""
    with suppress(FileNotFoundError, PermissionError):  # not permitted: user= gave the right to do so up
        if os.lstat(path).st_ino == inode:
            os.unlink(path)


def _fd_of(name: str) -> int:
    """The number of an inherited socket, given as number or by the name that systemd has for it."""
    passed = passed_fds()
    if name.isdecimal():
        return int(name)
    found = [fd for known, fd in passed if known == name]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(f"fd:{fd}" for fd in found)
        raise ListenError(errno.EINVAL, f"cannot listen on fd:{name}: several sockets have that name; write {numbers}")
    names = ", ".join(sorted({known for known, _ in passed})) or "no socket at all"
    raise ListenError(
        errno.EBADF, f"cannot listen on fd:{name}: systemd passed no socket of that name (LISTEN_FDNAMES), but {names}"
    )


def _inherited(fd: int) -> socket.socket:
    """A duplicate: the number itself stays open, so that the server can be checked, run and run again."""
    inherited = socket.socket(fileno=fd)
    try:
        inherited.setblocking(False)  # before dup(), which would make it blocking for all who hold it
        sock = inherited.dup()
    finally:
        inherited.detach()
    try:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 1:
            raise ListenError(errno.EINVAL, f"fd:{fd} is a socket that does not listen; call its listen() first")
    except BaseException:
        sock.close()
        raise
    return sock


def _advice(address: Address, error: OSError) -> str:
    has_port = address.unix_path is None and not address.host.startswith("fd:")
    where = str(address)
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {where}: the host name is not known here ({error.strerror})"
    match error.errno:
        case errno.EADDRINUSE:
            who = (holder_of(address.port) if has_port else None) or "another process"
            return f"cannot listen on {where}: {who} already does; stop it, or choose another port (0: any)"
        case errno.EACCES | errno.EPERM if not has_port:
            return f"cannot listen on {where}: not permitted; choose a folder that this user may write to"
        case errno.EACCES | errno.EPERM:
            return f"cannot listen on {where}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE or root"
        case errno.EADDRNOTAVAIL:
            return (
                f"cannot listen on {where}: this machine has no such address; 127.0.0.1 is for itself, 0.0.0.0 for all"
            )
        case errno.EAFNOSUPPORT:
            return f"cannot listen on {where}: this machine has no such family of addresses (IPv6 turned off?)"
        case errno.EBADF | errno.ENOTSOCK:
            return f"cannot listen on {where}: no socket was inherited under that number"
    return f"cannot listen on {where}: {error.strerror or error}"


def url_of(sock: socket.socket, *, tls: bool) -> str:
    """The URL under which a client on this machine reaches a listening socket."""
    scheme = "https" if tls else "http"
    if sock.family == socket.AF_UNIX:
        return f"{scheme}+unix:{os.fsdecode(sock.getsockname())}"
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
