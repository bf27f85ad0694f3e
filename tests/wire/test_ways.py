"""Handlers of every kind (plain, in threads, in Tasks of asyncio and uvloop): the same suite holds for each of them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import web
from tests.serving import process, program
from tests.wire.clients import Peer, TlsPeer, chunked, eventually, request
from tests.wire.sites import Serve, Site

try:
    import uvloop
except ImportError:
    pass
else:
    uvloop.new_event_loop().close()  # the first one of a process makes a pipe that is never closed

LABEL: contextvars.ContextVar[str] = contextvars.ContextVar("label", default="none")


@dataclass
class Way:
    """How handlers are run. ``form`` makes a route's handler of this kind from a plain one."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)  # of the server
    route: dict[str, Any] = field(default_factory=dict)
    waits: int = -1  # how often an async handler waits before it goes on; -1: it is not async

    def get(self, pattern: str, handler: Callable[[web.Request], Any], method: str = "GET") -> web.routing.Route:
        if self.waits < 0:
            return web.route(method, pattern, handler, **self.route)

        async def later(req: web.Request) -> Any:
            for _ in range(self.waits):
                await asyncio.sleep(0)
            return handler(req)

        return web.route(method, pattern, later, **self.route)


WAYS = [
    Way("plain"),
    Way("blocking", route={"blocking": True}),
    Way("threads", {"threads": 3}),
    Way("asyncio", waits=0),
    Way("asyncio, waiting", waits=2),
    Way("uvloop", {"loop": "uvloop"}, waits=0),
    Way("uvloop, waiting", {"loop": "uvloop"}, waits=2),
]


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> Way:
    if request.param.options.get("loop") == "uvloop":
        pytest.importorskip("uvloop")
    return request.param  # type: ignore[no-any-return]


# -- the same for all of them ------------------------------------------------------------------------------------------


def test_kinds_of_answers_and_bodies(serve: Serve, way: Way) -> None:
    site = serve(
        way.get("/text", lambda req: "text"),
        way.get("/json", lambda req: {"a": [1, 2]}),
        way.get("/made", lambda req: ("made", 201, {"X-A": "b"})),
        way.get("/large", lambda req: b"x" * 3_000_000),
        way.get("/echo", lambda req: req.body, "POST"),
        way.get("/hello/:name", lambda req: f"hello {req.params['name']}, {req.header('x-a')}"),
        **way.options,
    )
    peer = site.connect()
    assert peer.ask("/text").body == b"text"
    assert peer.ask("/json").body == b'{"a":[1,2]}'
    made = peer.ask("/made")
    assert (made.status, made["X-A"], made.body) == (201, "b", b"made")
    assert peer.ask("/large").body == b"x" * 3_000_000
    assert peer.ask("/text", "HEAD")["Content-Length"] == "4"
    assert peer.ask("/hello/you", fields="X-A: field\r\n").body == b"hello you, field"
    for size in (1, 5000, 200_000):
        assert peer.ask("/echo", "POST", body=b"e" * size).body == b"e" * size
    peer.send(request("/echo", "POST", "Transfer-Encoding: chunked\r\n") + chunked(b"one", b"two"))
    assert peer.answer().body == b"onetwo"
    assert peer.ask("/nowhere").status == 404
    assert peer.ask("/text", "PUT").status == 405


def test_pipelined_requests_are_answered_in_order(serve: Serve, way: Way) -> None:
    peer = serve(way.get("/:n", lambda req: req.path), **way.options).connect()
    peer.send(b"".join(request(f"/{n}") for n in range(100)))
    assert [peer.answer().body for _ in range(100)] == [f"/{n}".encode() for n in range(100)]


