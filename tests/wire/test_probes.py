"""Health routes on the wire: answered by the core, in their place, whatever the application is about.

That the application has no part in it is shown by a hook that sees every request that comes to it.
"""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import web
from tests.wire.clients import Answer, Peer, TlsPeer, chunked, eventually, request
from tests.wire.sites import Embed, Serve

PROBES = (web.livez(), web.readyz())
ECHO = web.GET("/:n", lambda req: req.path)
LIVE, READY = request("/livez"), request("/readyz")


@dataclass
class Seen:
    """A hook before all others: the paths that it saw, as they were sent."""

    paths: list[str] = field(default_factory=list)

    def __call__(self, req: web.Request) -> None:
        self.paths.append(req.raw_path)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def assert_well(answer: Answer) -> None:
    assert (answer.status, answer.body) == (200, b"200 OK\n")
    assert (answer["Content-Length"], answer["Content-Type"]) == ("7", "text/plain; charset=utf-8")


def assert_not_ready(answer: Answer) -> None:
    assert (answer.status, answer.body) == (503, b"503 Service Unavailable\n")


# -- by the core -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez?x=1", "/readyz?", "http://localhost/livez"])
def test_get_and_head(serve: Serve, seen: Seen, path: str) -> None:
    site = serve(web.before(seen), *PROBES, ECHO)
    peer = site.connect()
    for _ in range(3):
        answer = peer.ask(path)
        assert_well(answer)
        assert (answer["Connection"], answer["Server"]) == (None, "weblatch")
        assert answer["Date"]
        head = peer.ask(path, "HEAD")
        assert head.headers == answer.headers
        assert (head.status, head.body, peer.buffer) == (200, b"", b"")
    assert seen.paths == []
    assert peer.ask("/ordinary").body == b"/ordinary"  # nothing came behind the heads, either
    assert seen.paths == ["/ordinary"]
    stats = site.server.stats()
    assert (stats["accepted"], stats["requests"], stats["responses"]["2xx"]) == (1, 7, 7)
    assert stats["latency"]["count"] == 1  # the application's


def test_other_paths_can_be_chosen(serve: Serve, seen: Seen) -> None:
    site = serve(web.before(seen), web.livez("/health/alive"), web.readyz("/health/ready"), web.livez("/"))
    peer = site.connect()
    for path in ("/health/alive", "/health/ready", "/"):
        assert_well(peer.ask(path))
    assert seen.paths == []
    assert peer.ask("/livez").status == 404


@pytest.mark.parametrize("path", ["/livez/", "/livezz", "/live", "/Livez", "//livez", "/readyz/x", "/readyz;x"])
def test_other_paths_are_other_paths(serve: Serve, seen: Seen, path: str) -> None:
    assert serve(web.before(seen), *PROBES).connect().ask(path).status == 404
    assert seen.paths == [path]


