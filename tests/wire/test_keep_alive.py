"""Persistent connections: order, framing and end of answers (RFC 9112 9), and the methods that need no handler."""

from __future__ import annotations

import email.utils
import re
import time

import pytest

import web
from tests.wire.clients import request
from tests.wire.sites import Embed, Hits, Serve

HELLO = web.GET("/", lambda req: "hello")
NUMBER = web.GET("/n/:i", lambda req, params: params["i"])
ECHO = web.POST("/echo", lambda req: req.body)


def test_one_connection_serves_many_requests(serve: Serve) -> None:
    site = serve(NUMBER)
    peer = site.connect()
    for i in range(50):
        answer = peer.ask(f"/n/{i}")
        assert (answer.status, answer.body, answer["Connection"]) == (200, str(i).encode(), None)
    assert (site.counter("accepted"), site.counter("requests")) == (1, 50)


@pytest.mark.parametrize("count", [1, 2, 33, 200])
def test_pipelined_requests_are_answered_in_order(serve: Serve, count: int) -> None:
    peer = serve(NUMBER, ECHO).connect()
    wave = [request(f"/n/{i}") if i % 3 else request("/echo", "POST", body=str(i).encode()) for i in range(count)]
    for _ in range(2):  # the connection is as good as new after a wave
        peer.send(b"".join(wave))
        assert [peer.answer().body for _ in wave] == [str(i).encode() for i in range(count)]
    assert peer.buffer == b""


def test_pipelined_heads_and_gets(serve: Serve) -> None:
    peer = serve(NUMBER).connect()
    peer.send(b"".join(request(f"/n/{i}", "HEAD" if i % 2 else "GET") for i in range(40)))
    for i in range(40):
        answer = peer.answer(to_head=i % 2 == 1)
        assert answer["Content-Length"] == str(len(str(i)))
        assert answer.body == (b"" if i % 2 else str(i).encode())


def test_requests_that_are_split_at_every_byte(embed: Embed) -> None:
    site = embed(NUMBER, ECHO)
    wire = request("/n/1", fields="X-Long: value\r\n") + request("/echo", "POST", body=b"body") + request("/n/2")
    with site.connect() as peer:
        for cut in range(1, len(wire)):
            for part in (wire[:cut], wire[cut:]):
                peer.send(part)
                site.settle()
            assert [peer.answer().body for _ in range(3)] == [b"1", b"body", b"2"], cut
            assert peer.buffer == b"", cut


def test_requests_that_come_one_byte_at_a_time(embed: Embed) -> None:
    site = embed(NUMBER, ECHO)
    wire = request("/n/1") + request("/echo", "POST", body=b"body") + request("/n/2")
    with site.connect() as peer:
        for at in range(len(wire)):
            peer.send(wire[at : at + 1])
            site.settle()
        assert [peer.answer().body for _ in range(3)] == [b"1", b"body", b"2"]


def test_a_wave_whose_end_comes_later(embed: Embed) -> None:
    site = embed(NUMBER)
    wire = b"".join(request(f"/n/{i}") for i in range(100))
    with site.connect() as peer:
        for cut in range(len(wire) - 60, len(wire)):
            peer.send(wire[:cut])
            site.settle()
            peer.send(wire[cut:])
            assert [peer.answer().body for _ in range(100)] == [str(i).encode() for i in range(100)]


def test_empty_lines_before_a_request(serve: Serve) -> None:
    peer = serve(HELLO).connect()
    for _ in range(3):  # RFC 9112 2.2: one is ignored
        peer.send(b"\r\n" + request())
        assert peer.answer().status == 200


