"""What ``Server.stats()`` counts, number by number, against what clients did; plain and under TLS.

A number may be counted a moment after its client saw the answer: such ones are awaited, and then have to be exact.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import web
from tests.serving import foreign_environment
from tests.wire.clients import Peer, TlsPeer, chunked, eventually, request
from tests.wire.sites import Embed, Serve, Site

OK = web.GET("*", lambda req: "ok")
ECHO = web.POST("*", lambda req: req.body)
TE = "Transfer-Encoding: chunked\r\n"
PATIENT = {"head_timeout": 100, "handshake_timeout": 100, "idle_timeout": 100, "linger_timeout": 100}
MOMENT = ("unfinished", "requests_pending", "threads_busy", "threads_waiting")


def moment(server: web.Server) -> dict[str, int]:
    """The gauges that are not 0."""
    stats: dict[str, Any] = dict(server.stats())
    found = {**{name: stats[name] for name in MOMENT}, **stats["connections"]}
    return {name: value for name, value in found.items() if value}


def await_moment(site: Site, **expected: int) -> None:
    """These gauges and no others."""
    eventually(lambda: moment(site.server) == expected, f"{expected}, and not {moment(site.server)},")


def await_nothing(site: Site) -> None:
    """All clients have gone: nothing is of the moment any more, and each connection ended for one reason."""
    await_moment(site)
    stats = site.server.stats()
    assert stats["processes"] == 1
    assert sum(stats["closed"].values()) == stats["accepted"] + stats["closed"]["refused"]
    assert stats["closed"]["illegal_step"] == 0


def await_count(site: Site, name: str, count: int) -> None:
    eventually(lambda: site.counter(name) >= count, f"{name} >= {count}")
    assert site.counter(name) == count


def some(numbers: dict[str, int]) -> dict[str, int]:
    """Those that are not 0."""
    return {name: number for name, number in numbers.items() if number}


# -- requests and answers ----------------------------------------------------------------------------------------------


def test_answers_by_class(serve: Serve) -> None:
    def broken(req: web.Request) -> str:
        raise web.HTTPError(503, "not now")

    def answer(req: web.Request, params: dict[str, Any]) -> web.Response:
        return web.Response.empty().with_status(params["n"])

    site = serve(web.GET("/s/:n:int", answer), web.GET("/broken", broken))
    peer = site.connect()
    for status in (200, 201, 204, 301, 304, 400, 404, 418, 500, 599):
        assert peer.ask(f"/s/{status}").status == status
    assert [peer.ask("/broken").status, peer.ask("/nowhere").status, peer.ask("/broken", "PUT").status] == [
        503,
        404,
        405,
    ]
    stats = site.server.stats()
    assert stats["responses"] == {"1xx": 0, "2xx": 3, "3xx": 2, "4xx": 5, "5xx": 3}
    assert stats["requests"] == stats["latency"]["count"] == 13
    assert (stats["requests_refused"], stats["refusals"]) == (0, [])


def test_heads_and_pipelines_are_counted_one_by_one(serve: Serve) -> None:
    site = serve(OK)
    peer = site.connect()
    peer.send(request() * 70)
    for _ in range(70):
        assert peer.answer().status == 200
    assert peer.ask("/", "HEAD").status == 200
    stats = site.server.stats()
    assert stats["requests"] == stats["responses"]["2xx"] == stats["latency"]["count"] == 71
    assert stats["accepted"] == 1


def test_an_interim_answer_is_none(serve: Serve) -> None:
    site = serve(ECHO)
    peer = site.connect()
    peer.send(request("/", "POST", "Expect: 100-continue\r\nContent-Length: 4\r\n"))
    assert peer.head().startswith(b"HTTP/1.1 100 ")
    peer.send(b"body")
    assert peer.answer().body == b"body"
    assert some(site.server.stats()["responses"]) == {"2xx": 1}


def test_every_way_of_answering_is_counted(serve: Serve) -> None:
    async def at_once(req: web.Request) -> str:
        return "at once"

    async def later(req: web.Request) -> str:
        await asyncio.sleep(0)
        return "later"

    def fail(req: web.Request) -> str:
        raise web.HTTPError(500, "no")

    site = serve(
        web.GET("/at_once", at_once),
        web.GET("/later", later),
        web.GET("/thread", lambda req: "thread", blocking=True),
        web.GET("/thread/fail", fail, blocking=True),
        web.GET("/", lambda req: "plain"),
    )
    peer = site.connect()
    for path in ("/at_once", "/later", "/thread", "/thread/fail", "/"):
        peer.ask(path)
    stats = site.server.stats()
    assert stats["requests"] == stats["latency"]["count"] == 5
    assert some(stats["responses"]) == {"2xx": 4, "5xx": 1}
    peer.close()
    await_nothing(site)


def test_latency_is_how_long_an_answer_took(serve: Serve) -> None:
    """From the whole request on: how long its body took to come is not in it."""
    slow = 0.05

    def handler(req: web.Request) -> str:
        threading.Event().wait(slow)
        return "slow"

    site = serve(web.GET("/", handler), web.GET("/thread", handler, blocking=True), slow_handler=0.0)
    peer = site.connect()
    for number, path in enumerate(("/", "/thread"), 1):
        peer.ask(path)
        latency = site.server.stats()["latency"]
        assert latency["sum"] >= number * slow
        assert sum(count for bound, count in latency["buckets"].items() if bound < slow) == 0
        assert sum(latency["buckets"].values()) == latency["count"] == number


# -- refusals ----------------------------------------------------------------------------------------------------------

HEADS = [
    (b"nonsense\r\n\r\n", 400, "invalid character in the method"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "HTTP/1.1 request without Host"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP version other than 1.x"),
    (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "'%' without two hexadecimal digits in the path"),
    (request(fields="Content-Length: 1\r\nContent-Length: 2\r\n"), 400, "more than one Content-Length field"),
    (request(fields=TE + "Content-Length: 2\r\n"), 400, "both Transfer-Encoding and Content-Length"),
    (request(fields="Transfer-Encoding: gzip, chunked\r\n"), 501, "a transfer coding other than chunked"),
    (request(fields="Expect: tea\r\n"), 417, "an expectation other than 100-continue"),
    (request("/" + "a" * 200), 414, "request line too long"),
    (request(fields="X: y\r\n" * 20), 431, "too many fields"),
]
BODIES = [
    (request("/", "POST", body=b"b" * 101), 413, "the body is larger than this server accepts"),
    (request("/", "POST", TE) + chunked(b"b" * 60, b"b" * 60), 413, "the body is larger than this server accepts"),
    (request("/", "POST", TE) + b"x\r\n", 400, "chunk size that does not begin with a hexadecimal digit"),
    (request("/", "POST", TE) + b"1\r\nab\r\n", 400, "chunk data not followed by CRLF"),
    (request("/", "POST", TE) + b"0\r\nX : y\r\n\r\n", 400, "trailer without a valid name and colon"),
]


@pytest.mark.parametrize(("wire", "status", "text"), HEADS + BODIES)
def test_a_refusal_is_counted_with_its_status_and_text(serve: Serve, wire: bytes, status: int, text: str) -> None:
    site = serve(OK, ECHO, request_line=150, field_count=10, body=100)
    peer = site.connect()
    peer.send(wire)
    answer = peer.answer()
    peer.close()
    assert (answer.status, text in answer.body.decode()) == (status, True)
    site.await_closed("bad_request")
    stats = site.server.stats()
    assert stats["refusals"] == [(status, text, 1)]
    assert stats["requests_refused"] == 1
    assert some(stats["responses"]) == {f"{status // 100}xx": 1}
    # A head that cannot be parsed is no request; a body that is refused is answered by way of the hooks.
    is_request = (wire, status, text) in BODIES
    assert stats["requests"] == stats["latency"]["count"] == is_request
    await_nothing(site)


def test_refusals_of_one_kind_are_one_line(serve: Serve) -> None:
    site = serve(OK)
    for wire in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"):
        peer = site.connect()
        peer.send(wire)
        assert peer.answer().status == 400
        peer.close()
    await_count(site, "requests_refused", 3)
    malformed, hostless = (text for wire, _, text in HEADS[:2])
    assert site.server.stats()["refusals"] == [(400, malformed, 2), (400, hostless, 1)]
    assert some(site.server.stats()["responses"]) == {"4xx": 3}


def test_a_head_that_comes_too_slowly(serve: Serve) -> None:
    site = serve(OK, head_timeout=0.1)
    peer = site.connect()
    peer.send(request()[:-2])
    assert peer.answer().status == 408
    peer.close()
    site.await_closed("head_timeout")
    stats = site.server.stats()
    assert stats["refusals"] == [(408, "the request's head came too slowly", 1)]
    assert some(stats["timeouts"]) == {"head": 1}
    assert (stats["requests"], stats["responses"]["4xx"]) == (0, 1)
    await_nothing(site)


def test_a_body_that_comes_too_slowly(serve: Serve) -> None:
    site = serve(ECHO, body_grace=0.1)
    peer = site.connect()
    peer.send(request("/", "POST", "Content-Length: 9\r\n"))
    assert peer.answer().status == 408
    peer.close()
    site.await_closed("body_slow")
    stats = site.server.stats()
    assert stats["refusals"] == [(408, "the body came too slowly", 1)]
    assert some(stats["timeouts"]) == {"body": 1}
    assert some(stats["responses"]) == {"4xx": 1}
    await_nothing(site)


# -- connections by state ----------------------------------------------------------------------------------------------


def test_connections_that_shake_hands(serve_tls: Serve) -> None:
    site = serve_tls(OK, **PATIENT)
    silent = [site.raw() for _ in range(3)]
    await_moment(site, handshaking=3, unfinished=3)
    assert site.certificate is not None
    peer = TlsPeer(silent[0].sock, site.certificate.client, handshake=False)
    peer.send_raw(peer.first_flight())
    peer.feed()  # by now it has an SSL object
    await_moment(site, handshaking=3, unfinished=3)
    peer.handshake()
    await_moment(site, handshaking=2, idle=1, unfinished=3)  # no request yet
    assert peer.ask().status == 200
    await_moment(site, handshaking=2, idle=1, unfinished=2)
    for one in silent:
        one.close()
    await_nothing(site)


def test_connections_that_are_idle_or_unfinished(serve: Serve) -> None:
    site = serve(OK, ECHO, **PATIENT)
    peer, other = site.connect(), site.connect()
    await_moment(site, idle=2, unfinished=2)
    assert peer.ask().status == 200
    await_moment(site, idle=2, unfinished=1)
    other.send(request()[:10])
    await_moment(site, idle=1, active=1, unfinished=1)
    other.send(request()[10:])
    await_moment(site, idle=2)
    peer.send(request("/", "POST", "Content-Length: 4\r\n") + b"bo")  # a whole head: it is none of the unfinished
    await_moment(site, idle=1, active=1)
    peer.send(b"dy" + request()[:5])
    await_moment(site, idle=1, active=1, unfinished=1)
    peer.close()
    other.close()
    await_nothing(site)


def test_connections_that_close(serve: Serve) -> None:
    """The server has said its last, and waits for the client to end."""
    site = serve(OK, **PATIENT)
    polite, wrong = site.connect(), site.connect()
    assert polite.ask(fields="Connection: close\r\n").status == 200
    wrong.send(b"nonsense\r\n\r\n")
    assert wrong.answer().status == 400
    await_moment(site, closing=2)
    polite.close()
    wrong.close()
    await_nothing(site)


class Stuck:
    """A handler for a thread that waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, req: web.Request) -> str:
        self.begun.release()
        self.opened.wait(60)
        return "opened"


