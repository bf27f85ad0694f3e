"""Clients that go away at every point, and many of them; a server that is out of fds neither spins nor dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

import web
from tests.wire.clients import HANG, Peer, TlsPeer, eventually, request
from tests.wire.sites import Certificate, Embed, Serve, open_fds

OK = web.GET("*", lambda req: "ok")
ECHO = web.POST("*", lambda req: req.body)
BIG = web.GET("/big", lambda req: b"x" * 4_000_000)

WIRE = request("/", "POST", "Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" + request()


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_at_every_point_of_a_request(serve: Serve, leave: Callable[[Peer], None]) -> None:
    site = serve(OK, ECHO)
    first = site.connect()
    assert first.ask().status == 200
    before = open_fds()
    for cut in range(0, len(WIRE) + 1, 1 if not site.is_tls else 3):
        peer = site.connect()
        peer.send(WIRE[:cut])
        leave(peer)
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "every fd is back")
    assert first.ask().status == 200


def test_at_every_point_one_turn_at_a_time(embed: Embed) -> None:
    """The same with every byte seen by the server before the client goes."""
    site = embed(OK, ECHO)
    with site.connect() as first:
        before = open_fds()
        for cut in range(len(WIRE) + 1):
            with site.connect() as peer:
                peer.send(WIRE[:cut])
                site.settle()
                if isinstance(peer, TlsPeer) and cut % 2:
                    peer.close_notify()
                    site.settle()
        assert open_fds() == before
        assert site.server.connections == 1
        assert first.ask().status == 200


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
@pytest.mark.parametrize("read", [0, 1, 100_000])
def test_in_the_middle_of_an_answer(serve: Serve, leave: Callable[[Peer], None], read: int) -> None:
    site = serve(BIG, OK)
    first = site.connect()
    assert first.ask().status == 200
    before = open_fds()
    for _ in range(5):
        peer = site.connect(receive_buffer=4096)
        peer.send(request("/big") * 3)
        while read > 0 and (data := peer.receive(min(read, 4096))):
            peer.buffer += data
            if len(peer.buffer) >= read:
                break
        leave(peer)
    assert first.ask("/ok").status == 200
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "every fd is back")


def test_while_its_handler_runs(serve: Serve) -> None:
    """The answer goes to nobody."""
    peers: list[Peer] = []

    def drop(req: web.Request) -> str:
        peers.pop().reset()
        return "x" * 100_000

    site = serve(web.GET("/drop", drop), OK)
    for _ in range(20):
        peer = site.connect()
        peers.append(peer)
        peer.send(request("/drop") + request("/ok"))
        eventually(lambda: not peers, "the handler ran")
    assert site.connect().ask("/ok").status == 200
    site.await_connections(1)


def test_two_thousand_connections(serve: Serve) -> None:
    site = serve(OK)
    first = site.connect()
    assert first.ask().status == 200
    before = open_fds()
    for i in range(2000):
        peer = site.raw() if i % 4 else site.connect()
        if i % 4 == 0:
            assert peer.ask().status == 200
        peer.reset() if i % 2 else peer.close()
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "every fd is back")
    assert first.ask().status == 200
    assert site.counter("accepted") == 2001


def test_hundreds_at_once(serve: Serve) -> None:
    site = serve(OK)
    first = site.connect()
    assert first.ask().status == 200
    before = open_fds()
    peers = [site.connect() for _ in range(300)]
    for peer in peers:
        peer.send(request() * 3)
    for peer in peers:
        assert [peer.answer().body for _ in range(3)] == [b"ok"] * 3
    assert site.server.connections == 301
    for peer in peers:
        peer.close()
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "every fd is back")


# -- out of file descriptors -------------------------------------------------------------------------------------------

# A server of 256 fds. It tells on demand: CPU seconds used, failed accepts. "hog" takes every fd that is left.
OUT_OF_FDS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
import os, sys, time, web
hogged = []
tls = web.TlsContext(*sys.argv[1:]) if len(sys.argv) > 1 else None
server = web.Server(web.App(web.GET("*", lambda req: "ok")), "127.0.0.1", 0, tls=tls)
with server.running() as site:
    print(site.port, flush=True)
    for line in sys.stdin:
        try:
            while line == "hog\\n":
                hogged.append(os.dup(0))
        except OSError:
            pass
        while line == "free\\n" and hogged:
            os.close(hogged.pop())
        print(time.process_time(), site.stats()["accept_failures"], flush=True)
"""


class OutOfFds:
    """The server in a process of its own."""

    def __init__(self, certificate: Certificate | None) -> None:
        self.certificate = certificate
        files = [] if certificate is None else [certificate.cert, certificate.key]
        self.process = subprocess.Popen(
            [sys.executable, "-c", OUT_OF_FDS, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, command: str) -> tuple[float, int]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        seconds, failures = self.line().split()
        return float(seconds), int(failures)

    def ended_well(self) -> bool:
        self.process.communicate(timeout=HANG)
        return self.process.returncode == 0


def test_out_of_file_descriptors(transport: Certificate | None) -> None:
    with ExitStack() as stack:
        server = OutOfFds(transport)
        stack.enter_context(server.process)
        stack.callback(server.process.kill)

        def connect() -> Peer:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            return Peer(sock) if transport is None else TlsPeer(sock, transport.client)

        old = connect()
        assert old.ask().status == 200
        server.tell("hog")
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]  # the kernel takes them
        for sock in waiting:
            stack.enter_context(sock)
        eventually(lambda: server.tell("how")[1] > 0, "the server is out of fds")
        first = server.tell("how")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            time.sleep(0.1)
        last = server.tell("how")
        # It looks again a few times a second. One that spins fails a hundred thousand times, and uses all of the time.
        assert first[1] < last[1] < first[1] + 20
        assert last[0] - first[0] < 0.5
        server.tell("free")
        for sock in waiting:
            sock.close()
        assert connect().ask().status == 200
        assert server.ended_well()
