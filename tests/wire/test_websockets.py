"""The opening handshake on the wire, what comes before and behind it, and what handlers are told."""

from __future__ import annotations

import asyncio
import contextvars
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.sync.client import connect as connect_library

import web
from tests.taking_turns import in_turns
from tests.wire.clients import eventually, request
from tests.wire.sites import Embed, Serve, Site
from tests.wire.websocket_peers import (
    BINARY,
    CONTINUATION,
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
from web.errors import RouteError

OK = web.GET("/ok", lambda req: "ok")


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    chosen = request.param
    assert isinstance(chosen, str)
    return chosen


def at_root(notes: Notes, style: str = "plain", **options: Any) -> web.routing.Route:
    return web.WS("/", getattr(notes, style), **options)


# -- what is refused ---------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "a page": (lambda wire: request(), 426),
    "without Connection": (lambda wire: wire.replace(b"Connection: Upgrade\r\n", b""), 400),
    "version 8": (lambda wire: wire.replace(b"Version: 13", b"Version: 8"), 426),
    "without version": (lambda wire: wire.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
    "without key": (lambda wire: wire.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "a short key": (lambda wire: wire.replace(b"dGhl", b""), 400),
    "HEAD": (lambda wire: wire.replace(b"GET", b"HEAD"), 405),
    "another site": (lambda wire: wire[:-2] + b"Origin: https://evil.example\r\n\r\n", 403),
    "bad protocols": (lambda wire: wire[:-2] + b"Sec-WebSocket-Protocol: a b\r\n\r\n", 400),
    "bad extensions": (lambda wire: wire[:-2] + b"Sec-WebSocket-Extensions: ;\r\n\r\n", 400),
    "a body": (lambda wire: wire[:-2] + b"Content-Length: 1\r\n\r\nx", 400),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(serve: Serve, style: str, case: str) -> None:
    """... is an answer like any other, and the connection goes on."""
    change, status = REFUSED[case]
    notes = Notes()
    peer = serve(at_root(notes, style), OK).connect()
    peer.send(change(opening()))
    answer = peer.answer(to_head=case == "HEAD")
    assert answer.status == status
    if status == 426:
        assert (answer["Upgrade"], answer["Sec-WebSocket-Version"]) == ("websocket", "13")
    assert peer.ask("/ok").body == b"ok"
    assert not notes.of


def test_http_1_0_is_refused(serve: Serve) -> None:
    peer = serve(at_root(Notes())).connect()
    peer.send(opening().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert peer.answer().status == 400
    assert peer.rest() == b""


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_other_methods_are_no_routes(serve: Serve, method: str) -> None:
    peer = serve(at_root(Notes())).connect()
    peer.send(opening().replace(b"GET", method.encode()))
    assert peer.answer().status == 405


# -- what is agreed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offered", "chosen"), [("", None), ("b", "b"), ("c", None), ("b, a", "a"), ("c,b", "b")])
def test_subprotocols(serve: Serve, offered: str, chosen: str | None) -> None:
    notes = Notes()
    site = serve(at_root(notes, protocols=["a", "b"]))
    peer = SocketPeer(site.connect(), fields=f"Sec-WebSocket-Protocol: {offered}\r\n" if offered else "")
    assert peer.answer["Sec-WebSocket-Protocol"] == chosen
    assert notes.ws.protocol == chosen


def test_origins(serve: Serve) -> None:
    site = serve(
        web.WS("/own", Notes().plain),
        web.WS("/listed", Notes().plain, origins=["https://app.example"]),
        web.WS("/any", Notes().plain, origins="*"),
        web.WS("/asked", Notes().plain, origins=lambda origin: origin.endswith(".example")),
    )
    own = f"{'https' if site.is_tls else 'http'}://localhost"
    admitted = {
        ("/own", own), ("/listed", own), ("/listed", "https://app.example"), ("/any", own), ("/any", "https://x.y"),
        ("/any", "https://app.example"), ("/asked", "https://app.example"),
    }  # fmt: skip
    for target in ("/own", "/listed", "/any", "/asked"):
        for origin in (own, "https://app.example", "https://x.y"):
            peer = site.connect()
            peer.send(opening(target, f"Origin: {origin}\r\n"))
            expected = 101 if (target, origin) in admitted else 403
            assert peer.answer().status == expected, (target, origin)


def plain_accept(req: web.Request) -> web.Response | None:
    return None if "key" in req.query else web.Response.text("no key", status=401)


async def async_accept(req: web.Request) -> web.Response | None:
    await asyncio.sleep(0)
    return plain_accept(req)


@pytest.mark.parametrize("accept", [plain_accept, async_accept])
def test_accept(serve: Serve, style: str, accept: Any) -> None:
    notes = Notes()
    site = serve(at_root(notes, style, accept=accept), OK)
    refused = site.connect()
    refused.send(opening())
    answer = refused.answer()
    assert (answer.status, answer.body) == (401, b"no key")
    assert refused.ask("/ok").status == 200
    assert SocketPeer(site.connect(), "/?key=1").ask("x") == "x"
    assert len(notes.of) == 1


def wrong_accept(req: web.Request) -> Any:
    return "no"


async def wrong_async_accept(req: web.Request) -> Any:
    return "no"


def failing_accept(req: web.Request) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("accept", [wrong_accept, wrong_async_accept, failing_accept])
def test_an_accept_that_is_wrong(serve: Serve, style: str, accept: Any, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    peer = serve(at_root(notes, style, accept=accept)).connect()
    peer.send(opening())
    assert peer.answer().status == 500
    (record,) = caplog.records
    if accept is not failing_accept:
        assert "return None to accept, or a Response that refuses" in str(record.exc_info)
    assert not notes.of


# -- hooks -------------------------------------------------------------------------------------------------------------


def test_hooks(serve: Serve, style: str) -> None:
    def refuse(req: web.Request) -> web.Response | None:
        return web.Response.text("no", status=403) if "refuse" in req.query else None

    def add(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.set_cookie("seen", "yes").with_header("X-After", "b")

    notes = Notes()
    site = serve(at_root(notes, style, before=[web.before(refuse).hook], after=[web.after(add).hook]), OK)
    peer = site.connect()
    peer.send(opening("/?refuse=1"))
    answer = peer.answer()
    assert (answer.status, answer["X-After"]) == (403, "b")
    opened = SocketPeer(site.connect())
    assert opened.answer["X-After"] == "b"
    assert (opened.answer["Set-Cookie"] or "").startswith("seen=yes")
    assert opened.answer["Content-Length"] is None
    assert opened.ask("x") == "x"


def test_hooks_of_the_framework(serve: Serve) -> None:
    site = serve(
        at_root(Notes()), web.compress(), web.security_headers(), web.request_id(), web.access_log(), web.cors("*")
    )
    peer = SocketPeer(site.connect(), fields="Accept-Encoding: gzip\r\n")
    assert peer.answer["Content-Encoding"] is None
    assert peer.ask("x") == "x"
    assert peer.close() == (1000, "")


def test_an_after_hook_that_puts_another_answer_in_its_place(serve: Serve, style: str) -> None:
    notes = Notes()
    instead = web.after(lambda req, params, resp: resp.with_status(200) if resp.status == 101 else resp)
    peer = serve(at_root(notes, style), OK, instead).connect()
    peer.send(opening() + request("/ok"))
    assert peer.answer().status == 200
    assert peer.answer().body == b"ok"
    assert not notes.of


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def test_context_variables_are_the_connections_own(serve: Serve, style: str) -> None:
    """What a before hook sets its handler sees, and no other connection's does; so it is with what handlers set."""

    def name(req: web.Request) -> None:
        if "name" in req.query:
            WHO.set(req.query["name"])

    def does(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Message):
            ws.send(WHO.get())
            if event.text:
                WHO.set(event.text)

    site = serve(at_root(Notes(does), style, before=[name]))
    one, other, none = (SocketPeer(site.connect(), target) for target in ("/?name=one", "/?name=other", "/"))
    for _ in range(2):
        assert [peer.ask("") for peer in (one, other, none)] == ["one", "other", "nobody"]
    assert [one.ask("new"), one.ask(""), other.ask(""), none.ask("")] == ["one", "new", "other", "nobody"]


# -- before and behind it ----------------------------------------------------------------------------------------------


def test_requests_come_before_it_on_the_same_connection(serve: Serve, style: str) -> None:
    site = serve(at_root(Notes(), style), OK)
    peer = site.connect()
    for _ in range(3):
        assert peer.ask("/ok").body == b"ok"
    peer.send(request("/ok") + opening() + text("behind"))
    assert peer.answer().body == b"ok"
    assert peer.answer().status == 101
    socket = SocketPeer.__new__(SocketPeer)
    socket.peer = peer
    assert socket.text() == "behind"
    assert socket.ask("more") == "more"


def test_frames_behind_the_opening(serve: Serve, style: str) -> None:
    notes = Notes()
    site = serve(at_root(notes, style))
    messages = [f"{number} {'x' * 500}" for number in range(400)]
    peer = SocketPeer(site.connect(), behind=b"".join(map(text, messages)) + frame(PING, b"p"))
    got = [peer.frame() for _ in range(401)]
    assert [payload.decode() for opcode, payload in got if opcode == TEXT] == messages
    assert (PONG, b"p") in got
    assert peer.close() == (1000, "")


def test_a_second_request_behind_it_is_no_frame(serve: Serve) -> None:
    notes = Notes()
    peer = SocketPeer(serve(at_root(notes), OK).connect(), behind=request("/ok"))
    code, _ = peer.closed()
    assert code == 1002
    assert [type(event) for event in notes.until_closed()] == [web.Connect, web.Close]


# -- messages ----------------------------------------------------------------------------------------------------------


def test_messages_of_each_kind_and_size(serve: Serve, style: str) -> None:
    notes = Notes()
    site = serve(at_root(notes, style), websocket_frame=1 << 21, websocket_message=1 << 21)
    peer = SocketPeer(site.connect())
    for size in (0, 1, 125, 126, 65_535, 65_536, 16_384, 16_385, 1_500_000):
        data = bytes(index & 0x7F for index in range(size))
        peer.send(frame(BINARY, data))
        assert peer.frame() == (BINARY, data)
        peer.send(frame(TEXT, data))
        assert peer.frame() == (TEXT, data)
    assert peer.ask("ü€𝄞\x00") == "ü€𝄞\x00"
    assert peer.close() == (1000, "")
    assert web.Message("ü€𝄞\x00") in notes.until_closed()


def test_fragments_with_control_frames_between(serve: Serve, style: str) -> None:
    notes = Notes()
    peer = SocketPeer(serve(at_root(notes, style)).connect())
    peer.send(frame(TEXT, b"\xc3", fin=False), frame(PING, b"1"), frame(CONTINUATION, b"", fin=False), frame(PONG))
    assert peer.frame() == (PONG, b"1")
    peer.send(frame(CONTINUATION, b"\xbc", fin=False), frame(PING, bytes(125)), frame(CONTINUATION, b""))
    assert peer.frame() == (PONG, bytes(125))
    assert peer.text() == "ü"
    peer.send(frame(TEXT, b"unfinished", fin=False), closing(1000))
    assert peer.ended() == (1000, "")
    assert notes.until_closed() == [web.Connect(), web.Message("ü"), web.Close(1000, "")]


def test_many_messages_in_one_turn_do_not_hold_the_others_up(serve: Serve) -> None:
    notes = Notes()
    site = serve(at_root(notes))
    crowd, one = SocketPeer(site.connect()), SocketPeer(site.connect())
    crowd.say(*["x"] * 5000)
    assert one.ask("y") == "y"
    assert [crowd.text() for _ in range(5000)] == ["x"] * 5000


def test_the_share_of_one_connection_in_a_turn(embed: Embed) -> None:
    notes = Notes(lambda event, ws: None)
    site = embed(at_root(notes))
    with site.connect() as raw:
        peer = SocketPeer(raw)
        until_quiet(site)
        peer.say(*["x"] * 1000)
        site.server.run_once(0)
        assert len(notes.events) == 1 + 256
        until_quiet(site)
        assert len(notes.events) == 1 + 1000


def test_events_are_values() -> None:
    assert web.Message("a") == web.Message("a") != web.Message("b")
    assert web.Binary(b"a") == web.Binary(b"a") != web.Message("a")
    assert web.Close(1000, "a") == web.Close(1000, "a") != web.Close(1001, "a")
    assert len({web.Connect(), web.Connect(), web.Message("a"), web.Message("a"), web.Close(1), web.Close(1)}) == 3
    assert [repr(one) for one in (web.Connect(), web.Message("a"), web.Binary(b"a"), web.Close(1000, "x"))] == [
        "Connect()", "Message('a')", "Binary(b'a')", "Close(1000, 'x')",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="WS route"):
        web.WebSocket()


# -- with a client that is not ours ------------------------------------------------------------------------------------


def library(site: Site, **options: Any) -> Any:
    context: ssl.SSLContext | None = site.certificate.client if site.certificate is not None else None
    scheme = "wss" if context is not None else "ws"
    return connect_library(
        f"{scheme}://localhost:{site.server.port}/", ssl=context and in_turns(context), sock=site.raw().sock, **options
    )


@pytest.mark.parametrize("deflate", [False, True])
def test_with_the_websockets_library(serve: Serve, style: str, deflate: bool) -> None:
    notes = Notes()
    site = serve(at_root(notes, style, deflate=deflate, protocols=["chat"]))
    with library(site, subprotocols=["chat"]) as client:
        assert client.subprotocol == "chat"
        for message in ("ü" * 10_000, b"b" * 100_000, "", b"", ["frag", "ments"]):
            client.send(message)
            assert client.recv() == ("fragments" if isinstance(message, list) else message)
        assert client.ping().wait(10)
        client.close(4001, "bye")
    assert notes.until_closed()[-1] == web.Close(4001, "bye")


# -- what is wrong at start-up -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "options", "words"),
    [
        (lambda ws: None, {}, "async def"),
        (lambda: None, {}, "write handler"),
        (lambda a, b, c, d: None, {}, "write handler"),
        (lambda e, p, ws: None, {"slow": "wait"}, "'close' or 'drop'"),
        (lambda e, p, ws: None, {"deflate": 1}, "Deflate"),
        (lambda e, p, ws: None, {"protocols": ["a", "a"]}, "once"),
        (lambda e, p, ws: None, {"origins": ["no origin"]}, "origin"),
        (7, {}, "cannot be called"),
    ],
)
def test_what_cannot_work(handler: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RouteError, match=words):
        web.WS("/", handler, **options)


def test_counters(serve: Serve) -> None:
    site = serve(at_root(Notes()))
    SocketPeer(site.connect()).close()
    eventually(lambda: site.counter("requests") == 1, "it is counted")


# -- large frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1 << 20, 30_000])
def test_a_large_frame_is_gathered_and_checked_as_it_comes(serve: Serve, step: int) -> None:
    """Most of it is received where the message gathers, and not by way of the turn's arena."""
    notes = Notes(lambda event, ws: None)
    peer = SocketPeer(serve(web.WS("/", notes.plain)).connect())
    content = bytes(i * 7 % 251 for i in range(300_000))
    for data in (frame(BINARY, content), frame(TEXT, b"x" * 200_000 + b"\xff" + b"x" * 100_000)):
        for at in range(0, len(data), step):
            with suppress(OSError):  # the server ends it before all of the second one is sent
                peer.peer.send(data[at : at + step])
    events = notes.until_closed()
    assert web.Binary(content) in events
    assert [event.code for event in events if isinstance(event, web.Close)] == [1007]
