"""The access log has one record for each request that reached the application, also where its client did not stay."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

import web
from tests.wire.clients import eventually, request
from tests.wire.sites import Serve, Site
from web.access_log import Access
from web.routing import After

try:
    import uvloop
except ImportError:
    pass
else:
    uvloop.new_event_loop().close()  # the first one of a process makes a pipe that is never closed

OK = web.GET("/ok", lambda req: "ok")
PATIENCE = 20.0


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Access] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(cast(Access, record.access))  # type: ignore[attr-defined]

    def of(self, target: str) -> list[Access]:
        return [one for one in self.found if one["target"] == target]

    def one_of(self, target: str) -> Access:
        """The record of that target, when it is there."""
        eventually(lambda: self.of(target), f"a record of {target}")
        (one,) = self.of(target)
        return one


@pytest.fixture
def log() -> Iterator[Keeper]:
    logger, keeper = logging.getLogger("web.access"), Keeper()
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    yield keeper
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(keeper)


class Gate:
    """A handler, of each kind, that says that it was called and waits until it is let go on."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.opened = threading.Event()
        self.ended = threading.Semaphore(0)

    def wait(self, req: web.Request) -> str:
        self.begun.release()
        self.opened.wait(PATIENCE)
        return "waited"

    async def wait_async(self, req: web.Request) -> str:
        self.begun.release()
        try:
            while not self.opened.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.005)
        finally:
            self.ended.release()
        return "waited"

    async def before(self, req: web.Request) -> None:
        if req.path == "/":
            await self.wait_async(req)

    async def after(self, req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        if req.path == "/":
            await self.wait_async(req)
        return resp

    async def stream(self, req: web.Request) -> AsyncIterator[str]:
        yield "first"
        await self.wait_async(req)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def leave(site: Site, gate: Gate, fields: str = "") -> None:
    """A client asks, is being answered, and leaves; the server has seen it."""
    peer = site.connect()
    peer.send(request("/", fields=fields))
    assert gate.begun.acquire(timeout=PATIENCE)
    peer.reset()
    site.await_closed("peer_left")


FORMS: dict[str, Callable[[Gate], tuple[web.app.Form, ...]]] = {
    "handler": lambda gate: (web.GET("/", gate.wait_async),),
    "before hook": lambda gate: (web.before(gate.before), web.GET("/", lambda req: "")),
    "after hook": lambda gate: (web.after(gate.after), web.GET("/", lambda req: "")),
    "hook of a route": lambda gate: (web.GET("/", lambda req: "", before=[gate.before]),),
    "thread that a Task awaits": lambda gate: (web.before(nothing), web.GET("/", gate.wait, blocking=True)),
}


async def nothing(req: web.Request) -> None:
    pass


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_task_that_is_cancelled(serve: Serve, log: Keeper, gate: Gate, forms: str, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    site = serve(web.access_log(), web.request_id(trust=True), *FORMS[forms](gate), OK, loop=loop)
    leave(site, gate, "X-Request-ID: id-7\r\nUser-Agent: curl\r\n")
    one = log.one_of("/")
    assert (one["status"], one["bytes"], one["user_agent"], one["request_id"]) == (499, 0, "curl", "id-7")
    assert one["client"] == "127.0.0.1"
    assert one["tls"] == ("TLSv1.3" if site.is_tls else None)
    assert one["duration"] is not None
    gate.opened.set()
    assert site.connect().ask("/ok").status == 200
    assert [(one["target"], one["status"]) for one in log.found] == [("/", 499), ("/ok", 200)]


def test_a_task_that_goes_on(serve: Serve, log: Keeper, gate: Gate) -> None:
    """What its route asked for is done: the record says how it ended, which its client did not wait for."""
    site = serve(web.access_log(), web.GET("/", gate.wait_async, cancel_on_disconnect=False), OK)
    leave(site, gate)
    assert log.found == []
    gate.opened.set()
    one = log.one_of("/")
    assert (one["status"], one["bytes"]) == (200, 6)


def test_a_thread_goes_on(serve: Serve, log: Keeper, gate: Gate) -> None:
    site = serve(web.access_log(), web.GET("/", gate.wait, blocking=True))
    leave(site, gate)
    assert log.found == []
    gate.opened.set()
    assert log.one_of("/")["status"] == 200


def test_before_a_thread_is_free(serve: Serve, log: Keeper, gate: Gate) -> None:
    site = serve(web.access_log(), web.GET("/", gate.wait, blocking=True), web.GET("/next", gate.wait, blocking=True),
                 threads=1)  # fmt: skip
    first = site.connect()
    first.send(request())
    assert gate.begun.acquire(timeout=PATIENCE)
    second = site.connect()
    second.send(request("/next"))
    eventually(lambda: site.counter("threads_waiting") == 1, "it waits for the thread")
    second.reset()
    site.await_closed("peer_left")
    for number in (2, 3):  # who is counted came in a later turn: by then the request is told that its client left
        site.raw()
        site.await_connections(number)
    gate.opened.set()
    assert first.answer().body == b"waited"
    one = log.one_of("/next")
    assert (one["status"], one["bytes"], one["duration"]) == (499, 0, None)
    assert log.one_of("/")["status"] == 200


def test_in_the_middle_of_a_streamed_answer(serve: Serve, log: Keeper, gate: Gate) -> None:
    """Its head was sent, and the record written."""
    site = serve(web.access_log(), web.GET("/", gate.stream))
    leave(site, gate)
    assert gate.ended.acquire(timeout=PATIENCE)
    eventually(lambda: site.counter("requests_pending") == 0, "it has ended")
    assert log.one_of("/")["status"] == 200


def test_while_its_body_comes(serve: Serve, log: Keeper, gate: Gate) -> None:
    """A Task is cancelled; in a thread the iterator raises, and hooks see a 400 that goes to nobody."""

    async def read_async(req: web.Request) -> str:
        gate.begun.release()
        return str([piece async for piece in req.stream()])

    def read(req: web.Request) -> str:
        gate.begun.release()
        return str(list(req.stream()))

    site = serve(web.access_log(), web.POST("/task", read_async, stream=True),
                 web.POST("/thread", read, stream=True, blocking=True))  # fmt: skip
    for path, status in (("/task", 499), ("/thread", 400)):
        peer = site.connect()
        peer.send(request(path, "POST", "Content-Length: 10\r\n") + b"x")
        assert gate.begun.acquire(timeout=PATIENCE)
        peer.reset()
        assert log.one_of(path)["status"] == status


def test_a_stop_that_cuts_it_off(serve: Serve, log: Keeper, gate: Gate) -> None:
    site = serve(web.access_log(), web.GET("/", gate.wait_async))
    peer = site.connect()
    peer.send(request())
    assert gate.begun.acquire(timeout=PATIENCE)
    site.server.stop(0.0)
    assert peer.rest() == b""
    assert log.one_of("/")["status"] == 499


def test_hooks_that_are_told(serve: Serve, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that asks for it, from inside out; one that fails stops no other."""
    told: list[str] = []
    failures: list[BaseException | None] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: failures.append(unraisable.exc_value))

    def keep(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        told.append("answered")
        return resp

    def fail(req: web.Request) -> None:
        told.append("fails")
        raise ValueError("not today")

    site = serve(
        After(keep, final=True, left=lambda req: told.append(f"outer {req.path}")),
        After(keep),
        After(keep, left=fail),
        web.GET("/", gate.wait_async),
    )
    leave(site, gate)
    eventually(lambda: len(told) == 2, "both are told")
    assert told == ["fails", "outer /"]
    assert [repr(one) for one in failures] == ["ValueError('not today')"]
    assert site.connect().ask("/nowhere").status == 404
    assert told[2:] == ["answered"] * 3
