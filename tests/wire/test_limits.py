"""Limits of size: the right status each, what is exactly at the limit passes, what never ends is cut off.

An answer to a request that was not read to its end is readable all the same: the server lingers (RFC 9112 9.6).
"""

from __future__ import annotations

import pytest

import web
from tests.wire.clients import TlsPeer, chunked, request
from tests.wire.sites import Embed, Hits, Serve, Site

ECHO = web.POST("*", lambda req: req.body)
OK = web.GET("*", lambda req: "ok")
TE = "Transfer-Encoding: chunked\r\n"
SMALL = {"request_line": 100, "field": 200, "fields": 1000, "field_count": 10, "body": 5000}


def line_of(length: int) -> bytes:
    """A request whose request line has that many bytes."""
    return b"GET /" + b"a" * (length - len("GET / HTTP/1.1")) + b" HTTP/1.1\r\nHost: a\r\n\r\n"


def field_of(length: int) -> bytes:
    return request(fields=f"X: {'v' * (length - 3)}\r\n")


def fields_of(total: int) -> bytes:
    """All field lines together, with their CRLFs."""
    left = total - len("Host: localhost\r\n")
    lines = ""
    while left > 0:
        size = left if left <= 200 else 150
        lines += f"X: {'v' * (size - 5)}\r\n"
        left -= size
    return request(fields=lines)


def many_fields(count: int) -> bytes:
    return request(fields="X: y\r\n" * (count - 1))


def body_of(length: int) -> bytes:
    return request("/", "POST", body=b"b" * length)


def chunks_of(length: int) -> bytes:
    whole, left = divmod(length, 100)
    return request("/", "POST", TE) + chunked(*[b"b" * 100] * whole, *[b"b" * left] * (left > 0))


def extensions_of(length: int) -> bytes:
    """Chunk extensions of a whole body, each with its semicolon."""
    first = length // 2
    rest = b";" + b"y" * (length - first - 1)
    return request("/", "POST", TE) + b"1;" + b"x" * (first - 1) + b"\r\na\r\n1" + rest + b"\r\na\r\n0\r\n\r\n"


def trailer_of(length: int) -> bytes:
    return request("/", "POST", TE) + chunked(b"a", trailers=b"X: " + b"v" * (length - 3) + b"\r\n")


@pytest.mark.parametrize(
    ("make", "limit", "status"),
    [
        (line_of, 100, 414),
        (field_of, 200, 431),
        (fields_of, 1000, 431),
        (many_fields, 10, 431),
        (body_of, 5000, 413),
        (trailer_of, 200, 431),
        (extensions_of, 200, 400),
    ],
)
def test_at_the_limit_and_past_it(serve: Serve, make: object, limit: int, status: int) -> None:
    assert callable(make)
    peer = serve(OK, ECHO, **SMALL).connect()
    for _ in range(2):
        peer.send(make(limit))
        assert peer.answer().status == 200
    peer.send(make(limit + 1) + request())
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (status, "close")
    assert peer.rest() == b""
    assert peer.clean_end


def test_a_chunked_body_at_the_limit_and_past_it(serve: Serve) -> None:
    site = serve(OK, ECHO, **SMALL)
    peer = site.connect()
    peer.send(chunks_of(5000) + chunks_of(4999))
    assert [len(peer.answer().body) for _ in range(2)] == [5000, 4999]
    peer.send(chunks_of(5001) + request())
    assert peer.answer().status == 413
    assert peer.rest() == b""


# -- what never ends (Go CVE-2023-39326, Node CVE-2024-22019, aiohttp CVE-2026-22815) ----------------------------------


def status_of_endless(site: Site, opening: bytes, more: bytes) -> int:
    """Sends an opening, then the same again and again until the server takes no more; the status that it answers."""
    peer = site.connect()
    peer.send(opening)
    piece = more * (4096 // len(more))
    for _ in range(2000):  # far past any limit, far from for ever
        if peer.buffer or site.counter("requests_refused"):
            break
        peer.send_raw(peer.sealed(piece) if isinstance(peer, TlsPeer) else piece)
    else:
        raise AssertionError("the server takes whatever comes")
    answer = peer.answer()
    peer.close()
    return answer.status


PLACES = ["method", "target", "name", "fields", "value"]
PLACES += ["extension", "extensions", "chunks", "size", "trailers", "trailer"]


@pytest.mark.parametrize(
    ("opening", "more", "status"),
    [
        (b"", b"G", 414),
        (b"GET /", b"a", 414),
        (b"GET / HTTP/1.1\r\n", b"X", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"y", 431),
        (request("/", "POST", TE) + b"1;", b"x", 400),
        (request("/", "POST", TE), b"1;extension=xxxxx\r\na\r\n", 400),
        (request("/", "POST", TE), b"1\r\na\r\n", 413),
        (request("/", "POST", TE) + b"0", b"0", 400),
        (request("/", "POST", TE) + b"0\r\n", b"X: y\r\n", 431),
        (request("/", "POST", TE) + b"0\r\nX: ", b"y", 431),
    ],
    ids=PLACES,
)
def test_what_never_ends_is_refused(serve: Serve, opening: bytes, more: bytes, status: int) -> None:
    hits = Hits()
    site = serve(web.route(["GET", "POST"], "*", hits), body=20_000, fields=9000)
    assert status_of_endless(site, opening, more) == status
    assert not hits.paths


def test_many_small_chunks_cost_little_memory_and_are_whole(embed: Embed) -> None:
    site = embed(ECHO)
    with site.connect() as peer:
        peer.send(request("/", "POST", TE))
        for _ in range(100):
            peer.send(b"1\r\na\r\n" * 100)
            site.settle()
        peer.send(b"0\r\n\r\n")
        assert peer.answer().body == b"a" * 10_000


# -- lingering close ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_early_refusal_is_readable_by_who_sends_all_of_the_body_first(serve: Serve, framing: str) -> None:
    site = serve(ECHO, body=1000)
    peer = site.connect()
    body = b"b" * 3_000_000
    wire = request("/", "POST", body=body) if framing == "length" else request("/", "POST", TE) + chunked(body)
    peer.send(wire)  # neither blocks for ever nor is reset
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (413, "close")
    assert peer.rest() == b""
    assert peer.clean_end
    peer.close()
    site.await_closed("bad_request")


def test_a_refused_head_is_readable_behind_much_more(serve: Serve) -> None:
    peer = serve(OK).connect()
    peer.send(b"bad request\r\n" + b"x" * 3_000_000)
    assert peer.answer().status == 400
    assert peer.rest() == b""


def test_the_last_answer_is_readable_by_who_sends_more_requests(serve: Serve) -> None:
    peer = serve(OK).connect()
    peer.send(request(fields="Connection: close\r\n") + request() * 50_000)
    assert peer.answer().body == b"ok"
    assert peer.rest() == b""


def test_lingering_ends(serve: Serve) -> None:
    site = serve(OK, linger_timeout=0.1)
    peer = site.connect()
    assert peer.ask(fields="Connection: close\r\n").status == 200
    assert peer.rest() == b""
    site.await_closed("linger_timeout")  # the client never ends; the server does
    assert site.server.connections == 0
