"""What OpenSSL reads and writes in one step is bounded, and what it writes goes out: key updates, tickets, alerts.

Python's ssl cannot send key updates (RFC 8446, 4.6.3); the client here is OpenSSL itself, by ctypes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import fcntl
import os
import select
import socket
import ssl
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

import web
from tests.serving import PATIENCE
from tests.tls.peer import Files, connect, opened
from tests.tls.records import PADDING, Hello, in_records, server_hello_in
from web import Connection, Tls

STEPS = 1000
UPDATES = 15_000  # 405 kB: more than one step may read, and more than may be held
STEP_READ = 32768
IN_A_ROW = 16  # key updates that are no flood
UPDATE = 27  # bytes of such a record
SEND_BATCH = 65536
HELD_MAX = 2 * SEND_BATCH + 512
NOT_REQUESTED, REQUESTED = 0, 1
SET_MAX_CERT_LIST = 51  # openssl/ssl.h: a client takes 100 KiB of certificates by default
SET_TLSEXT_HOSTNAME, SET_GROUPS_LIST = 55, 92

POINTER, INT = ctypes.c_void_p, ctypes.c_int
FUNCTIONS = {
    "TLS_client_method": (POINTER, []),
    "SSL_CTX_new": (POINTER, [POINTER]),
    "SSL_CTX_free": (None, [POINTER]),
    "SSL_CTX_ctrl": (ctypes.c_long, [POINTER, INT, ctypes.c_long, POINTER]),
    "SSL_new": (POINTER, [POINTER]),
    "SSL_free": (None, [POINTER]),
    "SSL_ctrl": (ctypes.c_long, [POINTER, INT, ctypes.c_long, ctypes.c_char_p]),
    "SSL_set_fd": (INT, [POINTER, INT]),
    "SSL_connect": (INT, [POINTER]),
    "SSL_do_handshake": (INT, [POINTER]),
    "SSL_key_update": (INT, [POINTER, INT]),
    "SSL_read": (INT, [POINTER, ctypes.c_char_p, INT]),
    "SSL_write": (INT, [POINTER, ctypes.c_char_p, INT]),
    "SSL_get_shutdown": (INT, [POINTER]),
}


class Client:
    """A TLS 1.3 client over TCP that never waits."""

    def __init__(self, sock: socket.socket) -> None:
        name = ctypes.util.find_library("ssl")
        if name is None:
            pytest.skip("there is no shared libssl")
        self.lib = ctypes.CDLL(name)
        for function, (result, arguments) in FUNCTIONS.items():
            getattr(self.lib, function).restype = result
            getattr(self.lib, function).argtypes = arguments
        self.sock = sock
        sock.setblocking(False)
        self.context = self.lib.SSL_CTX_new(self.lib.TLS_client_method())
        self.updates = 0
        self.lib.SSL_CTX_ctrl(self.context, SET_MAX_CERT_LIST, 1 << 20, None)
        self.ssl = self.lib.SSL_new(self.context)
        assert self.lib.SSL_set_fd(self.ssl, sock.fileno()) == 1

    def ask_for(self, name: str, groups: str) -> None:
        """The server name, and the groups, for the first of which it sends a key share."""
        assert self.lib.SSL_ctrl(self.ssl, SET_TLSEXT_HOSTNAME, 0, name.encode()) == 1
        assert self.lib.SSL_ctrl(self.ssl, SET_GROUPS_LIST, 0, groups.encode()) == 1

    def close(self) -> None:
        self.lib.SSL_free(self.ssl)
        self.lib.SSL_CTX_free(self.context)
        self.sock.close()

    def update_keys(self, kind: int) -> bool:
        """Whether the record went out. A byte of data comes now and then: without any it would be a flood."""
        self.updates += 1
        if self.updates % IN_A_ROW == 0 and not self.write(b"."):
            return False
        return bool(self.lib.SSL_key_update(self.ssl, kind) == 1 and self.lib.SSL_do_handshake(self.ssl) == 1)

    def read(self) -> bytes:
        room = ctypes.create_string_buffer(16384)
        count = self.lib.SSL_read(self.ssl, room, 16384)
        return room.raw[: max(0, count)]

    @property
    def was_told_the_end(self) -> bool:
        """Whether close_notify came (SSL_RECEIVED_SHUTDOWN)."""
        return bool(self.lib.SSL_get_shutdown(self.ssl) & 2)

    def write(self, data: bytes) -> bool:
        return bool(self.lib.SSL_write(self.ssl, data, len(data)) == len(data))


def shake_hands(connection: Tls, client: Client) -> None:
    for _ in range(STEPS):
        client_done = client.lib.SSL_connect(client.ssl) == 1
        done = connection.handshake()
        if client_done and done:
            return
        assert done or connection.wants
        fd = connection.fileno()
        select.select([fd, client.sock.fileno()], [fd] if connection.wants == "write" else [], [], 1)
    raise AssertionError("the handshake goes in circles")


def opened_pair(files: Files, ours: socket.socket, theirs: socket.socket) -> Iterator[tuple[Tls, Client]]:
    connection, client = Connection.tls(ours, files.context()), Client(theirs)
    shake_hands(connection, client)
    yield connection, client
    client.close()
    connection.close()


@pytest.fixture
def pair(files: Files) -> Iterator[tuple[Tls, Client]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    yield from opened_pair(files, ours, theirs)


@pytest.fixture
def near_pair(files: Files) -> Iterator[tuple[Tls, Client]]:
    """Over a Unix socket: what one end sends, the other finds at once. The connection's end holds next to nothing."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    yield from opened_pair(files, ours, theirs)


