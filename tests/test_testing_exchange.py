"""web.testing.exchange and link against a peer of the test's own, which does what our server does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from web.testing.cookies import Cookies
from web.testing.errors import ReplyError
from web.testing.exchange import Exchange, Failures, Plan, converse
from web.testing.outgoing import Outgoing
from web.testing.urls import Url


class Peer:
    """Stands for the Loop: it takes the other end of the socket pair."""

    def __init__(self) -> None:
        self.sock = socket.socket()

    def adopt(self, sock: socket.socket, context: object) -> object:
        self.sock.close()
        self.sock = sock
        sock.setblocking(False)
        return "the connection"


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.sock.close()


def planned(peer: Peer, failures: Failures | None = None) -> Plan:
    core: Any = peer
    return Plan(core, Cookies("h"), failures, timeout=5.0, follow=False)


def post(body: bytes) -> Outgoing:
    return Outgoing("POST", Url.parse("http://h/"), (), body=body)


def run(steps: Any) -> Any:
    """To the end, without waiting for anything; what it returns."""
    for _ in range(1000):
        try:
            next(steps)
        except StopIteration as done:
            return done.value
    raise AssertionError("it waits for ever")


def test_a_peer_that_answers_and_leaves_before_it_has_read_all(peer: Peer) -> None:
    exchange = Exchange(planned(peer), post(b"x" * 5_000_000))
    steps = exchange.start()
    assert next(steps).wants_write
    peer.sock.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nno")
    while True:  # what is read goes away: a close with unread bytes would be a reset, and drop the answer
        try:
            peer.sock.recv(1 << 20)
        except BlockingIOError:
            break
    peer.sock.close()
    run(steps)
    assert (exchange.head.status, run(exchange.reply()).content) == (413, b"no")
    exchange.close()


def test_a_peer_that_does_not_read_before_its_answer_is_taken(peer: Peer) -> None:
    """What comes while a body goes is read, or the two would wait for each other."""
    exchange = Exchange(planned(peer), post(b"x" * 5_000_000))
    steps = exchange.start()
    next(steps)
    answer = memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"y" * 5_000_000)
    for _ in range(1000):
        try:
            answer = answer[peer.sock.send(answer) :]
        except BlockingIOError:
            next(steps, None)
        if not answer:
            break
    assert not answer
    run(steps)
    assert len(run(exchange.reply()).content) == 5_000_000
    exchange.close()


def test_why_an_answer_was_cut_short(peer: Peer) -> None:
    failures = Failures()
    exchange = Exchange(planned(peer, failures), post(b""))
    steps = exchange.start()
    next(steps)
    peer.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    run(steps)
    failures._by_connection[exchange.link.connection].append(LookupError("in the middle"))
    peer.sock.close()
    with pytest.raises(LookupError, match="in the middle"):
        run(exchange.reply())
    exchange.close()


def test_an_answer_that_was_cut_short(peer: Peer) -> None:
    exchange = Exchange(planned(peer), post(b""))
    steps = exchange.start()
    next(steps)
    peer.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    run(steps)
    peer.sock.close()
    with pytest.raises(ReplyError, match="in the middle of the answer's content"):
        run(exchange.reply())
    exchange.close()


def test_who_gives_up_leaves(peer: Peer) -> None:
    steps = converse(planned(peer), post(b""))
    next(steps)
    peer.sock.recv(1000)
    steps.close()
    assert peer.sock.recv(1000) == b""
