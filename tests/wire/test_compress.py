"""web.compress on the wire, plain and under TLS: curl and http.client decode it; streams arrive item by item, and a
coded stream ends, fails and is closed as any other."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import os
import random
import shutil
import subprocess
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import foreign_environment
from tests.test_content_codings import Decoder
from tests.wire.clients import HANG, Peer, eventually, request
from tests.wire.sites import Serve, Site
from tests.wire.test_streams import LARGE, WAYS, Way, chunks, looks_whole
from web.content_codings import make_coding

TEXT = "".join(f"{number} bottles of beer on the wall\n" for number in range(2000))
OK = web.GET("/ok", lambda req: "ok")
CODINGS = ("zstd", "br", "gzip")
GZIP = "Accept-Encoding: gzip\r\n"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


async def whole_async(req: web.Request) -> str:
    await asyncio.sleep(0)
    return TEXT


WHOLE: list[web.app.Form] = [
    web.GET("/plain", lambda req: TEXT),
    web.GET("/thread", lambda req: TEXT, blocking=True),
    web.GET("/async", whole_async),
]


def ask(site: Site, target: str, method: str, accepts: str) -> tuple[dict[str, str], bytes]:
    if site.certificate is None:
        connection = http.client.HTTPConnection("localhost", site.server.port, timeout=HANG)
    else:
        connection = http.client.HTTPSConnection(
            "localhost", site.server.port, timeout=HANG, context=site.certificate.client
        )
    with closing(connection):
        connection.request(method, target, headers={"Accept-Encoding": accepts})
        answer = connection.getresponse()
        return dict(answer.getheaders()), answer.read()


# -- whole answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/plain", "/thread", "/async"])
@pytest.mark.parametrize("coding", CODINGS)
def test_each_coding(serve: Serve, path: str, coding: str) -> None:
    site = serve(web.compress(CODINGS), *WHOLE)
    fields, body = ask(site, path, "GET", f"{coding}, identity;q=0.5")
    decoder = Decoder(coding)
    assert (fields["Content-Encoding"], fields["Vary"]) == (coding, "Accept-Encoding")
    assert (decoder.decode(body), decoder.ended) == (TEXT.encode(), True)
    assert fields["Content-Length"] == str(len(body))
    assert len(body) < len(TEXT) / 5


def test_head_says_what_get_says(serve: Serve) -> None:
    site = serve(web.compress(), *WHOLE)
    for path in ("/plain", "/thread", "/async"):
        for accepts in ("gzip", "identity"):
            got, headed = ask(site, path, "GET", accepts), ask(site, path, "HEAD", accepts)
            for fields in (got[0], headed[0]):
                del fields["Date"]
            assert (headed[0], headed[1]) == (got[0], b"")


def test_one_connection_with_and_without(serve: Serve) -> None:
    peer = serve(web.compress(), OK, *WHOLE).connect()
    for accepts, coding in ((GZIP, "gzip"), ("", None), ("Accept-Encoding: gzip;q=0, *\r\n", None)) * 2:
        answer = peer.ask("/plain", fields=accepts)
        assert answer["Content-Encoding"] == coding
        assert (zlib.decompress(answer.body, 31) if coding else answer.body) == TEXT.encode()
        assert peer.ask("/ok", fields=accepts).body == b"ok"


def curl(site: Site) -> list[str]:
    trust = [] if site.certificate is None else ["--cacert", site.certificate.cert]
    return ["curl", "-sS", "-4", "--noproxy", "*", "--max-time", str(HANG), *trust]


def run(command: list[str], site: Site, path: str) -> subprocess.CompletedProcess[bytes]:
    url = site.server.url.replace("127.0.0.1", "localhost")
    return subprocess.run([*command, url + path], capture_output=True, check=True, env=foreign_environment())


@needs_curl
@pytest.mark.parametrize("codings", [("gzip",), ("br", "gzip"), ("zstd", "gzip")])
def test_curl_decodes_it(serve: Serve, codings: tuple[str, ...]) -> None:
    forms = [way.get(f"/{number}", lambda: iter(TEXT.splitlines(True))) for number, way in enumerate(WAYS.values())]
    site = serve(web.compress(codings), *WHOLE, *forms)
    command = [*curl(site), "--compressed", "-D", "/dev/stderr"]
    for path in ("/plain", "/thread", "/async", *(f"/{number}" for number in range(len(forms)))):
        done = run(command, site, path)
        assert done.stdout == TEXT.encode()
        assert b"\r\nContent-Encoding: " in done.stderr


@needs_curl
@pytest.mark.parametrize("size", [1, 100], ids=["kept", "opened"])
@pytest.mark.parametrize("extension", [".gz", ".br", ""])
def test_curl_decodes_precompressed_files(serve: Serve, tmp_path: Path, extension: str, size: int) -> None:
    """One that fits into the memory of the folder, and one that does not."""
    content = random.Random(1).randbytes(4000 * size)
    coded = {".gz": gzip.compress(content), ".br": make_coding("x", "br", 5).compress(content), "": content}[extension]
    (tmp_path / "file.js").write_bytes(content)
    (tmp_path / f"file.js{extension}").write_bytes(coded)
    long_ago = 1_600_000_000
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    site = serve(web.static(tmp_path, precompressed=True))
    command = curl(site)
    for _ in range(2):
        done = run([*command, "--compressed", "-D", "/dev/stderr"], site, "/file.js")
        assert done.stdout == content
        coding = {".gz": b"gzip", ".br": b"br", "": None}[extension]
        assert (b"\r\nContent-Encoding: " in done.stderr) == (coding is not None)
        assert coding is None or b"\r\nContent-Encoding: %b\r\n" % coding in done.stderr
        assert b"\r\nContent-Length: %d\r\n" % len(coded) in done.stderr
        assert run(command, site, "/file.js").stdout == content, "who takes no coding gets the file itself"
        part = run([*command, "-r", "100-299"], site, "/file.js")
        assert part.stdout == content[100:300]


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_is_coded_and_the_connection_goes_on(serve: Serve, way: Way, coding: str) -> None:
    items: list[str | bytes] = ["a", "", b"bc", "ü", b"", b"x" * 200_000]
    peer = serve(web.compress(CODINGS), OK, way.get("/", lambda: iter(items))).connect()
    for _ in range(3):
        peer.send(request("/", fields=f"Accept-Encoding: {coding}\r\n") + request("/ok"))
        head, found = chunks(peer)
        decoder = Decoder(coding)
        assert f"\r\nContent-Encoding: {coding}\r\n".encode() in head
        assert [decoder.decode(chunk) for chunk in found] == [b"a", b"bc", "ü".encode(), b"x" * 200_000, b""]
        assert decoder.ended
        assert peer.answer().body == b"ok"


@pytest.mark.parametrize("items", [[], [""], ["", ""]])
def test_a_stream_of_nothing_is_whole(serve: Serve, way: Way, items: list[str]) -> None:
    site = serve(web.compress(types=["application/octet-stream", "text/*"]), OK, way.get("/", lambda: iter(items)))
    peer = site.connect()
    peer.send(request("/", fields=GZIP) + request("/ok"))
    assert zlib.decompress(b"".join(chunks(peer)[1]), 31) == b""
    assert peer.answer().body == b"ok"


@pytest.mark.parametrize("coding", CODINGS)
def test_each_item_arrives_before_the_next_is_made(serve: Serve, coding: str) -> None:
    """The producer waits until the client has read what it was sent."""
    gates = [threading.Semaphore(0) for _ in range(2)]

    def in_thread(req: web.Request) -> Iterator[str]:
        for number in range(3):
            yield f"item {number}\n"
            assert gates[0].acquire(timeout=HANG)

    async def in_task(req: web.Request) -> AsyncIterator[str]:
        for number in range(3):
            yield f"item {number}\n"
            assert await asyncio.to_thread(gates[1].acquire, timeout=HANG)

    site = serve(web.compress(CODINGS), web.GET("/0", in_thread, blocking=True), web.GET("/1", in_task))
    for path, gate in enumerate(gates):
        peer, decoder = site.connect(), Decoder(coding)
        peer.send(request(f"/{path}", fields=f"Accept-Encoding: {coding}\r\n"))
        peer.head()
        for number in range(3):
            assert decoder.decode(next_chunk(peer)) == f"item {number}\n".encode()
            gate.release()
        assert decoder.decode(next_chunk(peer)) == b""
        assert (decoder.ended, next_chunk(peer)) == (True, b"")


def next_chunk(peer: Peer) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        line += peer.exactly(1)
    return peer.exactly(int(line, 16) + 2)[:-2]


def test_http_1_0_gets_the_end_of_the_connection(serve: Serve, way: Way) -> None:
    peer = serve(web.compress(), way.get("/", lambda: iter([TEXT]))).connect()
    peer.send(b"GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
    assert b"\r\nContent-Encoding: gzip\r\n" in peer.head()
    assert zlib.decompress(peer.rest(), 31) == TEXT.encode()


def test_head_of_a_stream(serve: Serve, way: Way) -> None:
    ended = threading.Event()

    def items() -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            ended.set()

    peer = serve(web.compress(), OK, way.get("/", items)).connect()
    peer.send(request("/", "HEAD", GZIP) + request("/ok"))
    head = peer.head()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert b"\r\nContent-Encoding: gzip\r\n" in head
    assert peer.answer().body == b"ok"
    assert ended.wait(HANG)


@pytest.mark.parametrize("options", [{}, {"blocking": True}])
def test_a_promised_length_is_of_what_was_yielded(serve: Serve, options: dict[str, Any]) -> None:
    def handler(req: web.Request) -> web.Response:
        return web.Response.stream(["ab", "cd"], "text/plain", length=4)

    peer = serve(web.compress(), OK, web.GET("/", handler, **options)).connect()
    peer.send(request("/", fields=GZIP) + request("/ok"))
    found = chunks(peer)[1]  # without Content-Length
    assert zlib.decompress(b"".join(found), 31) == b"abcd"
    assert peer.answer().body == b"ok"
    assert peer.ask("/")["Content-Length"] == "4"


def test_a_stream_that_an_after_hook_made(serve: Serve, way: Way) -> None:
    """Nobody has taken its first item when it is given its coding."""

    def other(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return web.Response.stream(iter(["ab", "cd"]), "text/css")

    peer = serve(web.compress(), web.after(other), way.get("/", lambda: iter(["x"]))).connect()
    peer.send(request("/", fields=GZIP))
    head, found = chunks(peer)
    assert (head.count(b"Content-Type: text/css\r\n"), head.count(b"Content-Type")) == (1, 1)
    assert zlib.decompress(b"".join(found), 31) == b"abcd"


@pytest.mark.parametrize("length", [3, 5])
def test_a_promise_that_does_not_come_true(
    serve: Serve, way: Way, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told and ends the connection; the length itself is not sent."""

    def promised(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return web.Response.stream(["ab", "cd"], "text/plain", length=length)

    peer = serve(web.compress(), web.after(promised), way.get("/", lambda: iter(["x"]))).connect()
    peer.send(request("/", fields=GZIP))
    assert not looks_whole(peer, "1.1")
    eventually(lambda: caplog.records, "it is logged")
    assert "promised" in str(caplog.records[0].exc_info)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_failure_midway_never_looks_whole(
    serve: Serve, way: Way, version: str, coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the transfer does, nor what the coding makes of it."""

    def items() -> Iterator[str]:
        yield "first"
        raise ZeroDivisionError

    site = serve(web.compress(CODINGS), OK, way.get("/", items))
    peer, decoder = site.connect(), Decoder(coding)
    peer.send(f"GET / HTTP/{version}\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
    peer.buffer = b""
    received = b""
    with suppress(OSError):
        while part := peer.receive():
            received += part
    assert not received.endswith(b"\r\n0\r\n\r\n")
    body = received.partition(b"\r\n\r\n")[2]
    if body:  # a reset may overtake it
        decoder.decode(body.partition(b"\r\n")[2][:-2] if version == "1.1" else body)
        assert not decoder.ended
    eventually(lambda: caplog.records, "the failure is logged")
    assert "in the middle of GET /" in caplog.records[0].getMessage()
    assert site.connect().ask("/ok").status == 200


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_ends_the_producer(serve: Serve, way: Way, leave: Any) -> None:
    ended = threading.Semaphore(0)

    def items() -> Iterator[bytes]:
        try:
            while True:
                yield LARGE
        finally:
            ended.release()

    site = serve(web.compress(types="application/octet-stream"), OK, way.get("/", items))
    for _ in range(3):
        peer = site.connect(receive_buffer=4096)
        peer.send(request("/", fields=GZIP))
        assert b"\r\nContent-Encoding: gzip\r\n" in peer.head()
        leave(peer)
        assert ended.acquire(timeout=HANG)
    site.await_connections(0)
    eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")


def test_the_access_log_counts_what_is_sent(serve: Serve) -> None:
    seen: list[int] = []

    def look(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        seen.append(len(resp.body))
        return resp

    site = serve(web.routing.After(look, outer=True), web.compress(), *WHOLE)
    body = ask(site, "/plain", "GET", "gzip")[1]
    assert seen == [len(body)]
