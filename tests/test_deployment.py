"""The configurations of docs/deployment/proxies.md with the real nginx, Caddy and HAProxy in front of a server."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

import web
from tests.fronts import Files, caddy, haproxy, haproxy_tcp, nginx, nginx_stream
from tests.serving import PATIENCE
from tests.taking_turns import in_turns
from tests.wire.clients import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without set-up")

CLIENT = "127.0.0.9"  # that of the fronts, and so of the proxies, is 127.0.0.1
SPOOFED = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "ftp", "Forwarded": "for=6.6.6.6;proto=ftp"}
Front = Callable[[Files, str], AbstractContextManager[int]]


@dataclass
class Client:
    """Who comes from CLIENT, under TLS, to a front."""

    port: int
    context: ssl.SSLContext
    kept: http.client.HTTPSConnection = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.connection()

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "localhost", self.port, context=self.context, timeout=PATIENCE, source_address=(CLIENT, 0)
        )

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        self.kept.request(method, path, body, headers or {})
        answer = self.kept.getresponse()
        content = answer.read()
        assert answer.status == 200, (answer.status, content)
        return json.loads(content)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Files]:
    cert, key = web.dev_certificate(tmp_path_factory.mktemp("cert"))
    return lambda: Files(tmp_path_factory.mktemp("front"), cert, key)


@dataclass
class Service:
    """An application that tells how it was asked."""

    go: asyncio.Event | None = None

    def app(self) -> web.App:
        return web.App(
            web.GET("/who", self.who),
            web.POST("/size", lambda req: {"sha": hashlib.sha256(req.body).hexdigest()}),
            web.GET("/go", self.let_go),
            web.WS("/echo", self.echo),
            web.SSE("/events", self.events),
        )

    def who(self, req: web.Request) -> dict[str, Any]:
        assert req.connection is not None
        peer = req.connection.peer
        return {
            "client": req.client and req.client[0], "scheme": req.scheme, "host": req.host, "peer": peer and peer[0],
            "tls": isinstance(req.connection, web.Tls),
        }  # fmt: skip

    async def let_go(self, req: web.Request) -> dict[str, Any]:
        assert self.go is not None
        self.go.set()
        return {}

    async def events(self, req: web.Request) -> AsyncIterator[web.ServerEvent]:
        self.go = asyncio.Event()
        yield web.ServerEvent("first")
        await self.go.wait()
        yield web.ServerEvent("second")

    def echo(self, event: object, params: object, ws: web.WebSocket) -> None:
        match event:
            case web.Message(text):
                ws.send(text)
            case web.Binary(data):
                ws.send(data)


@contextmanager
def served(files: Files, front: Front, server: web.Server) -> Iterator[tuple[Client, web.Server]]:
    with server.running():
        where = server.url.partition("+")[2] or f"127.0.0.1:{server.port}"
        with front(files, where) as port:
            client = Client(port, ssl.create_default_context(cafile=files.cert))
            with closing(client.kept):
                yield client, server


# ---- proxies that speak HTTP ----

FRONTS: dict[str, Front] = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}


@pytest.fixture(params=["unix", "tcp"])
def proxied(
    request: pytest.FixtureRequest, files: Callable[[], Files], name: str
) -> Iterator[tuple[Client, web.Server]]:
    own = files()
    host = f"unix:{own.folder}/s" if request.param == "unix" else "127.0.0.1"
    proxies = web.Proxies("unix" if request.param == "unix" else "127.0.0.1", fields="x-forwarded")
    server = web.Server(Service().app(), host, proxies=proxies, limits=web.Limits(idle_timeout=75, shutdown_grace=0))
    with served(own, FRONTS[name], server) as found:
        yield found


every_front = pytest.mark.parametrize("name", FRONTS)


@every_front
def test_who_asks_and_how(proxied: tuple[Client, web.Server]) -> None:
    client, server = proxied
    expected = {
        "client": CLIENT, "scheme": "https", "host": f"localhost:{client.port}", "tls": False,
        "peer": None if server.url.startswith("http+unix") else "127.0.0.1",
    }  # fmt: skip
    assert client.ask("/who") == expected
    assert client.ask("/who", headers=SPOOFED) == expected


@every_front
def test_connections_are_kept(proxied: tuple[Client, web.Server]) -> None:
    client, server = proxied
    client.ask("/who")
    before = server.stats()["accepted"]
    for _ in range(20):
        client.ask("/who")
    assert server.stats()["accepted"] - before <= 2


@every_front
def test_uploads_websockets_and_events_go_through(proxied: tuple[Client, web.Server]) -> None:
    client, _ = proxied
    uploads_go_through(client)
    websockets_go_through(client)
    events_go_through(client)


def uploads_go_through(client: Client) -> None:
    content = os.urandom(1 << 20)
    assert client.ask("/size", "POST", content) == {"sha": hashlib.sha256(content).hexdigest()}
    assert client.ask("/who")["client"] == CLIENT


def websockets_go_through(client: Client) -> None:
    host = f"localhost:{client.port}"
    origin = Origin(f"https://{host}")
    with connect(
        f"wss://{host}/echo", ssl=in_turns(client.context), origin=origin, open_timeout=PATIENCE, proxy=None
    ) as ws:
        for message in ("hello", b"\0\1", "x" * 100_000):
            ws.send(message)
            assert ws.recv(timeout=PATIENCE) == message


def events_go_through(client: Client) -> None:
    """The first event comes before there is a second one."""
    with closing(client.connection()) as stream:
        stream.request("GET", "/events")
        answer = stream.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        lines = iter(partial(answer.readline, 1000), b"")
        assert b"data: first\n" in lines
        client.ask("/go")
        assert b"data: second\n" in lines
        assert list(lines) == [b"\n"]


# ---- proxies that pass TCP on ----

TCP_FRONTS: dict[str, Front] = {
    "haproxy, version 2": haproxy_tcp, "haproxy, version 1": partial(haproxy_tcp, version=1), "nginx": nginx_stream,
}  # fmt: skip


@pytest.mark.parametrize("name", TCP_FRONTS)
def test_tls_ends_here_and_the_client_is_known(files: Callable[[], Files], name: str) -> None:
    own = files()
    server = web.Server(
        Service().app(), "127.0.0.1", tls=web.TlsContext(own.cert, own.key), proxies=web.Proxies("127.0.0.1"),
        proxy_protocol=True, limits=web.Limits(shutdown_grace=0),
    )  # fmt: skip
    with served(own, TCP_FRONTS[name], server) as (client, _):
        for headers in ({}, SPOOFED):
            assert client.ask("/who", headers=headers) == {
                "client": CLIENT, "scheme": "https", "host": f"localhost:{client.port}", "peer": "127.0.0.1",
                "tls": True,
            }  # fmt: skip
        uploads_go_through(client)
        websockets_go_through(client)
        events_go_through(client)
        assert server.stats()["closed"]["proxy_header"] == 0


def test_without_the_protocol_nothing_gets_through(files: Callable[[], Files], tmp_path: Path) -> None:
    """A server that requires the header, behind a proxy that does not write it, is asked nothing."""
    own = files()
    proxies = web.Proxies("unix", fields="x-forwarded")
    server = web.Server(Service().app(), f"unix:{tmp_path}/s", proxies=proxies, proxy_protocol=True)
    with served(own, haproxy, server) as (client, _):
        client.kept.request("GET", "/who")
        assert client.kept.getresponse().status in (502, 503)
        eventually(lambda: server.stats()["closed"]["proxy_header"] > 0, "it is counted")
        assert server.stats()["requests"] == 0
