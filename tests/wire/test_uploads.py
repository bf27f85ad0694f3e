"""Bodies that are too large for memory, that a route grants more or less room, and that a route reads as they come."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

import web
from tests.wire.clients import Peer, chunked, eventually, request
from tests.wire.sites import Embed, Serve, open_fds
from web.bodies import open_spool

CHUNKED = "Transfer-Encoding: chunked\r\n"
MIB = 1 << 20
OK = web.GET("/ok", lambda req: "ok")
ECHO = web.POST("/", lambda req: req.body)


def framed(body: bytes, framing: str, path: str = "/", piece: int = 60_000) -> bytes:
    if framing == "length":
        return request(path, "POST", body=body)
    return request(path, "POST", CHUNKED) + chunked(*(body[at : at + piece] for at in range(0, len(body), piece)))


def send_and_leave_nothing(peer: Peer, data: bytes) -> threading.Thread:
    """Sends in a thread of its own, as far as the server lets it."""

    def send() -> None:
        with suppress(OSError):
            peer.sock.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


# -- in a file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [262_143, 262_144, 262_145, 500_000, MIB])
def test_a_large_body_is_whole(serve: Serve, framing: str, size: int) -> None:
    body = os.urandom(size)
    before = open_fds()
    site = serve(OK, ECHO, blocking_queue=0)
    peer = site.connect()
    for _ in range(3):
        peer.send(framed(body, framing) + request("/ok"))
        assert peer.answer().body == body
        assert peer.answer().body == b"ok"
    peer.close()
    site.await_connections(0)
    site.server.stop(0)
    eventually(lambda: open_fds() <= before + 8, "the files are closed")


@pytest.mark.parametrize("options", [{}, {"blocking": True}])
@pytest.mark.parametrize("size", [10, 300_000])
def test_it_is_a_file_for_who_asks(serve: Serve, options: dict[str, Any], size: int) -> None:
    body = os.urandom(size)

    def parts(req: web.Request) -> bytes:
        with req.body_file() as first, req.body_file() as second:
            head = first.read(5)
            assert second.read(3) == head[:3]
            second.seek(-2, os.SEEK_END)
            assert first.seek(2) == 2
            return head + first.read() + second.read()

    peer = serve(web.POST("/", parts, **options)).connect()
    peer.send(framed(body, "length"))
    assert peer.answer().body == body[:5] + body[2:] + body[-2:]


def test_seeking_in_its_file() -> None:
    """Past the buffer of the BufferedReader that is around it, too."""
    content = os.urandom(1000)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        spool = SimpleNamespace(fileno=file.fileno, size=len(content))
        raw = open_spool(spool).detach()  # type: ignore[arg-type]
        assert raw.seek(10) == 10
        assert raw.seek(5, os.SEEK_CUR) == 15
        assert raw.read(3) == content[15:18]
        assert raw.seek(-2, os.SEEK_CUR) == 16
        assert raw.seek(-4, os.SEEK_END) == 996
        assert raw.read(10) == content[-4:]
        for offset, whence in ((-1, os.SEEK_SET), (-1001, os.SEEK_CUR), (-1001, os.SEEK_END)):
            with pytest.raises(ValueError, match="before the beginning of the body"):
                raw.seek(offset, whence)
        assert raw.tell() == 1000


def test_a_request_that_is_kept_keeps_its_file(serve: Serve) -> None:
    kept: list[web.Request] = []
    bodies = [os.urandom(300_000) for _ in range(3)]

    def keep(req: web.Request) -> str:
        kept.append(req)
        return "kept"

    peer = serve(web.POST("/", keep)).connect()
    for body in bodies:
        peer.send(framed(body, "chunked"))
        assert peer.answer().body == b"kept"
    assert [req.body for req in kept] == bodies


def test_one_turn_at_a_time_and_nothing_is_left(embed: Embed) -> None:
    site = embed(ECHO)
    body = os.urandom(400_000)
    before = open_fds()
    for cut in (0, 1, 1000, 262_144, 300_000, 399_999):
        with site.connect() as peer:
            peer.send(request("/", "POST", f"Content-Length: {len(body)}\r\n") + body[:cut])
            site.settle()
    site.settle()
    assert open_fds() == before
    assert not [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("weblatch-")]


def test_where_there_is_no_room_for_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere at all")
    site = serve(OK, ECHO)
    peer = site.connect()
    sender = send_and_leave_nothing(peer, framed(b"x" * 300_000, "length")) if not site.is_tls else None
    if sender is None:
        peer.send(framed(b"x" * 300_000, "length"))
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (503, "close")
    assert b"no room to keep the body" in answer.body
    assert "/nowhere at all: No such file or directory" in caplog.text
    if sender is not None:
        sender.join()
    assert site.connect().ask("/ok").status == 200


# -- limits of routes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/more", 3000, 200), ("/more", 3001, 413), ("/less", 10, 200), ("/less", 11, 413), ("/", 1000, 200),
     ("/", 1001, 413), ("/nowhere", 1001, 413), ("/nowhere", 1000, 404)],
)  # fmt: skip
def test_what_a_route_grants(serve: Serve, framing: str, path: str, size: int, status: int) -> None:
    site = serve(
        ECHO,
        web.POST("/more", lambda req: req.body, max_body=3000),
        web.POST("/less", lambda req: req.body, max_body=10),
        body=1000,
    )
    body = os.urandom(size)
    whole = framed(body, framing, path)
    for cut in (len(whole), len(whole) - 1, whole.index(b"\r\n\r\n") + 4):
        peer = site.connect()
        peer.send(whole[:cut])
        peer.send(whole[cut:])
        answer = peer.answer()
        assert answer.status == status
        if status == 200:
            assert answer.body == body
        elif status == 413:
            assert answer["Connection"] == "close"
            assert peer.rest() == b""
        peer.close()  # else the server waits for that
    eventually(lambda: site.closed("bad_request") == (3 if status == 413 else 0), "each refusal is one")
    assert site.server.stats()["requests_refused"] == (3 if status == 413 else 0)


def test_who_asks_first_is_refused_before_it_sends(serve: Serve) -> None:
    site = serve(ECHO, web.POST("/more", lambda req: req.body, max_body=3000), body=1000)
    expect = "Expect: 100-continue\r\nContent-Length: 2000\r\n"
    peer = site.connect()
    peer.send(request("/", "POST", expect))
    assert peer.answer().status == 413
    peer = site.connect()
    peer.send(request("/more", "POST", expect))
    assert peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"x" * 2000)
    assert peer.answer().body == b"x" * 2000


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, 2**60])
def test_strange_limits_are_told(value: Any) -> None:
    with pytest.raises(web.RouteError, match="max_body="):
        web.POST("/", lambda req: "", max_body=value)


# -- as it comes -------------------------------------------------------------------------------------------------------


async def digest_async(req: web.Request) -> str:
    found, pieces = hashlib.sha256(), 0
    async for piece in req.stream():
        assert piece
        pieces += 1
        found.update(piece)
    return f"{found.hexdigest()}"


def digest(req: web.Request) -> str:
    found = hashlib.sha256()
    for piece in req.stream():
        assert piece
        found.update(piece)
    return found.hexdigest()


STREAMS = {
    "task": web.POST("/", digest_async, stream=True, max_body=1 << 40),
    "thread": web.POST("/", digest, stream=True, blocking=True, max_body=1 << 40),
}


@pytest.fixture(params=list(STREAMS))
def streaming(request: pytest.FixtureRequest) -> web.routing.Route:
    return STREAMS[request.param]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 5000, 262_144, 3 * MIB])
def test_all_of_it_comes(serve: Serve, streaming: web.routing.Route, framing: str, size: int) -> None:
    body = os.urandom(size)
    peer = serve(OK, streaming).connect()
    for _ in range(2):
        peer.send(framed(body, framing) + request("/ok"))
        assert peer.answer().body.decode() == hashlib.sha256(body).hexdigest()
        assert peer.answer().body == b"ok"


def test_many_at_once(serve: Serve, streaming: web.routing.Route) -> None:
    site = serve(streaming, threads=8)
    body = os.urandom(600_000)
    found: list[str] = []

    def send() -> None:
        peer = site.connect()
        for framing in ("length", "chunked"):
            peer.send(framed(body, framing, piece=5000))
            found.append(peer.answer().body.decode())

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(body).hexdigest()] * 40


def test_byte_by_byte(serve: Serve, streaming: web.routing.Route) -> None:
    body = os.urandom(100)
    peer = serve(streaming).connect()
    for byte in framed(body, "chunked", piece=7):
        peer.send(bytes([byte]))
    assert peer.answer().body.decode() == hashlib.sha256(body).hexdigest()


def test_the_handler_is_called_before_the_body_is_here(serve: Serve) -> None:
    seen: list[bytes] = []
    gate = threading.Semaphore(0)

    def handler(req: web.Request) -> str:
        gate.release()
        for piece in req.stream():
            seen.append(piece)
            gate.release()
        return "end"

    peer = serve(web.POST("/", handler, stream=True, blocking=True)).connect()
    peer.send(request("/", "POST", "Content-Length: 6\r\n"))
    assert gate.acquire(timeout=10)
    for piece in (b"ab", b"cd", b"ef"):
        peer.send(piece)
        assert gate.acquire(timeout=10)
    assert peer.answer().body == b"end"
    assert b"".join(seen) == b"abcdef"


def test_a_handler_that_does_not_read_stops_its_client(serve_plain: Serve) -> None:
    gate, sent = threading.Event(), [0]

    def handler(req: web.Request) -> str:
        gate.wait()
        return digest(req)

    size = 30 * MIB
    body = os.urandom(MIB) * 30
    site = serve_plain(OK, web.POST("/", handler, stream=True, blocking=True, max_body=size), body_grace=1000.0)
    peer = site.connect()

    def send() -> None:
        peer.send(request("/", "POST", f"Content-Length: {size}\r\n"))
        for at in range(0, size, 65536):
            peer.send(body[at : at + 65536])
            sent[0] += 65536

    sender = threading.Thread(target=send)
    sender.start()
    eventually(lambda: site.server.stats()["bytes_received"] > 262_144, "some of it is here")
    settled = -1
    while settled != (settled := sent[0]):
        for _ in range(20):
            assert site.connect().ask("/ok").status == 200
    assert site.server.stats()["bytes_received"] < 2 * MIB
    assert sent[0] < size
    gate.set()
    assert peer.answer().body.decode() == hashlib.sha256(body).hexdigest()
    sender.join()


def test_a_client_that_leaves(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    begun: list[str] = []
    ended: list[BaseException] = []

    def wait(req: web.Request) -> str:
        begun.append(req.path)
        try:
            return digest(req)
        except BaseException as error:
            ended.append(error)
            raise

    async def wait_async(req: web.Request) -> str:
        begun.append(req.path)
        try:
            return await digest_async(req)
        except BaseException as error:
            ended.append(error)
            raise

    site = serve(
        web.POST("/thread", wait, stream=True, blocking=True),
        web.POST("/task", wait_async, stream=True),
    )
    for number, path in enumerate(("/thread", "/task", "/thread", "/task"), 1):
        peer = site.connect()
        peer.send(request(path, "POST", "Content-Length: 600\r\n") + b"x" * 10)
        # a client that leaves before its handler has a thread is dropped without a call
        eventually(lambda number=number: len(begun) == number, "it waits")  # type: ignore[misc]
        peer.close()
        eventually(lambda number=number: len(ended) == number, "the handler hears of it")  # type: ignore[misc]
        eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")
    names = [type(error).__name__ for error in ended]
    assert names == ["ClientDisconnected", "CancelledError"] * 2
    assert caplog.records == []


@pytest.mark.parametrize(
    ("body", "status"), [(b"5\r\nhelloX", 400), (b"zz\r\n", 400), (b"7\r\n1234567\r\n4\r\n8901\r\n", 413)]
)
def test_what_is_no_body_is_told_to_the_handler(serve: Serve, body: bytes, status: int) -> None:
    """HTTPError comes out of the iterator, and is the answer where nobody catches it."""
    site = serve(
        web.POST("/thread", digest, stream=True, blocking=True, max_body=10),
        web.POST("/task", digest_async, stream=True, max_body=10),
    )
    for path in ("/thread", "/task"):
        peer = site.connect()
        peer.send(request(path, "POST", CHUNKED) + body)
        answer = peer.answer()
        assert (answer.status, answer["Connection"]) == (status, "close")


def test_a_handler_that_answers_early(serve: Serve) -> None:
    site = serve(web.POST("/", lambda req: ("no", 403), stream=True, blocking=True))
    peer = site.connect()
    peer.send(request("/", "POST", "Content-Length: 100000\r\n") + b"x" * 1000)
    answer = peer.answer()
    assert (answer.status, answer.body, answer["Connection"]) == (403, b"no", "close")


def test_a_body_that_comes_too_slowly(serve: Serve) -> None:
    site = serve(STREAMS["task"], body_grace=0.1, body_min_rate=1000)
    peer = site.connect()
    peer.send(request("/", "POST", "Content-Length: 1000\r\n") + b"x")
    with suppress(ConnectionError):
        assert peer.rest() == b""
    site.await_closed("body_slow")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_both_ways_at_once(serve: Serve, framing: str) -> None:
    async def echo(req: web.Request) -> AsyncIterator[bytes]:
        async for piece in req.stream():
            yield piece

    def echo_thread(req: web.Request) -> Iterator[bytes]:
        yield from req.stream()

    body = os.urandom(2 * MIB)
    site = serve(
        web.POST("/task", echo, stream=True, max_body=10 * MIB),
        web.POST("/thread", echo_thread, stream=True, blocking=True, max_body=10 * MIB),
    )
    for path in ("/task", "/thread"):
        peer = site.connect()
        if site.is_tls:
            body = body[:100_000]  # its client is one thread's: it sends all before it reads
        sender = threading.Thread(target=peer.send, args=(framed(body, framing, path),))
        sender.start()
        if site.is_tls:
            sender.join()
        head = peer.head()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        assert dechunked(peer) == body
        sender.join()


def dechunked(peer: Peer) -> bytes:
    data = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += peer.exactly(1)
        piece = peer.exactly(int(line, 16) + 2)
        if int(line, 16) == 0:
            return data
        data += piece[:-2]


def test_a_whole_body_can_be_read_in_pieces_too(serve: Serve) -> None:
    for size in (0, 10, 300_000):
        body = os.urandom(size)
        site = serve(web.POST("/", digest), web.POST("/task", digest_async))
        for path in ("/", "/task"):
            peer = site.connect()
            peer.send(framed(body, "length", path))
            assert peer.answer().body.decode() == hashlib.sha256(body).hexdigest()


def test_mistakes_are_told(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def by_for(req: web.Request) -> str:
        return str(list(req.stream()))

    async def by_body(req: web.Request) -> bytes:
        return req.body

    site = serve(web.POST("/for", by_for, stream=True), web.POST("/body", by_body, stream=True))
    for path, words in (("/for", "read by async for"), ("/body", "read its body by req.stream()")):
        peer = site.connect()
        peer.send(request(path, "POST", "Content-Length: 10\r\n"))
        assert peer.answer().status == 500
        assert words in str(caplog.records[-1].exc_info)


def test_a_plain_handler_cannot_read_what_comes() -> None:
    with pytest.raises(web.RouteError, match=r"stream=True is for an async handler, or with blocking=True"):
        web.POST("/", digest, stream=True)
