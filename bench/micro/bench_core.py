"""One request through the whole core over a socket pair, from read to write; and a TLS handshake.

make bench ARGS="-k core"
"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import web

REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
PIPELINED = 16


def answer(server: web.Server, client: socket.socket) -> bytes:
    """What the server sends next: it may put work off to a later turn."""
    while True:
        server.run_once(0)
        try:
            return client.recv(65536)
        except BlockingIOError:
            continue


def app() -> web.App:
    return web.App(web.GET("/", lambda req: web.Response.text("Hello, World!")))


@pytest.fixture
def server() -> Iterator[web.Server]:
    made = web.Server(app(), "127.0.0.1", 0)
    yield made
    made.close()


@pytest.mark.benchmark(group="core: a turn")
@pytest.mark.parametrize("count", [1, PIPELINED])
def test_core_keep_alive(benchmark: BenchmarkFixture, server: web.Server, count: int) -> None:
    """count requests in one segment, answered in one."""
    ours, client = socket.socketpair()
    client.setblocking(False)
    server.adopt(ours)
    data = REQUEST * count

    def turn() -> bytes:
        client.send(data)
        return answer(server, client)

    with client:
        assert turn().count(b"Hello, World!") == count
        benchmark(turn)


@pytest.mark.benchmark(group="core: TLS handshake, both sides")
def test_core_tls_handshake(benchmark: BenchmarkFixture, server: web.Server, tmp_path: Path) -> None:
    """A full TLS 1.3 handshake, both sides: the client is Python's ssl over memory."""
    cert, key = web.dev_certificate(tmp_path)
    context = web.TlsContext(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))

    def handshake() -> str | None:
        ours, client = socket.socketpair()
        client.setblocking(False)
        server.adopt(ours, context)
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = trusting.wrap_bio(received, sent, server_hostname="localhost")
        with client:
            while True:
                try:
                    session.do_handshake()
                except ssl.SSLWantReadError:
                    client.sendall(sent.read())
                    received.write(answer(server, client))
                else:
                    client.sendall(sent.read())
                    break
        while server.connections:
            server.run_once(0)
        return session.version()

    assert handshake() == "TLSv1.3"
    benchmark(handshake)