@contextmanager
def stuck() -> Iterator[Stuck]:
    handler = Stuck()
    try:
        yield handler
    finally:
        handler.opened.set()


def test_requests_in_threads(serve: Serve) -> None:
    with stuck() as handler:
        site = serve(web.GET("/stuck", handler, blocking=True), OK, threads=2, blocking_queue=2, **PATIENT)
        peers = [site.connect() for _ in range(4)]
        for number, peer in enumerate(peers):
            peer.send(request("/stuck"))
            if number < 2:
                assert handler.begun.acquire(timeout=20)
        await_moment(site, active=4, requests_pending=4, threads_busy=2, threads_waiting=2)
        refused = site.connect()
        assert refused.ask("/stuck").status == 503
        await_moment(site, active=4, idle=1, requests_pending=4, threads_busy=2, threads_waiting=2)
        peers.pop().close()  # one that waits: its place in the queue is given up when its turn comes
        await_moment(site, active=3, idle=1, requests_pending=4, threads_busy=2, threads_waiting=2)
        handler.opened.set()
        assert [peer.answer().body for peer in peers] == [b"opened"] * 3
        await_moment(site, idle=4)
        assert some(site.server.stats()["responses"]) == {"2xx": 3, "5xx": 1}
        for peer in (*peers, refused):
            peer.close()
        await_nothing(site)


