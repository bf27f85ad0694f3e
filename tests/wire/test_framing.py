"""Framing that is ambiguous is refused with 400, and whatever lies behind it is never run as a request (RFC 9112 6.3).

Classes 1, 2 and 7 of the faults that servers of this kind have had. The parser has its own tests; here it is the whole
server that must answer once, say "Connection: close", and end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import web
from tests.wire.clients import Peer, request
from tests.wire.sites import Embed, Hits, Serve

TE = "Transfer-Encoding: chunked\r\n"
SMUGGLED = request("/smuggled")


def post(fields: str, body: bytes = b"") -> bytes:
    return request("/", "POST", fields, b"") + body


def get(fields: str) -> bytes:
    return b"GET / HTTP/1.1\r\n" + fields.encode("latin-1") + b"\r\n"


# What is sent, and the status of the one answer; each is followed by a request that must not run.
BAD: dict[str, tuple[bytes, int]] = {
    "length and coding": (post("Content-Length: 4\r\n" + TE, b"0\r\n\r\n"), 400),
    "coding and length": (post(TE + "Content-Length: 5\r\n", b"0\r\n\r\n"), 400),
    "chunked twice": (post("Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400),
    "chunked in two fields": (post(TE + TE, b"0\r\n\r\n"), 400),
    "chunked not last": (post("Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), 400),
    "identity": (post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    "unknown coding": (post("Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), 400),  # RFC 9112 6.3: chunked is not last
    "gzip, chunked": (post("Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 501),
    "obscured coding": (post("Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400),
    "quoted coding": (post('Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), 400),
    "coding with a parameter": (post("Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"), 400),
    "empty coding": (post("Transfer-Encoding:\r\n", b"0\r\n\r\n"), 400),
    "space before colon": (post("Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), 400),
    "underscores in a name are another name": (post("Transfer_Encoding: chunked\r\nHost: b\r\n"), 400),
    "coding in HTTP/1.0": (b"POST / HTTP/1.0\r\nHost: a\r\n" + TE.encode() + b"\r\n0\r\n\r\n", 400),
    "length with plus": (post("Content-Length: +5\r\n", b"12345"), 400),
    "length with minus": (post("Content-Length: -5\r\n", b"12345"), 400),
    "length with underscore": (post("Content-Length: 0_5\r\n", b"12345"), 400),
    "length with space": (post("Content-Length: 0 5\r\n", b"12345"), 400),
    "length in hexadecimal": (post("Content-Length: 0x5\r\n", b"12345"), 400),
    "length in other digits": (post("Content-Length: \xb2\r\n", b"12"), 400),
    "length is empty": (post("Content-Length: \r\n"), 400),
    "lengths that differ": (post("Content-Length: 5\r\nContent-Length: 6\r\n", b"12345"), 400),
    "lengths that are equal": (post("Content-Length: 5\r\nContent-Length: 5\r\n", b"12345"), 400),
    "a list of lengths": (post("Content-Length: 5, 5\r\n", b"12345"), 400),
    "length of 2**63": (post("Content-Length: 9223372036854775808\r\n"), 400),
    "length of 2**64 + 5": (post("Content-Length: 18446744073709551621\r\n", b"12345"), 400),
    "LF ends lines": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "LF ends the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "LF ends a field": (get("Host: a\r\nX: y\nZ: z\r\n"), 400),
    "LF ends the head": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "CR in a value": (get("Host: a\r\nX: y\rTransfer-Encoding: chunked\r\n"), 400),
    "CR CR LF": (get("Host: a\r\r\n"), 400),
    "NUL in a value": (get("Host: a\r\nX: y\0z\r\n"), 400),
    "NUL in a name": (get("Host: a\r\nX\0: y\r\n"), 400),
    "folded field": (get("Host: a\r\nX: y\r\n z\r\n"), 400),
    "folded first field": (get(" X: y\r\nHost: a\r\n"), 400),
    "field without colon": (get("Host: a\r\nX\r\n"), 400),
    "field without name": (get("Host: a\r\n: y\r\n"), 400),
    "name that is no token": (get("Host: a\r\nX(y): z\r\n"), 400),
    "no Host": (get("X: y\r\n"), 400),
    "two Hosts": (get("Host: a\r\nHost: a\r\n"), 400),
    "two names in Host": (get("Host: a, b\r\n"), 400),
    "path in Host": (get("Host: a/../smuggled\r\n"), 400),
    "query in Host": (get("Host: a?b\r\n"), 400),
    "user in Host": (get("Host: me@a\r\n"), 400),
    "fragment in Host": (get("Host: a#b\r\n"), 400),
    "port in Host is no number": (get("Host: a:8o\r\n"), 400),
    "no version": (b"GET /\r\nHost: a\r\n\r\n", 400),
    "version in lower case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab for space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment in the target": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "relative target": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk for GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "byte of 8 bits in the target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method is no token": (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two empty lines": (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "LF before the request": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "ClientHello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "chunk size with prefix": (post(TE, b"0x1\r\na\r\n0\r\n\r\n"), 400),
    "chunk size with plus": (post(TE, b"+1\r\na\r\n0\r\n\r\n"), 400),
    "chunk size with minus": (post(TE, b"-1\r\na\r\n0\r\n\r\n"), 400),
    "chunk size with underscore": (post(TE, b"0_1\r\na\r\n0\r\n\r\n"), 400),
    "chunk size with space before": (post(TE, b" 1\r\na\r\n0\r\n\r\n"), 400),
    "chunk size is empty": (post(TE, b"\r\na\r\n0\r\n\r\n"), 400),
    "chunk size is no number": (post(TE, b"g\r\na\r\n0\r\n\r\n"), 400),
    "chunk size of 2**64 + 1": (post(TE, b"10000000000000001\r\na\r\n0\r\n\r\n"), 400),
    "chunk size ends in LF": (post(TE, b"1\na\r\n0\r\n\r\n"), 400),
    "extension ends in LF": (post(TE, b"1;x\na\r\n0\r\n\r\n"), 400),
    "extension with CR": (post(TE, b"1;x\ry\r\na\r\n0\r\n\r\n"), 400),
    "chunk longer than its size": (post(TE, b"1\r\nab\r\n0\r\n\r\n"), 400),
    "chunk ends in LF": (post(TE, b"1\r\na\n0\r\n\r\n"), 400),
    "last chunk ends in LF": (post(TE, b"1\r\na\r\n0\n\r\n"), 400),
    "trailer without colon": (post(TE, b"0\r\nX\r\n\r\n"), 400),
    "trailer ends in LF": (post(TE, b"0\r\nX: y\n\r\n"), 400),
    "folded trailer": (post(TE, b"0\r\nX: y\r\n z\r\n\r\n"), 400),
}


def assert_refused(peer: Peer, status: int) -> None:
    """One answer, that says that it is the last, and the end: no reset, no second answer."""
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (status, "close")
    assert answer.body.isascii()
    assert answer.body
    assert peer.rest() == b""
    assert peer.clean_end


@pytest.fixture
def hits() -> Iterator[Hits]:
    hits = Hits()
    yield hits
    assert "/smuggled" not in hits.paths


@pytest.mark.parametrize("name", BAD)
def test_refused_and_nothing_is_smuggled(serve: Serve, hits: Hits, name: str) -> None:
    wire, status = BAD[name]
    peer = serve(web.route(["GET", "POST"], "*", hits)).connect()
    assert peer.ask("/first").status == 200
    peer.send(wire + SMUGGLED)
    assert_refused(peer, status)
    assert hits.paths == ["/first"]


def test_the_same_in_pieces(embed: Embed, hits: Hits) -> None:
    """However the bytes are cut: a verdict that depends on it is how two servers come to disagree."""
    site = embed(web.route(["GET", "POST"], "*", hits))
    for wire, status in BAD.values():
        with site.connect() as peer:
            for at in range(len(wire)):
                peer.send(wire[at : at + 1])
                site.settle()
            peer.send(SMUGGLED)
            assert_refused(peer, status)
    assert hits.paths == []


def test_pipelined_behind_good_requests(serve: Serve, hits: Hits) -> None:
    site = serve(web.route(["GET", "POST"], "*", hits))
    for name in ("length and coding", "two Hosts", "chunk size with plus", "LF ends a field"):
        wire, status = BAD[name]
        peer = site.connect()
        peer.send(request("/good") * 35 + wire + SMUGGLED)
        assert [peer.answer().body for _ in range(35)] == [b"ran"] * 35
        assert_refused(peer, status)
        hits.paths.clear()


def test_what_is_refused_is_counted(serve: Serve, hits: Hits) -> None:
    site = serve(web.route(["GET", "POST"], "*", hits))
    for wire, status in (BAD["two Hosts"], BAD["chunk size with plus"]):
        peer = site.connect()
        peer.send(wire)
        assert_refused(peer, status)
        peer.close()
    site.await_closed("bad_request", 2)
    assert site.counter("requests_refused") == 2
