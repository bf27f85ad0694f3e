"""Streamed answers, in every way in which a handler runs: framing, the producer's pace and end, failures midway."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import web
from tests.wire.clients import Answer, Peer, eventually, request
from tests.wire.sites import Embed, Serve, Site

Items = list[str | bytes]
OK = web.GET("/ok", lambda req: "ok")
LARGE = b"x" * 1000


def plain(items: Callable[[], Iterator[str | bytes]]) -> web.routing.Handler:
    return lambda req: items()


def as_async(items: Callable[[], Iterator[str | bytes]]) -> web.routing.Handler:
    async def handler(req: web.Request) -> AsyncIterator[str | bytes]:
        for item in items():
            await asyncio.sleep(0)
            yield item

    return handler


def plain_in_task(items: Callable[[], Iterator[str | bytes]]) -> web.routing.Handler:
    async def handler(req: web.Request) -> Iterator[str | bytes]:
        return items()

    return handler


class Way:
    """A way to produce: makes a route of a function that gives items."""

    def __init__(self, make: Callable[[Any], web.routing.Handler], **options: Any) -> None:
        self.make = make
        self.options = options

    def get(self, path: str, items: Callable[[], Iterator[str | bytes]]) -> web.routing.Route:
        return web.GET(path, self.make(items), **self.options)


WAYS = {
    "loop": Way(plain),
    "thread": Way(plain, blocking=True),
    "async generator": Way(as_async),
    "iterator in a task": Way(plain_in_task),
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    chosen = request.param
    assert isinstance(chosen, Way)
    return chosen


def chunks(peer: Peer) -> tuple[bytes, list[bytes]]:
    """(head, chunks) of a chunked answer, whose trailer is empty."""
    head = peer.head()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert b"Content-Length" not in head
    found: list[bytes] = []
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += peer.exactly(1)
        size = int(line, 16)
        data = peer.exactly(size + 2)
        assert data.endswith(b"\r\n")
        if size == 0:
            return head, found
        found.append(data[:-2])


def items_of(items: Items) -> Callable[[], Iterator[str | bytes]]:
    return lambda: iter(items)


# -- framing -----------------------------------------------------------------------------------------------------------


def test_each_item_is_a_chunk_and_the_connection_goes_on(serve: Serve, way: Way) -> None:
    peer = serve(OK, way.get("/", items_of(["a", "", b"bc", "ü", b"", b"x" * 50_000]))).connect()
    for _ in range(3):
        peer.send(request("/") + request("/ok"))
        head, found = chunks(peer)
        assert found == [b"a", b"bc", "ü".encode(), b"x" * 50_000]
        assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in head
        assert b"Connection" not in head
        assert peer.answer().body == b"ok"


@pytest.mark.parametrize("items", [[], [b""], ["", b"", ""]])
def test_nothing_at_all_is_a_whole_answer(serve: Serve, way: Way, items: Items) -> None:
    peer = serve(OK, way.get("/", items_of(items))).connect()
    peer.send(request("/") + request("/ok"))
    assert chunks(peer)[1] == []
    assert peer.answer().body == b"ok"


def test_the_first_item_decides_the_type(serve: Serve, way: Way) -> None:
    peer = serve(way.get("/", items_of([b"a", "b"]))).connect()
    peer.send(request("/"))
    assert b"\r\nContent-Type: application/octet-stream\r\n" in chunks(peer)[0]


def test_http_1_0_gets_the_end_of_the_connection(serve: Serve, way: Way) -> None:
    peer = serve(way.get("/", items_of(["a", b"b" * 50_000]))).connect()
    peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head = peer.head()
    assert b"\r\nConnection: close\r\n" in head
    assert b"chunked" not in head
    assert peer.rest() == b"a" + b"b" * 50_000


def test_connection_close_is_still_chunked(serve: Serve, way: Way) -> None:
    peer = serve(way.get("/", items_of(["a", "b"]))).connect()
    peer.send(request("/", fields="Connection: close\r\n"))
    head, found = chunks(peer)
    assert b"\r\nConnection: close\r\n" in head
    assert (found, peer.rest()) == ([b"a", b"b"], b"")


def test_head_has_no_body_and_ends_the_producer(serve: Serve, way: Way) -> None:
    ended = threading.Event()

    def items() -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            ended.set()

    peer = serve(OK, way.get("/", items)).connect()
    peer.send(request("/", "HEAD") + request("/ok"))
    assert b"\r\nTransfer-Encoding: chunked\r\n" in peer.head()
    assert peer.answer().body == b"ok"
    assert ended.wait(10)


@pytest.mark.parametrize("options", [{}, {"blocking": True}])
def test_a_promised_length_is_said(serve: Serve, options: dict[str, Any]) -> None:
    def handler(req: web.Request) -> web.Response:
        return web.Response.stream([b"ab", b"c" * 40_000], "text/css", status=201, headers={"X-A": "b"}, length=40_002)

    peer = serve(OK, web.GET("/", handler, **options)).connect()
    for _ in range(2):
        answer = peer.ask("/")
        assert (answer.status, answer["Content-Type"], answer["X-A"]) == (201, "text/css", "b")
        assert (answer["Content-Length"], answer["Transfer-Encoding"]) == ("40002", None)
        assert answer.body == b"ab" + b"c" * 40_000


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_failure_before_the_first_item_is_a_500(serve: Serve, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    def items() -> Iterator[str]:
        raise ZeroDivisionError
        yield "x"

    peer = serve(OK, way.get("/", items)).connect()
    assert peer.ask("/").status == 500
    assert peer.ask("/ok").status == 200
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_failure_midway_never_looks_whole(
    serve: Serve, way: Way, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    def items() -> Iterator[str]:
        yield "first"
        raise ZeroDivisionError

    site = serve(OK, way.get("/", items))
    peer = site.connect()
    peer.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    assert not looks_whole(peer, version)
    eventually(lambda: caplog.records, "the failure is logged")
    assert "in the middle of GET /" in caplog.records[0].getMessage()
    site.await_closed("handler")
    assert site.connect().ask("/ok").status == 200


def looks_whole(peer: Peer, version: str) -> bool:
    """Whether a client would take what came for the whole answer."""
    data = b""
    try:
        while part := peer.receive():
            data += part
    except (ConnectionError, OSError):
        return False
    return version == "1.0" or data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("options", [{}, {"blocking": True}])
@pytest.mark.parametrize("length", [3, 5])
def test_a_promise_that_does_not_come_true(
    serve: Serve, options: dict[str, Any], length: int, caplog: pytest.LogCaptureFixture
) -> None:
    site = serve(web.GET("/", lambda req: web.Response.stream(["ab", "cd"], length=length), **options))
    peer = site.connect()
    peer.send(request("/"))
    with suppress(ConnectionError):
        body = peer.rest().partition(b"\r\n\r\n")[2]
        assert len(body) < length
    eventually(lambda: caplog.records, "it is logged")
    assert "promised" in str(caplog.records[0].exc_info)


@pytest.mark.parametrize("item", [7, None, {"a": 1}])
def test_what_is_no_text_and_no_bytes(serve: Serve, way: Way, item: Any, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(way.get("/first", items_of([item])), way.get("/later", items_of(["x", item])))
    assert site.connect().ask("/first").status == 500
    peer = site.connect()
    peer.send(request("/later"))
    assert not looks_whole(peer, "1.1")
    eventually(lambda: len(caplog.records) == 2, "both are logged")
    for record in caplog.records:
        assert "yield str or bytes" in str(record.exc_info)


# -- its pace ----------------------------------------------------------------------------------------------------------


def keep_little(req: web.Request) -> None:
    """The kernel takes 32 KiB of the answer before it says that there is no room; else it would take megabytes."""
    with socket.fromfd(req.connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)


def test_a_client_that_does_not_read_pauses_the_producer(serve: Serve, way: Way) -> None:
    produced = 0

    def items() -> Iterator[bytes]:
        nonlocal produced
        for _ in range(3_000):
            produced += 1
            yield LARGE

    site = serve(OK, web.before(keep_little), way.get("/", items), response_grace=1000.0)
    peer = site.connect(receive_buffer=4096)
    peer.send(request("/"))
    peer.head()
    settled(lambda: produced)
    assert produced < 500  # 500 KB: what the kernel holds of the connection, 64 KiB, and a few items
    assert site.connect().ask("/ok").status == 200
    read = 0
    for chunk in reading(peer):
        read += len(chunk)
    assert read == 3_000 * len(LARGE)
    assert produced == 3_000


def settled(number: Callable[[], int]) -> None:
    """Waits until it does not grow any more: not within a tenth of a second."""
    before = -1
    while number() != before:
        before = number()
        time.sleep(0.1)


def reading(peer: Peer) -> Iterator[bytes]:
    """The chunks that come, in large reads."""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += peer.exactly(1)
        size = int(line, 16)
        data = peer.exactly(size + 2)[:-2]
        if size == 0:
            return
        yield data


def test_an_endless_stream_leaves_others_their_turn(serve: Serve, way: Way) -> None:
    def items() -> Iterator[bytes]:
        while True:
            yield LARGE

    site = serve(OK, way.get("/", items))
    greedy = site.connect()
    greedy.send(request("/"))
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set() and greedy.receive():
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            assert site.connect().ask("/ok").status == 200
    finally:
        stop.set()
        reader.join()


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_ends_the_producer(serve: Serve, way: Way, leave: Callable[[Peer], None]) -> None:
    ended = threading.Semaphore(0)

    def items() -> Iterator[bytes]:
        try:
            while True:
                yield LARGE
        finally:
            ended.release()

    site = serve(OK, way.get("/", items))
    for _ in range(5):
        peer = site.connect(receive_buffer=4096)
        peer.send(request("/"))
        peer.head()
        leave(peer)
        assert ended.acquire(timeout=10)
    site.await_connections(0)
    eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_stream_that_outlives_its_client_goes_on_to_its_end(serve: Serve, leave: Callable[[Peer], None]) -> None:
    """Whether the client leaves before the head or after it; and then nothing of it is left."""
    gates = {"/before": threading.Event(), "/after": threading.Event()}
    made: list[str] = []

    async def handler(req: web.Request) -> AsyncIterator[str]:
        if req.path == "/after":
            yield "first"
        await asyncio.to_thread(gates[req.path].wait)
        for number in range(100):
            made.append(f"{req.path} {number}")
            yield "x" * 10_000

    site = serve(web.GET("*", handler, cancel_on_disconnect=False))
    for path, gate in gates.items():
        peer = site.connect()
        peer.send(request(path))
        eventually(lambda: site.server.stats()["requests_pending"] == 1, "the handler runs")
        if path == "/after":
            peer.head()
        leave(peer)
        if leave is Peer.reset:  # else it looks like a client that still reads, until something is sent
            site.await_connections(0)
        gate.set()
        eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")
        assert made.pop() == f"{path} 99"
        site.await_connections(0)


@pytest.mark.parametrize("options", [{}, {"blocking": True}])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_midway_never_looks_whole(options: dict[str, Any], failure: type[BaseException]) -> None:
    def items() -> Iterator[str]:
        yield "first"
        raise failure

    server = web.Server(web.App(web.GET("/", lambda req: items(), **options)), "127.0.0.1", 0)

    def ask() -> None:
        with server.running(), socket.create_connection(("127.0.0.1", server.port)) as sock:
            peer = Peer(sock)
            peer.send(request("/"))
            assert not looks_whole(peer, "1.1")

    with pytest.raises(failure):
        ask()


@pytest.mark.parametrize("name", ["loop", "thread", "iterator in a task"])
def test_a_producer_that_somebody_else_holds_is_closed_too(serve: Serve, name: str) -> None:
    kept: list[Iterator[bytes]] = []
    ended = threading.Event()

    def items() -> Iterator[bytes]:
        try:
            while True:
                yield LARGE
        finally:
            ended.set()

    def keep() -> Iterator[bytes]:
        kept.append(items())
        return kept[-1]

    site = serve(WAYS[name].get("/", keep))
    peer = site.connect(receive_buffer=4096)
    peer.send(request("/"))
    peer.head()
    peer.close()
    assert ended.wait(10)


def test_a_client_that_leaves_while_the_producer_waits(serve: Serve) -> None:
    ended = threading.Event()

    async def handler(req: web.Request) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.sleep(1000)
        finally:
            ended.set()

    site = serve(web.GET("/", handler))
    peer = site.connect()
    peer.send(request("/"))
    peer.head()
    peer.close()
    assert ended.wait(10)
    eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")


def test_slow_items_come_as_they_are_made(serve: Serve) -> None:
    gate = threading.Semaphore(0)

    def items() -> Iterator[str]:
        for number in range(3):
            gate.acquire()
            yield f"{number}"

    site = serve(web.GET("/", lambda req: items(), blocking=True))
    peer = site.connect()
    peer.send(request("/"))
    gate.release()
    peer.head()
    assert peer.exactly(6) == b"1\r\n0\r\n"
    gate.release()
    assert peer.exactly(6) == b"1\r\n1\r\n"
    gate.release()
    assert peer.exactly(11) == b"1\r\n2\r\n0\r\n\r\n"


def test_what_nobody_takes_is_not_made(embed: Embed) -> None:
    """Within a turn, too: the socket's buffers, what is queued behind them, and one item."""
    produced = 0

    def items() -> Iterator[bytes]:
        nonlocal produced
        for _ in range(20_000):
            produced += 1
            yield LARGE

    site = embed(web.GET("/", lambda req: items()))
    with site.connect() as peer:
        peer.send(request("/"))
        site.settle()
        assert produced < 1500


