"""Clients that leave at each byte of a request, while it is handled and while it is answered: by FIN, by RST and by
half-closing, plain and under TLS. No descriptor and no connection is left, nothing is logged, others are answered."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import web
from tests.chaos.crowd import ECHO, connect_to, crowd, workers
from tests.masters import TWO, serving, stop, until
from tests.serving import Process, body, connect, fetch, get
from tests.wire.clients import Peer, TlsPeer, request

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

# Handlers of three kinds: each echoes a body, answers more than a socket takes, and waits until it is let go on.
ROUTES = """
import asyncio, threading

def add(name, handler):
    async def later(req):
        await asyncio.sleep(0)
        return handler(req)
    server.app.add(
        web.route(["GET", "POST"], f"/inline/{name}", handler), web.route(["GET", "POST"], f"/task/{name}", later),
        web.route(["GET", "POST"], f"/thread/{name}", handler, blocking=True))

add("echo", lambda req: req.body)
add("large", lambda req: b"x" * 4_000_000)
go_on = threading.Event()

def wait(req):
    print("waits", flush=True)
    go_on.wait()
    return "late"

async def wait_later(req):
    print("waits", flush=True)
    await asyncio.get_running_loop().create_future()

def release(req):
    go_on.set()
    return "released"

server.app.add(
    web.GET("/thread/wait", wait, blocking=True), web.GET("/task/wait", wait_later), web.GET("/release", release))
def held(req):
    counters = server.stats()
    files = len(os.listdir("/proc/self/fd"))
    illegal = counters["closed"]["illegal_step"]
    connections = sum(counters["connections"].values())
    return f"{connections} {files - connections} {illegal}"

server.app.add(web.GET("/held", held))
server.app.add(web.GET("/urls", lambda req: " ".join(server.urls)))
server.listen("127.0.0.1", 0, web.TlsContext(*TLS))
"""
KINDS = ["inline", "thread", "task"]


def half_close(peer: Peer) -> bytes:
    """What is still sent is read."""
    rest = b""
    with suppress(OSError):  # the server may have reset what it does not want
        peer.half_close()
        rest = peer.rest()
    peer.close()
    return rest


LEAVES: list[Callable[[Peer], bytes | None]] = [Peer.close, Peer.reset, half_close]


@dataclass
class Site:
    """Where the clients go, and what each worker held before they came."""

    port: int
    secure: int
    trust: ssl.SSLContext
    before: dict[int, int]
    child: Process

    def connect(self, tls: bool, receive_buffer: int = 0) -> Peer:
        sock = connect(self.secure if tls else self.port)
        return TlsPeer(sock, self.trust) if tls else Peer(sock)


def held(port: int, pid: int) -> tuple[int, int, int]:
    """Of a worker: connections, with the one that asks; files besides; illegal steps of its state machines."""
    with connect_to(port, pid) as sock:
        connections, files, illegal = map(int, body(get(sock, "/held")).split())
        return connections, files, illegal


def settled(port: int, pid: int) -> int:
    """Files besides connections, once two looks agree: what a first use opened for a moment is closed by then. So are
    all other connections: they are counted for all workers, and the files for one."""
    first, second = (0, 0, 0), held(port, pid)
    while first != second or second[0] != 1:
        first, second = second, held(port, pid)
    return second[1]


@contextmanager
def site(tmp_path: Path) -> Iterator[Site]:
    """At the end all that the clients took is given back, and nothing was logged."""
    pair = web.dev_certificate(tmp_path)
    with serving(TWO, f"{ECHO}TLS = {pair}\n{ROUTES}") as (child, port):
        secure = int(fetch(port, "/urls").rpartition(":")[2])
        for pid in workers(port):  # what is opened once, by the first request of a kind, is open before we count
            for kind in KINDS:
                with connect_to(port, pid) as sock:
                    get(sock, f"/{kind}/echo")
        before = {pid: settled(port, pid) for pid in workers(port)}
        found = Site(port, secure, ssl.create_default_context(cafile=pair[0]), before, child)
        with crowd(port) as those:
            yield found
        assert those.lost == []
        assert workers(port) == before.keys()
        for pid, files in before.items():
            until(lambda pid=pid, files=files: held(port, pid) == (1, files, 0))  # type: ignore[misc]
        err = stop(child)
    assert [line for line in err.splitlines() if "ended with exit code 0" not in line] == []


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("tls", [False, True])
def test_at_each_byte_of_a_request(tls: bool, leave: Callable[[Peer], bytes | None], tmp_path: Path) -> None:
    with site(tmp_path) as found:
        for kind in KINDS:
            rest = None
            wire = request(f"/{kind}/echo", "POST", body=b"0123456789")
            for cut in range(len(wire) + 1):
                peer = found.connect(tls)
                peer.send(wire[:cut])
                rest = leave(peer)
            if rest is not None and kind == "inline":
                assert body(rest) == b"0123456789"  # a whole request, and a client that still reads


def test_at_bytes_of_records_and_of_the_handshake(tmp_path: Path) -> None:
    """What is cut is the ciphertext: heads of records, the ClientHello, what ends the handshake."""
    with site(tmp_path) as found:
        for leave in (Peer.close, Peer.reset):
            for cut in range(0, 700, 7):
                peer = TlsPeer(connect(found.secure), found.trust, handshake=False)
                peer.send_raw(peer.first_flight()[:cut])
                leave(peer)
            for cut in range(0, 120, 3):
                peer = TlsPeer(connect(found.secure), found.trust)
                peer.send_raw(peer.sealed(request("/inline/echo", "POST", body=b"0123456789"))[:cut])
                leave(peer)


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("tls", [False, True])
def test_in_the_middle_of_an_answer(tls: bool, leave: Callable[[Peer], object], tmp_path: Path) -> None:
    with site(tmp_path) as found:
        for kind in KINDS:
            for read in (0, 1, 100_000):
                peer = found.connect(tls)
                peer.send(request(f"/{kind}/large") * 2)
                if read:
                    peer.exactly(read)
                leave(peer)


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset, Peer.half_close])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("kind", ["thread", "task"])
def test_while_a_handler_waits(kind: str, tls: bool, leave: Callable[[Peer], object], tmp_path: Path) -> None:
    """The connection is given back while the handler still runs; a Task is cancelled, a thread is left in peace."""
    with site(tmp_path) as found:
        peers = []
        for _ in range(4):
            peer = found.connect(tls)
            peers.append(peer)
            peer.send(request(f"/{kind}/wait"))
            assert found.child.line() == "waits"
            leave(peer)
        until(lambda: all(held(found.port, pid)[0] <= 2 for pid in found.before))
        for pid in found.before:
            with connect_to(found.port, pid) as sock:
                get(sock, "/release")
        for peer in peers:
            peer.close()
