"""Header fields of proxies as handlers and built-in hooks see them: of trusted peers only, of one family only."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import web
from tests.wire.clients import Peer, eventually, request
from tests.wire.sites import Serve, Site
from web.routing import After

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without set-up")

SAID = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nForwarded: for=6.6.6.6;proto=http;host=6.example\r\n"
BY_X = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example\r\n"
BY_RFC = 'Forwarded: for="192.0.2.1:4711";proto=https;host=app.example\r\n'
LOCAL = web.Proxies("127.0.0.1", "127.0.0.9", fields="x-forwarded")


def who(req: web.Request) -> dict[str, Any]:
    assert req.connection is not None
    assert req.connection.peer is not None
    return {"client": req.client, "scheme": req.scheme, "host": req.host, "proxy": req.connection.peer[0]}


WHO = web.GET("/", who)


def told(peer: Peer, fields: str = "") -> Any:
    answer = peer.ask(fields=fields)
    assert answer.status == 200
    return json.loads(answer.body)


def scheme_of(site: Site) -> str:
    return "https" if site.is_tls else "http"


def test_a_trusted_proxy_says_who_the_client_is(serve: Serve) -> None:
    site = serve(WHO, proxies=LOCAL)
    peer = site.connect()
    assert told(peer, BY_X) == {
        "client": ["192.0.2.1", 0], "scheme": "https", "host": "localhost", "proxy": "127.0.0.1",
    }  # fmt: skip
    # each request anew
    assert told(peer, "X-Forwarded-For: 192.0.2.2, 127.0.0.9\r\nX-Forwarded-Proto: http\r\n") == {
        "client": ["192.0.2.2", 0], "scheme": "http", "host": "localhost", "proxy": "127.0.0.1",
    }  # fmt: skip
    own = list(peer.sock.getsockname())
    assert told(peer) == {"client": own, "scheme": scheme_of(site), "host": "localhost", "proxy": "127.0.0.1"}


def test_who_reset_before_the_adoption_is_no_unix_socket(tmp_path: Path) -> None:
    """He has no address any more then; a request that came before is run all the same."""
    seen: list[Any] = []

    def note(req: web.Request) -> str:
        seen.append((req.client, req.scheme, req.host))
        return ""

    proxies = web.Proxies("unix", fields="x-forwarded", host=True)
    server = web.Server(web.App(web.GET("/", note)), f"unix:{tmp_path}/a.sock", proxies=proxies)
    server.open()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        client.sendall(request(fields=BY_X))
        ours, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    eventually(lambda: not has_peer(ours))
    try:
        connection = server.adopt(ours)
        for _ in range(10):  # the request, if it is run at all, and the end
            server.run_once(0)
    finally:
        server.close()
    assert connection.peer is None
    assert seen in ([(None, "http", "localhost")], [])


def has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def test_a_look_that_fails_leaves_nothing_behind(serve_plain: Serve) -> None:
    """Else the proxy would pass for the client from then on."""

    def look(req: web.Request) -> Any:
        def deep() -> None:
            try:
                deep()
            except RecursionError:
                assert req.client
                raise

        with suppress(RecursionError):
            deep()
        return {"client": req.client, "scheme": req.scheme}

    peer = serve_plain(web.GET("/", look), proxies=LOCAL).connect()
    assert told(peer, BY_X) == {"client": ["192.0.2.1", 0], "scheme": "https"}


def test_who_leaves_while_his_request_waits_is_named(serve_plain: Serve) -> None:
    go_on, seen = threading.Event(), []
    told_of = After(lambda req, params, resp: resp, left=lambda req: seen.append(req.client))

    def wait(req: web.Request) -> str:
        go_on.wait(30)
        return ""

    now = web.GET("/now", lambda req: "", blocking=False)
    site = serve_plain(web.GET("/", wait, blocking=True), now, told_of, threads=1, proxies=LOCAL)
    first, second, third = site.connect(), site.connect(), site.connect()
    first.send(request(fields=BY_X))
    eventually(lambda: site.server.stats()["threads_busy"] == 1)
    second.send(request(fields="X-Forwarded-For: 192.0.2.2\r\n"))
    eventually(lambda: site.server.stats()["threads_waiting"] == 1)
    second.close()
    eventually(lambda: site.server.connections == 2)
    for _ in range(2):  # the turn in which that was seen has ended
        third.send(request("/now"))
        assert third.answer().status == 200
    go_on.set()
    eventually(lambda: seen == [("192.0.2.2", 0)])


def test_nobody_else_does(serve: Serve) -> None:
    site = serve(WHO, proxies=LOCAL)
    peer = site.connect("127.0.0.2")
    own = list(peer.sock.getsockname())
    assert told(peer, BY_X) == {"client": own, "scheme": scheme_of(site), "host": "localhost", "proxy": "127.0.0.2"}


def test_without_proxies_no_field_is_read(serve: Serve) -> None:
    site = serve(WHO)
    peer = site.connect()
    own = list(peer.sock.getsockname())
    expected = {"client": own, "scheme": scheme_of(site), "host": "localhost", "proxy": "127.0.0.1"}
    assert told(peer, BY_X + BY_RFC) == expected


def test_several_lines_are_one_list(serve_plain: Serve) -> None:
    site = serve_plain(WHO, proxies=LOCAL)
    peer = site.connect()
    lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nx-forwarded-for: 192.0.2.1\r\nX-A: b\r\n"
    found = told(peer, lines + "X-FORWARDED-FOR: 127.0.0.9\r\nX-Forwarded-Proto: https, http\r\n")
    assert (found["client"], found["scheme"]) == (["192.0.2.1", 0], "https")


def test_one_family_alone_is_read(serve_plain: Serve) -> None:
    """A proxy that sets one lets the other through as the client wrote it."""
    x = serve_plain(WHO, proxies=web.Proxies("127.0.0.1", fields="x-forwarded", host=True)).connect()
    rfc = serve_plain(WHO, proxies=web.Proxies("127.0.0.1", fields="forwarded", host=True)).connect()
    expected = {"scheme": "https", "host": "app.example", "proxy": "127.0.0.1"}
    assert told(x, "Forwarded: for=6.6.6.6;host=6.example\r\n" + BY_X) == {"client": ["192.0.2.1", 0], **expected}
    assert told(rfc, "X-Forwarded-For: 6.6.6.6\r\n" + BY_RFC) == {"client": ["192.0.2.1", 4711], **expected}
    own = {"scheme": "http", "host": "localhost", "proxy": "127.0.0.1"}
    assert told(x, BY_RFC) == {"client": list(x.sock.getsockname()), **own}
    assert told(rfc, BY_X) == {"client": list(rfc.sock.getsockname()), **own}


def test_the_host_only_when_it_was_asked_for(serve_plain: Serve) -> None:
    rfc = serve_plain(WHO, proxies=web.Proxies("127.0.0.1", fields="forwarded")).connect()
    assert told(rfc, BY_RFC)["host"] == "localhost"


def test_nothing_that_a_client_sends_makes_it_fail(serve_plain: Serve) -> None:
    peer = serve_plain(WHO, proxies=LOCAL).connect()
    for bad in ("\xff", ",", "," * 8000, "unknown", "10.0.0.1," * 800, '"', "[" * 100):
        found = told(peer, f"X-Forwarded-For: {bad}\r\nX-Forwarded-Proto: {bad}\r\nX-Forwarded-Host: {bad}\r\n")
        assert (found["client"], found["scheme"]) == (list(peer.sock.getsockname()), "http")


def test_a_request_that_is_kept_still_knows(serve: Serve) -> None:
    kept: list[web.Request] = []

    def keep(req: web.Request) -> str:
        kept.append(req)
        return "kept"

    site = serve(web.GET("/", keep), proxies=LOCAL)
    peer = site.connect()
    assert peer.ask(fields=BY_X).status == 200
    assert peer.ask(fields="X-Forwarded-For: 192.0.2.2\r\n").status == 200
    peer.close()
    site.await_connections(0)
    assert [req.client for req in kept] == [("192.0.2.1", 0), ("192.0.2.2", 0)]


@pytest.mark.parametrize("how", ["async", "thread"])
def test_wherever_the_handler_runs(serve_plain: Serve, how: str) -> None:
    async def who_async(req: web.Request) -> dict[str, Any]:
        return who(req)

    form = web.GET("/", who_async) if how == "async" else web.GET("/", who, blocking=True)
    peer = serve_plain(form, proxies=LOCAL).connect()
    assert told(peer, BY_X)["client"] == ["192.0.2.1", 0]


def test_on_a_unix_socket(tmp_path: Path) -> None:
    proxies = web.Proxies("unix", "127.0.0.9", fields="x-forwarded")
    app = web.App(web.GET("/", lambda req: {"client": req.client, "scheme": req.scheme}))
    with web.Server(app, f"unix:{tmp_path}/s", proxies=proxies).running(), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.fspath(tmp_path / "s"))
        peer = Peer(sock)
        assert told(peer, BY_X) == {"client": ["192.0.2.1", 0], "scheme": "https"}
        assert told(peer) == {"client": None, "scheme": "http"}


def test_a_unix_socket_is_not_trusted_unless_it_is_named(tmp_path: Path) -> None:
    """A server that listens on both, and trusts the TCP side alone."""
    server = web.Server(web.App(web.GET("/", lambda req: str(req.client))), "127.0.0.1", proxies=LOCAL)
    server.listen(f"unix:{tmp_path}/s")
    with server.running(), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.fspath(tmp_path / "s"))
        assert Peer(sock).ask(fields=BY_X).body == b"None"


# ---- what follows ----


def test_hosts(serve_plain: Serve) -> None:
    proxies = web.Proxies("127.0.0.1", fields="x-forwarded", host=True)
    site = serve_plain(WHO, web.hosts(["app.example"]), proxies=proxies)
    assert site.connect().ask(fields=BY_X).status == 200
    assert site.connect().ask().status == 421
    assert site.connect().ask(fields="X-Forwarded-Host: 6.example\r\n").status == 421
    assert site.connect("127.0.0.2").ask(fields=BY_X).status == 421


def test_redirects_and_strict_transport_security(serve_plain: Serve) -> None:
    site = serve_plain(WHO, web.redirect_to_https(), web.security_headers(), proxies=LOCAL)
    peer = site.connect()
    secure = peer.ask(fields=BY_X)
    assert (secure.status, secure["Strict-Transport-Security"] is not None) == (200, True)
    plain = peer.ask(fields="X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n")
    assert (plain.status, plain["Location"]) == (308, "https://localhost/")


def test_csrf_and_origins_of_websockets(serve_plain: Serve) -> None:
    def nothing(event: object, params: object, ws: web.WebSocket) -> None:
        pass

    site = serve_plain(web.POST("/", lambda req: "done"), web.WS("/ws", nothing), web.csrf(), proxies=LOCAL)
    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
    opening = "".join(f"{line}\r\n" for line in lines)
    for origin, statuses in (("https://localhost", (200, 101)), ("http://localhost", (403, 403))):
        fields = f"Origin: {origin}\r\n{BY_X}"
        assert site.connect().ask(method="POST", body=b"x", fields=fields).status == statuses[0]
        peer = site.connect()
        peer.send(request("/ws", fields=fields + opening))
        assert int(peer.head()[9:12]) == statuses[1]


def test_rates_are_those_of_clients(serve_plain: Serve) -> None:
    site = serve_plain(WHO, web.rate_limit(1, 1000), proxies=LOCAL)
    peer = site.connect()
    statuses = [peer.ask(fields=f"X-Forwarded-For: 192.0.2.{n}\r\n").status for n in (1, 2, 1, 2)]
    assert statuses == [200, 200, 429, 429]
    # whoever writes something on the left is the same client
    assert peer.ask(fields="X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n").status == 429


def test_the_access_log(serve_plain: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "web.access"):
        site = serve_plain(WHO, web.access_log(), proxies=LOCAL)
        assert site.connect().ask(fields=BY_X).status == 200
        site.server.stop()
        site.await_connections(0)
    lines = [record.getMessage() for record in caplog.records if record.name == "web.access"]
    assert [line.split(" ")[0] for line in lines] == ["192.0.2.1"]


def test_cookies_of_sessions_are_secure(serve_plain: Serve) -> None:
    def begin(req: web.Request) -> str:
        req.session["a"] = 1
        return "begun"

    site = serve_plain(web.GET("/", begin), web.sessions("k" * 32), proxies=LOCAL)
    peer = site.connect()
    assert "Secure" in str(peer.ask(fields=BY_X)["Set-Cookie"])
    assert "Secure" not in str(peer.ask()["Set-Cookie"])


def test_refused_requests_have_their_client_too(serve_plain: Serve) -> None:
    """After hooks see a body that is too large."""
    seen: list[object] = []

    def note(req: web.Request, params: object, resp: web.Response) -> web.Response:
        seen.append(req.client)
        return resp

    site = serve_plain(web.POST("/", lambda req: "x"), web.after(note), proxies=LOCAL, body=10)
    assert site.connect().ask(method="POST", body=bytes(11), fields=BY_X).status == 413
    assert seen == [("192.0.2.1", 0)]
