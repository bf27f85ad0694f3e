"""A model of the ratchet of TicketKeys in Python, and the steps that its tests share."""

from __future__ import annotations

import ctypes
import hmac
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from tests.tls.peer import Files, connect, shake_hands
from web import TicketKeys, TlsContext

ANCHOR = 1767225600  # 2026-01-01T00:00:00Z
EPOCH = 4096
DAY, WEEK = 86400, 604800
NOW = 1000  # the period in which most tests begin


def mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


@dataclass(frozen=True)
class Key:
    """What a period's tickets are made with."""

    name: bytes
    mac: bytes
    cipher: bytes


class Model:
    """All keys that follow from a file, by the rules at the top of _core_tls_tickets, without its short cuts."""

    def __init__(self, content: bytes, lifetime: int) -> None:
        self.secret = mac(b"weblatch session ticket secret 1", content)
        self.first_epoch = mac(self.secret, b"epochs of %d s" % lifetime)

    def epoch(self, number: int) -> bytes:
        value = self.first_epoch
        for _ in range(number):
            value = mac(value, b"epochs")
        return value

    def state(self, period: int) -> bytes:
        """From which the keys of a period and, in its epoch, of later ones follow."""
        value = mac(self.epoch(period // EPOCH), b"periods")
        for _ in range(period % EPOCH):
            value = mac(value, b"next")
        return value

    def key(self, period: int) -> Key:
        state = self.state(period)
        return Key(mac(state, b"name")[:16], mac(state, b"mac"), mac(state, b"cipher"))


def memory(keys: TicketKeys) -> bytes:
    """All that the object holds."""
    return ctypes.string_at(id(keys), TicketKeys.__basicsize__)


def secret_file(path: Path, content: bytes | bytearray = b"s" * 64) -> Path:
    path.touch(0o600)
    path.write_bytes(content)
    return path


def at(keys: TicketKeys, period: float) -> None:
    """Sets the clock to the middle of a period."""
    keys._shift(round(ANCHOR + (period + 0.5) * keys.lifetime - time.time()))


def context_with(files: Files, keys: TicketKeys, period: float = NOW) -> TlsContext:
    at(keys, period)
    context = TlsContext(files.chain, files.key, tickets=keys)
    context.load()
    return context


def visit(
    context: TlsContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession]:
    """(whether the session was resumed, the session that the client has afterwards)"""
    connection, peer = connect(context, client, session=session)
    shake_hands(connection, peer)
    connection.send(b"x")  # the ticket comes with the first answer
    assert peer.read() == b"x"
    assert connection.resumed is peer.tls.session_reused
    assert peer.tls.session is not None
    return bool(connection.resumed), peer.tls.session


def offer(context: TlsContext, client: ssl.SSLContext, session: ssl.SSLSession) -> bytes:
    """The ClientHello in which a client would offer the session's ticket."""
    _, peer = connect(context, client, session=session)
    return peer.reply()


def issued_in(model: Model, context: TlsContext, client: ssl.SSLContext, session: ssl.SSLSession) -> set[int]:
    """By the keys of which periods, of those near NOW, the session's ticket was made."""
    hello = offer(context, client, session)
    return {period for period in range(NOW - 4, NOW + 5) if model.key(period).name in hello}
