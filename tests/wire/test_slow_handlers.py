"""Handlers that hold the event loop: counted each time, and named in the log once for each route.

How long is too long is set far below what the slow ones take, or far above what the others could.
"""

from __future__ import annotations

import logging
import re
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import web
from tests.serving import body, connect, get, process, program
from tests.wire.clients import request
from tests.wire.sites import Embed, Serve

HELD = 0.05  # seconds
SLOW = {"slow_handler": HELD / 5}


def hold(req: web.Request) -> str:
    threading.Event().wait(HELD)
    return "held"


def hold_too(req: web.Request, params: dict[str, Any]) -> str:
    return hold(req)


def hold_and_fail(req: web.Request) -> str:
    hold(req)
    raise web.HTTPError(500, "held")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of handlers that held the loop."""
    return [record.getMessage() for record in caplog.records if "held the event loop" in record.getMessage()]


# -- named once, counted each time -------------------------------------------------------------------------------------


def test_it_is_named_once_and_counted_each_time(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(web.GET("/hold", hold), **SLOW)
    peer = site.connect()
    for number in range(1, 4):
        assert peer.ask("/hold").body == b"held"
        assert site.counter("slow_handlers") == number
    (line,) = told(caplog)
    (record,) = (record for record in caplog.records if record.getMessage() == line)
    assert (record.name, record.levelname) == ("web", "WARNING")
    parts = re.fullmatch(r"handler (\S+), route (\S+) held the event loop for (\d+\.\d\d) s, (.*)", line)
    assert parts
    assert parts[1] == "tests.wire.test_slow_handlers.hold"
    assert parts[2] == "/hold"
    assert HELD <= float(parts[3]) < 20
    assert "blocking=True" in parts[4]


def test_each_route_is_named(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Also where two have one handler; another method or another capture is no other route."""
    users = web.route(["POST", "PUT"], "/u/:id", hold_too), web.GET("/u/:id", hold)
    site = serve(web.GET("/1", hold), web.GET("/2", hold), *users, **SLOW)
    peer = site.connect()
    asked = [("GET", "/1"), ("HEAD", "/1"), ("GET", "/2"), ("POST", "/u/1"), ("PUT", "/u/2"), ("GET", "/u/3")]
    for method, path in asked * 2:
        peer.ask(path, method)
    assert site.counter("slow_handlers") == 2 * len(asked)
    found = [re.findall(r"handler \S+\.(\w+), route (\S+)", line)[0] for line in told(caplog)]
    assert found == [("hold", "/1"), ("hold", "/2"), ("hold_too", "/u/:id"), ("hold", "/u/:id")]