def test_requests_in_tasks(serve: Serve) -> None:
    waits: list[asyncio.Event] = []

    async def wait(req: web.Request) -> str:
        waits.append(asyncio.Event())
        await waits[-1].wait()
        return "opened"

    async def opening(req: web.Request) -> str:
        for event in waits:
            event.set()
        return "opens"

    site = serve(web.GET("/wait", wait), web.GET("/open", opening), **PATIENT)
    peers = [site.connect() for _ in range(3)]
    for peer in peers:
        peer.send(request("/wait"))
    await_moment(site, active=3, requests_pending=3)
    peers.pop().reset()  # its Task is cancelled
    await_moment(site, active=2, requests_pending=2)
    last = site.connect()
    assert last.ask("/open").body == b"opens"
    assert [peer.answer().body for peer in peers] == [b"opened"] * 2
    await_moment(site, idle=3)
    assert site.counter("requests") == 3
    for peer in (*peers, last):
        peer.close()
    await_nothing(site)


def test_all_gauges_are_0_after_clients_that_left_at_every_point(serve: Serve) -> None:
    big, thread = web.GET("/big", lambda req: b"x" * 3_000_000), web.GET("/t", lambda req: "t", blocking=True)
    site = serve(big, thread, OK, ECHO)
    wire = request("/", "POST", TE) + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" + request("/big") + request("/t")
    for cut in range(0, len(wire) + 1, 5):
        peer = site.connect()
        peer.send(wire[:cut])
        peer.reset() if cut % 2 else peer.close()
    for _ in range(5):
        site.raw().close()
    await_nothing(site)


