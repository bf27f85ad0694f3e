"""A whole server under test: in a thread of its own, or turned by the test itself (``fileno`` and ``run_once``)."""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import web
from tests.wire.clients import HANG, Peer, TlsPeer, eventually


@dataclass
class Certificate:
    cert: str
    key: str
    client: ssl.SSLContext = field(repr=False)


@dataclass
class Site:
    """A server and those who talk to it; all of them are closed at the end of the test."""

    server: web.Server
    certificate: Certificate | None  # None: plain
    stack: ExitStack

    @property
    def is_tls(self) -> bool:
        return self.certificate is not None

    def raw(self, source: str = "127.0.0.1", receive_buffer: int = 0) -> Peer:
        """A connected client that says nothing, whatever the server speaks."""
        sock = socket.socket()
        peer = Peer(sock)
        self.stack.callback(peer.close)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.server.port))
        return peer

    def connect(self, source: str = "127.0.0.1", receive_buffer: int = 0) -> Peer:
        """A client that is ready to ask: under TLS after its handshake."""
        peer = self.raw(source, receive_buffer)
        return peer if self.certificate is None else TlsPeer(peer.sock, self.certificate.client)

    def counter(self, name: str) -> int:
        return int(self.server.stats()[name])  # type: ignore[literal-required]

    def closed(self, reason: str) -> int:
        return int(self.server.stats()["closed"][reason])

    def await_closed(self, reason: str, count: int = 1) -> None:
        """The reason is counted when the fd is closed: that may be after the client saw the end."""
        eventually(lambda: self.closed(reason) >= count, f"closed[{reason!r}] >= {count}")
        assert self.closed(reason) == count

    def await_connections(self, count: int) -> None:
        eventually(lambda: self.server.connections == count, f"{count} connections")


class Embedded:
    """A server without a thread and without a port: connections are adopted, and it turns when the test says so."""

    def __init__(self, server: web.Server, certificate: Certificate | None, stack: ExitStack) -> None:
        self.server = server
        self.certificate = certificate
        self.stack = stack  # what is closed at the end of the test
        self.fd = server.fileno()  # asked once, as another event loop would

    def has_work(self, timeout: float = 0) -> bool:
        return bool(select.select([self.fd], [], [], timeout)[0])

    def settle(self) -> None:
        """Turns as long as the fd says that there is work."""
        for _ in range(100_000):
            if not self.has_work():
                return
            self.server.run_once(0)
        raise AssertionError("the server always has work")

    def turn(self) -> None:
        """For a peer that waits: the server's fd must become readable, now or by a deadline."""
        assert self.has_work(HANG), "the peer waits for the server and the server for the peer"
        self.server.run_once(0)

    def pair(self, *, ktls: bool = False) -> tuple[Peer, web.Connection]:
        """A raw client and the connection that serves it."""
        ours, theirs = socket.socketpair()
        self.stack.callback(ours.close)
        return Peer(ours, self.turn), self.adopt(theirs, ktls=ktls)

    def adopt(self, sock: socket.socket, *, ktls: bool = False) -> web.Connection:
        tls = None
        if self.certificate is not None:
            tls = web.TlsContext(self.certificate.cert, self.certificate.key, ktls=ktls)
        return self.server.adopt(sock, tls)

    @contextmanager
    def connect(self, *, ktls: bool = False) -> Iterator[Peer]:
        peer = self.pair(ktls=ktls)[0]
        try:
            if self.certificate is not None:
                peer = TlsPeer(peer.sock, self.certificate.client, self.turn)
            yield peer
        finally:
            peer.close()
            self.settle()

    def closed(self, reason: str) -> int:
        return int(self.server.stats()["closed"][reason])


@dataclass
class Hits:
    """A handler that counts: the paths of the requests that were run."""

    paths: list[str] = field(default_factory=list)

    def __call__(self, req: web.Request) -> str:
        self.paths.append(req.path)
        return "ran"


def open_fds() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


Serve = Callable[..., Site]
Embed = Callable[..., Embedded]
