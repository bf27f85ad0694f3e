"""A stop in its phases: a delay, then no more connections and a grace; what is left then is cut off and named."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

import pytest

import web
from tests.wire.clients import HANG, Peer, eventually, request
from tests.wire.sites import Serve, Site

OK = web.GET("/", lambda req: "ok")
ECHO = web.POST("/", lambda req: req.body)
LONG = 1000.0


def ready(peer: Peer) -> int:
    return peer.ask("/readyz").status


def await_draining(site: Site) -> None:
    eventually(lambda: ready(site.connect()) == 503, "it says that it is not ready")


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_while_it_drains_everything_is_answered_and_each_answer_is_the_last(serve: Serve) -> None:
    site = serve(OK, web.readyz(), web.livez(), shutdown_grace=LONG)
    kept, idle = site.connect(), site.connect()
    assert ready(kept) == 200
    assert idle.ask()["Connection"] is None
    site.server.stop(delay=LONG)
    await_draining(site)
    answer = kept.ask()
    assert (answer.status, answer.body, answer["Connection"]) == (200, b"ok", "close")
    assert kept.rest() == b""
    fresh = site.connect()
    assert fresh.ask("/livez").status == 200
    assert fresh.rest() == b""
    assert idle.ask()["Connection"] == "close"  # it was not ended meanwhile
    assert idle.rest() == b""
    site.server.stop(0)


def test_the_last_answer_of_a_task_is_the_end(serve: Serve) -> None:
    """It is given between two turns; nothing else happens after it that would make the loop look whether it is done."""
    begun, go_on = threading.Event(), threading.Event()

    async def report(req: web.Request) -> str:
        begun.set()
        await asyncio.to_thread(go_on.wait, HANG)
        return "ready"

    no_timer = {"shutdown_grace": LONG, "head_timeout": LONG, "handshake_timeout": LONG}  # would wake it
    site = serve(web.GET("/", report), **no_timer)
    peer, thread = site.connect(), site.server._thread
    assert thread is not None
    peer.send(request())
    assert begun.wait(HANG)
    site.server.stop()
    eventually(lambda: refuses(site.server.port), "it stops")
    go_on.set()
    answer = peer.answer()
    assert (answer.body, answer["Connection"]) == (b"ready", "close")
    peer.close()
    eventually(lambda: not thread.is_alive(), "its end")


def test_after_the_delay_it_stops_as_ever(serve: Serve) -> None:
    site = serve(OK, ECHO, shutdown_grace=LONG)
    idle, busy = site.connect(), site.connect()
    assert idle.ask().status == 200
    busy.send(request("/", "POST", "Content-Length: 4\r\n") + b"wh")
    eventually(lambda: site.server.stats()["connections"]["active"] == 1, "the request is under way")
    site.server.stop(delay=0.2)
    assert idle.rest() == b""
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", site.server.port)):
        pass
    busy.send(b"at")
    answer = busy.answer()
    assert (answer.body, answer["Connection"]) == (b"what", "close")


def test_a_stop_without_delay_ends_the_delay(serve: Serve) -> None:
    site = serve(OK, web.readyz(), shutdown_grace=LONG)
    idle = site.connect()
    assert idle.ask().status == 200
    site.server.stop(delay=LONG)
    await_draining(site)
    site.server.stop(delay=2 * LONG)  # a longer one changes nothing
    assert ready(site.connect()) == 503
    site.server.stop()
    assert idle.rest() == b""


def test_a_shorter_delay_counts(serve: Serve) -> None:
    site = serve(OK, web.readyz(), shutdown_grace=LONG)
    idle = site.connect()
    assert idle.ask().status == 200
    site.server.stop(delay=LONG)
    await_draining(site)
    site.server.stop(delay=0.1)
    site.server.stop(delay=LONG)
    assert idle.rest() == b""


def test_asking_again_does_not_put_the_end_off(serve: Serve) -> None:
    site = serve(ECHO, shutdown_grace=LONG)
    peer = site.connect()
    peer.send(request("/", "POST", "Content-Length: 4\r\n") + b"wh")
    eventually(lambda: site.server.stats()["connections"]["active"] == 1, "the request is under way")
    site.server.stop(0.5)

    def ends_though_it_is_asked() -> bool:
        site.server.stop(0.5)
        return site.closed("stopped") == 1

    eventually(ends_though_it_is_asked, "the request is cut off")


def test_one_of_two_servers_stops(serve: Serve) -> None:
    one, other = serve(OK, web.readyz(), shutdown_grace=LONG), serve(OK, web.readyz())
    peer, stays = one.connect(), other.connect()
    assert peer.ask().status == stays.ask().status == 200
    one.server.stop(delay=LONG)
    await_draining(one)
    assert ready(stays) == 200
    one.server.stop(0)
    assert peer.rest() == b""
    assert stays.ask().status == 200


def test_what_is_cut_off_is_named(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    site = serve(
        ECHO,
        web.GET("/stuck", lambda req: str(gate.wait()), blocking=True),
        web.GET("/big", lambda req: b"x" * 10_000_000),
        shutdown_grace=LONG,
        response_grace=LONG,
    )
    stuck, half, untaken, late = site.connect(), site.connect(), site.connect(receive_buffer=4096), site.connect()
    stuck.send(request("/stuck?a=b"))
    half.send(request("/", "POST", "Content-Length: 4\r\n") + b"wh")
    untaken.send(request("/big"))
    late.send(b"GET / HT")  # no request is under way: it is ended without a word
    eventually(lambda: site.server.stats()["requests_pending"] == 1, "the handler runs")
    eventually(lambda: site.server.stats()["requests"] == 1, "the large answer is queued")
    eventually(lambda: site.server.stats()["connections"]["active"] == 4, "all have begun")
    site.server.stop(LONG)
    assert late.rest() == b""
    site.server.stop(0)
    with suppress(ConnectionError):
        assert half.rest() == b""
    eventually(lambda: site.closed("stopped") == 4, "all are ended")
    named = [record.getMessage() for record in caplog.records if "cuts off" in record.getMessage()]
    assert len(named) == 3
    assert sum("GET /stuck (handler" in text and "route /stuck" in text for text in named) == 1
    assert sum("a request of which not all has come" in text for text in named) == 1
    assert sum("an answer that its client has not taken" in text for text in named) == 1
    gate.set()


def test_a_crowd_is_named_in_part(serve_plain: Serve, caplog: pytest.LogCaptureFixture) -> None:
    site = serve_plain(ECHO, shutdown_grace=LONG)
    for _ in range(110):
        site.connect().send(request("/", "POST", "Content-Length: 4\r\n") + b"wh")
    eventually(lambda: site.server.stats()["connections"]["active"] == 110, "all have begun")
    site.server.stop(0)
    eventually(lambda: site.closed("stopped") == 110, "all are ended")
    named = [record.getMessage() for record in caplog.records]
    assert sum("cuts off" in text for text in named) == 100
    assert "10 more requests were cut off" in named


def test_a_log_that_fails_does_not_keep_it(
    serve_plain: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room for logs")

    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    monkeypatch.setattr(caplog.handler, "emit", fail)
    site = serve_plain(ECHO, shutdown_grace=LONG)
    peer = site.connect()
    peer.send(request("/", "POST", "Content-Length: 4\r\n") + b"wh")
    eventually(lambda: site.server.stats()["connections"]["active"] == 1, "it has begun")
    site.server.stop(0)
    with suppress(ConnectionError):
        assert peer.rest() == b""
    assert len(told) == 1


@pytest.mark.parametrize(("grace", "delay"), [(-1.0, 0.0), (0.0, -1.0), (0.0, float("nan")), (0.0, 1e7)])
def test_strange_times_are_refused(grace: float, delay: float) -> None:
    with pytest.raises(ValueError, match=r"stop\("):
        web.Server(web.App(OK), "127.0.0.1", 0).stop(grace, delay)
