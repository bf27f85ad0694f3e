"""The loop inside another: its fd, asked once, is readable exactly when ``run_once`` has work (design, rule 12).

``Embedded.settle`` and the peers' waiting are built on that fd alone, so every test that embeds tests it, too.
"""

from __future__ import annotations

import os
import selectors
import socket
import time

import pytest

import web
from tests.wire.clients import TlsPeer, request
from tests.wire.sites import Embed

NUMBER = web.GET("/n/:i", lambda req, params: params["i"])
ECHO = web.POST("*", lambda req: req.body)
OK = web.GET("/", lambda req: "ok")


def test_it_is_readable_when_bytes_came_and_not_before(embed: Embed) -> None:
    site = embed(OK)
    with site.connect() as peer:
        site.settle()
        for _ in range(5):
            assert not site.has_work()
            peer.send(request())
            assert site.has_work(1)
            site.server.run_once(0)
            assert peer.answer().body == b"ok"
            site.settle()


def test_work_that_is_left_over_makes_it_readable(embed: Embed) -> None:
    """More pipelined requests than one turn answers."""
    site = embed(NUMBER)
    with site.connect() as peer:
        site.settle()
        peer.send(b"".join(request(f"/n/{i}") for i in range(100)))
        turns = 0
        while site.has_work():
            site.server.run_once(0)
            turns += 1
        assert turns >= 4  # 32 at a time
        assert [peer.answer().body for _ in range(100)] == [str(i).encode() for i in range(100)]
        assert not site.has_work()


def test_records_that_wait_inside_tls_make_it_readable(embed: Embed) -> None:
    """Several records in one segment, some of which hold parts of requests: nothing is left inside."""
    site = embed(NUMBER, ECHO)
    with site.connect() as peer:
        site.settle()
        wire = b"".join(request(f"/n/{i}") for i in range(50)) + request("/", "POST", body=b"b" * 40_000)
        pieces = [wire[at : at + 700] for at in range(0, len(wire), 700)]
        peer.send_raw(b"".join(peer.sealed(piece) if isinstance(peer, TlsPeer) else piece for piece in pieces))
        site.settle()
        assert [peer.answer().body for _ in range(50)] == [str(i).encode() for i in range(50)]
        assert peer.answer().body == b"b" * 40_000


def test_an_answer_that_did_not_fit_makes_it_readable_once_the_peer_reads(embed: Embed) -> None:
    content = bytes(range(256)) * 20_000
    site = embed(web.GET("/", lambda req: content))
    with site.connect() as peer:
        peer.send(request())
        site.settle()
        assert not site.has_work()  # the peer does not read: nothing to do but wait
        assert peer.answer().body == content  # by turns: each of them is announced


@pytest.mark.parametrize(
    ("said", "limits", "statuses"),
    [
        (b"", {"head_timeout": 0.1}, []),
        (b"GET / HT", {"head_timeout": 0.1}, [408]),
        (request(), {"idle_timeout": 0.1}, [200]),
        (request() + b"GET", {"head_timeout": 0.1}, [200, 408]),
        (request("/", "POST", "Content-Length: 5\r\n"), {"body_grace": 0.1}, [408]),
    ],
    ids=["silent", "head", "idle", "later head", "body"],
)
def test_a_deadline_makes_it_readable(embed: Embed, said: bytes, limits: dict[str, float], statuses: list[int]) -> None:
    """A peer that waits turns the loop only when the fd says so: nothing else announces the deadline."""
    site = embed(OK, ECHO, **limits)
    with site.connect() as peer:
        peer.send(said)
        assert [peer.answer().status for _ in statuses] == statuses
        assert peer.rest() == b""
        assert peer.clean_end


def test_a_handshake_deadline_makes_it_readable(embed: Embed) -> None:
    site = embed(OK, handshake_timeout=0.1, head_timeout=0.1)
    peer, _ = site.pair()
    assert peer.rest() == b""
    assert site.closed("handshake_timeout") == (site.certificate is not None)


def test_what_is_adopted_is_served_without_asking_again(embed: Embed) -> None:
    site = embed(OK)
    for _ in range(3):
        with site.connect() as peer:
            assert peer.ask().body == b"ok"
        assert site.server.connections == 0


def test_bytes_that_came_before_the_adoption_make_it_readable(embed: Embed) -> None:
    site = embed(OK)
    ours, theirs = socket.socketpair()
    with ours:
        first = request()
        if site.certificate is not None:
            peer = TlsPeer(ours, site.certificate.client, site.turn, handshake=False)
            first = peer.first_flight()
        ours.sendall(first)
        site.adopt(theirs)
        assert site.has_work(1)
        site.settle()
        assert ours.recv(5) == b"HTTP/" if site.certificate is None else ours.recv(1) == b"\x16"


def test_an_idle_server_lets_its_host_sleep(embed: Embed) -> None:
    """No turn is asked for while nothing happens: one that is always readable would keep a host awake."""
    site = embed(OK)
    with site.connect() as peer:
        assert peer.ask().status == 200
        site.settle()
        assert not site.has_work(0.2)


def test_a_server_sleeps_after_an_answer_that_blocked(embed: Embed) -> None:
    """Also where OpenSSL writes to the socket itself, as it does for kernel TLS."""
    content = os.urandom(3_000_000)
    site = embed(web.GET("/", lambda req: content))
    for ktls in (False, True):
        with site.connect(ktls=ktls) as peer:
            for _ in range(2):
                peer.send(request())
                site.settle()
                assert peer.answer().body == content
                site.settle()
                assert not site.has_work(0.1)


def test_without_connections_nothing_is_readable(embed: Embed) -> None:
    site = embed(OK)
    assert not site.has_work(0.05)
    started = time.monotonic()
    site.server.run_once(0)
    site.server.run_once(0.01)
    assert time.monotonic() - started < 5
    assert not site.has_work()


def test_a_selector_of_another_loop(embed: Embed) -> None:
    """Two servers and a host of its own in one thread."""
    sites = [embed(NUMBER), embed(NUMBER)]
    wave = b"".join(request(f"/n/{i}") for i in range(70))
    with selectors.DefaultSelector() as host, sites[0].connect() as first, sites[1].connect() as second:
        for site in sites:
            host.register(site.fd, selectors.EVENT_READ, site.server)
        for peer in (first, second):
            peer.send(wave)
        while ready := host.select(0):
            for key, _ in ready:
                key.data.run_once(0)
        for site, peer in zip(sites, (first, second), strict=True):
            assert site.server.stats()["requests"] == 70
            assert [peer.answer().body for _ in range(70)] == [str(i).encode() for i in range(70)]


def test_stop_makes_it_readable(embed: Embed) -> None:
    site = embed(OK)
    with site.connect() as peer:
        assert peer.ask().status == 200
        site.settle()
        site.server.stop(0)
        assert site.has_work(1)
        assert peer.rest() == b""
        assert site.server.connections == 0


def test_run_once_inside_a_handler_is_refused(embed: Embed) -> None:
    def again(req: web.Request) -> str:
        with pytest.raises(RuntimeError, match="already running"):
            site.server.run_once(0)
        return "refused"

    site = embed(web.GET("/", again))
    with site.connect() as peer:
        assert peer.ask().body == b"refused"