def test_an_exception_is_a_500_and_the_connection_goes_on(
    serve: Serve, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(req: web.Request) -> str:
        raise ZeroDivisionError("secret words")

    def refusing(req: web.Request) -> str:
        raise web.HTTPError(418, "no coffee")

    site = serve(way.get("/broken", broken), way.get("/418", refusing), way.get("/ok", lambda req: "ok"), **way.options)
    peer = site.connect()
    for target, status in (("/broken", 500), ("/418", 418), ("/ok", 200), ("/broken", 500)):
        answer = peer.ask(target)
        assert (answer.status, answer["Connection"]) == (status, None)
        assert b"secret" not in answer.body
    errors = [r for r in caplog.records if r.name == "web"]
    assert [r.exc_info is not None for r in errors] == [True, True]
    assert "/broken" in errors[0].getMessage()


@pytest.mark.parametrize("value", [None, 5, {1}, ("x",)])
def test_what_is_no_answer_is_a_500(serve_plain: Serve, way: Way, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert serve_plain(way.get("/", lambda req: value), **way.options).connect().ask("/").status == 500
    assert "returned" in caplog.text


@pytest.mark.parametrize("hooks", ["plain", "async"])
def test_hooks(serve: Serve, way: Way, hooks: str) -> None:
    def first(req: web.Request, params: dict[str, Any]) -> web.routing.Answer | None:
        params["seen"] = "by the hook"
        return "stopped" if req.path == "/stop" else None

    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("X-Marked", req.path)

    async def first_later(req: web.Request, params: dict[str, Any]) -> web.routing.Answer | None:
        await asyncio.sleep(0)
        return first(req, params)

    async def mark_later(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        await asyncio.sleep(0)
        return mark(req, params, resp)

    forms = (
        [web.before(first), web.after(mark)] if hooks == "plain" else [web.before(first_later), web.after(mark_later)]
    )
    peer = serve(*forms, way.get("/", lambda req: req.params["seen"]), **way.options).connect()
    assert peer.ask("/").body == b"by the hook"
    assert peer.ask("/stop").body == b"stopped"
    missing = peer.ask("/missing")
    assert (missing.status, missing["X-Marked"]) == (404, "/missing")


Kind = str


def hooks_of(kind: Kind, name: str, log: list[str]) -> tuple[Any, Any]:
    """A before and an after hook that say when they run, plain or async."""

    def enter(req: web.Request, params: dict[str, Any]) -> web.routing.Answer | None:
        log.append(f"{name}{params.get('n', '')}")
        return "stopped" if req.header("x-stop") == name else None

    def leave(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        log.append(f"/{name}")
        if req.header("x-break") == name:
            raise ZeroDivisionError
        return resp

    async def enter_later(req: web.Request, params: dict[str, Any]) -> web.routing.Answer | None:
        await asyncio.sleep(0)
        return enter(req, params)

    async def leave_later(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        await asyncio.sleep(0)
        return leave(req, params, resp)

    return (enter_later, leave_later) if kind == "async" else (enter, leave)


def hooked(way: Way, app: Kind, outer: Kind, route: Kind, log: list[str]) -> list[Any]:
    """An application with hooks of each level, of these kinds."""
    before_app, after_app = hooks_of(app, "app", log)
    before_group, after_group = hooks_of(outer, "g", log)
    before_route, after_route = hooks_of(route, "r", log)
    quiet = way.get("/:n:int", lambda req: "answer")
    told = replace(quiet, before=[before_route], after=[after_route])
    group = web.group("/g", web.before(before_group), web.after(after_group), told, way.get("/broken", broken_handler))
    return [web.before(before_app), web.after(after_app), group, way.get("/", lambda req: "home")]


def broken_handler(req: web.Request) -> str:
    raise ZeroDivisionError


@pytest.mark.parametrize("kinds", ["plain plain plain", "plain plain async", "plain async plain", "async plain plain"])
def test_hooks_of_groups_and_routes(serve: Serve, way: Way, kinds: str, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    def ran(target: str, fields: str = "", method: str = "GET") -> tuple[int, str]:
        log.clear()
        return peer.ask(target, method, fields).status, " ".join(log)

    app, outer, route = kinds.split()
    peer = serve(*hooked(way, app, outer, route, log), **way.options).connect()
    assert ran("/") == (200, "app /app")
    assert ran("/g/5") == (200, "app g5 r5 /r /g /app")
    assert ran("/g/5", "X-Stop: app\r\n") == (200, "app /r /g /app")
    assert ran("/g/5", "X-Stop: g\r\n") == (200, "app g5 /r /g /app")
    assert ran("/g/5", "X-Stop: r\r\n") == (200, "app g5 r5 /r /g /app")
    assert ran("/g/5", "X-Break: r\r\n") == (500, "app g5 r5 /r /g /app")
    assert ran("/g/broken") == (500, "app g /g /app")
    assert ran("/g/nothing") == (404, "app g /g /app")
    assert ran("/g/5", method="PUT") == (405, "app g /g /app")
    assert ran("/nothing") == (404, "app /app")
    assert len(caplog.records) == 2


@pytest.mark.parametrize("hooks", ["plain", "async"])
def test_errors(serve: Serve, way: Way, hooks: Kind, caplog: pytest.LogCaptureFixture) -> None:
    def told(req: web.Request, status: int, reason: str) -> Any:
        if req.header("x-break"):
            raise ZeroDivisionError("in errors")
        return {"status": status, "reason": reason}

    async def told_later(req: web.Request, status: int, reason: str) -> Any:
        await asyncio.sleep(0)
        return told(req, status, reason)

    def refuses(req: web.Request) -> str:
        raise web.HTTPError(409, "taken", headers={"Retry-After": "3"})

    site = serve(
        web.group(
            "/g",
            web.errors(told_later if hooks == "async" else told),
            way.get("/refuses", refuses),
            way.get("/broken", broken_handler),
            way.get("/post", lambda req: "posted", "POST"),
        ),
        body=10,
        **way.options,
    )
    peer = site.connect()
    assert peer.ask("/g/broken").body == b'{"status":500,"reason":"Internal Server Error"}'
    taken = peer.ask("/g/refuses")
    assert (taken.status, taken["Retry-After"], taken.body) == (409, "3", b'{"status":409,"reason":"taken"}')
    assert peer.ask("/g/nothing").body == b'{"status":404,"reason":"Not Found"}'
    wrong = peer.ask("/g/post")
    assert (wrong.status, wrong["Allow"]) == (405, "POST, OPTIONS")
    fallen = peer.ask("/g/refuses", fields="X-Break: 1\r\n")
    assert (fallen.status, fallen["Retry-After"], fallen.body) == (409, "3", b"taken")
    assert peer.ask("/nothing").body == b"Not Found"
    large = peer.ask("/g/post", "POST", body=b"x" * 11)
    assert (large.status, large["Connection"]) == (413, "close")
    assert large.body == b'{"status":413,"reason":"the body is larger than this server accepts"}'
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


def test_hosts(serve: Serve, way: Way) -> None:
    seen: list[str] = []

    async def look(req: web.Request) -> None:
        seen.append(req.host)

    def mark(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        seen.append("after")
        return resp

    site = serve(
        web.hosts("localhost"),
        web.before(look),
        web.after(mark),
        way.get("/", lambda req: "ok"),
        web.livez(),
        body=10,
        **way.options,
    )
    peer = site.connect()
    assert peer.ask("/").body == b"ok"
    for target in ("/", "/nothing"):
        peer.send(f"GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
        assert peer.answer().status == 421
    peer.send(b"GET /livez HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n")
    assert peer.answer().status == 200
    assert peer.ask("/").body == b"ok"
    peer.send(b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 11\r\n\r\n")
    assert peer.answer().status == 413
    assert seen == ["localhost", "after"] * 2


def test_a_hook_that_waits_is_cancelled_with_its_route(serve: Serve, event_loop_name: str) -> None:
    gate = Gate()
    site = serve(
        web.group("/g", web.GET("/", lambda req: "late", before=[gate])), web.GET("/ok", lambda req: "ok"),
        loop=event_loop_name,
    )  # fmt: skip
    peer = site.connect()
    peer.send(request("/g/"))
    assert gate.begun.acquire(timeout=20)
    assert site.connect().ask("/ok").body == b"ok"
    peer.reset()
    assert gate.cancelled.wait(20)


def test_an_errors_function_that_waits_is_cancelled(
    serve: Serve, event_loop_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    async def told(req: web.Request, status: int, reason: str) -> str:
        return await gate(req)

    site = serve(web.group("/g", web.errors(told)), web.GET("/ok", lambda req: "ok"), loop=event_loop_name)
    peer = site.connect()
    peer.send(request("/g/nothing"))
    assert gate.begun.acquire(timeout=20)
    peer.reset()
    assert gate.cancelled.wait(20)
    site.await_connections(0)
    assert site.connect().ask("/ok").body == b"ok"
    assert not caplog.records


def test_contextvars_are_of_one_request(serve_plain: Serve, way: Way) -> None:
    def swap(req: web.Request) -> str:
        before = LABEL.get()
        LABEL.set(req.path)
        return f"{before} {LABEL.get()}"

    site = serve_plain(way.get("/:n", swap), **way.options)
    peers = [site.connect() for _ in range(5)]
    for turn in range(4):
        for peer in peers:
            peer.send(request(f"/{turn}"))
        assert [peer.answer().body for peer in peers] == [f"none /{turn}".encode()] * 5


def test_requests_may_be_kept(serve: Serve, way: Way) -> None:
    kept: list[web.Request] = []

    def keep(req: web.Request) -> str:
        kept.append(req)
        return "kept"

    peer = serve(way.get("/:n", keep, "POST"), **way.options).connect()
    for n in range(10):
        assert peer.ask(f"/{n}", "POST", body=b"b" * n).body == b"kept"
    assert [(req.path, len(req.body)) for req in kept] == [(f"/{n}", n) for n in range(10)]


def test_refusals(serve: Serve, way: Way) -> None:
    site = serve(way.get("/", lambda req: "ok", "POST"), body=10, **way.options)
    assert site.connect().ask("/", "POST", body=b"x" * 11).status == 413
    peer = site.connect()
    peer.send(b"nonsense\r\n\r\n")
    assert peer.answer().status == 400
    assert site.connect().ask("/", "POST", body=b"x" * 10).body == b"ok"


# -- waiting -----------------------------------------------------------------------------------------------------------


class Gate:
    """An async handler that tells when it begins, and waits until it is opened or cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.opened: asyncio.Event | None = None

    async def __call__(self, req: web.Request) -> str:
        self.loop = asyncio.get_running_loop()
        self.opened = self.opened or asyncio.Event()
        self.begun.release()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "opened"

    def open(self) -> None:
        assert self.loop is not None
        assert self.opened is not None
        self.loop.call_soon_threadsafe(self.opened.set)


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_name(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


def waiting(serve: Serve, event_loop_name: str, **options: Any) -> tuple[Site, Gate, Peer]:
    gate = Gate()
    site = serve(web.GET("/", gate, **options), web.GET("/ok", lambda req: "ok"), loop=event_loop_name)
    peer = site.connect()
    peer.send(request("/"))
    assert gate.begun.acquire(timeout=20)
    return site, gate, peer


def say_no_more(peer: Peer) -> None:
    """Ends what is sent in good order: under TLS by close_notify and FIN."""
    if isinstance(peer, TlsPeer):
        peer.close_notify()
    peer.sock.shutdown(socket.SHUT_WR)


def test_one_that_waits_stalls_nobody(serve: Serve, event_loop_name: str) -> None:
    site, gate, peer = waiting(serve, event_loop_name)
    assert site.connect().ask("/ok").body == b"ok"
    peer.send(request("/ok"))  # waits its turn
    gate.open()
    assert [peer.answer().body for _ in range(2)] == [b"opened", b"ok"]


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_it_is_cancelled_when_its_client_goes_away(serve: Serve, event_loop_name: str, leave: str) -> None:
    site, gate, peer = waiting(serve, event_loop_name)
    getattr(peer, leave)()
    assert gate.cancelled.wait(20)
    site.await_connections(0)
    assert site.connect().ask("/ok").body == b"ok"


def test_it_goes_on_where_its_route_says_so(serve: Serve, event_loop_name: str) -> None:
    site, gate, peer = waiting(serve, event_loop_name, cancel_on_disconnect=False)
    peer.reset()
    site.await_connections(0)
    assert not gate.cancelled.is_set()
    gate.open()
    assert site.connect().ask("/ok").body == b"ok"


def test_a_half_close_cancels_as_going_away_does(serve: Serve, event_loop_name: str) -> None:
    site, gate, peer = waiting(serve, event_loop_name)
    say_no_more(peer)
    assert gate.cancelled.wait(20)
    site.await_closed("peer_left")


def test_a_half_close_is_answered_where_the_route_says_so(serve: Serve, event_loop_name: str) -> None:
    site, gate, peer = waiting(serve, event_loop_name, cancel_on_disconnect=False)
    say_no_more(peer)
    assert site.connect().ask("/ok").body == b"ok"  # by now the end was heard
    gate.open()
    assert peer.answer().body == b"opened"
    assert peer.rest() == b""


def test_nothing_is_read_while_a_handler_waits_behind_an_answer_that_is_being_sent(
    serve_plain: Serve, event_loop_name: str
) -> None:
    gate = Gate()
    large = web.GET("/large", lambda req: b"x" * 8_000_000)
    echo = web.POST("/echo", lambda req: req.body)
    site = serve_plain(large, web.GET("/", gate), echo, loop=event_loop_name, out_buffer=10_000_000)
    peer = site.connect(receive_buffer=4096)
    first = request("/large") + request("/")
    peer.send(first)
    assert gate.begun.acquire(timeout=20)
    peer.send(request("/echo", "POST", body=b"e" * 20_000))
    assert len(peer.answer().body) == 8_000_000
    assert site.counter("bytes_received") == len(first)
    gate.open()
    assert peer.answer().body == b"opened"
    assert peer.answer().body == b"e" * 20_000


def test_stop_cancels_what_still_waits(serve: Serve, event_loop_name: str) -> None:
    site, gate, _ = waiting(serve, event_loop_name)
    site.server.stop(0.0)
    assert gate.cancelled.wait(20)


def test_stop_lets_finish_what_finishes_in_time(serve: Serve, event_loop_name: str) -> None:
    site, gate, peer = waiting(serve, event_loop_name)
    site.server.stop(20.0)
    gate.open()
    answer = peer.answer()
    assert (answer.body, answer["Connection"]) == (b"opened", "close")
    assert peer.rest() == b""


def test_a_time_out_of_the_application(serve: Serve, event_loop_name: str) -> None:
    async def slow(req: web.Request) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "too slow"
        return "done"

    async def group(req: web.Request) -> str:
        async with asyncio.TaskGroup() as tasks:
            parts = [tasks.create_task(asyncio.sleep(0, part)) for part in "abc"]
        return "".join(part.result() for part in parts)

    peer = serve(web.GET("/slow", slow), web.GET("/group", group), loop=event_loop_name).connect()
    assert peer.ask("/slow").body == b"too slow"
    assert peer.ask("/group").body == b"abc"


def test_cancelling_itself_is_a_500(serve_plain: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def cancelled(req: web.Request) -> str:
        raise asyncio.CancelledError

    assert serve_plain(web.GET("/", cancelled)).connect().ask("/").status == 500
    assert "CancelledError" in caplog.text


# -- threads -----------------------------------------------------------------------------------------------------------


def test_stuck_threads_stop_neither_the_others_nor_plain_routes(serve: Serve) -> None:
    opened = threading.Event()
    begun = threading.Semaphore(0)

    def stuck(req: web.Request) -> str:
        begun.release()
        opened.wait(60)
        return "opened"

    site = serve(
        web.GET("/stuck", stuck),
        web.GET("/quick", lambda req: "quick"),
        web.GET("/health", lambda req: "well", blocking=False),
        threads=2,
        blocking_queue=1,
    )
    try:
        first = site.connect()
        first.send(request("/stuck"))
        assert begun.acquire(timeout=20)
        assert site.connect().ask("/quick").body == b"quick"
        second, third = site.connect(), site.connect()
        second.send(request("/stuck"))
        assert begun.acquire(timeout=20)
        third.send(request("/stuck"))  # waits for a thread
        eventually(lambda: site.server._loop is not None and len(site.server._loop.pendings) == 3)
        busy = site.connect().ask("/quick")
        assert (busy.status, busy["Retry-After"], busy["Connection"]) == (503, "1", None)
        assert site.connect().ask("/health").body == b"well"
    finally:
        opened.set()
    assert [peer.answer().body for peer in (first, second, third)] == [b"opened"] * 3


def test_a_client_that_leaves_a_thread_behind(serve: Serve) -> None:
    opened, begun = threading.Event(), threading.Event()

    def stuck(req: web.Request) -> str:
        begun.set()
        opened.wait(60)
        return "x" * 100_000

    site = serve(web.GET("/stuck", stuck, blocking=True), web.GET("/ok", lambda req: "ok"))
    peer = site.connect()
    peer.send(request("/stuck"))
    assert begun.wait(20)
    peer.reset()
    site.await_closed("peer_left")
    opened.set()
    assert site.connect().ask("/ok").body == b"ok"


def test_a_thread_that_never_ends_is_named_and_left_behind(
    serve_plain: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    opened, begun = threading.Event(), threading.Event()

    def stuck(req: web.Request) -> str:
        begun.set()
        opened.wait(60)
        return ""

    app = web.App(web.GET("/stuck", stuck, blocking=True))
    with (
        caplog.at_level(logging.ERROR),
        web.Server(app, "127.0.0.1").running() as server,
        socket.create_connection(("127.0.0.1", server.port)) as sock,
    ):
        sock.sendall(request("/stuck"))
        assert begun.wait(20)
        server.stop(0.0)
        assert sock.recv(1) == b""
    opened.set()
    assert "left behind: GET /stuck (handler " in caplog.text


# -- what ends the program ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_the_loop(way: Way, exception: type[BaseException]) -> None:
    def end(req: web.Request) -> str:
        raise exception

    def ask_for_the_end() -> None:
        app = web.App(way.get("/", end))
        with (
            web.Server(app, "127.0.0.1", **way.options).running() as server,
            socket.create_connection(("127.0.0.1", server.port)) as sock,
        ):
            sock.sendall(request("/"))
            assert sock.recv(1) == b""

    with pytest.raises(exception):
        ask_for_the_end()


# -- hooks of a server's life; asyncio is imported only where it is needed ---------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_start_and_stop_hooks(kind: str) -> None:
    told: list[str] = []

    async def later(word: str) -> None:
        await asyncio.sleep(0)
        told.append(word)

    async def up() -> None:
        await later("up")

    async def down(app: web.App) -> None:
        await later("down")

    forms = (
        (web.on_start(up), web.on_stop(down))
        if kind == "async"
        else (web.on_start(lambda: told.append("up")), web.on_stop(lambda app: told.append("down")))
    )
    with web.Server(web.App(web.GET("/", lambda req: "x"), *forms), "127.0.0.1").running():
        assert told == ["up"]
    assert told == ["up", "down"]


def test_a_start_hook_that_fails_ends_the_start() -> None:
    def up() -> None:
        raise ZeroDivisionError

    told: list[str] = []
    app = web.App(web.on_start(up), web.on_stop(lambda: told.append("down")))
    with pytest.raises(ZeroDivisionError), web.Server(app, "127.0.0.1").running():
        raise AssertionError("it runs")
    assert told == []


def test_run_async_inside_somebody_elses_loop() -> None:
    async def hello(req: web.Request) -> str:
        await asyncio.sleep(0)
        return "hello"

    async def main() -> bytes:
        server = web.Server(web.App(web.GET("/", hello), web.GET("/plain", lambda req: "plain")), "127.0.0.1")
        server.open()
        serving = asyncio.create_task(server.run_async())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request("/") + request("/plain", fields="Connection: close\r\n"))
        answers = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.stop()
        await serving
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return answers

    answers = asyncio.run(main())
    assert answers.count(b"200 OK") == 2
    assert b"hello" in answers
    assert answers.endswith(b"plain")


def test_run_async_that_is_cancelled() -> None:
    gate = Gate()

    async def main() -> None:
        server = web.Server(web.App(web.GET("/", gate)), "127.0.0.1")
        server.open()
        serving = asyncio.create_task(server.run_async())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request("/"))
        while not gate.begun.acquire(blocking=False):  # noqa: ASYNC110 - a semaphore of threads
            await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert await reader.read() == b""
        writer.close()
        assert gate.cancelled.is_set()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


PLAIN = """
import sys, web
server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "x"))
with server.running():
    import urllib.request
    assert urllib.request.urlopen(server.url).read() == b"x"
print("asyncio" in sys.modules)
"""


def test_a_server_of_plain_handlers_never_imports_asyncio() -> None:
    with process(*program(PLAIN)) as child:
        assert child.finish() == (0, "False\n", "")


def test_an_app_with_async_handlers_cannot_be_embedded() -> None:
    async def hello(req: web.Request) -> str:
        return "hello"

    server = web.Server(web.App(web.GET("/", hello)), "127.0.0.1")
    for call in (server.fileno, server.run_once):
        with pytest.raises(RuntimeError, match="run_async"):
            call()
    server.close()
