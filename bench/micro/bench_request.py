"""Request and Response as a handler touches them: first reads (each on a fresh Request), later reads, makers.

make bench ARGS="-k request"
"""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from web import Request, Response

RAW = (
    b"POST /users/42/edit?tab=main&lang=en HTTP/1.1\r\n"
    b"Host: www.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 27\r\n"
    b"Connection: keep-alive\r\n"
    b"Cookie: session=0123456789abcdef\r\n"
    b"\r\n"
)
BODY = b'{"name": "me", "age": 42.5}'

READS: dict[str, Callable[[Request], object]] = {
    "nothing": lambda req: None,
    "method": lambda req: req.method,
    "path": lambda req: req.path,
    "query": lambda req: req.query["lang"],
    "headers": lambda req: req.headers["cookie"],
    "header": lambda req: req.header("cookie"),
    "host": lambda req: req.host,
    "body": lambda req: req.body,
    "text": lambda req: req.text(),
    "json": lambda req: req.json(),
    "params": lambda req: req.params,
    "state": lambda req: req.state,
}


@pytest.mark.benchmark(group="request: made, and one read")
@pytest.mark.parametrize("name", READS)
def test_first_read(benchmark: BenchmarkFixture, name: str) -> None:
    """Subtract "nothing", which is parsing and the call."""
    read = READS[name]

    def once() -> None:
        read(Request(RAW, BODY))

    benchmark(once)


@pytest.mark.benchmark(group="request: a later read")
@pytest.mark.parametrize("name", ["method", "path", "query", "headers", "body", "params"])
def test_later_read(benchmark: BenchmarkFixture, name: str) -> None:
    request = Request(RAW, BODY)
    benchmark(READS[name], request)


BASE = Response.text("Hello", headers={"Vary": "Accept"})

MAKERS: dict[str, Callable[[], Response]] = {
    "text": lambda: Response.text("Hello"),
    "text, headers": lambda: Response.text("Hello", headers={"Cache-Control": "no-store"}),
    "json": lambda: Response.json({"hello": "world"}),
    "bytes": lambda: Response.bytes(b"Hello"),
    "empty": Response.empty,
    "redirect": lambda: Response.redirect("/login"),
    "file": lambda: Response.file("/srv/public/site.css"),
    "with_header": lambda: BASE.with_header("X-Request-Id", "0123456789abcdef"),
    "with_status": lambda: BASE.with_status(201),
}


@pytest.mark.benchmark(group="response: made")
@pytest.mark.parametrize("name", MAKERS)
def test_make_response(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(MAKERS[name])
