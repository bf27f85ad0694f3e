"""Event streams on sockets, plain and under TLS, in every way in which a handler runs."""

from __future__ import annotations

import asyncio
import gzip
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import web
from tests.browser import Page
from tests.event_stream import read
from tests.serving import foreign_environment
from tests.wire.clients import Peer, eventually, request
from tests.wire.sites import Serve, Site

OPENING = b": \n\n"
LONG = 1000.0
OK = web.GET("/ok", lambda req: "ok")

Source = Callable[[], Any]  # gives the next item, or None at the end; it may wait


def in_thread(source: Source) -> Any:
    def handler(req: web.Request) -> Iterator[Any]:
        while (item := source()) is not None:
            yield item

    return handler


def in_task(source: Source) -> Any:
    async def handler(req: web.Request) -> AsyncIterator[Any]:
        while (item := await ask(source)) is not None:
            yield item

    return handler


async def ask(source: Source) -> Any:
    """What it gives; one that would wait is waited for without holding up the loop."""
    while isinstance(source, Feed) and source.items.empty():  # noqa: ASYNC110 - another thread puts, at any time
        await asyncio.sleep(0.002)
    return source()


def iterator_in_task(source: Source) -> Any:
    async def handler(req: web.Request) -> Iterator[Any]:
        return iter(source, None)

    return handler


class Way:
    """A way to run: makes the form of a function that gives items."""

    def __init__(self, make: Callable[[Source], Any], **options: Any) -> None:
        self.make = make
        self.options = options

    def sse(self, path: str, source: Source, **options: Any) -> web.routing.Route:
        return web.SSE(path, self.make(source), **self.options, **options)


WAITING = {"thread": Way(in_thread, blocking=True), "async generator": Way(in_task)}
WAYS = WAITING | {"loop": Way(in_thread), "iterator in a task": Way(iterator_in_task)}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    chosen = request.param
    assert isinstance(chosen, Way)
    return chosen


@pytest.fixture(params=list(WAITING.values()), ids=list(WAITING))
def waiting(request: pytest.FixtureRequest) -> Way:
    chosen = request.param
    assert isinstance(chosen, Way)
    return chosen


def from_list(*items: Any) -> Source:
    """A source of these items; for one request."""
    left = iter(items)
    return lambda: next(left, None)


class Feed:
    """Items that come when the test says so; ``None`` is the end."""

    def __init__(self) -> None:
        self.items: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self) -> Any:
        return self.items.get()

    def put(self, *items: Any) -> None:
        for item in items:
            self.items.put(item)


def chunk(peer: Peer) -> bytes:
    """The next chunk; b"" is the last."""
    line = b""
    while not line.endswith(b"\r\n"):
        line += peer.exactly(1)
    data = peer.exactly(int(line, 16) + 2)
    assert data.endswith(b"\r\n")
    return data[:-2]


def begin(site: Any, path: str = "/events", **options: Any) -> Peer:
    """A client of a stream, behind its head and the opening."""
    peer: Peer = site.connect(**options)
    peer.send(request(path))
    head = peer.head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert chunk(peer) == OPENING
    return peer


# -- the stream --------------------------------------------------------------------------------------------------------


def test_events_of_every_kind(serve: Serve, way: Way) -> None:
    items = ["a\nb", {"c": 1}, [2], web.ServerEvent("d", event="e", id="f", retry=7), web.ServerEvent(comment="g")]
    site = serve(OK, way.sse("/events", from_list(*items)))
    peer = begin(site)
    found = []
    while one := chunk(peer):
        found.append(one)
    assert found == [
        b"data: a\ndata: b\n\n",
        b'data: {"c":1}\n\n',
        b"data: [2]\n\n",
        b"event: e\nid: f\nretry: 7\ndata: d\n\n",
        b": g\n\n",
    ]
    assert peer.ask("/ok").body == b"ok"  # its end is that of an answer, and no more


