"""Plain connections on their own, the sum type, and objects of the extension that nobody made properly."""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import PATIENCE, body, connect, connect_tls, get, read_all
from web import _core
from web.connection import Connection, ConnectionInUse, Plain, Tls


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return web.dev_certificate(tmp_path_factory.mktemp("dev"))


@pytest.fixture
def ends() -> Iterator[tuple[Plain, socket.socket]]:
    """A Plain connection and the socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    connection = Connection.plain(ours)
    with theirs, closing(connection):
        yield connection, theirs


def wait(connection: Connection) -> None:
    """Until what the blocked step wants is there."""
    reading = [connection] if connection.wants == "read" else []
    writing = [connection] if connection.wants == "write" else []
    assert reading or writing
    assert any(select.select(reading, writing, [], PATIENCE))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- the steps ---------------------------------------------------------------------------------------------------------


def test_recv(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    assert connection.wants is None
    assert connection.recv(10) is None
    assert connection.wants == "read"
    peer.sendall(b"hello, world")
    wait(connection)
    assert connection.recv(5) == b"hello"
    assert connection.wants is None
    assert connection.pending is False  # what was not read lies in the kernel
    assert connection.recv(100) == b", world"
    assert connection.recv(100) is None
    peer.shutdown(socket.SHUT_WR)
    wait(connection)
    assert connection.recv(100) == b""
    assert connection.recv(100) == b""
    assert connection.send(b"still open") == 10
    assert peer.recv(100) == b"still open"


def test_handshake_of_a_plain_connection_is_finished(ends: tuple[Plain, socket.socket]) -> None:
    connection, _ = ends
    assert connection.handshake() is True
    assert connection.handshake() is True


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_send_takes_what_is_like_bytes(ends: tuple[Plain, socket.socket], kind: type) -> None:
    connection, peer = ends
    assert connection.send(kind(b"")) == 0
    assert connection.send(kind(b"hello")) == 5
    assert peer.recv(100) == b"hello"


def test_a_send_that_would_block_is_repeated(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    data = os.urandom(4 << 20)
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(read_all(peer)))
    at = 0
    blocked = 0
    while at < len(data):
        taken = connection.send(data[at : at + (1 << 18)])
        if taken is None:
            assert connection.wants == "write"
            if blocked == 0:
                with pytest.raises(ValueError, match="repeat"):
                    connection.send(b"something else")
                with pytest.raises(ValueError, match="repeat"):
                    connection.shutdown()
                reader.start()
            blocked += 1
            wait(connection)
        else:
            assert taken > 0
            at += taken
    assert blocked > 0
    assert connection.wants is None
    assert connection.shutdown() is True
    reader.join(PATIENCE)
    assert received == data


def test_send_file(ends: tuple[Plain, socket.socket], tmp_path: Path) -> None:
    connection, peer = ends
    content = os.urandom(3 << 20)
    (tmp_path / "f").write_bytes(content)
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(read_all(peer)))
    reader.start()
    at = 100
    with open(tmp_path / "f", "rb") as file:
        while at < len(content):
            sent = connection.send_file(file, at, len(content) - at)
            if sent is None:
                wait(connection)
            else:
                assert sent > 0
                at += sent
        assert file.tell() == 0
        with pytest.raises(EOFError, match=f"ends before byte {len(content) + 10}"):
            connection.send_file(file, len(content), 10)
        for offset, count in [(0, 0), (0, -1), (-1, 1)]:
            with pytest.raises(ValueError, match="count must be 1 or more and offset not negative"):
                connection.send_file(file, offset, count)
        with pytest.raises(OverflowError):
            connection.send_file(file, 2**63, 1)
    with pytest.raises(ValueError, match="closed file"):
        connection.send_file(file, 0, 1)
    with pytest.raises(AttributeError, match="fileno"):
        connection.send_file("f", 0, 1)  # type: ignore[arg-type]
    connection.close()
    reader.join(PATIENCE)
    assert received == content[100:]


def test_shutdown_ends_our_side_only(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    assert connection.shutdown() is True
    assert read_all(peer) == b""
    assert connection.shutdown() is True
    for step in (lambda: connection.send(b"x"), lambda: connection.recv(1), connection.handshake):
        with pytest.raises(ValueError, match="shut down"):
            step()
    assert not connection.closed


def test_close_is_the_end_and_may_come_twice(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    fd = connection.fileno()
    connection.close()
    connection.close()
    assert not is_open(fd)
    assert read_all(peer) == b""
    assert connection.closed
    assert (connection.local, connection.pending, connection.is_tls) == (None, False, False)
    for step in (
        connection.fileno,
        connection.handshake,
        connection.shutdown,
        lambda: connection.recv(1),
        lambda: connection.send(b"x"),
        lambda: connection.send(b""),
    ):
        with pytest.raises(ValueError, match="closed"):
            step()


def test_a_failure_raises_and_never_looks_like_an_answer(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    peer.close()
    with pytest.raises(BrokenPipeError, match="send: "):
        connection.send(b"x")
    with pytest.raises(BrokenPipeError):
        connection.send(b"x")
    assert not connection.closed


def test_a_reset_raises() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        with closing(Connection.plain(listener.accept()[0])) as connection:
            assert connection.recv(1) is None
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            wait(connection)
            with pytest.raises(ConnectionResetError, match="recv: "):
                connection.recv(1)


@pytest.mark.parametrize("n", [0, -1])
def test_recv_of_nothing_is_refused(ends: tuple[Plain, socket.socket], n: int) -> None:
    with pytest.raises(ValueError, match="n must be 1 or more"):
        ends[0].recv(n)


def test_memory_that_is_not_there_leaves_the_connection_usable(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    with pytest.raises((MemoryError, OverflowError)):
        connection.recv(sys.maxsize)
    peer.sendall(b"x")
    assert connection.recv(1) == b"x"


def test_odd_arguments(ends: tuple[Plain, socket.socket]) -> None:
    connection, peer = ends
    odd: Any
    for odd in ("text", 5, None, [1, 2], 1.5, object()):
        with pytest.raises(TypeError):
            connection.send(odd)
    for odd in ("1", None, 1.5):
        with pytest.raises(TypeError):
            connection.recv(odd)
    connection.close()
    assert read_all(peer) == b""


def test_two_threads_at_once_lose_and_double_nothing(ends: tuple[Plain, socket.socket]) -> None:
    """A step while another thread takes one is refused, or comes after it: the bytes are those that were sent."""
    connection, peer = ends
    total = 8 << 20
    taken: list[bytes] = []
    odd: list[BaseException] = []

    def read() -> None:
        try:
            while True:
                try:
                    part = connection.recv(1 << 16)
                except ConnectionInUse:
                    continue
                if part == b"":
                    return
                if part is not None:
                    taken.append(part)
        except BaseException as error:  # noqa: BLE001 - looked at below
            odd.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(total >> 16):
        peer.sendall(bytes(1 << 16))
    peer.shutdown(socket.SHUT_WR)
    for thread in threads:
        thread.join(PATIENCE)
    assert odd == []
    assert sum(map(len, taken)) == total


# -- whose fd it is ----------------------------------------------------------------------------------------------------


def test_the_socket_is_left_detached_and_its_fd_made_ready() -> None:
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    with theirs, closing(Connection.plain(ours)) as connection:
        assert ours.fileno() == -1
        assert connection.fileno() == fd
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        ours.close()
        assert is_open(fd)
    assert not is_open(fd)


def test_the_fd_is_closed_with_the_last_reference() -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    with theirs:
        connection = Connection.plain(ours)
        fd = connection.fileno()
        del connection
        gc.collect()
        assert not is_open(fd)
        assert read_all(theirs) == b""


def test_what_cannot_be_taken_stays_its_owners(pair: tuple[str, str]) -> None:
    context = web.TlsContext(*pair)
    for make in (Connection.plain, lambda sock: Connection.tls(sock, context)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(ValueError, match="a stream socket is needed"):
                make(datagrams)
            assert datagrams.getsockname()
        gone = socket.socket()
        gone.close()
        with pytest.raises(ValueError, match="the socket is closed"):
            make(gone)
        for odd in (None, 5, "socket", open):
            with pytest.raises(TypeError, match=r"a connected socket\.socket is needed"):
                make(odd)  # type: ignore[arg-type]


def test_an_fd_that_is_gone_is_an_error_and_closed_no_second_time() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        os.close(ours.fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            Connection.plain(ours)
        assert ours.fileno() == -1


def test_a_failed_tls_leaves_the_socket_to_its_owner(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(web.CertificateError):
            Connection.tls(ours, web.TlsContext(tmp_path / "cert", tmp_path / "key"))
        assert ours.fileno() >= 0
        with pytest.raises(TypeError):
            Connection.tls(ours, None)  # type: ignore[arg-type]
        assert ours.fileno() >= 0


def test_a_socket_under_tls_is_not_taken_for_a_plain_one(pair: tuple[str, str]) -> None:
    """Its plain text would go out under a connection that the peer believes to be encrypted."""
    with web.defserver_tls("127.0.0.1", 0, *pair).running() as s, connect_tls(s.port, pair[0]) as tls:
        with pytest.raises(TypeError):
            Connection.plain(tls)
        assert tls.fileno() >= 0


def test_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        with peer, closing(Connection.plain(listener.accept()[0])) as connection:
            assert connection.peer == peer.getsockname()
            assert connection.local == listener.getsockname()
            peer_name = connection.peer
            connection.close()
            assert connection.peer == peer_name  # a fact that was copied
    ours, theirs = socket.socketpair()
    with theirs, closing(Connection.plain(ours)) as connection:
        assert (connection.peer, connection.local) == (None, None)


# -- the sum type ------------------------------------------------------------------------------------------------------


def describe(connection: Connection) -> str:
    match connection:
        case Tls(version=version, cipher=cipher):
            return f"{version} {cipher}"
        case Plain(peer=peer):
            return f"plain {peer}"
    return "neither"


def test_match_tells_them_apart(ends: tuple[Plain, socket.socket], pair: tuple[str, str]) -> None:
    assert describe(ends[0]) == "plain None"
    ours, theirs = socket.socketpair()
    with theirs, closing(Connection.tls(ours, web.TlsContext(*pair))) as tls:
        assert describe(tls) == "None None"
        assert tls.is_tls
    assert Plain.__match_args__ == ("peer",)
    assert Tls.__match_args__ == ("version", "cipher")


@pytest.mark.parametrize("kind", [Connection, Plain, Tls])
def test_no_other_way_to_make_one(kind: type[Connection]) -> None:
    with pytest.raises(TypeError, match=r"is made by Connection\.plain"):
        kind()


@pytest.mark.parametrize("kind", [Plain, Tls])
def test_no_third_kind(kind: type) -> None:
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Third", (kind,), {})


# -- on a server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_a_servers_connection_refuses_the_steps_and_shows_its_facts(tls: bool, pair: tuple[str, str]) -> None:
    kept: list[Connection] = []

    def look(req: web.Request) -> dict[str, object]:
        c = req.connection
        kept.append(c)
        refused = 0
        with open(os.devnull, "rb") as file:
            for step in (
                lambda: c.recv(1),
                lambda: c.send(b"x"),
                lambda: c.send_file(file, 0, 1),
                c.handshake,
                c.shutdown,
                c.close,
            ):
                with suppress(ConnectionInUse):
                    step()
                    continue
                refused += 1
        return {
            "refused": refused,
            "peer": c.peer,
            "local": c.local,
            "closed": c.closed,
            "is_tls": c.is_tls,
            "fileno": c.fileno() > 0,
            "wants": c.wants in (None, "read", "write"),
            "pending": c.pending in (True, False),
            "facts": [c.version, c.alpn, c.server_name, c.resumed] if isinstance(c, Tls) else None,
            "described": describe(c).split()[0],
            "repr": repr(c).startswith("<Tls open fd=" if tls else "<Plain open fd="),
        }

    server = web.Server(web.App(web.GET("/", look)), "127.0.0.1", 0, tls=web.TlsContext(*pair) if tls else None)
    with server.running() as s, connect_tls(s.port, pair[0]) if tls else connect(s.port) as sock:
        import json

        assert json.loads(body(get(sock))) == {
            "refused": 6,
            "peer": list(sock.getsockname()),
            "local": ["127.0.0.1", s.port],
            "closed": False,
            "is_tls": tls,
            "fileno": True,
            "wants": True,
            "pending": True,
            "facts": ["TLSv1.3", None, "localhost", False] if tls else None,
            "described": "TLSv1.3" if tls else "plain",
            "repr": True,
        }
        peer = sock.getsockname()
        get(sock)
        assert kept[0] is kept[1]
        with pytest.raises(ConnectionInUse):
            kept[0].recv(1)
    # the server is done with it: closed, and its facts are still there
    assert kept[0].closed
    assert kept[0].peer == peer
    assert describe(kept[0]).split()[0] == ("TLSv1.3" if tls else "plain")
    with pytest.raises(ValueError, match="closed"):
        kept[0].recv(1)
    kept[0].close()


# -- objects that nobody made properly ---------------------------------------------------------------------------------

BARE = (
    *("Connection", "Plain", "Tls", "Loop", "Listener", "TlsContext", "Request", "Response", "Router", "Endpoint"),
    *("WebSocket", "Connect", "Message", "Binary", "Close", "TicketKeys", "KeyLog"),
    *("Hook", "Chain", "Hosts", "Fault", "Dispatcher", "RequestParser", "ChunkedDecoder", "ParsedRequest"),
    "Networks",
)
ODD: list[tuple[Any, ...]] = [
    (),
    (None,),
    (0,),
    (-1,),
    (2**70,),
    (1.5,),
    ("x",),
    ("\ud800",),
    (b"x",),
    (bytearray(b"x"),),
    ([],),
    ({},),
    (object(),),
    (None, None),
    ("GET", "/"),
    (1, 2),
    (b"x", 1),
    (None, None, None),
    ("a", "b", 0),
    (0, 0, 0),
]


@pytest.mark.parametrize("name", BARE)
def test_an_object_without_init_survives_everything(name: str) -> None:
    """Every attribute and method of an object of which only __new__ ran, with odd arguments: exceptions, no crash."""
    kind = getattr(_core, name)
    made = 0
    before = [is_open(fd) for fd in range(3)]
    for arguments in [*ODD, ("cert", "key")]:
        with suppress(TypeError, ValueError, OverflowError, AttributeError):
            bare = kind.__new__(kind, *arguments)
            made += 1
            for attribute in dir(kind):
                # feed_address takes what it is given for the address of bytes: that is its purpose
                if attribute != "feed_address" and (not attribute.startswith("__") or attribute in DUNDERS):
                    try_all(bare, attribute)
    assert made > 0
    gc.collect()
    assert [is_open(fd) for fd in range(3)] == before  # an fd that was never set must not be taken for number 0


DUNDERS = ("__init__", "__repr__", "__eq__", "__hash__", "__reduce_ex__")


def try_all(value: Any, name: str) -> None:
    with suppress(Exception):
        attribute = getattr(value, name)
        for odd in ODD:
            with suppress(Exception):
                found = attribute(*odd)
                if isinstance(found, Coroutine):
                    found.send(None)
    with suppress(Exception):
        setattr(value, name, None)


MADE: dict[str, Callable[[], Any]] = {
    "Loop": lambda: _core.Loop(web.App()._compile(), web.Limits()),
    "Request": lambda: _core.Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "Response": lambda: _core.Response("hello"),
    "Dispatcher": lambda: web.App()._compile(),
    "Router": lambda: web.App(web.GET("/:x", lambda req: "x"))._compile().router,
    "Endpoint": lambda: web.App(web.GET("/:x", lambda req: "x"))._compile().router.endpoints[0],
    "Hook": lambda: _core.Hook(str, 1, "hook"),
    "Chain": lambda: _core.Chain((_core.Hook(str, 1, "hook"),)),
    "Hosts": lambda: _core.Hosts(["a"], [".a"]),
}


@pytest.mark.parametrize("name", MADE)
def test_a_second_init_is_survived(name: str) -> None:
    value = MADE[name]()
    try_all(value, "__init__")
    for attribute in dir(value):
        if not attribute.startswith("__") and attribute not in ("run", "run_once"):  # a Loop would wait
            try_all(value, attribute)
    repr(value)


def test_a_closed_loop_stays_closed() -> None:
    loop = _core.Loop(web.App()._compile(), web.Limits())
    loop.run_once(0)
    loop.close()
    loop.close()
    loop.stop()
    loop.wake()
    assert loop.connections == 0
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        steps: list[Callable[[], object]] = [
            lambda: loop.run_once(0),
            loop.run,
            loop.fileno,
            lambda: loop.adopt(ours),
            lambda: loop.listen(listener),
            lambda: loop.watch_signals(None),
        ]
        for step in steps:
            with pytest.raises(RuntimeError, match="the loop is closed"):
                step()
        assert ours.fileno() >= 0
        assert listener.fileno() >= 0
