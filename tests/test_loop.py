"""The loop from outside: driven turn by turn, embedded in another loop, its counters, and who makes room at a cap."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

import web
from tests.serving import PATIENCE, body, connect, connect_tls, get, process, program, read_all, read_answer
from tests.wire.clients import eventually

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

many_addresses = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is all of 127/8 this machine")


def hello(req: web.Request) -> str:
    return "hello"


def make(*forms: Any, **limits: Any) -> web.Server:
    return web.defserver("127.0.0.1", 0, *(forms or (web.GET("/", hello),)), limits=web.Limits(**limits))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return web.dev_certificate(tmp_path_factory.mktemp("dev"))


@contextmanager
def adopted(server: web.Server, tls: web.TlsContext | None = None) -> Iterator[socket.socket]:
    """The client's end of a connection that the server adopted; the server is closed at the end."""
    ours, theirs = socket.socketpair()
    with theirs, closing(server):
        theirs.settimeout(PATIENCE)
        server.adopt(ours, tls)
        yield theirs


def turns_until(server: web.Server, done: Callable[[], bool]) -> None:
    while not done():
        server.run_once(PATIENCE)


def readable(server: web.Server, timeout: float = 0.0) -> bool:
    return bool(select.select([server.fileno()], [], [], timeout)[0])


# -- turn by turn ------------------------------------------------------------------------------------------------------


def test_a_socket_that_was_adopted_is_served() -> None:
    server = make()
    with adopted(server) as peer:
        assert server.connections == 1
        assert server.urls == []
        peer.sendall(REQUEST)
        turns_until(server, lambda: server.stats()["requests"] == 1)
        server.run_once(0)
        assert body(read_answer(peer)) == b"hello"
        peer.sendall(LAST)
        turns_until(server, lambda: server.stats()["requests"] == 2)
        server.run_once(0)
        assert body(read_all(peer)) == b"hello"
        peer.close()
        turns_until(server, lambda: server.connections == 0)
        assert server.stats()["closed"]["done"] == 1


