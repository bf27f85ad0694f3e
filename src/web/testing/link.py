"""Link: one connection between the client and the loop that serves it, without a network: our end of a socket pair.

The other end belongs to the loop from ``adopt`` on. Neither end blocks: what cannot go on is told, and a Waiting (a
generator that gives the Link it waits for) goes on when its driver says so. Under https there is TLS on both ends, with
a certificate that is made once per process and trusted by this client alone.
"""

from __future__ import annotations

import copy
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Generator
from contextlib import suppress
from functools import cache
from typing import TypeAlias, TypeVar

from web._core import Loop, TlsContext
from web.dev_certificate import dev_certificate

__all__ = ["Identity", "Link", "Waiting", "certificates"]

RECEIVE_MAX = 1 << 16  # bytes at a time

T = TypeVar("T")
Waiting: TypeAlias = "Generator[Link, None, T]"
Identity: TypeAlias = tuple[str, str]  # a client's certificate and key: paths of PEM files


class Link:
    """``server_name``: under TLS, the host that is asked for. ``what``: how messages name what it waits for.

    ``wants_write``: whether it waits to be written to, and not only read; ``timeout``: how long, in seconds;
    ``deadline``: until when, by time.monotonic().
    ``connection``: the server's side, as ``req.connection`` shows it.
    """

    def __init__(self, core: Loop, what: str, *, tls: bool, server_name: str, identity: Identity | None = None) -> None:
        self.what = what
        self.wants_write = False
        self.timeout = 0.0
        self.deadline = 0.0
        ours, theirs = socket.socketpair()
        try:
            context, client = certificates(identity) if tls else (None, None)
            self.connection = core.adopt(theirs, context)
            ours.setblocking(False)
            self.sock = ours if client is None else self._wrap(ours, client, server_name)
        except BaseException:
            ours.close()
            theirs.close()
            raise

    def until(self, timeout: float) -> Link:
        """The same connection with a time-out of its own, which begins now: for one of several who wait for it."""
        link = copy.copy(self)
        link.wants_write, link.timeout, link.deadline = False, timeout, time.monotonic() + timeout
        return link

    @staticmethod
    def _wrap(sock: socket.socket, client: ssl.SSLContext, server_name: str) -> ssl.SSLSocket:
        return client.wrap_socket(
            sock, server_hostname=server_name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )

    def handshake(self) -> Waiting[None]:
        """Under TLS; without it there is nothing to do."""
        while isinstance(self.sock, ssl.SSLSocket):
            try:
                self.sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.wants_write = False
            except ssl.SSLWantWriteError:
                self.wants_write = True
            yield self

    def send(self, data: memoryview) -> int | None:
        """How many bytes went; 0: none now; None: the other end takes no more."""
        try:
            return self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError:
            return None

    def receive(self) -> bytes | None:
        """What has come; empty: the end; None: nothing now."""
        try:
            return self.sock.recv(RECEIVE_MAX)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError:  # a reset, or TLS that was cut off: ReplyParser tells whether something is missing
            return b""

    def close(self) -> None:
        """Says so first, under TLS. Twice is allowed."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.fileno() >= 0:
            with suppress(OSError, ValueError):
                self.sock.unwrap()
        self.sock.close()


@cache
def certificates(identity: Identity | None) -> tuple[TlsContext, ssl.SSLContext]:
    """The server's side of a throw-away certificate, and a client's that trusts it and nothing else. Its host name is
    not checked: a test may call the host as it likes. ``identity``: what the client shows, and the server trusts."""
    folder = tempfile.mkdtemp(prefix="web-testing-")
    try:
        cert, key = dev_certificate(folder)
        context = TlsContext(cert, key)
        if identity is not None:
            context = TlsContext(cert, key, client_cert="required", client_ca=identity[0])
        context.load()
        trusting = ssl.create_default_context(cafile=cert)
        if identity is not None:
            trusting.load_cert_chain(*identity)
    finally:
        shutil.rmtree(folder)
    trusting.check_hostname = False
    trusting.set_alpn_protocols(["http/1.1"])
    return context, trusting
