"""The HTTP/1 parser, the chunked decoder and the head writer beside httptools (llhttp) and h11.

    make bench ARGS="-k http1"

The requests are as a browser, curl and an API client send them. In the groups `http1 request` each parser hands one
request to Python, its fields included; in the group `in C` the parts run alone, IN_C times in one call. Compare within
one run only.
"""

from collections.abc import Callable
from typing import Any

import h11
import httptools
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.messages import BROWSER, CHUNKED, CURL, HEADERS, PIECES, REQUESTS
from web.hotpath import ChunkedDecoder, RequestParser, response_head, response_head_repeat

Rate = Callable[[str, int, int], None]  # the fixture: name, bytes, times

IN_C = 1000
IN_C_GROUP = f"http1 in C: {IN_C} times in one call"

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED


class Collector:
    """What a server must keep of httptools' callbacks in order to know the request."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def by_ours(head: bytes, body: bytes) -> tuple[str, bytes, int]:
    parser = RequestParser()
    request = parser.feed(head + body)
    assert request is not None
    assert parser.unused == body
    return request.method, request.target, len(request.headers)


def by_httptools(head: bytes, body: bytes) -> tuple[str, bytes, int]:
    collector = Collector()
    parser = httptools.HttpRequestParser(collector)
    parser.feed_data(head + body)
    assert collector.complete
    return parser.get_method().decode(), collector.url, len(collector.headers)


def by_h11(head: bytes, body: bytes) -> tuple[str, bytes, int]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + body)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    return request.method.decode(), request.target, len(request.headers)


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("parse", [by_ours, by_httptools, by_h11])
def test_request(benchmark: BenchmarkFixture, rate: Rate, kind: str, parse: Any) -> None:
    head, body = REQUESTS[kind]
    benchmark.group = f"http1 request: {kind}, {len(head)} bytes of head"
    method, target, fields = benchmark(parse, head, body)
    assert f"{method} ".encode() + target + b" HTTP/1.1" == head.partition(b"\r\n")[0]
    assert fields == head.count(b"\r\n") - 2
    rate(f"request head: {kind}, {parse.__name__}", len(head), 1)


@pytest.mark.parametrize("kind", REQUESTS)
def test_request_in_c(benchmark: BenchmarkFixture, rate: Rate, kind: str) -> None:
    head, body = REQUESTS[kind]
    benchmark.group = IN_C_GROUP
    benchmark.name = f"request head: {kind}, {len(head)} bytes"
    assert benchmark(RequestParser().repeat, head + body, IN_C) == len(head)
    rate(f"request head: {kind}, in C", len(head), IN_C)


@pytest.mark.parametrize("parse", [by_ours, by_httptools, by_h11])
def test_byte_by_byte(benchmark: BenchmarkFixture, parse: Any) -> None:
    """A client that sends single bytes: the worst that resuming can cost."""
    benchmark.group = "http1 request: browser, byte by byte"
    feeds = {by_ours: feed_ours, by_httptools: feed_httptools, by_h11: feed_h11}
    benchmark(feeds[parse], [BROWSER[i : i + 1] for i in range(len(BROWSER))])


def feed_ours(pieces: list[bytes]) -> None:
    parser = RequestParser()
    for piece in pieces[:-1]:
        assert parser.feed(piece) is None
    assert parser.feed(pieces[-1]) is not None


def feed_httptools(pieces: list[bytes]) -> None:
    collector = Collector()
    parser = httptools.HttpRequestParser(collector)
    for piece in pieces:
        parser.feed_data(piece)
    assert collector.complete


def feed_h11(pieces: list[bytes]) -> None:
    connection = h11.Connection(h11.SERVER)
    for piece in pieces:
        assert connection.next_event() is h11.NEED_DATA
        connection.receive_data(piece)
    assert isinstance(connection.next_event(), h11.Request)


def test_chunked(benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"http1 chunked: {len(PIECES)} chunks of {len(PIECES[0])} bytes"
    benchmark.name = "ours"
    assert benchmark(lambda: ChunkedDecoder().feed(CHUNKED)) == b"".join(PIECES)


def test_chunked_in_c(benchmark: BenchmarkFixture, rate: Rate) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"chunked body: {len(PIECES)} chunks of {len(PIECES[0])} bytes"
    assert benchmark(ChunkedDecoder().repeat, CHUNKED, IN_C) == sum(map(len, PIECES))
    rate("chunked body, in C", len(CHUNKED), IN_C)


def test_chunked_httptools(benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"http1 chunked: {len(PIECES)} chunks of {len(PIECES[0])} bytes"

    def decode() -> bytes:
        collector = Collector()
        httptools.HttpRequestParser(collector).feed_data(CHUNKED_POST)
        return collector.body

    benchmark.name = "httptools, with a head"
    assert benchmark(decode) == b"".join(PIECES)


def test_response_head(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "http1 response head"
    benchmark.name = "ours"
    assert benchmark(response_head, 200, HEADERS).endswith(b"weblatch\r\n\r\n")


def test_response_head_in_c(benchmark: BenchmarkFixture, rate: Rate) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"response head: {len(HEADERS)} fields"
    size = len(response_head(200, HEADERS))
    assert benchmark(response_head_repeat, 200, HEADERS, IN_C) == size
    rate("response head, in C", size, IN_C)


def test_response_head_h11(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "http1 response head"

    def write() -> bytes | None:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(CURL)
        connection.next_event()
        return connection.send(h11.Response(status_code=200, reason=b"OK", headers=HEADERS))

    benchmark.name = "h11, with reading a request"
    assert benchmark(write)