def test_a_socket_under_tls_that_was_adopted_is_served(pair: tuple[str, str]) -> None:
    import ssl

    server = make()
    with adopted(server, web.TlsContext(*pair)) as peer:
        context = ssl.create_default_context(cafile=pair[0])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        peer.setblocking(False)

        def pump(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    peer.sendall(outgoing.read())
                    server.run_once(PATIENCE)
                    incoming.write(peer.recv(65536))
                else:
                    peer.sendall(outgoing.read())
                    return result

        pump(client.do_handshake)
        client.write(LAST)
        assert b"hello" in pump(lambda: client.read(65536))
        assert server.stats()["handshakes"] == 1


def test_what_cannot_be_adopted_stays_its_owners(pair: tuple[str, str]) -> None:
    odd: Any
    with closing(make()) as server:
        for odd in (None, 5, "socket"):
            with pytest.raises(TypeError):
                server.adopt(odd)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(ValueError, match="stream"):
                server.adopt(datagrams)
            assert datagrams.fileno() >= 0
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with pytest.raises(web.CertificateError):
                server.adopt(ours, web.TlsContext("no/cert", "no/key"))
            assert ours.fileno() >= 0
        assert server.connections == 0


def test_a_full_server_adopts_nobody_and_closes_what_it_was_given() -> None:
    server = make(web.POST("/", hello), connections=1)
    with adopted(server) as peer:
        peer.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        turns_until(server, lambda: server.stats()["unfinished"] == 0)  # in the middle of a body: it cannot make room
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.settimeout(PATIENCE)
            with pytest.raises(ConnectionError, match=r"no room for another connection \(Limits\.connections\)"):
                server.adopt(ours)
            assert read_all(theirs) == b""
        assert server.stats()["closed"]["refused"] == 1
        peer.sendall(b"2")
        turns_until(server, lambda: server.stats()["requests"] == 1)
        server.run_once(0)
        assert body(read_answer(peer)) == b"hello"


def test_the_loop_cannot_be_driven_from_its_own_handler() -> None:
    refused: list[object] = []

    def inside(req: web.Request) -> str:
        steps: list[Callable[[], object]] = [lambda: server.run_once(0), server.run, server.close]
        for step in steps:
            with pytest.raises(RuntimeError):
                step()
            refused.append(step)
        return "hello"

    server = make(web.GET("/", inside))
    with adopted(server) as peer:
        peer.sendall(REQUEST)
        turns_until(server, lambda: server.stats()["requests"] == 1)
        server.run_once(0)
        assert body(read_answer(peer)) == b"hello"
        assert len(refused) == 3


@pytest.mark.parametrize(("connections", "said"), [(2, b"adopted"), (1, b"full")])
def test_a_handler_may_adopt(connections: int, said: bytes) -> None:
    """Even when the server is full and the connection that asks is the one that idled longest: newcomers, which said
    nothing yet, make room for one another; who asks goes on."""
    theirs: list[socket.socket] = []

    def more(req: web.Request) -> str:
        ours, peer = socket.socketpair()
        theirs.append(peer)
        try:
            server.adopt(ours)
        except ConnectionError:
            return "full"
        return "adopted"

    server = make(web.GET("/", more), connections=connections)
    with adopted(server) as peer:
        answers = []
        for number in range(4):
            peer.sendall(REQUEST)
            turns_until(server, lambda number=number: server.stats()["requests"] == number + 1)  # type: ignore[misc]
            server.run_once(0)
            answers.append(body(read_answer(peer)))
        assert answers == [said] * 4
        for sock in theirs:
            sock.close()


def test_only_the_thread_that_runs_the_loop_may_touch_it() -> None:
    server = make()
    ours, theirs = socket.socketpair()
    with ours, theirs, server.running() as s, connect(s.port) as sock:
        assert body(get(sock)) == b"hello"
        with pytest.raises(RuntimeError):
            s.adopt(ours)
        with pytest.raises(RuntimeError):
            s.run_once(0)
        assert ours.fileno() >= 0
        assert body(get(sock)) == b"hello"


# -- embedded in another loop ------------------------------------------------------------------------------------------


def test_fileno_is_readable_exactly_when_there_is_work() -> None:
    server = make(web.GET("/", hello), idle_timeout=1e5, head_timeout=1e5)
    with adopted(server) as peer:
        while readable(server):  # what the adoption left to do
            server.run_once(0)
        peer.sendall(REQUEST)
        assert readable(server, PATIENCE)
        turns_until(server, lambda: server.stats()["requests"] == 1)
        while readable(server):
            server.run_once(0)
        assert body(read_answer(peer)) == b"hello"
        assert not readable(server)
        peer.sendall(REQUEST * 100)  # more than one turn of one connection answers
        answered = 0
        while server.stats()["requests"] < 101:
            assert readable(server, PATIENCE)
            server.run_once(0)
            answered += 1
        assert answered > 1
        while readable(server):
            server.run_once(0)
        for _ in range(100):
            assert body(read_answer(peer)) == b"hello"
        peer.close()
        assert readable(server, PATIENCE)
        turns_until(server, lambda: server.connections == 0)
        server.run_once(0)
        assert not readable(server)
        server.stop()
        assert readable(server, PATIENCE)


def test_fileno_is_readable_at_a_deadline() -> None:
    server = make(head_timeout=0.05)
    with adopted(server) as peer:
        while is_empty(peer):
            assert readable(server, PATIENCE)
            server.run_once(0)
        assert read_all(peer) == b""
        peer.close()
        turns_until(server, lambda: server.connections == 0)
        assert server.stats()["closed"]["head_timeout"] == 1


def test_run_once_waits_for_a_deadline() -> None:
    server = make(head_timeout=0.05)
    with adopted(server) as peer:
        peer.sendall(b"GET / HT")
        turns_until(server, lambda: server.stats()["requests_refused"] == 1)
        server.run_once(0)
        assert read_answer(peer).startswith(b"HTTP/1.1 408 ")


def test_asyncio_owns_the_thread() -> None:
    server = make(web.POST("/", lambda req: req.body))

    async def ask(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        text = str(number) * 100_000
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text))
        writer.write(text.encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return body(answer)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(server.fileno(), server.run_once, 0)
        try:
            answers = await asyncio.wait_for(asyncio.gather(*map(ask, range(9))), PATIENCE)
        finally:
            loop.remove_reader(server.fileno())
        assert answers == [str(number).encode() * 100_000 for number in range(9)]

    server.open()
    with closing(server):
        asyncio.run(main())


def test_an_exception_in_a_handler_of_another_loop_leaves_the_rest_in_order() -> None:
    """KeyboardInterrupt out of one handler must not lose or mix up what the others of the same turn get."""

    def who(req: web.Request) -> str:
        if req.path == "/1":
            raise KeyboardInterrupt
        return req.path

    server = make(web.GET("/:x", who))
    server.open()
    with closing(server), ExitStack() as stack:
        peers = [stack.enter_context(connect(server.port)) for _ in range(4)]
        turns_until(server, lambda: server.connections == 4)
        for number, peer in enumerate(peers):
            peer.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        interrupted = 0
        while server.stats()["requests"] + interrupted < 4:
            try:
                server.run_once(PATIENCE)
            except KeyboardInterrupt:
                interrupted += 1
        server.run_once(0)
        assert interrupted == 1
        for number in (0, 2, 3):
            assert body(read_answer(peers[number])) == b"/%d" % number
        assert read_all(peers[1]) == b""


# -- counters ----------------------------------------------------------------------------------------------------------


def test_counters() -> None:
    server = make()
    with server.running() as s:
        with connect(s.port) as good, connect(s.port) as bad:
            get(good)
            get(good, close=True)
            bad.sendall(b"nonsense\r\n\r\n")
            assert read_all(bad).startswith(b"HTTP/1.1 400 ")
        with connect(s.port) as again:
            get(again)
            eventually(lambda: s.stats()["unfinished"] == 0, "the turn that answered has ended")
            counters = s.stats()
        assert counters["accepted"] == 3
        assert counters["requests"] == 3
        assert counters["requests_refused"] == 1
        assert sum(counters["connections"].values()) >= 1
        assert counters["handshakes"] == counters["unfinished"] == counters["accept_failures"] == 0
        assert counters["closed"]["bad_request"] == 1
        assert counters["closed"]["illegal_step"] == 0
        assert counters["bytes_received"] > 100
        assert counters["bytes_sent"] > 300


# -- who makes room ----------------------------------------------------------------------------------------------------


def come_from(address: str, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(address, 0))


def is_ended(sock: socket.socket) -> bool:
    """Whether the server ended it; the server has nothing left to do at that moment."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        sock.settimeout(PATIENCE)


@pytest.fixture
def room() -> Iterator[Callable[..., web.Server]]:
    """Makes an opened server that the test drives itself."""
    with ExitStack() as stack:

        def open_one(**limits: Any) -> web.Server:
            server = make(**limits)
            server.open()
            stack.callback(server.close)
            return server

        yield open_one


def arrive(server: web.Server, stack: ExitStack, address: str = "127.0.0.1") -> socket.socket:
    """A newcomer that the server has accepted."""
    before = server.stats()["accepted"]
    sock = stack.enter_context(come_from(address, server.port))
    turns_until(server, lambda: server.stats()["accepted"] == before + 1)
    server.run_once(0)
    return sock


def test_the_oldest_unfinished_makes_room_at_the_cap(room: Callable[..., web.Server]) -> None:
    server = room(handshakes=3)
    with ExitStack() as stack:
        clients = [arrive(server, stack) for _ in range(5)]
        assert [is_ended(sock) for sock in clients] == [True, True, False, False, False]
        assert server.stats()["closed"]["made_room"] == 2
        assert server.stats()["unfinished"] == 3


def test_received_bytes_are_no_progress(room: Callable[..., web.Server]) -> None:
    server = room(handshakes=2)
    with ExitStack() as stack:
        first = arrive(server, stack)
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n")
        turns_until(server, lambda: server.stats()["bytes_received"] > 0)
        second = arrive(server, stack)
        arrive(server, stack)
        assert is_ended(first)
        assert not is_ended(second)


def test_who_was_answered_is_no_longer_unfinished(room: Callable[..., web.Server]) -> None:
    server = room(handshakes=2)
    with ExitStack() as stack:
        first = arrive(server, stack)
        first.sendall(REQUEST)
        turns_until(server, lambda: server.stats()["requests"] == 1)
        server.run_once(0)
        others = [arrive(server, stack) for _ in range(4)]
        assert [is_ended(sock) for sock in others] == [True, True, False, False]
        assert body(read_answer(first)) == b"hello"
        assert not is_ended(first)


@many_addresses
def test_the_source_with_most_unfinished_makes_room(room: Callable[..., web.Server]) -> None:
    server = room(handshakes=4)
    with ExitStack() as stack:
        honest = arrive(server, stack, "127.0.0.2")  # the oldest of all
        flood = [arrive(server, stack, "127.0.0.3") for _ in range(20)]
        late = arrive(server, stack, "127.0.0.4")
        assert not is_ended(honest)
        assert not is_ended(late)
        assert [is_ended(sock) for sock in flood] == [True] * 18 + [False] * 2
        for sock in (honest, late):
            sock.sendall(REQUEST)
            turns_until(server, lambda: not is_empty(sock))  # noqa: B023 - called before the next turn of this loop
            assert body(read_answer(sock)) == b"hello"


def is_empty(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], 0)[0]


@many_addresses
def test_on_a_tie_the_oldest_of_all_makes_room(room: Callable[..., web.Server]) -> None:
    server = room(handshakes=3)
    with ExitStack() as stack:
        clients = [arrive(server, stack, f"127.0.0.{number}") for number in (2, 3, 4, 5, 6)]
        assert [is_ended(sock) for sock in clients] == [True, True, False, False, False]


@many_addresses
def test_who_sent_a_whole_client_hello_is_kept_longer(pair: tuple[str, str]) -> None:
    import ssl

    server = web.defserver_tls("127.0.0.1", 0, *pair, web.GET("/", hello), limits=web.Limits(handshakes=3))
    server.open()
    with closing(server), ExitStack() as stack:
        context = ssl.create_default_context(cafile=pair[0])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        serious = arrive(server, stack)  # the oldest, and of the source with most
        serious.sendall(outgoing.read())
        turns_until(server, lambda: not is_empty(serious))
        silent = [arrive(server, stack) for _ in range(4)]
        assert [is_ended(sock) for sock in silent] == [True, True, False, False]
        incoming.write(serious.recv(65536))
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(serious.recv(65536))
        serious.sendall(outgoing.read())
        turns_until(server, lambda: server.stats()["handshakes"] == 1)


def test_at_the_cap_of_connections_who_idled_longest_makes_room(room: Callable[..., web.Server]) -> None:
    server = room(connections=3)
    with ExitStack() as stack:
        clients = []
        for number in range(5):
            sock = arrive(server, stack)
            clients.append(sock)
            sock.sendall(REQUEST)
            turns_until(server, lambda number=number: server.stats()["requests"] == number + 1)  # type: ignore[misc]
            server.run_once(0)
            assert body(read_answer(sock)) == b"hello"
        assert [is_ended(sock) for sock in clients] == [True, True, False, False, False]
        assert sum(server.stats()["connections"].values()) == 3


def test_at_the_cap_of_connections_the_unfinished_go_before_the_idle(room: Callable[..., web.Server]) -> None:
    server = room(connections=2)
    with ExitStack() as stack:
        idle = arrive(server, stack)
        idle.sendall(REQUEST)
        turns_until(server, lambda: server.stats()["requests"] == 1)
        server.run_once(0)
        read_answer(idle)
        silent = arrive(server, stack)
        arrive(server, stack)
        assert is_ended(silent)
        assert not is_ended(idle)


def test_honest_clients_get_in_beside_a_flood_that_reconnects(pair: tuple[str, str]) -> None:
    """From the same address, too: a whole handshake takes a few turns, in which the flood pushes out itself."""
    server = web.defserver_tls("127.0.0.1", 0, *pair, web.GET("/", hello), limits=web.Limits(handshakes=8))
    stopped = threading.Event()

    def flood(port: int) -> None:
        held: list[socket.socket] = []
        while not stopped.is_set():
            held.append(connect(port))
            if len(held) > 16:
                held.pop(0).close()
        for sock in held:
            sock.close()

    with server.running() as s:
        attacker = threading.Thread(target=flood, args=(s.port,))
        attacker.start()
        try:
            served = 0
            for _ in range(50):
                try:
                    with connect_tls(s.port, pair[0]) as tls:
                        served += body(get(tls)) == b"hello"
                except OSError:
                    pass  # pushed out before its ClientHello came
        finally:
            stopped.set()
            attacker.join(PATIENCE)
        assert served > 0
        with connect_tls(s.port, pair[0]) as tls:
            assert body(get(tls)) == b"hello"


# -- running out of fds ------------------------------------------------------------------------------------------------

OUT_OF_FDS = """
import os, resource, web

held = []

def fill(req):
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        return "full"

def free(req):
    while held:
        os.close(held.pop())
    return str(server.stats()["accept_failures"])

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "hello"), web.GET("/fill", fill),
                       web.POST("/free", free))