def test_many_at_once_are_all_whole(serve: Serve, way: Way) -> None:
    """Each of them is paused, goes on and ends within the others' turns."""
    site = serve(web.before(keep_little), way.get("/", items_of([5 * LARGE] * 60)), threads=8)
    found: list[int] = []

    def fetch() -> None:
        peer = site.connect(receive_buffer=4096)
        for _ in range(2):
            peer.send(request("/"))
            found.append(sum(map(len, chunks(peer)[1])))

    threads = [threading.Thread(target=fetch) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [300 * len(LARGE)] * 40


def test_slow_producers_do_not_keep_a_turn_from_its_end(embed: Embed) -> None:
    """What comes back to the list of a turn, because it was sent in the middle of it, is for the next turn."""
    produced = 0

    def items() -> Iterator[bytes]:
        nonlocal produced
        for _ in range(300):
            produced += 1
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass
            yield b"x"

    site = embed(web.GET("/", lambda req: items()))
    with site.connect() as one, site.connect() as other:
        for peer in (one, other):
            peer.send(request("/"))
        for _ in range(5):
            site.server.run_once(0)
        assert 0 < produced < 50


def test_one_turn_at_a_time(embed: Embed) -> None:
    site = embed(OK, web.GET("/", lambda req: iter([LARGE] * 500)))
    with site.connect() as peer:
        peer.send(request("/") + request("/ok"))
        assert len(chunks(peer)[1]) == 500
        assert peer.answer().body == b"ok"


# -- hooks, and what cannot be streamed --------------------------------------------------------------------------------


def test_after_hooks_see_it_and_may_replace_it(serve: Serve, way: Way) -> None:
    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        assert resp.is_streamed == (req.path != "/ok")
        if req.path == "/other":
            return web.Response.stream(["other"])
        return resp.with_header("X-Marked", "yes")

    peer = serve(OK, way.get("/", items_of(["a"])), way.get("/other", items_of(["b"])), web.after(mark)).connect()
    peer.send(request("/") + request("/other"))
    head, found = chunks(peer)
    assert b"\r\nX-Marked: yes\r\n" in head
    assert (found, chunks(peer)[1]) == ([b"a"], [b"other"])


def test_a_stream_is_sent_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    once = web.Response.stream(["a"])
    peer = serve(web.GET("/", lambda req: once)).connect()
    peer.send(request("/") + request("/"))
    assert chunks(peer)[1] == [b"a"]
    assert peer.answer().status == 500
    assert "sent once" in str(caplog.records[0].exc_info)


def test_an_async_iterator_needs_an_async_handler(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def items() -> AsyncIterator[str]:
        yield "a"

    peer = serve(web.GET("/", lambda req: items())).connect()
    assert peer.ask("/").status == 500
    assert "declare the handler with async def" in str(caplog.records[0].exc_info)


@pytest.mark.parametrize("producer", ["text", b"bytes", {"a": 1}, 7, None])
def test_what_cannot_be_streamed_is_told(producer: Any) -> None:
    with pytest.raises(TypeError, match=r"Response.stream\(\)"):
        web.Response.stream(producer)


def test_an_open_file_is_for_response_file() -> None:
    with open(__file__) as file, pytest.raises(TypeError, match=r"Response\.file"):
        web.Response.stream(file)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_no_stream_where_no_body_is(status: int) -> None:
    with pytest.raises(ValueError, match="no body"):
        web.Response.stream(["a"], status=status)


def test_a_stop_lets_it_finish(serve: Serve, way: Way) -> None:
    begun, gate = threading.Event(), threading.Event()

    def items() -> Iterator[str]:
        yield "a"
        begun.set()
        if way is not WAYS["loop"]:
            while not gate.is_set():
                yield ""
        yield "b"

    site = serve(way.get("/", items), shutdown_grace=1000.0)
    peer = site.connect()
    peer.send(request("/"))
    assert begun.wait(10)
    site.server.stop()
    gate.set()
    assert chunks(peer)[1] == [b"a", b"b"]
    assert peer.rest() == b""


def client_of(site: Site) -> Answer:
    """The standard library's client reads it, too."""
    import http.client
    import ssl

    sock = socket.create_connection(("127.0.0.1", site.server.port))
    connection = http.client.HTTPConnection("localhost")
    connection.sock = sock
    if site.certificate is not None:
        context: ssl.SSLContext = site.certificate.client
        connection.sock = context.wrap_socket(sock, server_hostname="localhost")
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return Answer(answer.status, answer.getheaders(), body)


def test_with_the_standard_librarys_client(serve: Serve, way: Way) -> None:
    assert client_of(serve(way.get("/", items_of([LARGE] * 300)))).body == LARGE * 300
