"""TLS for clients that read in one thread while they send in another, as ``websockets.sync`` does.

OpenSSL's connections are for one thread at a time, and Python before 3.13 lets two into one: now and then an opening
handshake was lost, with other servers, too. Here each step waits for its turn, and none waits within its turn.
"""

from __future__ import annotations

import select
import ssl
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
_LOOK_EVERY = 0.05  # seconds after which a socket is tried again that may have been shut down meanwhile


class TakesTurns(ssl.SSLSocket):
    """An SSLSocket whose recv() and sendall() exclude each other, but not while they wait."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self._step(partial(super().recv, buflen, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._step(partial(super().send, rest, flags)) :]

    def _step(self, step: Callable[[], T]) -> T:
        lock: threading.Lock = self.__dict__.setdefault("turn", threading.Lock())
        while True:
            with lock:
                patience = self.gettimeout()
                self.settimeout(0)
                try:
                    return step()
                except ssl.SSLWantReadError:
                    reading, writing = [self], []
                except ssl.SSLWantWriteError:
                    reading, writing = [], [self]
                finally:
                    if self.fileno() >= 0:
                        self.settimeout(patience)
            if self.fileno() < 0:
                raise OSError("the socket is closed")
            select.select(reading, writing, [], _LOOK_EVERY)


def in_turns(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, whose sockets take turns from now on."""
    context.sslsocket_class = TakesTurns
    return context