def test_each_request_of_a_pipeline_is_counted(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """One does not pay for another: each is measured from its own beginning."""
    site = serve(web.GET("/hold", hold), web.GET("/", lambda req: "quick"), slow_handler=HELD * 0.9)
    peer = site.connect()
    peer.send((request("/hold") + request("/")) * 3)
    assert [peer.answer().body for _ in range(6)] == [b"held", b"quick"] * 3
    assert all("route /hold " in line for line in told(caplog))
    assert site.counter("slow_handlers") == 3


def test_connections_of_one_turn_do_not_pay_for_one_another(embed: Embed, caplog: pytest.LogCaptureFixture) -> None:
    site = embed(web.GET("/hold", hold), web.GET("/", lambda req: "quick"), slow_handler=HELD * 0.9)
    with site.connect() as first, site.connect() as second, site.connect() as third:
        site.settle()
        first.send(request("/"))
        second.send(request("/hold"))
        third.send(request("/"))
        site.server.run_once(0)
        assert [peer.answer().body for peer in (first, second, third)] == [b"quick", b"held", b"quick"]
    assert site.server.stats()["slow_handlers"] == 1
    assert "route /hold " in told(caplog)[0]


def test_one_that_fails_is_counted_too(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(web.GET("/", hold_and_fail), **SLOW)
    assert site.connect().ask("/").status == 500
    assert site.counter("slow_handlers") == 1
    assert "hold_and_fail" in told(caplog)[0]


def test_hooks_count_for_the_route(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """What holds the loop is the whole of hooks and handler; where there is no route, there is nobody to name."""
    site = serve(web.before(lambda req: hold(req) and None), web.GET("/quick", lambda req: "quick"), **SLOW)
    peer = site.connect()
    assert peer.ask("/nowhere").status == 404
    assert (site.counter("slow_handlers"), told(caplog)) == (1, [])
    assert peer.ask("/quick").body == b"quick"
    assert site.counter("slow_handlers") == 2
    assert "route /quick " in told(caplog)[0]


# -- what is not slow --------------------------------------------------------------------------------------------------


def test_quick_ones_are_not_counted(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(web.GET("/", lambda req: "quick"), web.GET("/hold", hold), slow_handler=20.0)
    peer = site.connect()
    peer.send(request() * 100)
    for _ in range(100):
        assert peer.answer().body == b"quick"
    assert peer.ask("/hold").body == b"held"
    assert (site.counter("slow_handlers"), told(caplog)) == (0, [])


def test_a_thread_holds_nobody_up(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It takes twice as long as is allowed, and the loop only has to hand it over."""
    allowed = 0.25
    slow = web.GET("/", lambda req: str(threading.Event().wait(2 * allowed)), blocking=True)
    site = serve(slow, slow_handler=allowed)
    assert site.connect().ask("/").body == b"False"
    assert site.server.stats()["latency"]["sum"] >= 2 * allowed
    assert (site.counter("slow_handlers"), told(caplog)) == (0, [])


def test_zero_means_any_time(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(web.GET("/", hold), slow_handler=0)
    assert site.connect().ask("/").body == b"held"
    assert (site.counter("slow_handlers"), told(caplog)) == (0, [])


def test_a_quarter_of_a_second_is_the_default(serve_plain: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def longer(req: web.Request) -> str:
        threading.Event().wait(0.26)
        return "longer"

    site = serve_plain(web.GET("/", longer))
    assert site.connect().ask("/").body == b"longer"
    assert site.counter("slow_handlers") == len(told(caplog)) == 1


@pytest.mark.parametrize("value", [-0.001, 1e6 + 1, float("nan"), float("inf")])
def test_impossible_times(value: float) -> None:
    with pytest.raises(ValueError, match="slow_handler="):
        web.Server(web.App(), "127.0.0.1", 0, slow_handler=value)


# -- a log that fails --------------------------------------------------------------------------------------------------


class Broken(logging.Handler):
    """A disk that is full."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no room for this record")


@contextmanager
def broken_log() -> Iterator[None]:
    log, handler = logging.getLogger("web"), Broken()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def test_a_log_that_fails_does_not_matter(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: unraisable.append(found.exc_value))
    site = serve(web.GET("/", hold), **SLOW)
    with broken_log():
        peer = site.connect()
        for _ in range(2):
            assert peer.ask().body == b"held"
    assert site.counter("slow_handlers") == 2
    (error,) = unraisable  # it was tried once, as said
    assert str(error) == "no room for this record"


# -- async handlers ----------------------------------------------------------------------------------------------------


def test_the_first_step_of_an_async_handler(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def hold_later(req: web.Request) -> str:
        return hold(req)

    site = serve(web.GET("/", hold_later), **SLOW)
    peer = site.connect()
    for _ in range(2):
        assert peer.ask().body == b"held"
    assert site.counter("slow_handlers") == 2
    (line,) = told(caplog)
    assert "hold_later, route / held the event loop" in line


def test_a_plain_handler_beside_an_async_hook(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def hook(req: web.Request) -> None:
        return None

    site = serve(web.before(hook), web.GET("/", hold), **SLOW)
    assert site.connect().ask().body == b"held"
    assert site.counter("slow_handlers") == len(told(caplog)) == 1


# -- who is named for what he did not do -------------------------------------------------------------------------------


def test_one_that_ends_the_program_is_counted_and_the_next_is_not(
    embed: Embed, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(req: web.Request) -> str:
        hold(req)
        raise SystemExit

    site = embed(web.GET("/leave", leave), web.GET("/", lambda req: "quick"), slow_handler=HELD * 0.9)
    with site.connect() as first, site.connect() as second:
        site.settle()
        first.send(request("/leave"))
        second.send(request("/"))
        with pytest.raises(SystemExit):
            site.server.run_once(0)
        assert second.answer().body == b"quick"
    assert ["route /leave " in line for line in told(caplog)] == [True]


# A thread that computes in C keeps everybody from running, for as long as that takes: here a good part of a second.
GREEDY = """
import logging, os, sys, web

logging.basicConfig(level=logging.WARNING, format="%(message)s")

def compute(req):
    for _ in range(4):      # between two of them the loop gets as far as to wait for the next
        os.write(1, b"computes\\n")
        sum(range(int(sys.argv[1])))
    return "computed"

server = web.defserver("127.0.0.1", 0, web.GET("/compute", compute, blocking=True),
                       web.GET("/quick", lambda req: "quick"), slow_handler=0.05)
server.open()
print(server.port, flush=True)
server.run()
"""


def test_a_handler_is_not_named_for_what_a_thread_did() -> None:
    with process(*program(GREEDY, str(10_000_000))) as child:
        port = int(child.line())
        child.ready()
        with connect(port) as greedy, connect(port) as quick:
            greedy.sendall(request("/compute"))
            assert child.line() == "computes"
            while not select.select([greedy], [], [], 0)[0]:  # so one of them waits while it computes
                assert body(get(quick, "/quick")) == b"quick"
        child.popen.terminate()
        err = child.finish()[2]
    assert "route /quick held the event loop" not in err