@pytest.mark.parametrize("grace", [0.0, 20.0])
def test_all_gauges_are_0_after_a_stop(serve: Serve, grace: float) -> None:
    """Of every kind there is a connection when the server is told to stop."""
    with stuck() as handler:
        site = serve(web.GET("/stuck", handler, blocking=True), OK, ECHO, **PATIENT)
        idle, busy, half, body, lingers = [site.connect() for _ in range(5)]
        site.raw()
        assert idle.ask().status == 200
        busy.send(request("/stuck"))
        assert handler.begun.acquire(timeout=20)
        half.send(request()[:5])
        body.send(request("/", "POST", "Content-Length: 4\r\n") + b"bo")
        assert lingers.ask(fields="Connection: close\r\n").status == 200
        eventually(lambda: site.server.stats()["connections"]["active"] == 3)
        site.server.stop(grace)
        if grace:
            handler.opened.set()
            assert busy.answer().body == b"opened"
            body.send(b"dy")
            assert body.answer().body == b"body"
            for peer in (busy, body, lingers):
                peer.close()
        site.await_connections(0)
        assert moment(site.server) == ({} if grace else {"requests_pending": 1, "threads_busy": 1})  # left behind
        handler.opened.set()
        site.stack.close()
    stats = site.server.stats()
    assert stats["processes"] == 0
    assert sum(stats["closed"].values()) == stats["accepted"] == 6
    assert {name: stats[name] for name in ("threads_busy", "threads_waiting", "unfinished")} == {
        "threads_busy": 0,
        "threads_waiting": 0,
        "unfinished": 0,
    }


# -- times -------------------------------------------------------------------------------------------------------------


