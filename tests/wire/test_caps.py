"""Caps of connections and of unfinished ones: who makes room is chosen by source, so that nobody is shut out."""

from __future__ import annotations

import resource
import sys

import pytest

import web
from tests.wire.clients import HANG, Peer, TlsPeer, eventually, request
from tests.wire.sites import Serve, Site

OK = web.GET("*", lambda req: "ok")
ECHO = web.POST("*", lambda req: req.body)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without set-up")


def crowd(site: Site, count: int, source: str = "127.0.0.1") -> list[Peer]:
    """Silent clients, all accepted, in order."""
    before = site.counter("accepted")
    found = []
    for _ in range(count):
        found.append(site.raw(source))
        eventually(lambda: site.counter("accepted") > before + len(found) - 1, "it is accepted")
    return found


def ended(peer: Peer) -> bool:
    """Whether the server has closed it; only after something that the server did later was seen."""
    peer.sock.setblocking(False)
    try:
        return peer.sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        peer.sock.settimeout(HANG)


def test_silent_clients_make_room_for_an_honest_one(serve: Serve) -> None:
    site = serve(OK, connections=4, head_timeout=100, handshake_timeout=100)
    silent = crowd(site, 4)
    honest = site.connect("127.0.0.2")
    assert honest.ask().status == 200
    assert [ended(peer) for peer in silent] == [True, False, False, False]  # the oldest
    assert honest.ask().status == 200
    assert (site.closed("made_room"), site.server.connections) == (1, 4)


def test_the_source_with_most_unfinished_connections_makes_room(serve: Serve) -> None:
    site = serve(OK, connections=6, head_timeout=100, handshake_timeout=100)
    few, many = crowd(site, 2, "127.0.0.3"), crowd(site, 4, "127.0.0.1")
    for _ in range(2):
        assert site.connect("127.0.0.2").ask().status == 200
    assert [ended(peer) for peer in few] == [False, False]  # though they are the oldest
    assert [ended(peer) for peer in many] == [True, True, False, False]


def test_silent_clients_that_come_again_at_once_shut_nobody_out(serve: Serve) -> None:
    site = serve(OK, connections=8, head_timeout=100, handshake_timeout=100)
    crowd(site, 20)
    for _ in range(20):
        honest = site.connect("127.0.0.2")
        crowd(site, 8)  # between handshake or connect and request
        assert honest.ask().status == 200
        crowd(site, 8)
        assert honest.ask().status == 200
        honest.close()


def test_idle_connections_make_room_when_nobody_is_unfinished(serve: Serve) -> None:
    site = serve(OK, connections=3)
    idle = [site.connect() for _ in range(3)]
    for peer in idle:
        assert peer.ask().status == 200
    assert idle[0].ask().status == 200  # now the second idled longest
    newcomer = site.connect()
    assert newcomer.ask().status == 200
    assert [ended(peer) for peer in idle] == [False, True, False]
    assert idle[0].ask().status == 200
    assert site.closed("made_room") == 1


def test_unfinished_ones_go_before_idle_ones(serve: Serve) -> None:
    site = serve(OK, connections=2, head_timeout=100, handshake_timeout=100)
    idle = site.connect()
    assert idle.ask().status == 200
    (silent,) = crowd(site, 1)
    assert site.connect().ask().status == 200
    assert ended(silent)
    assert idle.ask().status == 200


def test_who_was_answered_and_lingers_goes_first(serve: Serve) -> None:
    site = serve(OK, connections=3, linger_timeout=100, head_timeout=100, handshake_timeout=100)
    (silent,) = crowd(site, 1)
    idle, lingers = site.connect(), site.connect()
    assert idle.ask().status == 200
    assert lingers.ask(fields="Connection: close\r\n").status == 200
    assert lingers.rest() == b""
    assert site.connect("127.0.0.2").ask().status == 200
    assert site.closed("made_room") == 1
    assert idle.ask().status == 200
    assert not ended(silent)


def test_nobody_who_is_at_work_makes_room(serve: Serve) -> None:
    site = serve(ECHO, OK, connections=2, body_grace=100)
    busy = [site.connect() for _ in range(2)]
    for peer in busy:
        peer.send(request("/", "POST", "Expect: 100-continue\r\nContent-Length: 4\r\n"))
        assert peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    refused = site.raw("127.0.0.2")
    assert refused.rest() == b""
    assert site.closed("refused") == 1
    for peer in busy:
        peer.send(b"body")
        assert peer.answer().body == b"body"
    assert site.connect("127.0.0.2").ask().status == 200


def test_a_head_that_is_half_sent_makes_room(serve: Serve) -> None:
    site = serve(OK, connections=2, head_timeout=100)
    first, second = site.connect(), site.connect()
    assert first.ask().status == second.ask().status == 200
    second.send(request()[:10])
    eventually(lambda: site.counter("unfinished") == 1, "the head has begun")
    assert site.connect("127.0.0.2").ask().status == 200
    assert ended(second)
    assert first.ask().status == 200


# -- the cap of unfinished connections ---------------------------------------------------------------------------------


def test_unfinished_connections_have_a_cap_of_their_own(serve: Serve) -> None:
    site = serve(OK, handshakes=8, head_timeout=100, handshake_timeout=100)
    silent = crowd(site, 20)
    assert site.counter("unfinished") == 8
    honest = [site.connect("127.0.0.2") for _ in range(3)]
    for peer in honest:
        assert peer.ask().status == 200
    gone = [ended(peer) for peer in silent]
    assert gone == sorted(gone, reverse=True)  # the oldest first
    assert 13 <= sum(gone) <= 15  # one for each that was too many; in time at most three honest ones at once
    assert site.closed("made_room") == sum(gone)
    assert site.server.connections == 20 - sum(gone) + 3


def test_finished_connections_are_not_counted_as_unfinished(serve: Serve) -> None:
    site = serve(OK, handshakes=2)
    peers = [site.connect() for _ in range(1)]
    for _ in range(10):
        assert peers[-1].ask().status == 200
        peers.append(site.connect())
    peers.pop()
    for peer in peers:
        assert peer.ask().status == 200
    assert site.closed("made_room") == 0


def test_who_sent_a_client_hello_is_kept_before_who_sent_nothing(serve_tls: Serve) -> None:
    site = serve_tls(OK, handshakes=4, handshake_timeout=100)
    started = site.raw()
    assert site.certificate is not None
    late = TlsPeer(started.sock, site.certificate.client, handshake=False)
    late.send_raw(late.first_flight())
    late.feed()  # the server's flight: it has the whole ClientHello
    crowd(site, 12)
    late.handshake()
    assert late.ask().status == 200


def test_the_cap_follows_the_limit_of_file_descriptors() -> None:
    server = web.Server(web.App(OK), "127.0.0.1", 0, limits=web.Limits(connections=10**9))
    try:
        server.open()  # would need 10**9 entries, were it not lowered
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    finally:
        server.close()
