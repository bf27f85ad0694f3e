"""How a WebSocket ends, from each side and at each point: Connect first, Close last and once, and with which code."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import web
from tests.wire.clients import Peer, TlsPeer, eventually
from tests.wire.sites import Embed, Serve, open_fds
from tests.wire.websocket_peers import (
    BINARY,
    CONTINUATION,
    LONG,
    PING,
    PONG,
    STYLES,
    TEXT,
    Event,
    Notes,
    SocketPeer,
    closing,
    frame,
    opening,
    text,
    until_quiet,
)


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    chosen = request.param
    assert isinstance(chosen, str)
    return chosen


def route(notes: Notes, style: str, **options: Any) -> web.routing.Route:
    return web.WS("/", getattr(notes, style), **options)


# -- by the peer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "answered", "told"),
    [
        (1000, "", 1000, web.Close(1000, "")),
        (1001, "I leave", 1001, web.Close(1001, "I leave")),
        (4999, "ü" * 61 + "x", 4999, web.Close(4999, "ü" * 61 + "x")),
        (None, "", None, web.Close(1005, "")),
    ],
)
def test_by_the_peer(
    serve: Serve, style: str, code: int | None, reason: str, answered: int | None, told: web.Close
) -> None:
    notes = Notes()
    site = serve(route(notes, style))
    peer = SocketPeer(site.connect())
    assert peer.ask("x") == "x"
    assert peer.close(code, reason) == (answered, "")
    assert notes.until_closed() == [web.Connect(), web.Message("x"), told]
    assert (notes.ws.close_code, notes.ws.close_reason, notes.ws.is_open) == (told.code, told.reason, False)
    peer.peer.close()
    site.await_closed("done")


BAD = {
    "no mask": (bytes([0x81, 0x01, 0x61]), 1002),
    "another request": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1002),
    "reserved bit": (frame(TEXT, b"x", rsv1=True), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a message within another": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "fragmented ping": (frame(PING, b"", fin=False), 1002),
    "half a code": (frame(8, b"\x03"), 1002),
    "code 1005": (closing(1005), 1002),
    "reason that is not UTF-8": (frame(8, b"\x03\xe8\xff"), 1007),
    "text that is not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "half a character": (frame(TEXT, "ü".encode()[:1]), 1007),
    "frame too big": (frame(BINARY, bytes(1001)), 1009),
    "message too big": (frame(BINARY, bytes(1000), fin=False) + frame(CONTINUATION, bytes(1000), fin=False)
                        + frame(CONTINUATION, b"x"), 1009),
    "too many fragments": (frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 5, 1009),
}  # fmt: skip
SMALL = {"websocket_frame": 1000, "websocket_message": 2000, "websocket_fragments": 5}


@pytest.mark.parametrize("bad", BAD)
def test_what_breaks_the_protocol_or_a_limit(serve: Serve, style: str, bad: str) -> None:
    wire, code = BAD[bad]
    notes = Notes()
    site = serve(route(notes, style), **SMALL)
    peer = SocketPeer(site.connect())
    assert peer.ask("before") == "before"
    peer.send(wire, text("behind"))
    said, reason = peer.closed()
    assert said == code
    assert reason
    with suppress(ConnectionError):
        assert peer.peer.rest() == b""
    assert notes.until_closed() == [web.Connect(), web.Message("before"), web.Close(code, reason)]
    peer.peer.close()
    site.await_closed("websocket")
    assert not any(site.server.stats()["timeouts"].values())


def test_what_is_just_within_the_limits(serve: Serve, style: str) -> None:
    peer = SocketPeer(serve(route(Notes(), style), **SMALL).connect())
    for _ in range(3):
        peer.send(frame(BINARY, b"a" * 1000, fin=False), frame(CONTINUATION, b"b" * 1000))
        assert peer.frame() == (BINARY, b"a" * 1000 + b"b" * 1000)
        peer.send(frame(TEXT, b"", fin=False), frame(CONTINUATION, b"", fin=False) * 3, frame(CONTINUATION, b"x"))
        assert peer.text() == "x"


@pytest.mark.parametrize("leaves", [Peer.close, Peer.reset, Peer.half_close])
def test_without_a_close_frame(serve: Serve, style: str, leaves: Callable[[Peer], None]) -> None:
    notes = Notes()
    site = serve(route(notes, style))
    peer = SocketPeer(site.connect())
    assert peer.ask("x") == "x"
    leaves(peer.peer)
    assert notes.until_closed() == [web.Connect(), web.Message("x"), web.Close(1006, "")]
    site.await_connections(0)
    assert site.closed("peer_left") + site.closed("truncated") + site.closed("tls_failed") == 1


# -- by us -------------------------------------------------------------------------------------------------------------


def close_at(what: Event, code: int = 4000, reason: str = "enough") -> Callable[[Event, web.WebSocket], None]:
    def does(event: Event, ws: web.WebSocket) -> None:
        if event == what:
            ws.close(code, reason)
            assert not ws.is_open
            ws.close(4321)  # nothing: the first one counts
            with pytest.raises(web.SocketClosed, match="4000, enough"):
                ws.send("too late")
            with pytest.raises(web.SocketClosed):
                ws.ping()
            assert not ws.send_now("too late")

    return does


@pytest.mark.parametrize("at", [web.Connect(), web.Message("end")], ids=repr)
def test_by_a_handler(serve: Serve, style: str, at: Event) -> None:
    notes = Notes(close_at(at))
    site = serve(route(notes, style))
    peer = SocketPeer(site.connect())
    peer.say("end")
    assert peer.closed() == (4000, "enough")
    peer.send(frame(PING, b"no pong any more"), text("dropped"), closing(4000))
    assert peer.peer.rest() == b""
    events = notes.until_closed()
    assert events[-1] == web.Close(4000, "enough")
    assert len(events) == (2 if at == web.Connect() else 3)
    peer.peer.close()
    site.await_closed("done")


def test_both_at_once(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain))
    with site.connect() as raw:
        peer = SocketPeer(raw)
        until_quiet(site)
        peer.send(closing(4001, "theirs"))
        notes.ws.close(4002, "ours")
        assert peer.closed() == (4002, "ours")
        assert raw.rest() == b""
        assert notes.until_closed()[-1] == web.Close(4002, "ours")


@pytest.mark.parametrize("behind", [b"", frame(BINARY, bytes(70), fin=False), b"\x81"])
def test_a_peer_that_never_answers_our_close(serve: Serve, style: str, behind: bytes) -> None:
    notes = Notes(close_at(web.Message("end")))
    site = serve(route(notes, style), linger_timeout=0.2)
    peer = SocketPeer(site.connect())
    peer.send(text("end"), behind)
    assert peer.closed() == (4000, "enough")
    with suppress(ConnectionError):
        assert peer.peer.rest() == b""
    assert notes.until_closed()[-1] == web.Close(4000, "enough")
    site.await_closed("linger_timeout")


def test_the_deadline_of_a_close_is_not_moved_by_what_comes(serve: Serve) -> None:
    notes = Notes(close_at(web.Connect()))
    site = serve(web.WS("/", notes.plain), linger_timeout=0.3)
    peer = SocketPeer(site.connect())
    assert peer.closed() == (4000, "enough")

    def is_over() -> bool:
        with suppress(OSError):
            peer.send(frame(PING, b"still here"))
        return site.closed("linger_timeout") == 1

    eventually(is_over, "its time is over")


def test_a_fault_after_our_close(serve: Serve) -> None:
    notes = Notes(close_at(web.Connect()))
    site = serve(web.WS("/", notes.plain))
    peer = SocketPeer(site.connect())
    assert peer.closed() == (4000, "enough")
    peer.send(b"\xff\xff")
    with suppress(ConnectionError):
        assert peer.peer.rest() == b""
    assert notes.until_closed()[-1] == web.Close(4000, "enough")


def test_the_end_of_an_async_handler_is_a_close(serve: Serve) -> None:
    async def handler(ws: web.WebSocket) -> None:
        await ws.send("bye")

    peer = SocketPeer(serve(web.WS("/", handler)).connect())
    assert peer.text() == "bye"
    assert peer.let_close() == (1000, "")


@pytest.mark.parametrize("leaves", [Peer.close, Peer.half_close])
def test_a_peer_that_ends_instead_of_answering(serve: Serve, leaves: Callable[[Peer], None]) -> None:
    notes = Notes(close_at(web.Connect()))
    site = serve(web.WS("/", notes.plain))
    peer = SocketPeer(site.connect())
    assert peer.closed() == (4000, "enough")
    leaves(peer.peer)
    assert notes.until_closed()[-1] == web.Close(4000, "enough")
    eventually(lambda: site.closed("done") + site.closed("truncated") == 1, "it is no failure")


@pytest.mark.parametrize(
    ("code", "reason"), [(999, ""), (1004, ""), (1005, ""), (1006, ""), (1015, ""), (2999, ""), (5000, ""),
                         (66536, ""), (-1, ""), (1000, "x" * 124), (1000, "ü" * 62)],
)  # fmt: skip
def test_what_must_not_be_sent(serve: Serve, code: int, reason: str) -> None:
    notes = Notes()
    peer = SocketPeer(serve(web.WS("/", notes.plain)).connect())
    with pytest.raises(ValueError, match="close"):
        notes.ws.close(code, reason)
    with pytest.raises(ValueError, match="ping"):
        notes.ws.ping(bytes(126))
    assert peer.ask("x") == "x"


# -- by silence --------------------------------------------------------------------------------------------------------


def test_a_silent_peer_is_asked_three_times(serve: Serve, style: str) -> None:
    notes = Notes()
    site = serve(route(notes, style), websocket_ping=0.05)
    peer = SocketPeer(site.connect())
    assert [peer.frame() for _ in range(3)] == [(PING, b"")] * 3
    with suppress(ConnectionError):
        assert peer.peer.rest() == b""
    assert notes.until_closed() == [web.Connect(), web.Close(1006, "")]
    site.await_closed("websocket_silent")
    assert not any(site.server.stats()["timeouts"].values())


def test_a_peer_that_answers_stays(serve: Serve) -> None:
    notes = Notes()
    site = serve(web.WS("/", notes.plain), websocket_ping=0.05)
    peer = SocketPeer(site.connect())
    for _ in range(8):
        assert peer.frame() == (PING, b"")
        peer.send(frame(PONG))
    assert notes.ws.is_open


# -- when the server stops ---------------------------------------------------------------------------------------------


def test_a_stop_says_1001(serve: Serve, style: str) -> None:
    notes = Notes()
    site = serve(route(notes, style), shutdown_grace=LONG)
    peers = [SocketPeer(site.connect()) for _ in range(3)]
    eventually(lambda: len(notes.of) == 3, "all are open")
    site.server.stop()
    for peer in peers:
        assert peer.closed() == (1001, "the server stops")
        peer.send(closing(1001))
        assert peer.peer.rest() == b""
    eventually(lambda: not site.server.connections, "it has stopped")
    eventually(lambda: all(isinstance(events[-1], web.Close) for events in notes.of.values()), "all are told")
    assert {events[-1] for events in notes.of.values()} == {web.Close(1001, "the server stops")}


def test_what_does_not_end_is_named(serve: Serve, style: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    site = serve(route(notes, style), shutdown_grace=LONG, linger_timeout=LONG)
    peer = SocketPeer(site.connect())
    assert peer.ask("x") == "x"
    site.server.stop(0.1)
    assert peer.closed() == (1001, "the server stops")
    with suppress(ConnectionError):
        assert peer.peer.rest() == b""
    eventually(lambda: "cuts off WebSocket / (handler" in caplog.text, "it is named")
    assert notes.until_closed()[-1] == web.Close(1001, "the server stops")


def test_one_that_opens_while_the_server_stops(serve: Serve) -> None:
    gate: list[asyncio.Event] = []

    async def accept(req: web.Request) -> None:
        gate.append(asyncio.Event())
        await gate[0].wait()

    async def let_in(req: web.Request) -> str:
        asyncio.get_running_loop().call_later(0.1, gate[0].set)
        site.server.stop()
        return "ok"

    notes = Notes()
    site = serve(web.WS("/", notes.plain, accept=accept), web.GET("/stop", let_in), shutdown_grace=LONG)
    raw = site.connect()
    raw.send(opening())
    eventually(lambda: gate, "it is asked")
    assert site.connect().ask("/stop").body == b"ok"
    assert raw.answer().status == 101
    peer = SocketPeer.__new__(SocketPeer)
    peer.peer = raw
    assert peer.closed() == (1001, "the server stops")
    peer.send(closing(1001))
    assert raw.rest() == b""
    assert notes.until_closed()[-1] == web.Close(1001, "the server stops")


def test_an_async_handler_that_does_not_take_hears_of_the_stop(serve: Serve) -> None:
    ended: list[str] = []

    async def busy(ws: web.WebSocket) -> None:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    site = serve(web.WS("/", busy))
    peer = SocketPeer(site.connect())
    for number in range(100):  # more than it lets wait: it is paused
        peer.say(str(number))
    site.server.stop(0.2)
    assert peer.closed() == (1001, "the server stops")
    with suppress(ConnectionError):
        peer.peer.rest()
    eventually(lambda: ended, "it is cancelled")


# -- at every point ----------------------------------------------------------------------------------------------------

WIRE = (
    opening()
    + text("hello")
    + frame(TEXT, b"he", fin=False)
    + frame(PING, b"p")
    + frame(CONTINUATION, b"llo")
    + frame(BINARY, bytes(300))
    + closing(1000, "bye")
)


@pytest.mark.parametrize("leaves", [Peer.close, Peer.reset])
def test_leaving_at_every_byte(serve: Serve, style: str, leaves: Callable[[Peer], None]) -> None:
    notes = Notes()
    site = serve(route(notes, style), web.GET("/ok", lambda req: "ok"))
    first = site.connect()
    assert first.ask("/ok").status == 200
    before = open_fds()
    for cut in range(len(opening()) - 2, len(WIRE) + 1, 2 if not site.is_tls else 7):
        peer = site.connect()
        peer.send(WIRE[:cut])
        leaves(peer)
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "every fd is back")
    eventually(lambda: all(isinstance(events[-1], web.Close) for events in notes.of.values()), "all are over")
    for events in notes.of.values():
        assert [type(event) for event in events].count(web.Connect) == 1
        assert [type(event) for event in events].count(web.Close) == 1
    assert first.ask("/ok").status == 200


def test_every_byte_is_seen_before_the_peer_leaves(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain))
    for cut in range(len(opening()), len(WIRE) + 1):
        with site.connect() as peer:
            peer.send(WIRE[:cut])
            until_quiet(site)
            if isinstance(peer, TlsPeer) and cut % 2:
                with suppress(Exception):
                    peer.close_notify()
                until_quiet(site)
    assert site.server.connections == 0
    for events in notes.of.values():
        assert events[0] == web.Connect()
        assert isinstance(events[-1], web.Close)
        assert [type(event) for event in events].count(web.Close) == 1


def test_byte_by_byte(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain))
    with site.connect() as raw:
        for at in range(len(WIRE)):
            raw.send(WIRE[at : at + 1])
            until_quiet(site)
        raw.answer()
        peer = SocketPeer.__new__(SocketPeer)
        peer.peer = raw
        assert [peer.text(), peer.frame(), peer.text()] == ["hello", (PONG, b"p"), "hello"]
        assert peer.frame() == (BINARY, bytes(300))
        assert peer.ended() == (1000, "")
    assert notes.until_closed()[1:] == [
        web.Message("hello"), web.Message("hello"), web.Binary(bytes(300)), web.Close(1000, "bye"),
    ]  # fmt: skip


# -- what is left ------------------------------------------------------------------------------------------------------


def test_what_an_application_keeps_is_a_value(serve: Serve, style: str) -> None:
    notes = Notes()
    site = serve(web.WS("/room/:name", getattr(notes, style), protocols=["chat"]))
    peer = SocketPeer(site.connect(), "/room/a?b=c", "Sec-WebSocket-Protocol: chat\r\nX-A: b\r\n")
    peer.close()
    peer.peer.close()
    notes.until_closed()
    site.connect().ask("/other")
    ws = notes.ws
    eventually(lambda: ws.buffered == 0 and site.closed("done") >= 1, "it is gone")
    assert (ws.params, ws.protocol, ws.request.path) == ({"name": "a"}, "chat", "/room/a")
    assert (ws.request.query["b"], ws.request.headers["x-a"]) == ("c", "b")
    assert repr(ws) == "<WebSocket closed /room/a>"
    assert (ws.buffered, ws.is_open, ws.dropped) == (0, False, 0)
    ws.close()
    ws.subscribe("all")
    ws.unsubscribe("all")
    site.server.publish("all", "x")
    with pytest.raises(web.SocketClosed) as caught:
        ws.send("x")
    assert (caught.value.code, caught.value.reason) == (1000, "")


def test_nothing_is_left(serve: Serve, style: str) -> None:
    """Cycles of a WebSocket, its Task and its handler are found by the collector."""
    seen: list[weakref.ref[web.WebSocket]] = []

    def keep(event: Event, ws: web.WebSocket) -> None:
        ws.params["me"] = ws
        if isinstance(event, web.Connect):
            seen.append(weakref.ref(ws))
            ws.subscribe("all")
        if isinstance(event, web.Message):
            notes.of.clear()

    notes = Notes(keep)
    site = serve(route(notes, style))
    for _ in range(10):
        SocketPeer(site.connect()).close()
    eventually(lambda: len(seen) == 10, "all came")

    def all_are_gone() -> bool:
        notes.of.clear()
        gc.collect()
        return all(one() is None for one in seen)

    eventually(all_are_gone, "they are freed")


def test_two_thousand(serve_plain: Serve) -> None:
    counts = {"open": 0, "closed": 0}

    def handler(event: Event, params: dict[str, Any], ws: web.WebSocket) -> None:
        counts["open"] += isinstance(event, web.Connect)
        counts["closed"] += isinstance(event, web.Close)

    site = serve_plain(web.WS("/", handler))
    before = open_fds()
    for _ in range(20):
        peers = [SocketPeer(site.connect()) for _ in range(100)]
        for number, peer in enumerate(peers):
            if number % 2:
                peer.close()
            peer.peer.close()
    eventually(lambda: counts == {"open": 2000, "closed": 2000}, "all are told")
    site.await_connections(0)
    eventually(lambda: open_fds() == before, "every fd is back")


def test_a_peer_that_ends_at_once_is_no_spin(embed: Embed) -> None:
    site = embed(web.WS("/", Notes().plain))
    with site.connect() as raw:
        raw.send(opening())
        raw.sock.shutdown(socket.SHUT_RDWR)
        until_quiet(site)
    assert site.server.connections == 0