def test_http_1_0(serve: Serve) -> None:
    site = serve(*PROBES)
    peer = site.connect()
    peer.send(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    kept = peer.answer()
    assert_well(kept)
    assert kept["Connection"] == "keep-alive"
    peer.send(b"HEAD /readyz HTTP/1.0\r\n\r\n")
    last = peer.answer(to_head=True)
    assert (last.status, last["Connection"]) == (200, "close")
    assert peer.rest() == b""
    assert peer.clean_end


def test_the_client_may_ask_for_the_end(serve: Serve) -> None:
    peer = serve(*PROBES).connect()
    peer.send(request("/livez", fields="Connection: close\r\n") + LIVE)
    answer = peer.answer()
    assert_well(answer)
    assert answer["Connection"] == "close"
    assert peer.rest() == b""
    assert peer.clean_end


def test_a_half_close_is_answered(serve: Serve) -> None:
    site = serve(*PROBES)
    peer = site.connect()
    peer.send(LIVE + READY)
    peer.half_close()
    assert peer.rest().count(b"200 OK\n") == 2
    peer.close()
    site.await_closed("done")


def test_a_probe_that_is_wrong_is_refused_as_others_are(serve: Serve) -> None:
    peer = serve(*PROBES).connect()
    peer.send(b"GET /livez HTTP/1.1\r\n\r\n")
    assert peer.answer().status == 400
    assert peer.rest() == b""


def test_requests_per_connection(serve: Serve) -> None:
    peer = serve(*PROBES, ECHO, requests_per_connection=4).connect()
    answers = [peer.ask(path) for path in ("/livez", "/1", "/readyz", "/livez")]
    assert [answer["Connection"] for answer in answers] == [None, None, None, "close"]
    assert peer.rest() == b""


def test_no_server_line_where_none_is_wanted(serve_plain: Serve) -> None:
    assert serve_plain(*PROBES, server_header=False).connect().ask("/livez")["Server"] is None


def test_an_expectation_without_a_body_is_no_reason_to_wait(serve: Serve, seen: Seen) -> None:
    peer = serve(web.before(seen), *PROBES).connect()
    assert_well(peer.ask("/livez", fields="Expect: 100-continue\r\n"))
    assert_well(peer.ask("/livez", fields="Content-Length: 0\r\n"))
    assert seen.paths == []


# -- among others, and in pieces ---------------------------------------------------------------------------------------

TARGETS = ["/1", "/livez", "/2", "/readyz", "/livez", "/livez", "/3", "/4", "/readyz", "/5"]


def expected(target: str) -> bytes:
    return b"200 OK\n" if target in ("/livez", "/readyz") else target.encode()


def test_pipelined_among_others_they_are_answered_in_order(serve: Serve, seen: Seen) -> None:
    peer = serve(web.before(seen), *PROBES, ECHO).connect()
    targets = TARGETS * 30
    peer.send(b"".join(map(request, targets)))
    assert [peer.answer().body for _ in targets] == [expected(target) for target in targets]
    assert seen.paths == [target for target in targets if not target.endswith("z")]


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_behind_one_that_is_answered_later_they_wait_their_turn(serve: Serve, kind: str) -> None:
    async def later(req: web.Request) -> str:
        await asyncio.sleep(0)
        return req.path

    route = web.GET("/:n", later) if kind == "task" else web.GET("/:n", lambda req: req.path, blocking=True)
    peer = serve(*PROBES, route).connect()
    peer.send(b"".join(map(request, TARGETS)))
    assert [peer.answer().body for _ in TARGETS] == [expected(target) for target in TARGETS]


def test_behind_a_body_and_a_large_answer(serve: Serve) -> None:
    big = web.POST("/big", lambda req: req.body * 100)
    peer = serve(big, *PROBES).connect()
    for wire in (
        request("/big", "POST", body=b"b" * 30_000),
        request("/big", "POST", "Transfer-Encoding: chunked\r\n"),
    ):
        body = b"" if b"Content-Length" in wire else chunked(b"b" * 30_000)
        peer.send(LIVE + wire + body + LIVE + READY)
        assert_well(peer.answer())
        assert len(peer.answer().body) == 3_000_000
        assert_well(peer.answer())
        assert_well(peer.answer())


def test_split_at_every_byte(serve: Serve) -> None:
    peer = serve(*PROBES, ECHO).connect()
    wire = request("/1") + LIVE + request("/readyz", "HEAD") + request("/2")
    for cut in range(1, len(wire)):
        peer.send(wire[:cut])
        peer.send(wire[cut:])
        assert peer.answer().body == b"/1"
        assert_well(peer.answer())
        assert peer.answer(to_head=True)["Content-Length"] == "7"
        assert peer.answer().body == b"/2"


def test_byte_by_byte(embed: Embed) -> None:
    site = embed(*PROBES, ECHO)
    with site.connect() as peer:
        for byte in LIVE + request("/1") + READY:
            site.settle()
            peer.send(bytes([byte]))
        assert_well(peer.answer())
        assert peer.answer().body == b"/1"
        assert_well(peer.answer())


# -- the ordinary way --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/%6Civez", "/ready%7a", "/%72%65adyz?x"])
def test_other_spellings_go_by_the_routes(serve: Serve, seen: Seen, path: str) -> None:
    """The same answer; only that hooks see it."""
    peer = serve(web.before(seen), *PROBES).connect()
    answer = peer.ask(path)
    assert_well(answer)
    assert peer.ask(path, "HEAD").headers == answer.headers
    assert seen.paths == [path.partition("?")[0]] * 2


def test_other_methods_go_by_the_routes(serve: Serve, seen: Seen) -> None:
    site = serve(web.before(seen), *PROBES, web.POST("/readyz", lambda req: "posted"))
    peer = site.connect()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        refused = peer.ask("/livez", method)
        assert (refused.status, refused["Allow"]) == (405, "GET, HEAD, OPTIONS")
    allowed = peer.ask("/livez", "OPTIONS")
    assert (allowed.status, allowed["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert peer.ask("/readyz", "POST").body == b"posted"
    assert peer.ask("/livez", "BREW").status == 501
    assert len(seen.paths) == 7


@pytest.mark.parametrize("fields", ["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("whole", [True, False])
def test_requests_with_a_body_go_by_the_routes(embed: Embed, seen: Seen, fields: str, whole: bool) -> None:
    site = embed(web.before(seen), *PROBES)
    with site.connect() as peer:
        peer.send(request("/livez", fields=fields))
        if not whole:
            site.settle()
        peer.send((b"body" if "Length" in fields else chunked(b"body")) + LIVE)
        assert_well(peer.answer())
        assert_well(peer.answer())
    assert seen.paths == ["/livez"]


def test_an_empty_body_is_none_and_an_empty_chunked_one_is_one(serve: Serve, seen: Seen) -> None:
    peer = serve(web.before(seen), *PROBES).connect()
    peer.send(request("/livez", fields="Transfer-Encoding: chunked\r\n") + chunked())
    assert_well(peer.answer())
    assert seen.paths == ["/livez"]


def test_more_of_them_than_the_core_keeps_are_routes_like_others(serve: Serve, seen: Seen) -> None:
    paths = [f"/livez/{number}" for number in range(20)]
    peer = serve(web.before(seen), *map(web.livez, paths)).connect()
    for path in paths:
        assert_well(peer.ask(path))
    assert seen.paths == paths[8:]


def test_a_path_that_has_to_be_encoded(serve: Serve, seen: Seen) -> None:
    peer = serve(web.before(seen), web.livez("/gesund/ü")).connect()
    assert_well(peer.ask("/gesund/%C3%BC"))
    assert seen.paths == ["/gesund/%C3%BC"]


def test_a_route_for_head_comes_first(serve_plain: Serve) -> None:
    """As it does beside every GET route."""
    own = web.HEAD("/livez", lambda req: ("", 204))
    assert serve_plain(web.livez(), own).connect().ask("/livez", "HEAD").status == 204


# -- whatever the application is about ---------------------------------------------------------------------------------


@contextmanager
def all_threads_stuck(serve: Serve, *forms: web.app.Form) -> Iterator[Any]:
    """A site whose only thread is stuck, and whose queue is full."""
    begun, opened = threading.Event(), threading.Event()

    def stuck(req: web.Request) -> str:
        begun.set()
        opened.wait(60)
        return "opened"

    site = serve(*forms, *PROBES, web.GET("/stuck", stuck), threads=1, blocking_queue=1)
    peers = [site.connect() for _ in range(2)]
    peers[0].send(request("/stuck"))
    try:
        assert begun.wait(20)
        peers[1].send(request("/stuck"))
        eventually(lambda: site.counter("threads_waiting") == 1)
        yield site
    finally:
        opened.set()
    assert [peer.answer().body for peer in peers] == [b"opened"] * 2


def test_answered_while_all_threads_are_stuck_and_the_queue_is_full(serve: Serve, seen: Seen) -> None:
    """A hook would need a thread, too: here even one that refuses everybody."""
    with all_threads_stuck(serve, web.before(seen)) as site:
        peer = site.connect()
        assert peer.ask("/stuck").status == 503
        assert_well(peer.ask("/livez"))
        assert_well(peer.ask("/readyz"))
        peer.send(LIVE + request("/stuck") + READY)
        assert [peer.answer().status for _ in range(3)] == [200, 503, 200]


def test_a_hook_that_refuses_everybody_is_not_asked(serve: Serve) -> None:
    async def refuse(req: web.Request) -> Any:
        return "no", 403

    peer = serve(
        web.before(refuse), web.after(lambda req, params, resp: resp.with_status(418)), *PROBES, ECHO
    ).connect()
    assert peer.ask("/1").status == 418
    assert_well(peer.ask("/livez"))


def test_thousands_in_one_go_do_not_keep_another_waiting(embed: Embed) -> None:
    """Shown in turns of the loop: the other is answered in the very next ones, and not behind all of the probes."""
    site = embed(*PROBES, ECHO)
    with site.connect() as greedy, site.connect() as other:
        site.settle()
        count = 4000
        sealed = LIVE * count
        greedy.send_raw(greedy.sealed(sealed) if isinstance(greedy, TlsPeer) else sealed)
        other.send(request("/other"))
        answered = site.server.stats()["requests"]
        site.server.run_once(0)
        site.server.run_once(0)
        assert site.server.stats()["requests"] <= answered + 2 * 32 + 1
        assert other.sock.recv(1, 2)  # MSG_PEEK: it is there
        for _ in range(count):
            assert_well(greedy.answer())
        assert other.answer().body == b"/other"


def test_a_client_that_does_not_read_its_answers_is_not_read(embed: Embed) -> None:
    site = embed(*PROBES, out_buffer=16384)
    ours, connection = site.pair()
    with_tls = site.certificate is not None
    peer: Peer = TlsPeer(ours.sock, site.certificate.client, site.turn) if site.certificate else ours
    assert connection.is_tls == with_tls
    site.settle()
    count = 8000
    wire = peer.sealed(LIVE * count) if isinstance(peer, TlsPeer) else LIVE * count
    left = memoryview(wire)
    while left:
        try:
            left = left[peer.sock.send(left) :]
        except BlockingIOError:
            if not site.has_work():
                break
            site.settle()
    site.settle()
    assert site.server.stats()["requests"] < count  # more do not fit into the socket
    peer.buffer = b""
    got = 0
    while left:  # it reads now, and goes on
        assert_well(peer.answer())
        got += 1
        try:
            left = left[peer.sock.send(left) :]
        except BlockingIOError:
            site.settle()
    for _ in range(count - got):
        assert_well(peer.answer())
    assert site.server.stats()["requests"] == count
    peer.close()
    site.settle()


# -- readiness ---------------------------------------------------------------------------------------------------------


def test_the_application_says_whether_it_is_ready(serve: Serve) -> None:
    site = serve(*PROBES, ECHO)
    peer = site.connect()
    for ready in (True, False, False, True, False):
        site.server.ready = ready
        assert site.server.ready is ready
        (assert_well if ready else assert_not_ready)(peer.ask("/readyz"))
        (assert_well if ready else assert_not_ready)(peer.ask("/%72eadyz"))  # by the routes
        head = peer.ask("/readyz", "HEAD")
        assert (head.status, head["Connection"]) == (200 if ready else 503, None)
        assert_well(peer.ask("/livez"))
        assert peer.ask("/1").body == b"/1"  # and nothing else changes
    assert site.server.stats()["responses"]["5xx"] == 9


def test_readiness_that_was_said_before_it_runs(serve_plain: Serve) -> None:
    server = web.Server(web.App(*PROBES), "127.0.0.1", 0)
    server.ready = False
    for _ in range(2):  # it stays so, from one life to the next
        with server.running():
            site = serve_plain(*PROBES)  # its clients
            site.server = server
            assert_not_ready(site.connect().ask("/readyz"))


@pytest.mark.parametrize("value", [0, 1, None, "no"])
def test_readiness_is_true_or_false(value: Any) -> None:
    server = web.Server(web.App(), "127.0.0.1", 0)
    with pytest.raises(TypeError, match="True or False"):
        server.ready = value
    assert server.ready is True


def test_a_handler_may_say_so(serve: Serve) -> None:
    def rest(req: web.Request) -> str:
        site.server.ready = False
        return "resting"

    site = serve(*PROBES, web.POST("/rest", rest))
    peer = site.connect()
    peer.send(READY + request("/rest", "POST") + READY)
    assert [peer.answer().status for _ in range(3)] == [200, 200, 503]


def test_during_a_drain(serve: Serve) -> None:
    """It serves as ever, and newcomers too; only that it is not ready, and each answer is its connection's last."""
    site = serve(*PROBES, ECHO)
    kept, second = site.connect(), site.connect()
    assert_well(kept.ask("/readyz"))
    site.server.stop(20.0, delay=100.0)
    eventually(lambda: site.connect().ask("/readyz").status == 503)
    for peer, path, status in ((kept, "/livez", 200), (second, "/readyz", 503), (site.connect(), "/1", 200)):
        answer = peer.ask(path)
        assert (answer.status, answer["Connection"]) == (status, "close")
        assert peer.rest() == b""
    last = site.connect()
    assert_not_ready(last.ask("/%72eadyz"))  # by the routes
    site.server.stop(0.0)  # less: at once
    site.await_connections(0)


def test_a_drain_ends_by_itself(serve: Serve) -> None:
    site = serve(*PROBES)
    idle = site.connect()
    assert_well(idle.ask("/livez"))
    site.server.stop(0.0, delay=0.1)
    assert idle.rest() == b""
    idle.close()
    site.await_closed("stopped")


@pytest.mark.parametrize("delay", [0.0, 100.0])
def test_while_it_stops(embed: Embed, delay: float) -> None:
    """Whatever came before the last look is answered."""
    site = embed(*PROBES)
    with site.connect() as live, site.connect() as ready:
        site.settle()
        site.server.stop(20.0, delay=delay)
        site.server.run_once(0)
        live.send(LIVE)
        ready.send(READY)
        answers = [live.answer(), ready.answer()]
        assert_well(answers[0])
        assert_not_ready(answers[1])
        assert [answer["Connection"] for answer in answers] == ["close", "close"]
        assert live.rest() == ready.rest() == b""


@pytest.mark.parametrize("delay", [0.0, 100.0])
def test_who_asks_after_stop_is_told_so(embed: Embed, delay: float) -> None:
    """stop() has returned by then, and the answer says Connection: close already."""
    site = embed(*PROBES)
    with site.connect() as peer:
        site.settle()
        site.server.stop(20.0, delay=delay)
        peer.send(READY)
        answer = peer.answer()
        assert answer["Connection"] == "close"
        assert_not_ready(answer)


def test_a_drain_is_not_drawn_out_by_a_later_stop() -> None:
    """Asked for more, again and again: a later call shortens, and never lengthens."""
    server = web.Server(web.App(*PROBES), "127.0.0.1", 0)
    server.open()
    loop = server._loop
    assert loop is not None
    server.stop(0.0, delay=0.5)
    until = time.monotonic() + 1.0  # no measure: it ends sooner, or never
    while time.monotonic() < until and not loop.finished:
        server.run_once(0.01)
        server.stop(0.0, delay=1000.0)
    has_finished = loop.finished
    server.close()
    assert has_finished


# -- memory ------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_probe(embed: Embed) -> None:
    """Whole, in pieces, in pipelines, and of clients that leave: memory is as it was after the first round."""
    site = embed(*PROBES, ECHO)

    def visit() -> None:
        with site.connect() as peer:
            for cut in range(1, len(LIVE), 3):
                peer.send(LIVE[:cut])
                site.settle()
                peer.send(LIVE[cut:] + READY * 3 + request("/readyz", "HEAD") + request("/1"))
                for number in range(6):
                    peer.answer(to_head=number == 4)
            peer.send(LIVE * 50)
            site.settle()
            peer.send(READY[:-3])
            site.settle()

    tracemalloc.start()
    try:
        for _ in range(3):
            visit()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(30):
            visit()
        assert tracemalloc.get_traced_memory()[0] < before + 20_000
    finally:
        tracemalloc.stop()
    assert site.server.connections == 0