# -- which connections persist (RFC 9112 9.3) --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "field", "said", "persists"),
    [
        ("1.1", "", None, True),
        ("1.1", "Connection: keep-alive\r\n", None, True),
        ("1.1", "Connection: close\r\n", "close", False),
        ("1.1", "connection: Foo, CLOSE\r\n", "close", False),
        ("1.1", "Connection: keep-alive, close\r\n", "close", False),
        ("1.0", "", "close", False),
        ("1.0", "Connection: keep-alive\r\n", "keep-alive", True),
        ("1.0", "Connection: Keep-Alive\r\n", "keep-alive", True),
        ("1.0", "Connection: close\r\n", "close", False),
        ("1.0", "Connection: close, keep-alive\r\n", "close", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_persistence(serve: Serve, method: str, version: str, field: str, said: str | None, persists: bool) -> None:
    hits = Hits()
    site = serve(web.GET("*", hits))
    peer = site.connect()
    peer.send(f"{method} /first HTTP/{version}\r\nHost: a\r\n{field}\r\n".encode() + request("/second"))
    first = peer.answer(to_head=method == "HEAD")
    assert (first.status, first["Content-Length"], first["Connection"]) == (200, "3", said)
    if persists:
        assert peer.answer().body == b"ran"
        assert hits.paths == ["/first", "/second"]
    else:
        assert peer.rest() == b""
        assert peer.clean_end
        assert hits.paths == ["/first"]  # what was pipelined behind it is never run
        peer.close()
        site.await_closed("done")


def test_requests_per_connection(serve: Serve) -> None:
    hits = Hits()
    site = serve(web.GET("*", hits), requests_per_connection=3)
    for peer in (site.connect(), site.connect()):
        hits.paths.clear()
        peer.send(b"".join(request(f"/n/{i}") for i in range(6)))
        assert [peer.answer()["Connection"] for _ in range(3)] == [None, None, "close"]
        assert peer.rest() == b""
        assert hits.paths == ["/n/0", "/n/1", "/n/2"]


# -- what is answered without a handler --------------------------------------------------------------------------------


def test_head_is_like_get_without_the_content(serve: Serve) -> None:
    peer = serve(HELLO).connect()
    head, get = peer.ask(method="HEAD"), peer.ask()
    without_date = [[(k, v) for k, v in a.headers if k != "Date"] for a in (head, get)]
    assert without_date[0] == without_date[1]
    assert (head.body, get.body) == (b"", b"hello")


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("POST", "/", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/echo", 405, "POST, OPTIONS"),
        ("HEAD", "/echo", 405, "POST, OPTIONS"),
        ("GET", "/nowhere", 404, None),
        ("POST", "/nowhere", 404, None),
        ("OPTIONS", "/", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "*", 204, "GET, HEAD, POST, OPTIONS"),
        ("STIR", "/", 501, None),
        ("GET", "http://elsewhere/", 200, None),
        ("CONNECT", "localhost:443", 404, None),
    ],
)
def test_methods_and_paths(serve: Serve, method: str, target: str, status: int, allow: str | None) -> None:
    peer = serve(HELLO, ECHO).connect()
    for _ in range(2):
        answer = peer.ask(target, method)
        assert (answer.status, answer["Allow"], answer["Connection"]) == (status, allow, None)
        assert (answer["Content-Length"] is None) == (status == 204)


def test_an_upgrade_to_h2c_is_ignored(serve: Serve) -> None:
    peer = serve(HELLO).connect()
    settings = "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    answer = peer.ask(fields=f"Upgrade: h2c\r\n{settings}Connection: Upgrade, HTTP2-Settings\r\n")
    assert (answer.status, answer.body, answer["Upgrade"]) == (200, b"hello", None)


@pytest.mark.parametrize("target", ["/", "/nowhere", "/raises"])
def test_date_and_server(serve: Serve, target: str) -> None:
    site = serve(HELLO, web.GET("/raises", lambda req: str(1 // 0)))
    before = int(time.time())
    answer = site.connect().ask(target)
    assert answer["Server"] == "weblatch"
    date = answer["Date"]
    assert date is not None
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    # the loop stamps a turn when it begins
    assert before - 1 <= email.utils.parsedate_to_datetime(date).timestamp() <= time.time()


def test_the_server_header_can_be_turned_off(serve: Serve) -> None:
    peer = serve(HELLO, server_header=False).connect()
    assert peer.ask()["Server"] is None
    peer.send(b"bad\r\n\r\n")
    assert peer.answer()["Server"] is None