server.open()
print(server.port, flush=True)
server.run()
"""


def test_running_out_of_fds_neither_spins_nor_dies() -> None:
    with process(*program(OUT_OF_FDS)) as child:
        port = int(child.line())
        child.ready()
        with connect(port) as working:
            working.sendall(
                b"GET /fill HTTP/1.1\r\nHost: a\r\n\r\nPOST /free HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1"
            )
            assert body(read_answer(working)) == b"full"
            with connect(port) as waiting:
                waiting.sendall(REQUEST)
                waiting.settimeout(0.7)
                with pytest.raises(TimeoutError):  # nobody can make room: `working` is in the middle of a body
                    waiting.recv(1)
                working.sendall(b"2")
                failures = int(body(read_answer(working)))
                assert 1 <= failures <= 50  # it tries again four times a second; a loop that spins, thousands of times
                waiting.settimeout(PATIENCE)
                assert body(read_answer(waiting)) == b"hello"
        child.signal(signal.SIGINT)
        assert child.finish()[0] == 0


def test_out_of_fds_an_idle_connection_makes_room() -> None:
    with process(*program(OUT_OF_FDS)) as child:
        port = int(child.line())
        child.ready()
        with connect(port) as idle:
            assert body(get(idle, "/fill")) == b"full"
            with connect(port) as newcomer:
                assert body(get(newcomer)) == b"hello"
                assert read_all(idle) == b""
        child.signal(signal.SIGINT)
        assert child.finish()[0] == 0


def test_a_poller_that_cannot_wait_is_an_error_and_no_spin() -> None:
    server = web.Server(web.App(), "127.0.0.1", 0)
    ours, client = socket.socketpair()
    with client:
        server.adopt(ours)
        os.close(server.fileno())
        with pytest.raises(OSError, match="the poller cannot wait"):
            server.run_once(0)
        server.close()