def test_a_silent_client_is_counted_among_the_heads_that_did_not_come(serve: Serve) -> None:
    site = serve(OK, head_timeout=0.1)
    peer = site.connect()
    assert peer.rest() == b""
    peer.close()
    site.await_closed("head_timeout")
    assert some(site.server.stats()["timeouts"]) == {"head": 1}
    assert site.counter("requests_refused") == 0  # nothing was there to be refused
    await_nothing(site)


def test_an_idle_client(serve: Serve) -> None:
    site = serve(OK, idle_timeout=0.1)
    peer = site.connect()
    assert peer.ask().status == 200
    assert peer.rest() == b""
    peer.close()
    site.await_closed("idle_timeout")
    assert some(site.server.stats()["timeouts"]) == {"idle": 1}
    await_nothing(site)


@pytest.mark.parametrize(("wire", "reason"), [(b"bad\r\n\r\n", "bad_request"), (b"", "linger_timeout")])
def test_a_client_that_does_not_end(serve: Serve, wire: bytes, reason: str) -> None:
    site = serve(OK, linger_timeout=0.1)
    peer = site.connect()
    peer.send(wire or request(fields="Connection: close\r\n"))
    peer.rest()
    site.await_closed(reason)  # what had made the server end it comes first among the reasons
    assert some(site.server.stats()["timeouts"]) == {"linger": 1}
    await_nothing(site)


def test_a_client_that_does_not_read(serve: Serve) -> None:
    site = serve(web.GET("/", lambda req: b"x" * 8_000_000), response_grace=0.1, **PATIENT)
    peer = site.connect(receive_buffer=4096)
    peer.send(request())
    await_moment(site, active=1)
    site.await_closed("response_slow")
    assert some(site.server.stats()["timeouts"]) == {"response": 1}
    assert site.counter("bytes_sent") < 8_000_000
    await_nothing(site)


# -- TLS ---------------------------------------------------------------------------------------------------------------


def client_of(site: Site) -> ssl.SSLContext:
    """A client that trusts the server, to be changed."""
    assert site.certificate is not None
    return ssl.create_default_context(cafile=site.certificate.cert)


def fail_with(site: Site, client: ssl.SSLContext) -> None:
    peer = TlsPeer(site.raw().sock, client, handshake=False)
    with pytest.raises(ssl.SSLError):
        peer.handshake()
    with suppress(OSError):
        peer.flush()  # an alert, if it is the client that gives up
    peer.close()


def say(*pieces: bytes) -> Callable[[Site], None]:
    def talk(site: Site) -> None:
        peer = site.raw()
        for piece in pieces:
            peer.send_raw(piece)
        with suppress(ConnectionError):
            peer.rest()
        peer.close()

    return talk


def old_version(site: Site) -> None:
    client = client_of(site)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = ssl.TLSVersion.TLSv1
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    fail_with(site, client)


def weak_cipher(site: Site) -> None:
    client = client_of(site)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("AES128-GCM-SHA256:@SECLEVEL=0")
    fail_with(site, client)


def other_group(site: Site) -> None:
    client = client_of(site)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.set_ecdh_curve("secp521r1")
    fail_with(site, client)


def other_signature(site: Site) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.server.port}", "-sigalgs", "RSA-PSS+SHA256"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=foreign_environment(), timeout=60)
    assert done.returncode != 0


def other_protocol(site: Site) -> None:
    client = client_of(site)
    client.set_alpn_protocols(["h2"])
    fail_with(site, client)


def leave_within(site: Site) -> None:
    peer = TlsPeer(site.raw().sock, client_of(site), handshake=False)
    peer.send_raw(peer.first_flight()[:50])
    peer.close()


def make_room(site: Site) -> None:
    first = site.raw()
    await_moment(site, handshaking=1, unfinished=1)
    second = TlsPeer(site.raw().sock, client_of(site))
    assert first.rest() == b""
    await_count(site, "handshakes", 1)
    second.close()


def stop_within(site: Site) -> None:
    peer = site.raw()
    await_moment(site, handshaking=1, unfinished=1)
    site.server.stop(0.0)
    assert peer.rest() == b""


