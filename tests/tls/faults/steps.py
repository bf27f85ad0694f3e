"""Scenarios of a Connection on its own: a public step says what it did, or raises; a failure is never a success.

The client's bytes are moved by hand over a socket pair, so a step that would block is simply tried again.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import web
from tests.tls.faults.agent import Agent
from tests.tls.faults.client import MARKER
from tests.tls.faults.scenario import LARGE, Scenario
from tests.tls.faults.serving import asking
from web import _core

TRIES = 200  # of one step; more are never needed
SAID = b"to read"
ENDS = ("0, ZERO_RETURN", "returns 6")  # what says that the peer ended in good order


class Other:
    """The client: it shakes hands, says a word, and reads."""

    def __init__(self, sock: socket.socket, trusting: ssl.SSLContext) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trusting.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.raw, self.got = bytearray(), bytearray()
        self.shaken = False

    def turn(self) -> None:
        """Takes what lies in the socket, does what can be done, sends what there is."""
        with suppress(BlockingIOError):
            while data := self.sock.recv(1 << 16):
                self.raw += data
                self.incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
                self.tls.write(SAID)
            while data := self.tls.read(1 << 16):
                self.got += data
        with suppress(BlockingIOError):
            self.sock.sendall(self.outgoing.read())


class Alone(Scenario):
    """A connection and its client, by themselves."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        super().__init__(agent, folder)
        self.context = web.TlsContext(folder / "chain.pem", folder / "key.pem")
        self.context.load()
        self.trusting = ssl.create_default_context(cafile=folder / "root.pem")
        (folder / "file.bin").write_bytes(LARGE)

    def until(self, other: Other, step: Callable[[], object]) -> object:
        """Tries a step, with turns of the client between, until it says something; None: it never did."""
        for _ in range(TRIES):
            other.turn()
            self.agent.clear_queue()  # the client's
            if (result := step()) not in (None, False):
                return result
        return None


class Steps(Alone):
    """A handshake, a word, bytes, a file, the end."""

    def __init__(self, agent: Agent, folder: Path, version: ssl.TLSVersion) -> None:
        super().__init__(agent, folder)
        self.trusting.minimum_version = self.trusting.maximum_version = version

    def act(self) -> bool:
        ours, theirs = socket.socketpair()
        connection = _core.Connection.tls(ours, self.context)
        with theirs:
            other = Other(theirs, self.trusting)
            try:
                return self.meet(connection, other) and self.send(connection, other)
            except (OSError, EOFError):  # TlsError is an OSError
                for step in (lambda: connection.recv(10), connection.shutdown):
                    with suppress(OSError, ValueError):  # nothing that failed is used again
                        step()
                return False
            finally:
                connection.close()
                if MARKER in other.raw:
                    self.problems.append("plaintext on the wire")

    def meet(self, connection: web.Tls, other: Other) -> bool:
        if self.until(other, connection.handshake) is None:
            return False
        self.must_not_be("a handshake was done")
        if self.agent.succeeded("SSL_accept") != 1:
            self.problems.append("handshake() says that it is done, and it is not")
        read = self.until(other, lambda: connection.recv(100))
        if read == b"" and not (self.case is not None and self.case.failure.mode in ENDS):
            self.problems.append("recv() gave an end that did not come")
        if read:
            self.must_not_be("recv() gave something")
        return read == SAID

    def send(self, connection: web.Tls, other: Other) -> bool:
        with (self.folder / "file.bin").open("rb") as file:
            for step in (lambda at: connection.send(LARGE[at:]), partial(send_file, connection, file.fileno())):
                at = 0
                while at < len(LARGE):
                    taken = self.until(other, partial(step, at))
                    if not isinstance(taken, int):
                        return False
                    self.must_not_be("something was taken")
                    at += taken
        ended = self.until(other, connection.shutdown)  # with a FIN alone, where close_notify cannot be sent
        with suppress(ssl.SSLError):
            other.turn()
        if not (LARGE * 2).startswith(other.got):
            self.problems.append("the peer was given other bytes")
        return ended is True and other.got == LARGE * 2


def send_file(connection: web.Tls, file: int, at: int) -> int | None:
    with os.fdopen(file, "rb", closefd=False) as opened:
        return connection.send_file(opened, at, len(LARGE) - at)


class Refusal(Alone):
    """A client that offers no protocol of ours, or a certificate that is no good, is refused; the exception says why,
    as far as OpenSSL does."""

    def __init__(self, agent: Agent, folder: Path, shows: str = "") -> None:
        super().__init__(agent, folder)
        self.why = "certificate" if shows else "ALPN"
        if shows:
            self.context = asking(folder)
            self.trusting.load_cert_chain(folder / f"{shows}-EC.pem", folder / f"{shows}-EC.key")
        else:
            self.trusting.set_alpn_protocols(["h2"])

    def act(self) -> bool:
        ours, theirs = socket.socketpair()
        connection = _core.Connection.tls(ours, self.context)
        with theirs:
            other = Other(theirs, self.trusting)
            try:
                with suppress(ssl.SSLError):
                    if self.until(other, connection.handshake):
                        self.problems.append("the handshake was done")
            except web.TlsError as error:
                return self.why in str(error) and bool(error.reason)
            except OSError:
                pass
            finally:
                connection.close()
        return False
