"""A client that cuts its key updates (RFC 8446, 4.6.3) into two records: between them OpenSSL is within a handshake
message, and SSL_write has to read before it can write.

No TLS library sends such records; here they are made by hand, of the secret that Python's ssl logs.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.tls.peer import Files, Peer, connect, shake_hands
from web import Tls

HANDSHAKE, DATA = 22, 23  # ContentType (RFC 8446, 5.1)
UPDATE = bytes([24, 0, 0, 1, 0])  # key_update, update_not_requested
CUT = 4  # all of its header
READ_BUDGET = 256 * 1024


def derive(secret: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand-Label without context, of at most one block (RFC 8446, 7.1)."""
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:size]


class Records:
    """What the client sends after its handshake: sealed here, with TLS_AES_128_GCM_SHA256."""

    def __init__(self, secret: bytes) -> None:
        self.use(secret)

    def use(self, secret: bytes) -> None:
        self.secret = secret
        self.number = 0
        self.key, self.iv = AESGCM(derive(secret, "key", 16)), derive(secret, "iv", 12)

    def seal(self, kind: int, data: bytes) -> bytes:
        nonce = (int.from_bytes(self.iv, "big") ^ self.number).to_bytes(12, "big")
        self.number += 1
        header = bytes([DATA, 3, 3]) + (len(data) + 17).to_bytes(2, "big")
        return header + self.key.encrypt(nonce, data + bytes([kind]), header)

    def update(self) -> tuple[bytes, bytes]:
        """A key update in two records."""
        pieces = self.seal(HANDSHAKE, UPDATE[:CUT]), self.seal(HANDSHAKE, UPDATE[CUT:])
        self.use(derive(self.secret, "traffic upd", 32))
        return pieces


@pytest.fixture
def cutting(files: Files, tmp_path: Path) -> Iterator[tuple[Tls, Peer, Records]]:
    client = files.client(ssl.TLSVersion.TLSv1_3)
    client.keylog_filename = str(tmp_path / "secrets")
    connection, peer = connect(files.context(), client)
    shake_hands(connection, peer)
    client.keylog_filename = None  # type: ignore[assignment]  # closes the file
    assert connection.cipher == "TLS_AES_128_GCM_SHA256"
    lines = (tmp_path / "secrets").read_text().splitlines()
    secret = next(line.split()[2] for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0 "))
    yield connection, peer, Records(bytes.fromhex(secret))
    connection.close()


def test_a_send_within_a_message_of_the_peer_waits_for_its_rest(cutting: tuple[Tls, Peer, Records]) -> None:
    connection, peer, records = cutting
    first, second = records.update()
    peer.sock.send(first)
    assert connection.recv(10) is None
    for _ in range(3):
        assert connection.send(b"answer") is None
        assert connection.wants == "read"
    peer.sock.send(second + records.seal(DATA, b"hello"))
    assert connection.send(b"answer") == 6
    assert connection.recv(10) == b"hello"
    assert connection.wants is None
    assert peer.read() == b"answer"


def test_a_send_may_read_whatever_the_last_recv_read(cutting: tuple[Tls, Peer, Records]) -> None:
    """recv() stops within an update, because it has read as much as one step may: that is no limit for send()."""
    connection, peer, records = cutting
    sizes = [len(record) for record in Records(bytes(32)).update()]
    assert sizes[0] <= READ_BUDGET % sum(sizes)
    flood = b"".join(b"".join(records.update()) for _ in range(READ_BUDGET // sum(sizes) + 10))
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(flood))
    sent = 0
    try:
        while sent < len(flood):
            sent += peer.sock.send(flood[sent : sent + 32768])
    except BlockingIOError:
        pytest.skip("the socket buffers are too small for a flood")
    assert connection.recv(10) is None
    assert connection.send(b"answer") == 6
    assert connection.recv(10) is None
    peer.sock.send(records.seal(DATA, b"hello"))
    assert connection.recv(10) == b"hello"
    assert peer.read() == b"answer"
