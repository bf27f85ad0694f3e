"""A Tls on its own after its handshake, step by step over a socket pair: reading, writing, files, the end, and failing.

What must never happen: a cut connection that looks ended, a retry with other bytes, memory or an fd that stays.
"""

import contextlib
import gc
import os
import re
import select
import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.tls.peer import PEERS, STEPS, Files, Peer, connect, opened, shake_hands, shrink, state
from web import Connection, ConnectionInUse, Tls, TlsError

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


# -- reading and writing -----------------------------------------------------------------------------------------------


@both_versions
def test_echo(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = opened(files, files.client(version))
    assert connection.recv(10) is None
    assert connection.wants == "read"
    peer.write(b"request")
    assert connection.recv(3) == b"req"
    assert connection.pending
    assert connection.recv(10) == b"uest"
    assert not connection.pending
    assert connection.send(b"answer") == 6
    assert connection.send(b"") == 0
    assert peer.read() == b"answer"


def test_a_whole_request_needs_one_recv(files: Files) -> None:
    """Read-ahead: with pending False nothing is left inside, so the next step may be to wait."""
    connection, peer = opened(files)
    peer.write(b"r" * 4000)
    assert connection.recv(65536) == b"r" * 4000
    assert not connection.pending
    with socket.socket(fileno=os.dup(connection.fileno())) as ours, pytest.raises(BlockingIOError):
        ours.recv(1)


def test_records_inside_are_pending(files: Files) -> None:
    connection, peer = opened(files)
    peer.tls.write(b"first")
    peer.tls.write(b"second")
    peer.flush()
    assert connection.recv(65536) == b"first"
    assert connection.pending  # a whole record that nothing in the socket tells of
    assert connection.recv(65536) == b"second"
    assert not connection.pending


def test_part_of_a_record_is_pending(files: Files) -> None:
    """SSL_has_pending counts bytes that are no whole record yet: recv() may still answer None."""
    connection, peer = opened(files)
    peer.tls.write(b"first")
    peer.tls.write(b"second")
    output = peer.take_output()
    peer.sock.send(output[:-1])
    assert connection.recv(65536) == b"first"
    assert connection.pending
    assert connection.recv(65536) is None
    assert (connection.wants, connection.pending) == ("read", True)
    peer.sock.send(output[-1:])
    assert connection.recv(65536) == b"second"
    assert (connection.wants, connection.pending) == (None, False)


def fill(connection: Tls, data: bytes) -> int:
    """Sends until a send blocks; how many bytes were taken."""
    taken = 0
    while (n := connection.send(data[taken:])) is not None:
        taken += n
    assert connection.wants == "write"
    return taken


@both_versions
def test_blocked_send_is_repeated_with_the_same_bytes(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = opened(files, files.client(version))
    shrink(connection, peer)
    data = os.urandom(200_000)
    taken = fill(connection, data)
    for other in (b"other bytes", b"", data[taken : taken + 100], data[taken + 1 :]):
        with pytest.raises(ValueError, match="same bytes"):
            connection.send(other)
    with pytest.raises(ValueError, match="repeated first"):
        connection.shutdown()
    assert connection.send(data[taken:]) is None  # still full, and nothing was lost by asking
    received = b""
    for _ in range(STEPS):
        received += peer.read() or b""
        n = connection.send(data[taken:]) if taken < len(data) else 0
        if n is not None:
            taken += n
        if len(received) == len(data):
            break
    assert received == data
    assert connection.wants is None


@pytest.mark.parametrize("ktls", [False, True])
def test_a_blocked_send_is_repeated_with_all_of_the_same_bytes(files: Files, ktls: bool) -> None:
    """Several records may be made of them already: no other byte may look as if it had been sent."""
    connection, peer = connect(files.context(ktls=ktls), files.client())
    shake_hands(connection, peer)
    shrink(connection, peer)
    data = os.urandom(70_000)
    taken = fill(connection, data)
    rest = data[taken:]
    for other in (rest[:16_384], rest[:60_000], rest[:20_000] + bytes(50_000), rest[:65_535] + bytes(5000)):
        with pytest.raises(ValueError, match="same bytes"):
            connection.send(other)
    received, n = b"", None
    while n is None:
        received += peer.read() or b""
        n = connection.send(rest + b"and more")
    while len(received) < taken + n:
        received += peer.read() or b""
    assert received == data[: taken + n]


@pytest.mark.parametrize("room", [5000, 10_000, 20_000, 30_000])
@pytest.mark.parametrize("ktls", [False, True])
def test_after_a_short_send_other_bytes_may_come(files: Files, ktls: bool, room: int) -> None:
    """What was not taken is nowhere: neither held, nor kept by OpenSSL."""
    connection, peer = connect(files.context(ktls=ktls), files.client())
    shake_hands(connection, peer)
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    data, received = os.urandom(200_000), b""
    while (n := connection.send(data)) is None:
        received += peer.read() or b""
    while connection.send(b"other bytes") is None:
        received += peer.read() or b""
    expected = data[:n] + b"other bytes"
    while len(received) < len(expected):
        received += peer.read() or b""
    assert received == expected


def test_a_blocked_file_is_repeated_with_the_same_count(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(200_000))
    connection, peer = opened(files)
    shrink(connection, peer)
    with open(tmp_path / "file", "rb") as file:
        assert connection.send_file(file, 0, 100_000) is None
        for count in (1, 16_384, 20_000, 65_535):
            with pytest.raises(ValueError, match="same bytes"):
                connection.send_file(file, 0, count)
        n, received = None, b""
        while n is None:
            received += peer.read() or b""
            n = connection.send_file(file, 0, 200_000)
    while len(received) < n:
        received += peer.read() or b""
    assert received == bytes(n)


def test_a_send_that_went_through_waits_for_nothing(files: Files) -> None:
    """Also where OpenSSL writes to the socket itself, as it does for kernel TLS."""
    connection, peer = connect(files.context(ktls=True), files.client())
    shake_hands(connection, peer)
    shrink(connection, peer)
    data = os.urandom(100_000)
    taken = fill(connection, data)
    received = b""
    while taken < len(data):
        received += peer.read() or b""
        taken += connection.send(data[taken:]) or 0
    assert connection.wants is None
    while len(received) < len(data):
        received += peer.read() or b""
    assert received == data


def test_reading_goes_on_while_writing_is_blocked(files: Files) -> None:
    connection, peer = opened(files)
    shrink(connection, peer)
    fill(connection, bytes(100_000))
    peer.write(b"still here")
    assert connection.recv(100) == b"still here"
    assert connection.recv(100) is None
    assert connection.wants == "write"


@both_versions
def test_two_threads_are_refused(files: Files, version: ssl.TLSVersion) -> None:
    """Two threads on one SSL corrupt each other's results, so the second one gets an exception."""
    connection, _ = opened(files, files.client(version))
    refused, stop = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                try:
                    assert connection.recv(1) is None
                except ConnectionInUse:
                    refused.set()
        except (AssertionError, OSError, ValueError) as error:
            failures.append(error)
            refused.set()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    seen = refused.wait(timeout=60)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen
    assert not failures
    assert connection.recv(1) is None


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ktls", [False, True])
@both_versions
def test_send_file_to_a_slow_reader(files: Files, tmp_path: Path, version: ssl.TLSVersion, ktls: bool) -> None:
    """Identical bytes, from an offset; with ktls=True the same where the kernel cannot do it."""
    content = os.urandom(300_001)
    (tmp_path / "file").write_bytes(content)
    connection, peer = connect(files.context(ktls=ktls), files.client(version))
    shake_hands(connection, peer)
    shrink(connection, peer)
    received, at, blocked = b"", 1, 0
    with open(tmp_path / "file", "rb") as file:
        for _ in range(STEPS):
            if at < len(content):
                n = connection.send_file(file, at, len(content) - at)
                at += n or 0
                blocked += n is None
            peer.fetch(limit=3000)
            received += peer.step(lambda: peer.tls.read(65536)) or b""
            if len(received) == len(content) - 1:
                break
    assert received == content[1:]
    assert blocked


def test_send_file_that_ends_too_early(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"short")
    connection, peer = opened(files)
    with open(tmp_path / "file", "rb") as file:
        assert connection.send_file(file, 0, 10) == 5
        with pytest.raises(EOFError, match="before byte 10"):
            connection.send_file(file, 5, 5)
    assert peer.read() == b"short"


def test_send_file_that_shrinks_while_blocked(files: Files, tmp_path: Path) -> None:
    """What was read and encrypted is sent as it was; the end shows behind it."""
    path = tmp_path / "file"
    content = os.urandom(400_000)
    path.write_bytes(content)
    connection, peer = opened(files)
    shrink(connection, peer)
    with open(path, "rb") as file:
        at = 0
        while (n := connection.send_file(file, at, 400_000 - at)) is not None:
            at += n
        os.truncate(path, at + 10)
        assert connection.send_file(file, at, 400_000 - at) is None  # still full
        received = b""
        while n is None:
            received += peer.read() or b""
            n = connection.send_file(file, at, 400_000 - at)
        at += n
        with pytest.raises(EOFError):
            connection.send_file(file, at, 400_000 - at)
        assert connection.shutdown() in {True, None}
        while more := peer.read():
            received += more
            connection.shutdown()
    assert received == content[:at]


def test_send_file_that_cannot_be_read(files: Files, tmp_path: Path) -> None:
    connection, peer = opened(files)
    with open(tmp_path / "file", "wb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        connection.send_file(file, 0, 10)
    assert connection.send(b"x") == 1  # the connection itself is as good as before
    assert peer.read() == b"x"


# -- the end -----------------------------------------------------------------------------------------------------------


@both_versions
def test_close_notify_is_a_clean_end(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = opened(files, files.client(version))
    peer.write(b"last words")
    peer.end()
    peer.sock.close()
    assert connection.recv(100) == b"last words"
    assert connection.recv(100) == b""
    assert connection.recv(100) == b""


@both_versions
@pytest.mark.parametrize("cut", [0, 1, 5, 20], ids=["between records", "in the header", "after it", "in the record"])
def test_truncation_is_not_an_end(files: Files, version: ssl.TLSVersion, cut: int) -> None:
    """RFC 8446, 6.1: an end without close_notify."""
    connection, peer = opened(files, files.client(version))
    assert peer.raw_bytes()[:1] in {b"", b"\x17"}  # the ticket; closing a socket with unread bytes in it would reset it
    peer.write(b"Content-Length")
    peer.tls.write(b": 100")
    peer.sock.send(peer.take_output()[:cut])
    peer.sock.close()
    assert connection.recv(100) == b"Content-Length"
    for _ in range(2):
        with pytest.raises(TlsError, match="without close_notify"):
            connection.recv(100)
    with pytest.raises(TlsError):
        connection.send(b"x")


def test_half_close(files: Files) -> None:
    """A client that has sent its close_notify still gets its answer (RFC 8446, 6.1)."""
    connection, peer = opened(files)
    peer.write(b"request")
    peer.end()
    assert connection.recv(100) == b"request"
    assert connection.recv(100) == b""
    assert connection.send(b"answer") == 6
    assert connection.shutdown() is True
    assert peer.read() == b"answer"


@both_versions
def test_shutdown_sends_close_notify(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = opened(files, files.client(version))
    connection.send(b"all")
    assert connection.shutdown() is True
    assert connection.shutdown() is True
    assert state(connection) == "lingering"
    assert peer.read() == b"all"
    assert peer.read() == b""  # close_notify; without it: SSLEOFError
    with pytest.raises(ValueError, match="shut down"):
        connection.recv(1)
    with pytest.raises(ValueError, match="shut down"):
        connection.send(b"x")


def test_close_sends_nothing(files: Files) -> None:
    connection, peer = opened(files)
    connection.send(b"x")
    assert peer.read() == b"x"
    connection.close()
    connection.close()
    assert peer.raw_bytes() == b""
    with pytest.raises(ValueError, match="closed"):
        connection.recv(1)


def test_shutdown_that_blocks(files: Files) -> None:
    connection, peer = opened(files)
    peer.raw_bytes()
    shrink(connection, peer)
    junk = 0
    with socket.socket(fileno=os.dup(connection.fileno())) as ours, contextlib.suppress(BlockingIOError):
        while True:
            junk += ours.send(b"j")
    assert connection.shutdown() is None
    assert (connection.wants, state(connection)) == ("write", "closing")
    assert connection.shutdown() is None
    assert peer.raw_bytes() == b"j" * junk
    assert connection.shutdown() is True
    assert peer.raw_bytes()[:3] == b"\x17\x03\x03"  # one record, and the end
    assert state(connection) == "lingering"


@both_versions
def test_a_tampered_record_breaks_the_connection(files: Files, version: ssl.TLSVersion) -> None:
    connection, peer = opened(files, files.client(version))
    peer.tls.write(b"secret")
    output = bytearray(peer.take_output())
    output[-1] ^= 1
    peer.raw_bytes()
    peer.sock.send(output)
    for _ in range(2):
        with pytest.raises(TlsError, match=r"bad record mac|decryption failed"):
            connection.recv(100)
    assert not connection.pending
    with pytest.raises(TlsError):
        connection.send(b"x")
    alert = peer.raw_bytes()
    assert alert  # OpenSSL said why
    assert connection.shutdown() is True  # FIN alone: no close_notify after a failure
    assert peer.raw_bytes() == b""


def test_reset_by_peer(files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    connection = Connection.tls(ours, files.context())
    peer = Peer(files.client(), theirs)
    while not connection.handshake():  # TCP takes its time, a socket pair does not
        peer.handshake()
        select.select([connection.fileno(), peer.sock.fileno()], [], [], 60)
    assert connection.peer == peer.sock.getsockname()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    peer.sock.close()
    select.select([connection], [], [], 60)
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    with pytest.raises(TlsError, match="can only be closed"):
        connection.recv(1)


# -- what is left behind -----------------------------------------------------------------------------------------------


def test_made_without_a_socket() -> None:
    empty = Tls.__new__(Tls)
    assert [empty.version, empty.cipher, empty.server_name, empty.alpn, empty.resumed] == [None] * 5
    assert not empty.pending
    with pytest.raises(ValueError, match="closed"):
        empty.handshake()
    empty.close()


def resident() -> int:
    """Bytes of memory that this process has in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.no_asan  # its allocator keeps what is freed
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_nothing_leaks(files: Files) -> None:
    """200 handshakes: finished, broken and abandoned. An SSL that is not freed is at least 14 kB."""
    context, client = files.context(), files.client()

    def once() -> None:
        connection, peer = connect(context, client)
        shake_hands(connection, peer)
        connection.send(b"x" * 1000)
        peer.read()
        connection.close()
        peer.sock.close()
        connection, peer = connect(context, client)
        peer.handshake()
        connection.handshake()
        peer.sock.close()  # and the connection is left to its destructor
        connection, peer = connect(context, client)
        peer.sock.send(b"\x16\x03\x01\x00\x05hello")
        with pytest.raises(TlsError):
            connection.handshake()
        peer.sock.close()
        PEERS.clear()

    for _ in range(100):
        once()
    gc.collect()
    fds, memory = len(os.listdir("/proc/self/fd")), resident()
    for _ in range(200):
        once()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == fds
    assert resident() - memory < 200 * 5_000
