"""The other end of a TLS connection under test: Python's ssl over memory, its bytes moved over a socket pair by hand.

Nothing waits and nothing runs beside the test: what one end sends, the other finds at once, so each test decides how
the bytes are cut and in which order the two ends take their steps.
"""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from web import Connection, Server, Tls, TlsContext

Result = TypeVar("Result")
STEPS = 10_000  # more than any exchange here takes; a test that needs more goes in circles
PEERS: list["Peer"] = []  # every client of the test that runs; closed when it ends


@dataclass(frozen=True)
class Files:
    """A server's files, and the root that a client trusts."""

    chain: Path
    key: Path
    root: Path

    def context(self, *, ktls: bool = False) -> TlsContext:
        context = TlsContext(self.chain, self.key, ktls=ktls)
        context.load()
        return context

    def client(
        self, version: ssl.TLSVersion | None = None, *, alpn: tuple[str, ...] = (), ciphers: str = ""
    ) -> ssl.SSLContext:
        """A client that trusts the root alone, with one protocol version only if it is said."""
        context = ssl.create_default_context(cafile=self.root)
        if version is not None:
            context.minimum_version = version
            context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if ciphers:
            context.set_ciphers(ciphers)
        return context


class Peer:
    """A TLS client whose every byte passes through `flush` and `fetch`."""

    def __init__(
        self,
        context: ssl.SSLContext,
        sock: socket.socket,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> None:
        PEERS.append(self)
        sock.setblocking(False)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.unsent = b""
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)

    def take_output(self) -> bytes:
        """What the client wants to send, instead of sending it."""
        output, self.unsent = self.unsent + self.outgoing.read(), b""
        return output

    def flush(self) -> None:
        self.unsent = self.take_output()
        while self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return
            self.unsent = self.unsent[sent:]

    def fetch(self, limit: int = 1 << 24) -> None:
        """Takes what lies in the socket, at most `limit` bytes of it."""
        while limit > 0:
            try:
                data = self.sock.recv(min(limit, 65536))
            except BlockingIOError:
                return
            if not data:
                self.incoming.write_eof()
                return
            self.incoming.write(data)
            limit -= len(data)

    def step(self, action: Callable[[], Result]) -> Result | None:
        """Runs an action of the client; None when it needs bytes that have not come. What it sends is sent."""
        try:
            return action()
        except ssl.SSLWantReadError:
            return None
        finally:
            self.flush()

    def reply(self) -> bytes:
        """Takes a step of the handshake, and returns what the client would send."""
        self.fetch()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.take_output()

    def raw_bytes(self) -> bytes:
        """What lies in the socket, undeciphered."""
        chunks = []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while chunk := self.sock.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks)

    def handshake(self) -> bool:
        self.fetch()
        return self.step(self.finish) is True

    def finish(self) -> bool:
        """A step of the handshake with the bytes that were fetched; SSLWantReadError: it needs more."""
        self.tls.do_handshake()
        return True

    def read(self, count: int = 65536) -> bytes | None:
        self.fetch()
        return self.step(lambda: self.tls.read(count))

    def write(self, data: bytes) -> None:
        assert self.tls.write(data) == len(data)
        self.flush()

    def end(self) -> None:
        """Sends close_notify without waiting for the server's."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()


def connect(
    context: TlsContext, client: ssl.SSLContext, name: str | None = "localhost", session: ssl.SSLSession | None = None
) -> tuple[Tls, Peer]:
    """A connection and its client, the handshake not begun."""
    ours, theirs = socket.socketpair()
    connection = Connection.tls(ours, context)
    return connection, Peer(client, theirs, name, session)


def shake_hands(connection: Tls, peer: Peer) -> None:
    """Steps both ends until both are done."""
    for _ in range(STEPS):
        client_done = peer.handshake()
        if connection.handshake() and client_done:
            return
    raise AssertionError("the handshake goes in circles")


def ask_in_turns(server: Server, peer: Peer, host: str = "localhost") -> bytes:
    """The handshake, GET / and the beginning of its answer, of a server that is turned by hand."""
    asked = False
    for _ in range(STEPS):
        if asked and (answer := peer.read()) is not None:
            return answer
        if not asked and peer.handshake():
            peer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            asked = True
        server.run_once(0)
    raise AssertionError("the server does not answer")


def state(connection: Connection) -> str:
    """The transport's state."""
    return repr(connection).split()[1]


def opened(
    files: Files, client: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
) -> tuple[Tls, Peer]:
    """A connection and its client after the handshake."""
    connection, peer = connect(files.context(), client or files.client(), session=session)
    shake_hands(connection, peer)
    return connection, peer


def shrink(connection: Tls, peer: Peer) -> None:
    """The smallest socket buffers that the system allows, so that every write of size blocks."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
