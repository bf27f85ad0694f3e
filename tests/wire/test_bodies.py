"""Bodies of requests: Content-Length and chunked (RFC 9112 6, 7), Expect (RFC 9110 10.1.1), clients that half-close."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import ExitStack
from zlib import crc32

import pytest

import web
from tests.wire.clients import TlsPeer, chunked, request
from tests.wire.sites import Embed, Hits, Serve

HELLO = web.GET("/", lambda req: "hello")
ECHO = web.POST("/echo", lambda req: req.body)
CHUNKED = "Transfer-Encoding: chunked\r\n"
CONTINUE = "Expect: 100-continue\r\n"


@pytest.mark.parametrize("size", [0, 1, 1023, 16384, 65543, 1 << 20])
def test_content_length(serve: Serve, size: int) -> None:
    body = os.urandom(size)
    peer = serve(ECHO, HELLO).connect()
    wire = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + body
    peer.send(wire + request())  # what follows a body is the next request, and not a byte less
    assert peer.answer().body == body
    assert peer.answer().body == b"hello"


def test_a_body_larger_than_what_is_made_at_once(serve: Serve) -> None:
    body = os.urandom((16 << 20) + 1)
    peer = serve(web.POST("/", lambda req: [len(req.body), crc32(req.body)]), HELLO, body=32 << 20).connect()
    peer.send(request("/", "POST", body=body) + request())
    assert peer.answer().body == f"[{len(body)},{crc32(body)}]".encode()
    assert peer.answer().body == b"hello"


def test_a_body_in_pieces_between_other_requests(embed: Embed) -> None:
    """The object for it is made while the answer before is under way, and the input holds what follows."""
    site = embed(ECHO, HELLO)
    body = os.urandom(40_000)
    wire = request() + request("/echo", "POST", body=body) + request()
    with site.connect() as peer:
        for cut in (50, 100, 120, 150, 5000, 39_000, len(wire) - 30, len(wire) - 1):
            for part in (wire[:cut], wire[cut:]):
                peer.send(part)
                site.settle()
            assert [peer.answer().body for _ in range(3)] == [b"hello", body, b"hello"], cut


def test_what_a_handler_kept_of_a_body_stays(embed: Embed) -> None:
    kept: list[tuple[web.Request, bytes]] = []

    def keep(req: web.Request) -> str:
        assert req.body is req.body
        kept.append((req, req.body))
        return "kept"

    site = embed(web.POST("/", keep))
    bodies = [bytes([n]) * 50_000 for n in range(3)]
    with site.connect() as peer:
        for body in bodies:
            peer.send(request("/", "POST", body=body))
            site.settle()
            assert peer.answer().body == b"kept"
    assert [body for _, body in kept] == bodies
    assert [req.body for req, _ in kept] == bodies


@pytest.mark.no_asan  # its allocator keeps what is freed
@pytest.mark.parametrize("rest", [b"", b"b", b"b" * 100_000])
def test_what_was_announced_and_never_came_is_given_back(embed: Embed, rest: bytes) -> None:
    size = 1 << 18  # the most that is kept in memory
    site = embed(ECHO)
    tracemalloc.start()
    try:
        with ExitStack() as peers:
            for _ in range(10):
                peer = peers.enter_context(site.connect())
                peer.send(request("/echo", "POST", f"Content-Length: {size}\r\n") + rest)
                site.settle()
            assert tracemalloc.get_traced_memory()[0] > 10 * size
        site.settle()
        assert site.server.connections == 0
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [1, 7, 4096, 100_000])
def test_chunked(serve: Serve, piece: int) -> None:
    body = os.urandom(min(300_000, piece * 2000))
    chunks = [body[at : at + piece] for at in range(0, len(body), piece)]
    peer = serve(ECHO, HELLO).connect()
    peer.send(request("/echo", "POST", CHUNKED) + chunked(*chunks) + request())
    assert peer.answer().body == body
    assert peer.answer().body == b"hello"


def test_chunked_split_at_every_byte(embed: Embed) -> None:
    site = embed(ECHO, HELLO)
    body = b"5;a=b\r\nhello\r\n00B\r\n, the world\r\n0\r\nX-T: t\r\n\r\n"
    wire = request("/echo", "POST", CHUNKED) + body + request()
    with site.connect() as peer:
        for cut in range(1, len(wire)):
            for part in (wire[:cut], wire[cut:]):
                peer.send(part)
                site.settle()
            assert peer.answer().body == b"hello, the world", cut
            assert peer.answer().body == b"hello", cut
        for at in range(len(wire)):
            peer.send(wire[at : at + 1])
            site.settle()
        assert peer.answer().body == b"hello, the world"
        assert peer.answer().body == b"hello"


def test_an_empty_chunked_body(serve: Serve) -> None:
    peer = serve(ECHO).connect()
    peer.send(request("/echo", "POST", CHUNKED) + b"0\r\n\r\n" + request("/echo", "POST", body=b"next"))
    assert [peer.answer().body for _ in range(2)] == [b"", b"next"]


def test_trailers_are_dropped(serve: Serve) -> None:
    peer = serve(web.POST("/", lambda req: dict(req.headers.items()))).connect()
    trailers = b"X-Secret: yes\r\nContent-Length: 5\r\nHost: other\r\n"
    for _ in range(2):
        peer.send(request("/", "POST", CHUNKED) + chunked(b"x", trailers=trailers))
        answer = peer.answer()
        assert answer.status == 200
        assert b"secret" not in answer.body.lower()
        assert b"other" not in answer.body


def test_a_get_may_have_a_body(serve: Serve) -> None:
    peer = serve(web.GET("/", lambda req: req.body)).connect()
    peer.send(request(body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n") + request(body=b"2"))
    assert peer.answer().body.startswith(b"GET /smuggled")
    assert peer.answer().body == b"2"


def test_the_body_of_a_request_without_a_handler_is_read(serve: Serve) -> None:
    peer = serve(HELLO).connect()
    body = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    for wire in (request("/nowhere", "POST", body=body), request("/nowhere", "POST", CHUNKED) + chunked(body)):
        peer.send(wire + request())
        assert peer.answer().status == 404
        assert peer.answer().body == b"hello"
    assert peer.buffer == b""


def test_a_body_behind_another_request_in_one_record(embed: Embed) -> None:
    """What was decrypted together is read together, also where a body begins in the middle of it."""
    site = embed(HELLO, ECHO)
    for size in (100, 3000, 5000, 9000, 15_000):
        with site.connect() as peer:
            first, second = request(), request("/echo", "POST", body=b"b" * size)
            peer.send(first[:10])
            site.settle()
            peer.send(first[10:] + second)
            assert peer.answer().body == b"hello"
            assert peer.answer().body == b"b" * size


# -- Expect: 100-continue ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 4\r\n", CHUNKED])
def test_a_client_that_waits_is_told_to_go_on(embed: Embed, framing: str) -> None:
    site = embed(ECHO)
    body = chunked(b"body") if framing == CHUNKED else b"body"
    with site.connect() as peer:
        for _ in range(3):
            peer.send(request("/echo", "POST", CONTINUE + framing))
            assert peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            site.settle()
            assert peer.buffer == b""
            peer.send(body)
            answer = peer.answer()
            assert (answer.status, answer.body) == (200, b"body")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (request("/echo", "POST", CONTINUE), b""),
        (request("/echo", "POST", CONTINUE + "Content-Length: 0\r\n"), b""),
        (b"POST /echo HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", b"body"),
    ],
    ids=["no body", "empty body", "HTTP/1.0"],
)
def test_who_does_not_wait_is_not_told(embed: Embed, head: bytes, body: bytes) -> None:
    site = embed(ECHO)
    with site.connect() as peer:
        peer.send(head)
        site.settle()  # whatever is said to the head alone has been said now
        peer.send(body)
        assert peer.head().startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("sent", [1, 4])
def test_who_sends_the_body_at_once_is_not_told(embed: Embed, sent: int) -> None:
    site = embed(ECHO)
    with site.connect() as peer:
        peer.send(request("/echo", "POST", CONTINUE + "Content-Length: 4\r\n") + b"body"[:sent])
        site.settle()
        peer.send(b"body"[sent:])
        assert peer.answer().body == b"body"


def test_go_on_comes_after_earlier_answers(serve: Serve) -> None:
    peer = serve(HELLO, ECHO).connect()
    peer.send(request() + request("/echo", "POST", CONTINUE + "Content-Length: 4\r\n"))
    assert peer.answer().body == b"hello"
    assert peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"body" + request())
    assert [peer.answer().body for _ in range(2)] == [b"body", b"hello"]


def test_another_expectation_is_417(serve: Serve) -> None:
    hits = Hits()
    site = serve(web.POST("/", hits))
    peer = site.connect()
    peer.send(request("/", "POST", "Expect: 200-ok\r\n", b"body") + request("/", "POST"))
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (417, "close")
    assert peer.rest() == b""
    assert not hits.paths


def test_a_body_that_is_too_large_is_refused_without_go_on(serve: Serve) -> None:
    peer = serve(ECHO, body=10).connect()
    peer.send(request("/echo", "POST", CONTINUE + "Content-Length: 11\r\n"))
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (413, "close")
    assert peer.rest() == b""


# -- clients that half-close -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 33, 100])
def test_a_client_that_half_closes_gets_its_answers(serve: Serve, count: int) -> None:
    site = serve(web.GET("/n/:i", lambda req, params: params["i"]), ECHO)
    peer = site.connect()
    peer.send(b"".join(request(f"/n/{i}") for i in range(count)) + request("/echo", "POST", CHUNKED) + chunked(b"last"))
    peer.half_close()
    assert [peer.answer().body for _ in range(count)] == [str(i).encode() for i in range(count)]
    assert peer.answer().body == b"last"
    assert peer.rest() == b""
    assert peer.clean_end
    peer.close()
    site.await_closed("done")


def test_a_large_answer_to_a_client_that_half_closes(serve: Serve) -> None:
    content = os.urandom(3_000_000)
    peer = serve(web.GET("/", lambda req: content)).connect(receive_buffer=4096)
    peer.send(request())
    peer.half_close()
    assert peer.answer().body == content
    assert peer.rest() == b""
    assert peer.clean_end


def test_tls_close_notify_together_with_fin(serve_tls: Serve) -> None:
    peer = serve_tls(HELLO).connect()
    assert isinstance(peer, TlsPeer)
    peer.send(request())
    peer.close_notify()
    peer.sock.shutdown(1)
    assert peer.answer().body == b"hello"
    assert peer.rest() == b""
    assert peer.clean_end


@pytest.mark.parametrize(
    "cut",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        request("/echo", "POST", "Content-Length: 5\r\n") + b"1234",
        request("/echo", "POST", CHUNKED) + b"5\r\n12345\r\n0\r\n",
    ],
    ids=["method", "head", "length", "chunked"],
)
def test_half_of_a_request_is_never_run(serve: Serve, cut: bytes) -> None:
    hits = Hits()
    site = serve(web.route(["GET", "POST"], "*", hits))
    peer = site.connect()
    peer.send(cut)
    peer.half_close()
    assert peer.rest() == b""
    site.await_closed("peer_left")
    assert not hits.paths
    assert site.counter("requests") == 0