def test_the_head_comes_before_the_first_event(serve: Serve, waiting: Way) -> None:
    feed = Feed()
    peer = begin(serve(waiting.sse("/events", feed)))
    feed.put("a", None)
    assert chunk(peer) == b"data: a\n\n"
    assert chunk(peer) == b""


def test_a_generator_begins_behind_the_head(serve: Serve) -> None:
    """So what it raises, even at its first step, ends a stream, and is logged."""

    async def handler(req: web.Request) -> AsyncIterator[str]:
        raise ZeroDivisionError
        yield "a"

    site = serve(web.SSE("/events", handler))
    peer = begin(site)
    with pytest.raises((AssertionError, ConnectionError)):
        chunk(peer)
    site.await_closed("handler")


def test_head_starts_no_generator(serve: Serve, way: Way) -> None:
    begun = threading.Event()
    site = serve(OK, way.sse("/events", begun.set))
    peer = site.connect()
    answer = peer.ask("/events", "HEAD")
    assert (answer.status, answer["Content-Type"]) == (200, "text/event-stream")
    assert peer.ask("/ok").body == b"ok"
    assert not begun.is_set()


def test_http_1_0_gets_raw_events_and_comments(serve: Serve, waiting: Way) -> None:
    feed = Feed()
    peer = serve(waiting.sse("/events", feed, keep_alive=0.05)).connect()
    peer.send(b"GET /events HTTP/1.0\r\n\r\n")
    assert b"chunked" not in peer.head()
    assert peer.exactly(12) == OPENING * 3
    feed.put("a", None)
    assert peer.rest().replace(OPENING, b"") == b"data: a\n\n"


def test_last_event_id_comes_back(serve: Serve) -> None:
    async def handler(req: web.Request) -> AsyncIterator[web.ServerEvent]:
        yield web.ServerEvent(f"after {req.last_event_id}", id="9")

    peer = serve(web.SSE("/events", handler)).connect()
    peer.send(request("/events", fields="Last-Event-ID: \u00c3\u00bc7\r\n"))
    peer.head()
    assert chunk(peer) == OPENING
    assert read(chunk(peer)).told[0].data == "after ü7"


@pytest.mark.parametrize("item", [None, 7, b"bytes"])
def test_what_is_no_event(serve: Serve, way: Way, item: Any, caplog: pytest.LogCaptureFixture) -> None:
    def wrong(req: web.Request) -> Iterator[Any]:
        yield "a"
        yield item

    async def wrong_later(req: web.Request) -> Any:
        return wrong(req)

    handler: Any = wrong if way.make is in_thread else wrong_later
    site = serve(web.SSE("/events", handler, **way.options))
    peer = site.connect()
    peer.send(request("/events"))
    with suppress(ConnectionError):
        assert not peer.rest().endswith(b"0\r\n\r\n")
    eventually(lambda: caplog.records, "it is logged")
    record = caplog.records[0]
    assert "in the middle of GET /events" in record.getMessage()
    assert "wrong" in str(record.exc_info)
    assert "of route /events yielded" in str(record.exc_info)
    assert "yield ServerEvent(...), str, dict or list" in str(record.exc_info)