FAILURES: list[tuple[str, Callable[[Site], None]]] = [
    ("timeout", lambda site: [site.raw().rest()].clear()),
    ("timeout", say(b"\x16\x03\x01\x00\x00")),  # a ClientHello may still come
    ("peer_left", lambda site: site.raw().close()),
    ("peer_left", lambda site: site.raw().reset()),
    ("peer_left", leave_within),
    ("no_tls", say(request())),
    ("no_tls", say(b"\0\1\2\3")),
    ("version", old_version),
    ("cipher", weak_cipher),
    ("group", other_group),
    ("signature", other_signature),
    ("alpn", other_protocol),
    ("alert", lambda site: fail_with(site, ssl.create_default_context())),
    ("made_room", make_room),
    ("stopped", stop_within),
    ("other", say(b"\x16\x03\x01\x00\x05hello")),
]


@pytest.mark.parametrize(("reason", "fail"), FAILURES)
def test_a_handshake_that_fails_is_counted_by_its_reason(
    serve_tls: Serve, reason: str, fail: Callable[[Site], None]
) -> None:
    site = serve_tls(OK, handshakes=1, handshake_timeout=0.2 if reason == "timeout" else 100, linger_timeout=100)
    fail(site)
    eventually(lambda: sum(site.server.stats()["handshakes_failed"].values()) >= 1, "it is counted")
    eventually(lambda: moment(site.server) == {})
    stats = site.server.stats()
    assert some(stats["handshakes_failed"]) == {reason: 1}
    assert stats["handshakes"] == (reason == "made_room")  # the one for whom there was room
    assert stats["timeouts"]["handshake"] == (reason == "timeout")
    assert sum(stats["closed"].values()) == stats["accepted"]
    assert stats["requests"] == stats["bytes_received"] == 0
    # that it was stopped is told by every reason that is not
    assert stats["closed"]["stopped"] == (reason == "stopped")


def test_a_handshake_that_was_pushed_out_at_the_cap_of_connections(serve_tls: Serve) -> None:
    site = serve_tls(OK, connections=1, handshake_timeout=100)
    silent = site.raw()
    await_moment(site, handshaking=1, unfinished=1)
    assert site.connect().ask().status == 200
    assert silent.rest() == b""
    stats = site.server.stats()
    assert some(stats["handshakes_failed"]) == {"made_room": 1}
    assert (stats["handshakes"], stats["closed"]["made_room"]) == (1, 1)


def test_plain_text_is_counted_once_though_its_client_is_still_there(serve_tls: Serve) -> None:
    site = serve_tls(OK, linger_timeout=100)
    peer = site.raw()
    peer.send(request())
    assert peer.answer().status == 400
    eventually(lambda: some(site.server.stats()["handshakes_failed"]) == {"no_tls": 1})
    await_moment(site, closing=1)
    peer.close()
    site.await_closed("plain_on_tls")
    assert some(site.server.stats()["handshakes_failed"]) == {"no_tls": 1}
    await_nothing(site)


