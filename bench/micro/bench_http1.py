"""The HTTP/1 parser, the chunked decoder and the head writer beside httptools (llhttp) and h11.

    make bench ARGS="-k http1"

The requests are as a browser, curl and an API client send them. In the groups `http1 request` each parser hands one
request to Python, its fields included; in the group `in C` the parts run alone, IN_C times in one call. Compare within
one run only.
"""

from typing import Any

import h11
import httptools
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from web.hotpath import ChunkedDecoder, RequestParser, response_head, response_head_repeat

BROWSER = (
    b"GET /products/list?page=2&sort=price HTTP/1.1\r\n"
    b"Host: shop.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 "
    b"Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-User: ?1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Referer: https://shop.example.com/products\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08; theme=dark; consent=1\r\n"
    b"\r\n"
)
CURL = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
API_BODY = b'{"name":"weblatch","tags":["server","tls"],"count":3}'
API = (
    b"POST /api/v1/items HTTP/1.1\r\n"
    b"Host: api.example.com\r\n"
    b"Accept-Encoding: gzip, deflate\r\n"
    b"Accept: application/json\r\n"
    b"Connection: keep-alive\r\n"
    b"User-Agent: python-httpx/0.28.1\r\n"
    b"Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n" % len(API_BODY)
)
REQUESTS = {"browser": (BROWSER, b""), "curl": (CURL, b""), "api": (API, API_BODY)}
IN_C = 1000
IN_C_GROUP = f"http1 in C: {IN_C} times in one call"

PIECES = [b"x" * 100] * 50
CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in PIECES) + b"0\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED
HEADERS = [
    ("Content-Type", "application/json"),
    ("Content-Length", "27"),
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Server", "weblatch"),
]


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
def test_request(benchmark: BenchmarkFixture, kind: str, parse: Any) -> None:
    head, body = REQUESTS[kind]
    benchmark.group = f"http1 request: {kind}, {len(head)} bytes of head"
    method, target, fields = benchmark(parse, head, body)
    assert f"{method} ".encode() + target + b" HTTP/1.1" == head.partition(b"\r\n")[0]
    assert fields == head.count(b"\r\n") - 2


@pytest.mark.parametrize("kind", REQUESTS)
def test_request_in_c(benchmark: BenchmarkFixture, kind: str) -> None:
    head, body = REQUESTS[kind]
    benchmark.group = IN_C_GROUP
    benchmark.name = f"request head: {kind}, {len(head)} bytes"
    assert benchmark(RequestParser().repeat, head + body, IN_C) == len(head)


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


def test_chunked_in_c(benchmark: BenchmarkFixture) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"chunked body: {len(PIECES)} chunks of {len(PIECES[0])} bytes"
    assert benchmark(ChunkedDecoder().repeat, CHUNKED, IN_C) == sum(map(len, PIECES))


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


def test_response_head_in_c(benchmark: BenchmarkFixture) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"response head: {len(HEADERS)} fields"
    assert benchmark(response_head_repeat, 200, HEADERS, IN_C) == len(response_head(200, HEADERS))


def test_response_head_h11(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "http1 response head"

    def write() -> bytes | None:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(CURL)
        connection.next_event()
        return connection.send(h11.Response(status_code=200, reason=b"OK", headers=HEADERS))

    benchmark.name = "h11, with reading a request"
    assert benchmark(write)
