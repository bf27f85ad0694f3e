"""What handlers do: raise, answer with what must not reach the wire, keep requests; nothing of it crosses requests."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import web
from tests.wire.clients import Peer, TlsPeer, chunked, request
from tests.wire.sites import Embed, Serve

OK = web.GET("/ok", lambda req: "ok")


# -- exceptions --------------------------------------------------------------------------------------------------------


def broken(req: web.Request) -> str:
    raise ZeroDivisionError("secret words")


def test_an_exception_is_a_500_and_the_connection_goes_on(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    peer = serve(OK, web.GET("/broken", broken), web.POST("/broken", broken)).connect()
    peer.send(request("/broken") + request("/ok") + request("/broken", "POST", body=b"x" * 5000) + request("/ok"))
    for status in (500, 200, 500, 200):
        answer = peer.answer()
        assert (answer.status, answer["Connection"]) == (status, None)
        assert b"secret" not in answer.body
    assert [(r.name, r.levelno, r.exc_info is not None) for r in caplog.records] == [("web", logging.ERROR, True)] * 2


def test_a_failing_after_hook(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def after(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        raise ZeroDivisionError

    peer = serve(OK, web.after(after)).connect()
    for _ in range(3):
        assert peer.ask("/ok").status == 500
    assert len(caplog.records) == 3


def test_hooks_see_refusals_whose_head_was_whole(serve: Serve) -> None:
    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("X-Marked", req.path)

    site = serve(OK, web.after(mark), body=10)
    assert site.connect().ask("/ok", "POST", body=b"x" * 11)["X-Marked"] == "/ok"
    assert site.connect().ask("/nowhere")["X-Marked"] == "/nowhere"


# -- header injection (class 9: aiohttp CVE-2023-49081/2, Tornado CVE-2025-67724) --------------------------------------

ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
EVIL = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\0b", f"a\r\n\r\n{ANSWER}"]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize(
    "make",
    [
        lambda evil: web.Response.text("x", headers={"X-Given": evil}),
        lambda evil: web.Response.text("x", headers={evil: "x"}),
        lambda evil: web.Response.text("x").with_header("X-Given", evil),
        lambda evil: web.Response.text("x").add_header("X-Given", evil),
        lambda evil: web.Response.text("x").with_header(evil, "x"),
        web.Response.redirect,
        lambda evil: web.Response.bytes(b"x", content_type=evil),
        lambda evil: web.Response("x", content_type=evil),
        lambda evil: ("x", 200, {"X-Given": evil}),
        lambda evil: ("x", 200, {evil: "x"}),
    ],
)
def test_injection_never_reaches_the_wire(
    serve_plain: Serve, make: Any, evil: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer = serve_plain(OK, web.GET("/evil", lambda req: make(evil))).connect()
    answer = peer.ask("/evil")
    if answer.status == 302:  # a redirect may quote what it is given
        assert evil not in (answer["Location"] or "")
    else:
        assert answer.status == 500
        assert len(caplog.records) == 1
    assert answer["X-Evil"] is None
    assert peer.ask("/ok").body == b"ok"
    assert peer.buffer == b""


def test_injection_by_way_of_the_path(serve: Serve) -> None:
    """Captures are decoded: what a client wrote as %0D%0A must not become lines."""
    peer = serve(OK, web.GET("/to/:where", lambda req, params: web.Response.redirect("/" + params["where"]))).connect()
    answer = peer.ask("/to/a%0D%0AX-Evil:%201")
    assert answer["X-Evil"] is None
    assert peer.ask("/ok").body == b"ok"


@pytest.mark.parametrize("name", ["X Y", "X:", "X(", "", "Ü"])
def test_names_that_are_no_tokens(serve_plain: Serve, name: str) -> None:
    peer = serve_plain(OK, web.GET("/evil", lambda req: ("x", 200, {name: "y"}))).connect()
    assert peer.ask("/evil").status == 500
    assert peer.ask("/ok").body == b"ok"


def test_a_handler_cannot_break_the_framing(serve: Serve) -> None:
    wrong = {"Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "upgrade"}
    peer = serve(OK, web.GET("/evil", lambda req: ("body", 200, wrong))).connect()
    peer.send(request("/evil") + request("/ok"))
    answer = peer.answer()
    if answer.status == 200:
        assert (answer["Content-Length"], answer["Transfer-Encoding"], answer.body) == ("4", None, b"body")
    else:
        assert answer.status == 500
    assert peer.answer().body == b"ok"


# -- state that must not leak from one request to the next (class 11) --------------------------------------------------


def all_of(req: web.Request) -> dict[str, Any]:
    fresh = not vars(req.state)
    req.state.mark = True
    return {
        "method": req.method,
        "path": req.path,
        "query": req.query_string,
        "headers": dict(req.headers.items()),
        "body": req.body.decode(),
        "params": req.params,
        "version": req.http_version,
        "fresh": fresh,
    }


FULL = request("/a/1?q=secret", "POST", "X-Secret: 1\r\nCookie: id=secret\r\nAuthorization: secret\r\n", b"secret body")
CHUNKED = request("/a/2?q=secret", "POST", "X-Secret: 1\r\nTransfer-Encoding: chunked\r\n") + chunked(b"secret body")
RAISES = request("/raises?q=secret", fields="X-Secret: 1\r\n")
NOWHERE = request("/nowhere?q=secret", fields="X-Secret: 1\r\n")


@pytest.mark.parametrize(
    "before", [FULL, CHUNKED, FULL * 40, RAISES, NOWHERE], ids=["length", "chunked", "wave", "raises", "404"]
)
@pytest.mark.parametrize("together", [True, False])
def test_nothing_of_an_earlier_request_is_seen(
    serve: Serve, before: bytes, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    everything = web.route(["GET", "POST"], "/a/:id", all_of), web.GET("/b", all_of), web.GET("/raises", broken)
    peer = serve(*everything).connect()
    count = before.count(b"HTTP/1.1")
    peer.send(before + (request("/b") if together else b""))
    for _ in range(count):
        peer.answer()
    if not together:
        peer.send(request("/b"))
    answer = peer.answer()
    assert answer.status == 200
    assert b"secret" not in answer.body.lower()
    assert b"true" in answer.body  # fresh state
    assert answer.body.startswith(b'{"method":"GET","path":"/b","query":""')


def test_nothing_crosses_connections(serve: Serve) -> None:
    site = serve(web.route(["GET", "POST"], "*", all_of))
    first, second = site.connect(), site.connect()
    for _ in range(3):
        first.send(FULL[:-4])
        assert b"secret" not in second.ask("/b").body.lower()
        first.send(FULL[-4:])
        assert b"secret body" in first.answer().body


def test_requests_that_a_handler_keeps_keep_their_own_bytes(serve: Serve) -> None:
    kept: list[web.Request] = []

    def keep(req: web.Request) -> str:
        kept.append(req)
        return "kept"

    peer = serve(OK, web.route(["GET", "POST"], "/keep/:i", keep)).connect()
    wires = []
    for i in range(60):
        body = str(i).encode() * (1 if i % 3 else 3000)
        fields = f"X-Number: {i}\r\n"
        if i % 2:
            wires.append(request(f"/keep/{i}?q={i}", "POST", fields, body))
        else:
            wires.append(request(f"/keep/{i}?q={i}", "POST", fields + "Transfer-Encoding: chunked\r\n") + chunked(body))
    peer.send(b"".join(wires[:40]))
    for _ in range(40):
        assert peer.answer().body == b"kept"
    for wire in wires[40:]:
        peer.send(wire)
        assert peer.answer().body == b"kept"
    peer.send(request("/ok", fields="X-Number: other\r\n") * 50)
    for _ in range(50):
        assert peer.answer().body == b"ok"
    peer.close()
    for i, req in enumerate(kept):
        assert (req.path, req.query_string, req.header("X-Number")) == (f"/keep/{i}", f"q={i}", str(i))
        assert req.body == str(i).encode() * (1 if i % 3 else 3000)
        assert req.params == {"i": str(i)}


# -- the connection, as a handler sees it ------------------------------------------------------------------------------


def test_a_handler_may_look_at_its_connection_and_not_touch_it(serve: Serve) -> None:
    def look(req: web.Request) -> dict[str, Any]:
        assert req.connection is not None
        refused = []
        steps: list[Callable[[web.Connection], object]] = [
            lambda c: c.recv(1), lambda c: c.send(b"x"), lambda c: c.shutdown(), lambda c: c.close(),
            lambda c: c.handshake(),
        ]  # fmt: skip
        for step in steps:
            try:
                step(req.connection)
            except web.ConnectionInUse:
                refused.append(True)
        match req.connection:
            case web.Tls(version=version, cipher=cipher):
                kind: list[str | None] = ["tls", version, cipher]
            case web.Plain():
                kind = ["plain"]
            case _:
                kind = []
        return {"kind": kind, "refused": len(refused), "peer": req.connection.peer, "scheme": req.scheme}

    site = serve(web.GET("/", look))
    peer = site.connect()
    for _ in range(2):
        answer = peer.ask()
        assert answer.status == 200
        body = web.Request(request("/", "POST"), answer.body).json()
        assert body["refused"] == 5
        assert body["peer"] == list(peer.sock.getsockname())
        assert body["scheme"] == ("https" if site.is_tls else "http")
        if isinstance(peer, TlsPeer):
            assert body["kind"] == ["tls", peer.tls.version(), (peer.tls.cipher() or ("",))[0]]
        else:
            assert type(peer) is Peer
            assert body["kind"] == ["plain"]


def test_a_connection_that_is_kept_is_closed_with_its_client(serve: Serve) -> None:
    kept: list[web.Connection | None] = []

    def keep(req: web.Request) -> str:
        kept.append(req.connection)
        return "kept"

    site = serve(web.GET("/", keep))
    peer = site.connect()
    peer.ask()
    peer.close()
    site.await_connections(0)
    (connection,) = kept
    assert connection is not None
    assert connection.closed
    with pytest.raises(ValueError, match="closed"):
        connection.fileno()


# -- contextvars -------------------------------------------------------------------------------------------------------

LABEL: contextvars.ContextVar[str] = contextvars.ContextVar("label", default="none")


@pytest.mark.parametrize("failure", [None, ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_one_request_sets_the_next_of_the_turn_does_not_see(
    embed: Embed, failure: type[BaseException] | None
) -> None:
    def label(req: web.Request) -> str:
        before = LABEL.get()
        LABEL.set(req.path)
        if failure is not None and req.path == "/1":
            raise failure
        return before

    site = embed(web.GET("*", label))
    with ExitStack() as stack:
        peers = [stack.enter_context(site.connect()) for _ in range(3)]
        for number, peer in enumerate(peers, 1):
            peer.send(request(f"/{number}"))
        with suppress(KeyboardInterrupt, SystemExit):
            site.settle()
        site.settle()
        for peer in peers[1:]:
            assert peer.answer().body == b"none"
    assert LABEL.get() == "none"