def hold_answers(connection: Tls, client: Client, count: int) -> None:
    """Makes the connection hold the answers to so many key updates, and part of one more."""
    while connection.wants != "write":
        update_and_take(connection, client)
    for _ in range(count):
        update_and_take(connection, client)


def update_and_take(connection: Tls, client: Client) -> None:
    assert client.update_keys(REQUESTED)
    while connection.recv(1):
        pass


def unread(connection: Tls, client: Client) -> int:
    """Bytes that the client wrote and the connection has not taken from its socket."""

    def ask(fd: int, question: int) -> int:
        return int.from_bytes(fcntl.ioctl(fd, question, bytes(4)), sys.byteorder)

    return ask(client.sock.fileno(), termios.TIOCOUTQ) + ask(connection.fileno(), termios.FIONREAD)


@pytest.mark.skipif(sys.platform != "linux", reason="a flood fits into its socket buffers")
def test_one_step_reads_a_bounded_number_of_records_without_data(files: Files) -> None:
    """A ClientHello of which each byte is a record of its own: the rest of it waits in the socket."""
    hello = in_records(Hello(extensions={PADDING: bytes(STEP_READ // 3)}).message(), 1)
    assert len(hello) > 2 * STEP_READ
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(hello))
    connection = Connection.tls(ours, files.context())
    with theirs:
        assert theirs.send(hello) == len(hello)
        for step in range(1, STEPS):
            assert connection.handshake() is None
            assert waiting(connection) == max(0, len(hello) - step * STEP_READ)
            if waiting(connection) == 0:
                break
        assert server_hello_in(theirs.recv(65536)).version == 0x0303
    connection.close()


def waiting(connection: Connection) -> int:
    """Bytes that lie in a connection's socket."""
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how many bytes wait in a socket")
def test_answers_to_key_updates_that_nobody_reads_stop_the_reading(pair: tuple[Tls, Client]) -> None:
    """Each update asks for one in return. When HELD_MAX bytes of these wait, no more is read."""
    connection, client = pair
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # the smallest makes TCP wait for seconds
    updates = 0
    while updates < UPDATES and client.update_keys(REQUESTED):
        updates += 1
    for _ in range(STEPS):
        assert connection.recv(1) in (b".", None)
    assert {connection.wants} == {"write"}  # compared so, mypy does not take it for granted below
    assert unread(connection, client) > 0  # it is not read: our memory is not filled with answers
    data = b""
    sent: int | None = None
    for _ in range(100 * STEPS):  # it reads at last, and all is well
        select.select([client.sock], [connection] if connection.wants == "write" else [], [], PATIENCE)
        data += client.read()
        assert connection.recv(1) in (b".", None)
        sent = sent or connection.send(b"hello")
        if data and sent:  # which may be told later: answers to further updates are held behind it
            break
    assert (data, sent) == (b"hello", 5)


@pytest.mark.parametrize("before", [SEND_BATCH // UPDATE - fewer for fewer in (0, 1, 2, 3)])
def test_all_that_a_send_encrypts_is_taken(near_pair: tuple[Tls, Client], before: int) -> None:
    """However much is held already: OpenSSL never keeps a record that the next send would have to begin with."""
    connection, client = near_pair
    hold_answers(connection, client, before)
    data, received, n = os.urandom(2 * SEND_BATCH), b"", connection.send(b"")
    while not n:
        n = connection.send(data)
        received += client.read()
    assert n == SEND_BATCH
    while connection.send(b"other bytes") is None:
        received += client.read()
    for _ in range(STEPS):
        received += client.read()
    assert received == data[:n] + b"other bytes"


def test_without_memory_for_what_openssl_writes_the_connection_fails(near_pair: tuple[Tls, Client]) -> None:
    """No record is lost while the connection goes on: its peer would see a forged one next."""
    allocations = pytest.importorskip("_testcapi")
    connection, client = near_pair
    for number in range(IN_A_ROW - 2):
        assert client.update_keys(REQUESTED)
        allocations.set_nomemory(number, number + 1)
        try:
            connection.recv(1)
        except MemoryError:  # for the bytes that recv() returns
            continue
        except ConnectionError:
            break
        finally:
            allocations.remove_mem_hooks()
    else:
        raise AssertionError("what could not be held was not missed")
    with pytest.raises(ConnectionError):
        connection.send(b"x")


@pytest.mark.parametrize("before", [HELD_MAX // UPDATE - fewer for fewer in (1, 2, 3, 4)])
def test_the_end_comes_behind_answers_that_nobody_read(near_pair: tuple[Tls, Client], before: int) -> None:
    """Where they leave no room for close_notify, shutdown() waits for some to go out, and not for ever."""
    connection, client = near_pair
    hold_answers(connection, client, before)
    for _ in range(3):
        assert connection.shutdown() is None
        assert connection.wants == "write"
    for _ in range(STEPS):
        assert client.read() == b""
        if connection.shutdown():
            break
    else:
        raise AssertionError("the shutdown has no end")
    for _ in range(STEPS):
        client.read()
    assert client.was_told_the_end


@pytest.mark.parametrize("room", [0, 1])
def test_a_flight_that_is_longer_than_what_may_be_held(long_files: Files, tmp_path: Path, room: int) -> None:
    chain = long_files.chain.read_bytes()
    copies = 2 * HELD_MAX // len(chain) + 1  # base64 is a third longer
    (tmp_path / "chain.pem").write_bytes(chain * copies)
    ours, theirs = socket.socketpair()
    if room:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    files = Files(tmp_path / "chain.pem", long_files.key, long_files.root)
    connection, client = Connection.tls(ours, files.context()), Client(theirs)
    try:
        shake_hands(connection, client)
        assert connection.send(b"x") == 1
        assert client.read() == b"x"
    finally:
        client.close()
        connection.close()


def test_key_updates_do_not_move_the_idle_time(files: Files) -> None:
    """Only a request does: time-outs are absolute."""
    app = web.App(web.GET("/", lambda req: "ok"))
    server = web.Server(app, "127.0.0.1", 0, tls=files.context(), limits=web.Limits(idle_timeout=0.2))
    with server.running():
        client = Client(socket.create_connection(("127.0.0.1", server.port)))
        while client.lib.SSL_connect(client.ssl) != 1:
            select.select([client.sock], [], [], 1)
        assert client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while not client.read().endswith(b"ok"):
            select.select([client.sock], [], [], 1)
        for _ in range(STEPS):
            select.select([client.sock], [], [], 0.02)
            client.update_keys(NOT_REQUESTED)
            if server.stats()["closed"]["idle_timeout"]:
                break
        else:
            raise AssertionError("it may be idle for ever")
        client.close()


def test_the_ticket_comes_without_a_request(files: Files) -> None:
    _, peer = opened(files)
    assert peer.read() is None
    assert peer.tls.session is not None
    assert peer.tls.session.has_ticket


def test_the_alert_comes_when_a_handshake_fails(files: Files) -> None:
    client = files.client()
    client.set_alpn_protocols(["h2"])
    connection, peer = connect(files.context(), client)
    peer.handshake()
    with pytest.raises(ConnectionError, match="ALPN"):
        connection.handshake()
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        peer.handshake()