def test_handshakes_that_end_well(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    client = client_of(site)
    first = TlsPeer(site.raw().sock, client)
    assert first.ask().status == 200
    stats = site.server.stats()
    assert (stats["handshakes"], stats["handshakes_resumed"]) == (1, 0)
    again = TlsPeer(site.raw().sock, client, handshake=False)
    again.tls.session = first.tls.session
    again.handshake()
    assert again.ask().status == 200
    assert again.tls.session_reused
    stats = site.server.stats()
    assert (stats["handshakes"], stats["handshakes_resumed"]) == (2, 1)
    first.close()
    again.close()
    await_nothing(site)
    assert some(site.server.stats()["handshakes_failed"]) == {}


def test_a_plain_server_counts_no_handshakes(serve_plain: Serve) -> None:
    site = serve_plain(OK, head_timeout=0.1)
    assert site.connect().ask().status == 200
    site.raw().rest()
    site.raw().reset()
    site.await_closed("head_timeout")
    stats = site.server.stats()
    assert stats["handshakes"] == stats["handshakes_resumed"] == sum(stats["handshakes_failed"].values()) == 0


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_bytes_are_those_of_http(serve: Serve, tmp_path: Any) -> None:
    """TLS adds some, which are not counted; interim answers, files and refusals are."""
    file = tmp_path / "file"
    file.write_bytes(os.urandom(200_000))
    site = serve(ECHO, web.GET("/file", lambda req: web.Response.file(file)), OK, out_buffer=10_000_000)
    peer = site.connect()
    sent = [
        request("/", "POST", body=b"b" * 70_000),
        request("/", "POST", TE) + chunked(b"x" * 1000, b"y", trailers=b"X: y\r\n"),
        request("/file"),
        request("/", "HEAD"),
    ]
    came = 0
    for number, wire in enumerate(sent):
        peer.send(wire)
        answer = peer.answer(to_head=number == 3)
        came += len(answer.head) + len(answer.body)
    wire = request("/", "POST", "Expect: 100-continue\r\nContent-Length: 4\r\n")
    peer.send(wire)
    came += len(peer.head())
    peer.send(b"body" + b"bad\r\n\r\n")
    came += len(peer.rest())
    peer.close()
    await_count(site, "bytes_received", sum(map(len, sent)) + len(wire) + len(b"bodybad\r\n\r\n"))
    await_count(site, "bytes_sent", came)


# -- accepting ---------------------------------------------------------------------------------------------------------


@contextmanager
def no_more_fds() -> Iterator[None]:
    """Within it this process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, hard))
    try:
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


def test_an_accept_that_failed_is_counted(serve: Serve) -> None:
    site = serve(OK)
    with socket.socket() as sock:
        with no_more_fds():
            sock.connect(("127.0.0.1", site.server.port))
            eventually(lambda: site.counter("accept_failures") >= 1, "it fails")
            assert site.counter("accepted") == 0
        peer = Peer(sock)
        if site.certificate is not None:
            peer = TlsPeer(sock, site.certificate.client)
        assert peer.ask().status == 200
        assert site.counter("accepted") == 1
        peer.close()
    await_nothing(site)


def test_who_finds_no_room_is_no_accepted_connection(serve: Serve) -> None:
    site = serve(ECHO, connections=1, body_grace=100)
    busy = site.connect()
    busy.send(request("/", "POST", "Content-Length: 4\r\n"))
    await_moment(site, active=1)
    assert site.raw().rest() == b""
    stats = site.server.stats()
    assert (stats["accepted"], stats["closed"]["refused"]) == (1, 1)
    assert sum(stats["handshakes_failed"].values()) == 0
    busy.send(b"body")
    assert busy.answer().body == b"body"
    busy.close()
    await_nothing(site)


# -- turns -------------------------------------------------------------------------------------------------------------


def test_each_turn_is_counted_with_what_it_took(embed: Embed) -> None:
    held = 0.05

    def hold(req: web.Request) -> str:
        threading.Event().wait(held)
        return "held"

    site = embed(web.GET("/", hold), slow_handler=0.0)
    for number in range(1, 4):
        site.server.run_once(0)
        assert site.server.stats()["turns"]["count"] == number
    before = site.server.stats()["turns"]
    assert before["sum"] == pytest.approx(0, abs=held)  # waiting is no work
    with site.connect() as peer:
        assert peer.ask().body == b"held"
    turns = site.server.stats()["turns"]
    assert turns["sum"] >= before["sum"] + held
    assert sum(turns["buckets"].values()) == turns["count"]
    assert sum(count for bound, count in turns["buckets"].items() if bound >= held) >= 1


def test_waiting_is_no_work(embed: Embed) -> None:
    site = embed(OK)
    site.server.run_once(0.2)
    turns = site.server.stats()["turns"]
    assert (turns["count"], sum(number for bound, number in turns["buckets"].items() if bound < 0.2)) == (1, 1)


def test_how_late_asyncio_is_counts_as_a_turn(serve_plain: Serve) -> None:
    """What holds the thread between two turns, the loop cannot see: it is told once a second."""
    held = 0.5

    async def hold(req: web.Request) -> str:
        await asyncio.sleep(0)  # from here on it is no step that the loop takes
        threading.Event().wait(1.0 + held)
        return "held"

    site = serve_plain(web.GET("/", hold))
    assert site.connect().ask().body == b"held"

    def is_seen() -> bool:
        buckets = site.server.stats()["turns"]["buckets"]
        return any(number for bound, number in buckets.items() if bound > held / 2)

    eventually(is_seen)