def test_a_coded_stream_has_no_comments_in_it(serve_plain: Serve) -> None:
    """Where the application takes no-transform away, and names the type: what is coded is whole."""
    feed, idle = Feed(), Feed()

    def may_be_coded(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("Cache-Control", "no-cache")

    site = serve_plain(
        web.compress(types="text/event-stream"),
        WAYS["thread"].sse("/events", feed, keep_alive=0.01, after=[may_be_coded]),
        WAYS["thread"].sse("/plain", idle, keep_alive=0.01),
    )
    peer, other = site.connect(), begin(site, "/plain")
    peer.send(request("/events", fields="Accept-Encoding: gzip\r\n"))
    assert b"\r\nContent-Encoding: gzip\r\n" in peer.head()
    data = chunk(peer)
    for _ in range(5):
        assert chunk(other) == OPENING
    feed.put("a", None)
    while one := chunk(peer):
        data += one
    assert gzip.decompress(data) == b": \n\ndata: a\n\n"
    idle.put(None)


# -- keep-alive --------------------------------------------------------------------------------------------------------


def test_comments_come_while_nothing_happens(serve: Serve, waiting: Way) -> None:
    feed = Feed()
    peer = begin(serve(waiting.sse("/events", feed, keep_alive=0.02)))
    for number in range(3):
        for _ in range(3):
            assert chunk(peer) == OPENING
        feed.put(f"{number}")
        while (one := chunk(peer)) == OPENING:
            pass
        assert one == b"data: %d\n\n" % number
    feed.put(None)
    while (one := chunk(peer)) == OPENING:
        pass
    assert one == b""
    peer.send(request("/none"))  # the end is the end: no comment behind it
    assert peer.answer().status == 404


def test_none_come_after_the_end(serve: Serve, waiting: Way) -> None:
    """Not while the next request on that connection waits for its answer, either."""
    feed, other, gate = Feed(), Feed(), threading.Event()
    site = serve(
        waiting.sse("/events", feed, keep_alive=0.01),
        waiting.sse("/other", other, keep_alive=0.01),
        web.GET("/slow", lambda req: str(gate.wait()), blocking=True),
    )
    feed.put(None)
    peer, beside = site.connect(), begin(site, "/other")
    peer.send(request("/events") + request("/slow"))
    peer.head()
    while chunk(peer):
        pass
    eventually(lambda: site.server.stats()["requests_pending"] == 2, "it waits")
    for _ in range(10):
        assert chunk(beside) == OPENING
    gate.set()
    assert peer.answer().body == b"True"
    other.put(None)


def test_none_come_where_none_are_wanted(serve: Serve, waiting: Way) -> None:
    quiet, loud = Feed(), Feed()
    site = serve(
        waiting.sse("/quiet", quiet, keep_alive=None), waiting.sse("/loud", loud, keep_alive=0.01), response_grace=LONG
    )
    peer, other = begin(site, "/quiet"), begin(site, "/loud")
    for _ in range(10):
        assert chunk(other) == OPENING
    quiet.put("a", None)
    assert chunk(peer) == b"data: a\n\n"
    assert chunk(peer) == b""
    loud.put(None)


def test_events_put_comments_off(serve: Serve, waiting: Way) -> None:
    """The time counts from what was last sent."""
    feed = Feed()
    peer = begin(serve(waiting.sse("/events", feed, keep_alive=0.4)))
    for _ in range(3):
        assert chunk(peer) == OPENING
        time.sleep(0.2)  # half of the time is over
        at = time.monotonic()
        feed.put("a")
        assert chunk(peer) == b"data: a\n\n"
        assert chunk(peer) == OPENING
        assert time.monotonic() - at >= 0.4 * 15 / 16
        feed.put("b")
        assert chunk(peer) == b"data: b\n\n"
    feed.put(None)


def test_each_route_has_its_own_time(serve: Serve) -> None:
    """A stream that may be quiet for long has few comments, though another one has many. None is late for both."""
    long_one, longer, short_one, late = Feed(), Feed(), Feed(), Feed()
    thread = WAITING["thread"]
    site = serve(
        thread.sse("/long", long_one, keep_alive=LONG),
        thread.sse("/longer", longer, keep_alive=LONG),
        thread.sse("/middle", late, keep_alive=0.5),
        thread.sse("/short", short_one, keep_alive=0.02),
    )
    peer, middle = begin(site, "/long"), begin(site, "/middle")
    assert chunk(middle) == OPENING  # not held up by the first, whose time is longer
    at = time.monotonic()
    late.put("a")
    assert chunk(middle) == b"data: a\n\n"
    short = begin(site, "/short")
    for _ in range(5):
        assert chunk(short) == OPENING
    assert chunk(middle) == OPENING
    assert time.monotonic() - at >= 0.5 * 15 / 16 - 0.02
    begin(site, "/longer")  # one more, whose time is longer, changes nothing for those that are there
    for peer_of in [short] * 100 + [middle]:
        assert chunk(peer_of) == OPENING
    long_one.put("a", None)
    assert chunk(peer) == b"data: a\n\n"  # no comment before it
    for one in (short_one, late, longer):
        one.put(None)


def turns(site: Site) -> int:
    return int(site.server.stats()["turns"]["count"])


def test_thousands_of_idle_streams_share_their_turns(serve_plain: Serve) -> None:
    async def handler(req: web.Request) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    count = 2_000
    site = serve_plain(web.SSE("/events", handler, keep_alive=2.0))
    peers = [begin(site) for _ in range(count)]  # one after the other: not at one moment
    sent = site.counter("bytes_sent") + 9 * count
    eventually(lambda: site.counter("bytes_sent") >= sent, "each got a comment")  # from here on they come in step
    before = turns(site)
    eventually(lambda: site.counter("bytes_sent") >= sent + 2 * 9 * count, "each got two more")
    assert turns(site) - before < 200  # 32 looks, what comes late, and none for each of 4,000 comments
    site.server.stop(0)
    eventually(lambda: site.server.connections == 0, "all are ended")
    assert peers[-1].rest().endswith(b"0\r\n\r\n")


# -- those who leave, those who are slow -------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_ends_the_generator(serve: Serve, leave: Callable[[Peer], None]) -> None:
    ended = threading.Event()

    async def handler(req: web.Request) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.set()

    site = serve(web.SSE("/events", handler))
    peer = begin(site)
    assert chunk(peer) == b"data: a\n\n"
    leave(peer)
    assert ended.wait(20)
    site.await_connections(0)
    eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")


def test_a_client_that_leaves_a_thread_ends_it_with_the_next_event(serve: Serve) -> None:
    ended = threading.Event()
    feed = Feed()

    def handler(req: web.Request) -> Iterator[str]:
        try:
            while True:
                yield feed()
        finally:
            ended.set()

    site = serve(web.SSE("/events", handler, blocking=True))
    begin(site).close()
    site.await_connections(0)

    def it_ends() -> bool:
        """The thread is told a moment after the connection is gone: an event or two may go before that."""
        feed.put("a")
        return ended.wait(0.01)

    eventually(it_ends, "the generator is ended")
    eventually(lambda: site.server.stats()["requests_pending"] == 0, "nothing is left")


@pytest.mark.parametrize("name", WAYS)
def test_a_generator_that_somebody_else_holds_is_closed_too(serve: Serve, name: str) -> None:
    kept: list[Any] = []
    ended = threading.Event()

    def events() -> Iterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            ended.set()

    async def events_later() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            ended.set()

    def handler(req: web.Request) -> Iterator[str]:
        kept.append(events())
        return kept[0]  # type: ignore[no-any-return]

    async def handler_in_task(req: web.Request) -> Any:
        kept.append(events_later() if name == "async generator" else events())
        return kept[0]

    form: Any = handler if WAYS[name].make is in_thread else handler_in_task
    site = serve(web.SSE("/events", form, **WAYS[name].options))
    begin(site, receive_buffer=4096).close()
    assert ended.wait(20)


def test_a_comment_finds_a_peer_that_is_gone(serve_plain: Serve) -> None:
    """A client that said that it sends no more, and then ends: only what is written to it tells."""
    feed = Feed()
    site = serve_plain(WAITING["async generator"].sse("/events", feed, keep_alive=0.05))
    peer = begin(site)
    peer.reset()
    site.await_connections(0)
    feed.put(None)


def test_a_client_that_does_not_read_pauses_the_producer(serve: Serve, way: Way) -> None:
    made = 0

    def source() -> str | None:
        nonlocal made
        made += 1
        return "x" * 1000 if made <= 30_000 else None

    site = serve(OK, way.sse("/events", source, keep_alive=0.01), response_grace=LONG)
    peer = begin(site, receive_buffer=4096)
    before = -1
    while before != made:
        before = made
        time.sleep(0.1)
    assert made < 20_000  # 20 MB: what kernels hold of a connection, and a few events
    found = 0
    while one := chunk(peer):
        assert one in (OPENING, b"data: " + b"x" * 1000 + b"\n\n")  # whole, whatever the pauses
        found += one != OPENING
    assert found == 30_000


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_stop_ends_streams_at_once_and_lets_downloads_finish(serve: Serve) -> None:
    ended, gate = threading.Event(), threading.Event()

    async def handler(req: web.Request) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    def download(req: web.Request) -> Iterator[str]:
        yield "first"
        gate.wait()
        yield "last"

    site = serve(web.SSE("/events", handler), web.GET("/file", download, blocking=True))
    peer, other = begin(site), site.connect()
    assert chunk(peer) == b"data: a\n\n"
    other.send(request("/file"))
    other.head()
    assert chunk(other) == b"first"
    site.server.stop(LONG)
    assert chunk(peer) == b""
    assert (peer.rest(), peer.clean_end) == (b"", True)
    assert ended.wait(20)
    site.await_closed("stopped")
    gate.set()
    assert chunk(other) == b"last"
    assert chunk(other) == b""


def test_a_stop_ends_a_stream_of_a_thread(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed()
    ended = threading.Event()

    def handler(req: web.Request) -> Iterator[str]:
        try:
            while True:
                yield feed()
        finally:
            ended.set()

    site = serve(web.SSE("/events", handler, blocking=True))
    peer = begin(site)
    site.server.stop(LONG)
    assert chunk(peer) == b""
    assert (peer.rest(), peer.clean_end) == (b"", True)
    feed.put("a")
    assert ended.wait(20)
    assert caplog.records == []


def test_a_stop_sends_what_was_made(serve: Serve, way: Way) -> None:
    """Whole events, then the end, though nobody took them yet."""
    made = 0

    def source() -> str:
        nonlocal made
        made += 1
        return "x" * 1000

    site = serve(way.sse("/events", source), response_grace=LONG)
    peer = begin(site, receive_buffer=4096)
    before = -1
    while before != made:  # until it is paused
        before = made
        time.sleep(0.1)
    site.server.stop(LONG)
    found = 0
    while one := chunk(peer):
        assert one == b"data: " + b"x" * 1000 + b"\n\n"
        found += 1
    assert (peer.rest(), peer.clean_end) == (b"", True)
    assert found >= before


def test_the_loops_generator_is_closed_at_a_stop(serve: Serve) -> None:
    ended = threading.Event()

    def handler(req: web.Request) -> Iterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            ended.set()

    site = serve(web.SSE("/events", handler), response_grace=LONG)
    begin(site, receive_buffer=4096)
    site.server.stop(LONG)
    assert ended.wait(20)
    site.server.stop(0)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_that_begins_while_the_server_stops_ends_behind_its_head(serve: Serve, version: str) -> None:
    called, gate, stepped = threading.Event(), threading.Event(), threading.Event()

    def events() -> Iterator[str]:
        stepped.set()
        yield "a"

    async def handler(req: web.Request) -> Iterator[str]:
        called.set()
        await asyncio.to_thread(gate.wait)
        return events()

    site = serve(web.SSE("/events", handler))
    peer, idle = site.connect(), site.connect()
    idle.send(request("/none"))
    idle.answer()
    peer.send(f"GET /events HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    assert called.wait(20)
    site.server.stop(LONG)
    assert idle.rest() == b""  # it stops
    gate.set()
    assert b"\r\nConnection: close\r\n" in peer.head()
    assert peer.rest() == (b"" if version == "1.0" else b"0\r\n\r\n")
    site.await_connections(0)
    assert not stepped.is_set()


def test_the_delay_of_a_stop_leaves_streams_alone(serve: Serve, waiting: Way) -> None:
    feed = Feed()
    site = serve(waiting.sse("/events", feed), web.readyz())
    peer = begin(site)
    site.server.stop(LONG, delay=LONG)
    eventually(lambda: site.connect().ask("/readyz").status == 503, "it drains")
    feed.put("a")
    assert chunk(peer) == b"data: a\n\n"
    site.server.stop(LONG)
    assert chunk(peer) == b""
    feed.put(None)


def test_a_worker_that_leaves_ends_its_streams_and_their_connections(serve: Serve, waiting: Way) -> None:
    feed = Feed()
    site = serve(OK, waiting.sse("/events", feed, keep_alive=None))
    peer, idle = begin(site), site.connect()
    assert idle.ask("/ok").status == 200
    assert site.server._loop is not None
    site.server._loop.leave()
    assert chunk(peer) == b""
    assert peer.rest() == b""
    idle.send(request("/events"))  # on a connection that stays: it is to connect anew, too
    assert b"\r\nConnection: close\r\n" in idle.head()
    assert idle.rest() in (b"0\r\n\r\n", b"4\r\n: \n\n\r\n0\r\n\r\n")  # a thread may have begun already
    feed.put(None, None)


# -- real clients ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(serve: Serve, waiting: Way) -> None:
    feed = Feed()
    site = serve(waiting.sse("/events", feed))
    url = f"{site.server.url}/events".replace("127.0.0.1", "localhost" if site.is_tls else "127.0.0.1")
    trust = ["--cacert", site.certificate.cert] if site.certificate is not None else []
    curl = subprocess.Popen(
        ["curl", "-sSN", "--max-time", "60", *trust, url], stdout=subprocess.PIPE, env=foreign_environment()
    )
    assert curl.stdout is not None
    with curl:
        assert curl.stdout.read(4) == OPENING
        feed.put({"a": 1})
        assert curl.stdout.read(15) == b'data: {"a":1}\n\n'
        feed.put(None)
        assert curl.stdout.read() == b""
    assert curl.returncode == 0


SCRIPT = """
window.seen = [];
window.opened = 0;
window.source = new EventSource("/events");
source.onopen = () => { opened += 1; };
source.onmessage = one => seen.push([one.type, one.data, one.lastEventId]);
source.addEventListener("tick", one => seen.push([one.type, JSON.parse(one.data).n, one.lastEventId]));
"""


def test_an_event_source_reads_and_connects_anew(serve_plain: Serve, page: Page) -> None:
    feed = Feed()
    came: list[str | None] = []

    async def handler(req: web.Request) -> AsyncIterator[Any]:
        came.append(req.last_event_id)
        while (item := await ask(feed)) is not None:
            yield item

    site = serve_plain(web.GET("/", lambda req: web.Response.html("<title>a</title>")), web.SSE("/events", handler))
    page.goto(site.server.url + "/")
    page.evaluate(SCRIPT)
    page.wait_for("opened === 1")  # though there was no event
    feed.put(web.ServerEvent("one\ntwo", id="7ü", retry=10), web.ServerEvent({"n": 1}, event="tick"), None)
    page.wait_for("opened === 2")
    eventually(lambda: came == [None, "7ü"])  # the head is sent before the handler begins
    feed.put("three")
    page.wait_for("seen.length === 3")
    assert page.evaluate("seen") == [["message", "one\ntwo", "7ü"], ["tick", 1, "7ü"], ["message", "three", "7ü"]]
    page.evaluate("source.close()")
    eventually(lambda: site.server.stats()["requests_pending"] == 0, "the generator has ended")
