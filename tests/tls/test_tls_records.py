"""A client that cuts its key updates (RFC 8446, 4.6.3) into two records: between them OpenSSL is within a handshake
message, and SSL_write has to read before it can write.

No TLS library sends such records; here they are made by hand, of the secret that Python's ssl logs.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls.peer import Files, Peer, connect, shake_hands
from tests.tls.records import DATA, HANDSHAKE, KEY_UPDATE, ONCE, Records, logged, message
from web import Tls, TlsError

CUT = 4  # all of an update's header
STEP_READ = 32768


def cut_update(records: Records, padding: int = 0) -> tuple[bytes, bytes]:
    """A key update in two records."""
    update = message(KEY_UPDATE, ONCE)
    pieces = records.seal(HANDSHAKE, update[:CUT]), records.seal(HANDSHAKE, update[CUT:], padding)
    records.next_keys()
    return pieces


def opened(files: Files, folder: Path, *, ktls: bool = False) -> tuple[Tls, Peer, Records]:
    """A connection and its client after the handshake, and what seals the client's records."""
    client = files.client(ssl.TLSVersion.TLSv1_3)
    client.keylog_filename = str(folder / "secrets")
    connection, peer = connect(files.context(ktls=ktls), client)
    shake_hands(connection, peer)
    client.keylog_filename = None  # type: ignore[assignment]  # closes the file
    assert connection.cipher == "TLS_AES_128_GCM_SHA256"
    _, secret = logged(folder / "secrets", "CLIENT_TRAFFIC_SECRET_0")
    return connection, peer, Records(secret)


@pytest.fixture
def cutting(files: Files, tmp_path: Path) -> Iterator[tuple[Tls, Peer, Records]]:
    connection, peer, records = opened(files, tmp_path)
    yield connection, peer, records
    connection.close()


@pytest.mark.parametrize("ktls", [False, True])
@pytest.mark.parametrize("updates", [1, 2, 8])
def test_what_comes_with_key_updates_is_read(files: Files, tmp_path: Path, updates: int, ktls: bool) -> None:
    """Also where the kernel is asked to decrypt and does not: OpenSSL 3.5 then lost what it had read ahead."""
    connection, peer, records = opened(files, tmp_path, ktls=ktls)
    peer.sock.send(b"".join(records.update() for _ in range(updates)) + records.seal(DATA, b"hello"))
    assert connection.recv(10) == b"hello"
    connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="a flood fits into its socket buffers")
@pytest.mark.parametrize("ktls", [False, True])
def test_a_flood_of_key_updates_ends_within_the_call(files: Files, tmp_path: Path, ktls: bool) -> None:
    """Also where OpenSSL reads from the socket itself, as it does for kernel TLS: most of the flood stays there."""
    connection, peer, records = opened(files, tmp_path, ktls=ktls)
    flood = b"".join(records.update() for _ in range(4000))
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(flood))
    assert peer.sock.send(flood) == len(flood)
    with pytest.raises(TlsError, match="too many key updates"):
        connection.recv(10)
    left = fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4))
    assert int.from_bytes(left, sys.byteorder) > len(flood) - 40_000
    connection.close()


def test_a_send_within_a_message_of_the_peer_waits_for_its_rest(cutting: tuple[Tls, Peer, Records]) -> None:
    connection, peer, records = cutting
    first, second = cut_update(records)
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
    padding = 3948  # so that few updates, which are no flood, are as much as one step may read
    sizes = [len(record) for record in cut_update(Records(bytes(32)), padding)]
    assert sizes[0] <= STEP_READ % sum(sizes)
    several = b"".join(b"".join(cut_update(records, padding)) for _ in range(STEP_READ // sum(sizes) + 3))
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(several))
    try:
        assert peer.sock.send(several) == len(several)
    except BlockingIOError:
        pytest.skip("the socket buffers are too small")
    assert connection.recv(10) is None
    assert connection.send(b"answer") == 6
    assert connection.recv(10) is None
    peer.sock.send(records.seal(DATA, b"hello"))
    assert connection.recv(10) == b"hello"
    assert peer.read() == b"answer"
