"""PROXY headers before the request, and before the TLS handshake: who may send them, and what becomes of the rest."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import web
from tests.serving import process, program
from tests.wire.clients import HANG, Answer, Peer, TlsPeer, eventually, request
from tests.wire.sites import Serve, Site

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without set-up")


def who(req: web.Request) -> dict[str, object]:
    assert req.connection is not None
    peer = req.connection.peer
    return {"client": req.client, "peer": peer and peer[0], "announced": req.connection.client, "scheme": req.scheme}


WHO = web.GET("*", who)
ECHO = web.POST("*", lambda req: req.body)
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n"
ADDED = b"\x02\0\x0bexample.org"
FOUR = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
HEADERS = {
    "line": LINE,
    "binary": BINARY + b"\x21\x11" + len(FOUR).to_bytes(2, "big") + FOUR,
    "binary with more": BINARY + b"\x21\x11" + len(FOUR + ADDED).to_bytes(2, "big") + FOUR + ADDED,
}
LOCAL = BINARY + b"\x20\0\0\0"
UNKNOWN = [b"PROXY UNKNOWN\r\n", BINARY + b"\x21\0\0\0", BINARY + b"\x21\x31\0\xd8" + bytes(216)]
CLIENT = ["192.0.2.1", 4711]


def proxied(serve: Serve, *forms: web.app.Form, **options: object) -> Site:
    options.setdefault("proxies", web.Proxies("127.0.0.1"))
    return serve(*(forms or (WHO, ECHO)), proxy_protocol=True, **options)


def beginning(site: Site, peer: Peer) -> tuple[Peer, bytes]:
    """Who goes on after the header, and what it sends first."""
    if site.certificate is None:
        return peer, request("/first")
    tls = TlsPeer(peer.sock, site.certificate.client, handshake=False)
    return tls, tls.first_flight()


def go_on(peer: Peer) -> Peer:
    if isinstance(peer, TlsPeer):
        peer.handshake()
    return peer


def behind(site: Site, header: bytes, source: str = "127.0.0.1") -> Peer:
    """A client behind a proxy that says who it is."""
    peer = site.raw(source)
    peer.send_raw(header)
    return peer if site.certificate is None else TlsPeer(peer.sock, site.certificate.client)


def told(answer: Answer) -> object:
    assert answer.status == 200
    return json.loads(answer.body)


def ended(peer: Peer) -> bytes:
    """What comes until the end, or a reset."""
    found = b""
    with suppress(ConnectionError):
        while data := peer.receive_raw():
            found += data
    return found


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_client_is_the_one_that_the_header_announces(serve: Serve, header: bytes) -> None:
    site = proxied(serve)
    peer = behind(site, header)
    for _ in range(2):  # of the whole connection
        assert told(peer.ask()) == {
            "client": CLIENT, "peer": "127.0.0.1", "announced": CLIENT, "scheme": "https" if site.is_tls else "http",
        }  # fmt: skip
    assert peer.ask(method="POST", body=bytes(200_000)).body == bytes(200_000)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_header_and_all_that_follows_in_one_segment(serve: Serve, header: bytes) -> None:
    site = proxied(serve)
    peer, first = beginning(site, site.raw())
    peer.send_raw(header + first)
    go_on(peer)
    if site.is_tls:
        peer.send(request("/first"))
    answer = peer.answer()
    assert b"192.0.2.1" in answer.body


def turn(other: Peer) -> None:
    """The loop has read what was sent to it before: it answers another connection twice."""
    for _ in range(2):
        assert other.ask().status == 200


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_byte_by_byte(serve: Serve, header: bytes) -> None:
    """Each byte of the header and of what follows is read by itself."""
    site = proxied(serve)
    peer, first = beginning(site, site.raw())
    other = behind(site, LINE)  # makes the loop turn
    data = header + first
    for at in range(len(header) + 20):
        peer.send_raw(data[at : at + 1])
        turn(other)
        if at == len(header) - 2:
            assert site.server.stats()["connections"]["handshaking"] == 1  # it waits for the last byte of the header
    peer.send_raw(data[len(header) + 20 :])
    go_on(peer)
    if site.is_tls:
        peer.send(request())
    assert b"192.0.2.1" in peer.answer().body


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_cut_anywhere(serve: Serve, header: bytes) -> None:
    site = proxied(serve)
    other = behind(site, LINE)
    for at in range(1, len(header) + 3, 5 if site.is_tls else 1):
        peer, first = beginning(site, site.raw())
        data = header + first
        peer.send_raw(data[:at])
        turn(other)
        peer.send_raw(data[at:])
        go_on(peer)
        if site.is_tls:
            peer.send(request())
        assert b"192.0.2.1" in peer.answer().body
        peer.close()


@pytest.mark.parametrize("header", [LOCAL, *UNKNOWN])
def test_where_nobody_is_announced_the_peer_counts(serve: Serve, header: bytes) -> None:
    site = proxied(serve)
    peer = behind(site, header)
    own = list(peer.sock.getsockname())
    found = told(peer.ask())
    assert found == {"client": own, "peer": own[0], "announced": own, "scheme": "https" if site.is_tls else "http"}


# ---- header and fields ----

FIELDS = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"


def test_fields_are_believed_of_whom_the_header_announces(serve_plain: Serve) -> None:
    proxies = web.Proxies("127.0.0.1", "192.0.2.0/24", fields="x-forwarded")
    site = proxied(serve_plain, proxies=proxies)
    found = told(behind(site, LINE).ask(fields=FIELDS))
    assert found == {"client": ["203.0.113.9", 0], "peer": "127.0.0.1", "announced": CLIENT, "scheme": "https"}


def test_fields_of_a_client_that_the_header_announces_are_not(serve_plain: Serve) -> None:
    site = proxied(serve_plain, proxies=web.Proxies("127.0.0.1", fields="x-forwarded"))
    found = told(behind(site, LINE).ask(fields=FIELDS))
    assert found == {"client": CLIENT, "peer": "127.0.0.1", "announced": CLIENT, "scheme": "http"}


@pytest.mark.parametrize("header", UNKNOWN)
def test_fields_of_somebody_unknown_are_not(serve_plain: Serve, header: bytes) -> None:
    """The proxy is trusted, but somebody else is asking."""
    site = proxied(serve_plain, proxies=web.Proxies("127.0.0.1", "unix", fields="x-forwarded"))
    peer = behind(site, header)
    assert told(peer.ask(fields=FIELDS)) == {
        "client": list(peer.sock.getsockname()), "peer": "127.0.0.1", "announced": list(peer.sock.getsockname()),
        "scheme": "http",
    }  # fmt: skip


def test_fields_of_the_proxy_itself_are(serve_plain: Serve) -> None:
    site = proxied(serve_plain, proxies=web.Proxies("127.0.0.1", fields="x-forwarded"))
    found = told(behind(site, LOCAL).ask(fields=FIELDS))
    assert isinstance(found, dict)
    assert (found["client"], found["scheme"]) == (["203.0.113.9", 0], "https")


# ---- who is refused ----


@pytest.mark.parametrize(
    "sent",
    [
        request(), b"\x16\x03\x01\x02\0\x01", b"\0", b"PROXY TCP4 x\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        b"PROXY " + b"x" * 101, BINARY + b"\x31", BINARY + b"\x21\x11\xff\xff", BINARY + b"\x21\x11\0\0",
    ],
)  # fmt: skip
def test_who_does_not_begin_with_a_header_is_closed(serve: Serve, sent: bytes) -> None:
    site = proxied(serve)
    peer = site.raw()
    peer.send_raw(sent)
    assert ended(peer) == b""
    site.await_closed("proxy_header")
    assert sum(site.server.stats()["handshakes_failed"].values()) == 0
    assert behind(site, LINE).ask().status == 200


@pytest.mark.parametrize("sent", [b"", LINE[:20], BINARY + b"\x21\x11\0\x0c" + FOUR[:-1]])
def test_who_ends_within_the_header_is_closed(serve: Serve, sent: bytes) -> None:
    site = proxied(serve)
    peer = site.raw()
    peer.send_raw(sent)
    peer.half_close()
    assert ended(peer) == b""
    site.await_closed("proxy_header")
    another = site.raw()
    another.send_raw(sent)
    eventually(lambda: site.counter("accepted") == 2, "it is accepted")
    another.reset()
    site.await_closed("proxy_header", 2)


def test_only_proxies_may_connect(serve: Serve) -> None:
    site = proxied(serve)
    for number in (1, 2):
        stranger = site.raw("127.0.0.2")
        with suppress(ConnectionError):
            stranger.send_raw(LINE)
        assert ended(stranger) == b""
        site.await_closed("untrusted_proxy", number)
    assert site.counter("accepted") == 0
    assert behind(site, LINE).ask().status == 200


def test_a_second_header_is_no_request(serve_plain: Serve) -> None:
    peer = proxied(serve_plain).raw()
    peer.send_raw(LINE + LINE + request())
    assert peer.answer().status == 400


# ---- time ----


def test_who_sends_no_header_is_closed_in_time(serve: Serve) -> None:
    site = proxied(serve, handshake_timeout=0.1, head_timeout=1000)
    assert site.raw().rest() == b""
    site.await_closed("handshake_timeout")
    assert site.server.stats()["timeouts"]["handshake"] == 1
    assert sum(site.server.stats()["handshakes_failed"].values()) == 0  # none had begun


def test_a_header_byte_by_byte_buys_no_time(serve: Serve) -> None:
    site = proxied(serve, handshake_timeout=0.2, head_timeout=1000)
    peer = site.raw()
    peer.sock.settimeout(0.02)
    for byte in b"PROXY UNKNOWN " + b"x" * 90:
        try:
            assert peer.receive_raw() == b""
            break
        except TimeoutError:
            with suppress(ConnectionError):
                peer.send_raw(bytes([byte]))
        except ConnectionResetError:
            break
    else:
        raise AssertionError("it may go on for ever")
    site.await_closed("handshake_timeout")


def test_after_the_header_the_time_of_heads_or_handshakes_counts(serve: Serve) -> None:
    site = proxied(serve, handshake_timeout=0.2 if serve_is_tls(serve) else 1000, head_timeout=0.2)
    peer = site.raw()
    peer.send_raw(LINE)
    assert ended(peer) == b""
    site.await_closed("handshake_timeout" if site.is_tls else "head_timeout")


def serve_is_tls(serve: Serve) -> bool:
    """By a site that is asked nothing."""
    return serve(WHO).is_tls


def test_a_stop_ends_who_has_sent_half_a_header(serve: Serve) -> None:
    site = proxied(serve)
    peer = site.raw()
    peer.send_raw(LINE[:10])
    eventually(lambda: site.server.connections == 1, "it is accepted")
    site.server.stop()
    assert ended(peer) == b""
    site.await_closed("stopped")


# ---- caps ----


def test_sources_are_those_that_headers_announce(serve: Serve) -> None:
    """All come from one proxy; the source with most unfinished connections makes room, though others are older."""
    site = proxied(serve, handshakes=5, handshake_timeout=1000, head_timeout=1000)
    other = behind(site, LINE)
    assert other.ask().status == 200

    def announce(source: bytes) -> Peer:
        """A client that says nothing more; its header was read."""
        before = site.counter("accepted")
        peer = site.raw()
        peer.send_raw(b"PROXY TCP4 " + source + b" 198.51.100.7 4711 443\r\n")
        eventually(lambda: site.counter("accepted") > before, "it is accepted")
        turn(other)
        return peer

    few = [announce(b"192.0.2.1") for _ in range(2)]
    many = [announce(b"192.0.2.2") for _ in range(3)]
    last = announce(b"192.0.2.3")
    site.await_closed("made_room")
    assert ended(many[0]) == b""
    for peer in (*few, *many[1:], last):
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.sock.recv(1)


def test_a_burst_through_the_proxy_makes_no_room() -> None:
    """Headers and requests are there when the loop looks; by whom each counts before that is not told by the proxy."""
    server = web.Server(
        web.App(WHO), "127.0.0.1", limits=web.Limits(handshakes=12), proxies=web.Proxies("127.0.0.1"),
        proxy_protocol=True,
    )  # fmt: skip
    server.open()

    def begin(number: int, sent: bytes) -> Peer:
        peer = Peer(socket.create_connection(("127.0.0.1", server.port)))
        peer.send_raw(b"PROXY TCP4 192.0.2.%d 198.51.100.7 1 2\r\n" % number + sent)
        return peer

    silent, honest = [], []
    try:
        for number in range(12):
            silent.append(begin(number // 4 + 1, b""))
            turn_until(server, lambda number=number: server.connections > number)  # type: ignore[misc]
            server.run_once(0)
        honest = [begin(number, request()) for number in range(20, 28)]
        turn_until(server, lambda: server.stats()["requests"] == len(honest))
        for peer in honest:
            assert peer.answer().status == 200
    finally:
        for peer in (*silent, *honest):
            peer.close()
        server.close()


def turn_until(server: web.Server, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + HANG
    while not holds():
        assert time.monotonic() < until
        server.run_once(0.1)


# ---- Unix sockets ----


def test_on_a_unix_socket(tmp_path: Path) -> None:
    server = web.Server(web.App(WHO), f"unix:{tmp_path}/s", proxies=web.Proxies("unix"), proxy_protocol=True)
    with server.running(), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.fspath(tmp_path / "s"))
        peer = Peer(sock)
        peer.send_raw(LINE)
        assert told(peer.ask()) == {"client": CLIENT, "peer": None, "announced": CLIENT, "scheme": "http"}


WORKERS = """
import web

web.defserver(
    "127.0.0.1", 0, web.GET("/", lambda req: str(req.client)), workers=2, proxies=web.Proxies("127.0.0.1"),
    proxy_protocol=True,
).run()
"""


def test_in_workers(tmp_path: Path) -> None:
    with process(*program(WORKERS), cwd=tmp_path) as server:
        port = int(server.ready().partition(" with ")[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as sock:
            peer = Peer(sock)
            peer.send_raw(LINE)
            assert peer.ask().body == b"('192.0.2.1', 4711)"


def test_each_address_has_its_own_rule() -> None:
    """One listens for proxies, the other for everybody."""
    server = web.Server(web.App(WHO), "127.0.0.1", proxies=web.Proxies("127.0.0.1"), proxy_protocol=True)
    server.listen("127.0.0.1")
    with server.running():
        ports = [int(url.rpartition(":")[2]) for url in server.urls]
        for port, header in zip(ports, (LINE, b""), strict=True):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                peer = Peer(sock)
                peer.send_raw(header)
                found = told(peer.ask())
                assert isinstance(found, dict)
                assert found["client"] == (CLIENT if header else list(sock.getsockname()))
