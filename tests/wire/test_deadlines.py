"""Time-outs: 408 once a request has begun, an end without a word before; whoever is slow holds up nobody else.

The time under test is small; every wait is a blocking read, which ends when the server acts.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import pytest

import web
from tests.wire.clients import Peer, TlsPeer, chunked, request
from tests.wire.sites import Embed, Serve

OK = web.GET("*", lambda req: "ok")
ECHO = web.POST("*", lambda req: req.body)


def assert_408(peer: Peer) -> None:
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (408, "close")
    assert peer.rest() == b""
    assert peer.clean_end


# -- heads -------------------------------------------------------------------------------------------------------------


def test_nothing_at_all_is_ended_silently(serve: Serve) -> None:
    site = serve(OK, head_timeout=0.1)
    peer = site.connect()
    assert peer.rest() == b""
    assert peer.clean_end
    peer.close()
    site.await_closed("head_timeout")


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\n", request()[:-2]])
def test_part_of_a_head_is_408(serve: Serve, part: bytes) -> None:
    site = serve(OK, head_timeout=0.1)
    peer = site.connect()
    peer.send(part)
    assert_408(peer)
    peer.close()
    site.await_closed("head_timeout")
    assert site.counter("requests") == 0


def test_part_of_a_later_head_is_408(serve: Serve) -> None:
    peer = serve(OK, head_timeout=0.1, idle_timeout=100).connect()
    assert peer.ask().status == 200
    peer.send(request()[:-2])
    assert_408(peer)


def test_part_of_a_head_behind_a_whole_request_is_408(serve: Serve) -> None:
    peer = serve(OK, head_timeout=0.1, idle_timeout=100).connect()
    peer.send(request() + request()[:-2])
    assert peer.answer().status == 200
    assert_408(peer)


@pytest.mark.parametrize("first", [True, False])
def test_bytes_that_trickle_in_move_nothing(serve: Serve, first: bool) -> None:
    """The time for a head is absolute: a byte now and then buys none."""
    site = serve(OK, head_timeout=0.3)
    peer = site.connect()
    if not first:
        assert peer.ask().status == 200
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    peer.sock.settimeout(0.02)
    for _ in range(1000):
        try:
            peer.buffer += peer.receive()
            break
        except TimeoutError:
            peer.send(b"y")
    else:
        raise AssertionError("the head may last for ever")
    peer.sock.settimeout(20)
    assert_408(peer)


def test_each_head_has_its_own_time(serve: Serve) -> None:
    """A client that always has part of its next request under way is not slow."""
    timeout = 0.4
    peer = serve(OK, head_timeout=timeout).connect()
    wire = request()
    until = time.monotonic() + 2.5 * timeout
    peer.send(wire[:5])
    while time.monotonic() < until:
        peer.send(wire[5:] + wire[:5])
        assert peer.answer().status == 200
    peer.send(wire[5:])
    assert peer.answer().status == 200


# -- idle --------------------------------------------------------------------------------------------------------------


def test_idle_connections_are_ended_silently(serve: Serve) -> None:
    site = serve(OK, idle_timeout=0.1)
    peer = site.connect()
    assert [peer.ask().status for _ in range(3)] == [200] * 3
    assert peer.rest() == b""
    assert peer.clean_end
    peer.close()
    site.await_closed("idle_timeout")


def test_requests_move_the_idle_time(serve: Serve) -> None:
    peer = serve(OK, idle_timeout=0.4).connect()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert peer.ask().status == 200
    assert peer.rest() == b""


def test_what_came_in_time_is_answered_by_a_server_that_is_late(embed: Embed) -> None:
    """A handler that blocks the loop makes the server late, not its clients."""
    site = embed(OK, head_timeout=0.2)
    with site.connect() as peer:
        site.settle()
        peer.send(request())
        time.sleep(0.4)  # the loop was busy elsewhere past the deadline
        assert peer.answer().status == 200


# -- bodies ------------------------------------------------------------------------------------------------------------


def test_bodies_that_do_not_come_are_408(serve: Serve) -> None:
    site = serve(OK, ECHO, body_grace=0.1)
    parts = [
        request("/", "POST", "Content-Length: 100\r\n"),
        request("/", "POST", "Content-Length: 100\r\n") + b"some of it",
        request("/", "POST", "Content-Length: 100\r\nExpect: 100-continue\r\n"),
        request("/", "POST", "Transfer-Encoding: chunked\r\n"),
        request("/", "POST", "Transfer-Encoding: chunked\r\n") + b"5\r\nhel",
        request() + request("/", "POST", "Content-Length: 100\r\n") + b"some of it",
    ]
    peers = [site.connect() for _ in parts]
    for peer, part in zip(peers, parts, strict=True):
        peer.send(part)
    other = site.connect()
    assert other.ask("/", "POST", body=b"body").body == b"body"  # nobody else waits
    assert peers[2].head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert peers[-1].answer().body == b"ok"
    for peer in peers:
        assert_408(peer)
        peer.close()
    site.await_closed("body_slow", len(parts))
    assert other.ask().status == 200


def test_a_body_that_trickles_in_is_408(serve: Serve) -> None:
    peer = serve(ECHO, body_grace=0.1, body_min_rate=1000).connect()
    peer.send(request("/", "POST", "Content-Length: 100000\r\n"))
    peer.sock.settimeout(0.05)
    for _ in range(1000):
        try:
            peer.buffer += peer.receive()
            break
        except TimeoutError:
            peer.send(b"y")
    else:
        raise AssertionError("the body may last for ever")
    peer.sock.settimeout(20)
    assert_408(peer)


def test_a_body_at_the_minimum_rate_is_taken(serve_plain: Serve) -> None:
    """Three looks a second apart see more than the rate, though less than the whole body."""
    peer = serve_plain(ECHO, body_grace=0.1, body_min_rate=10, head_timeout=0.5, idle_timeout=0.5).connect()
    peer.send(request("/", "POST", "Transfer-Encoding: chunked\r\n"))
    until = time.monotonic() + 2.5
    sent = 0
    while time.monotonic() < until:
        peer.send(b"5\r\nhello\r\n")
        sent += 1
        time.sleep(0.02)
    peer.send(chunked())
    assert peer.answer().body == b"hello" * sent


def test_no_minimum_rate(serve_plain: Serve) -> None:
    peer = serve_plain(ECHO, body_grace=0.1, body_min_rate=0, head_timeout=0.5, idle_timeout=0.5).connect()
    peer.send(request("/", "POST", "Content-Length: 5\r\n") + b"1234")
    peer.sock.settimeout(1.5)
    with pytest.raises(TimeoutError):
        peer.receive()
    peer.send(b"5")
    assert peer.answer().body == b"12345"


# -- answers -----------------------------------------------------------------------------------------------------------


def test_who_does_not_read_an_answer_is_closed_while_others_go_on(serve: Serve) -> None:
    content = b"x" * 8_000_000
    site = serve(OK, web.POST("/big", lambda req: content), response_grace=0.1)
    slow = site.connect(receive_buffer=4096)
    slow.send(request("/big", "POST"))
    other = site.connect()
    while not site.closed("response_slow"):
        assert other.ask().status == 200
    got = 0
    with suppress(ConnectionError):  # reset, or the end before all came: never complete
        while data := slow.receive():
            got += len(data)
    assert got < len(content)
    assert other.ask("/big", "POST").body == content


def test_who_reads_slowly_but_steadily_gets_all(serve: Serve) -> None:
    content = bytes(range(256)) * 40_000
    site = serve(web.GET("/", lambda req: content), response_grace=0.1, response_min_rate=100, idle_timeout=0.5)
    peer = site.connect(receive_buffer=4096)
    peer.send(request())
    assert peer.head()
    until = time.monotonic() + 2.5
    got = bytearray(peer.buffer)
    peer.buffer = b""
    while time.monotonic() < until:
        got += peer.receive(2000)
        time.sleep(0.01)
    got += peer.exactly(len(content) - len(got))
    assert bytes(got) == content


def test_what_a_slow_reader_took_of_a_batch_counts(embed: Embed) -> None:
    """Under TLS 64 KiB are encrypted and reported together: it takes two seconds for them, and a look is due each."""
    site = embed(web.GET("/", lambda req: bytes(1_000_000)), response_grace=0.1, response_min_rate=4000)
    peer, connection = site.pair()
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    if site.certificate is not None:
        peer = TlsPeer(peer.sock, site.certificate.client, site.turn)
    peer.send(request())
    until = time.monotonic() + 3.5
    while time.monotonic() < until:
        site.settle()
        with suppress(BlockingIOError):
            peer.sock.recv(1500)
        time.sleep(0.05)
    assert not connection.closed
    peer.close()
    site.settle()


def test_a_pipelining_client_that_never_reads_is_held_and_closed(serve_plain: Serve) -> None:
    """Its requests are not read any more once its answers wait: memory is bounded."""
    content = b"x" * 100_000
    site = serve_plain(web.GET("/", lambda req: content), response_grace=0.1)
    peer = site.connect(receive_buffer=4096)
    peer.send(request() * 200)
    site.await_closed("response_slow")
    assert site.counter("requests") < 150
