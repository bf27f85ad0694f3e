"""Clocks that jump and processes that are suspended: no connection is closed for the time in which its server did not
run, deadlines know nothing of the wall clock, and the Date field follows it.

A small library loaded into the server moves its clocks; SIGSTOP suspends it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

import web
from tests.chaos.crowd import ECHO, crowd, is_asleep, is_stopped, workers
from tests.masters import HUP, ONE, TWO, serving, stop, until
from tests.serving import body, connect, fetch, foreign_environment, get, read_answer
from tests.test_reload import Resumer, put_certificate, serving_tls
from tests.wire.clients import TlsPeer, request

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("cc") is None, reason="LD_PRELOAD, timerfd and a compiler"
    ),
    pytest.mark.no_asan,  # the library would come before the sanitizer's
]
HOURS = 5 * 3600 * 10**9


@dataclass
class Clocks:
    """The clocks of one server."""

    file: Path

    def ahead(self, wall: int = 0, monotonic: int = 0) -> None:
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("qq", wall, monotonic))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("clocks") / "clocks.so"
    source = Path(__file__).with_name("clocks.c")
    subprocess.run(
        ["cc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", built, source],
        check=True,
        env=foreign_environment(),
    )
    return built


@pytest.fixture
def clocks(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Of each server that the test starts."""
    file = tmp_path / "clocks"
    file.write_bytes(bytes(16))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("WEB_CLOCKS", str(file))
    return Clocks(file)


MORE = (
    ECHO
    + """
server.app.add(
    web.GET("/large", lambda req: b"x" * 8_000_000), web.POST("/echo", lambda req: req.body),
    web.GET("/closed", lambda req: {name: n for name, n in server.stats()["closed"].items() if n}))
"""
)
OPEN_BODY = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234"


def date(answer: bytes) -> float:
    (line,) = [line for line in answer.split(b"\r\n") if line.startswith(b"Date: ")]
    return parsedate_to_datetime(line[6:].decode()).timestamp()


@pytest.mark.parametrize("hours", [HOURS, -HOURS])
def test_a_wall_clock_that_jumps(hours: int, clocks: Clocks) -> None:
    """Date follows, and nothing else happens: not to idle connections, and not to half a head, a body or an answer."""
    with serving(TWO, MORE) as (_, port), crowd(port) as those, ExitStack() as stack:
        idle, half_head, half_body, large = (stack.enter_context(connect(port)) for _ in range(4))
        first = get(idle)
        half_head.sendall(b"GET /echo/w HTTP/1.1\r\nHost")
        half_body.sendall(OPEN_BODY)
        large.sendall(request("/large"))
        clocks.ahead(wall=hours)
        assert round((date(get(idle)) - date(first)) / (hours / 10**9), 3) == 1.0
        those.go_on(50)
        half_head.sendall(b": a\r\n\r\n")
        half_body.sendall(b"56789")
        assert body(read_answer(half_head)).endswith(b" w")
        assert body(read_answer(half_body)) == b"0123456789"
        assert len(body(read_answer(large))) == 8_000_000
        until(lambda: date(get(idle)) > date(first) + hours / 10**9)  # it goes on, too


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_is_good_for_its_lifetime(clocks: Clocks, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """From the first second of a period, so that its key would still do when the lifetime is over."""
    put_certificate(tmp_path)
    client = Resumer(tmp_path, version)
    with serving_tls(0, tmp_path, "web.TicketKeys(lifetime=86400)") as (_, _, port):
        begin = (time.time() // 86400 + 1) * 86400 - time.time() + 1  # the anchor is a midnight, too

        def later(seconds: float) -> None:
            clocks.ahead(wall=round((begin + seconds) * 10**9))

        later(0)
        session, resumed, _ = client.ask(port)
        assert not resumed
        for seconds, good in ((0, True), (80000, True), (86300, True), (86500, False), (2 * 86400 - 100, False)):
            later(seconds)
            assert client.ask(port, session)[1] is good
        later(86300)
        second, resumed, _ = client.ask(port, session)
        assert resumed
        later(86500)  # a session that goes on and on: TLS 1.3 makes new keys each time, TLS 1.2 does not
        assert client.ask(port, second)[1] is (version == ssl.TLSVersion.TLSv1_3)


# -- suspended ---------------------------------------------------------------------------------------------------------


@contextmanager
def suspended(pids: set[int], clocks: Clocks, *, for_hours: bool) -> Iterator[None]:
    """The block runs while these processes do not. For hours: all that run later find both clocks moved."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(is_stopped(pid) for pid in pids))
    yield
    if for_hours:
        clocks.ahead(HOURS, HOURS)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def has_arrived(sock: socket.socket) -> bool:
    """Whether the other side's kernel has acknowledged all that was sent."""
    return fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) == bytes(4)


@pytest.mark.parametrize("who", ["one worker", "both workers", "the master", "all"])
def test_nothing_is_lost_while_processes_are_suspended(who: str, clocks: Clocks) -> None:
    with serving(TWO, MORE) as (child, port), crowd(port) as those, connect(port) as large:
        before = workers(port)
        pids = {"one worker": {min(before)}, "both workers": before, "the master": {child.popen.pid}}
        pids["all"] = before | {child.popen.pid}
        large.sendall(request("/large"))
        with suspended(pids[who], clocks, for_hours=False):
            pass
        assert len(body(read_answer(large))) == 8_000_000
        those.go_on()
        assert workers(port) == before
        child.signal(HUP)
        child.says("the reload is done")
        those.go_on()
    assert those.lost == []


def test_what_came_during_hours_of_suspension_is_heard_before_deadlines_are(clocks: Clocks) -> None:
    with serving(ONE, MORE) as (child, port), connect(port) as half_head, connect(port) as half_body:
        worker = int(fetch(port, "/echo/w").split()[0])
        half_head.sendall(b"GET /echo/w HTTP/1.1\r\nHost")
        half_body.sendall(OPEN_BODY)
        fetch(port)  # both are with the worker by now
        until(lambda: is_asleep(worker))
        with suspended({worker}, clocks, for_hours=True):
            half_head.sendall(b": a\r\n\r\n")
            half_body.sendall(b"56789")
            until(lambda: has_arrived(half_head) and has_arrived(half_body))
        assert body(read_answer(half_head)).endswith(b" w")
        assert body(read_answer(half_body)) == b"0123456789"
        stop(child)


def begin_body(port: int, cert: str) -> Callable[[], bool]:
    """Half of a body is sent; a function that sends the rest, and whether that is answered."""
    sock = connect(port)

    def end() -> bool:
        with sock:
            sock.sendall(b"56789")
            return body(read_answer(sock)) == b"0123456789"

    sock.sendall(OPEN_BODY)
    return end


def begin_head(port: int, cert: str) -> Callable[[], bool]:
    sock = connect(port)

    def end() -> bool:
        with sock:
            sock.sendall(b": a\r\n\r\n")
            return read_answer(sock).startswith(b"HTTP/1.1 200 ")

    sock.sendall(b"GET /echo/w HTTP/1.1\r\nHost")
    return end


def begin_answer(port: int, cert: str) -> Callable[[], bool]:
    sock = connect(port)

    def end() -> bool:
        with sock:
            return len(body(read_answer(sock))) == 8_000_000

    sock.sendall(request("/large"))
    return end


def begin_handshake(port: int, cert: str) -> Callable[[], bool]:
    secure = int(fetch(port, "/urls").rpartition(":")[2])
    peer = TlsPeer(connect(secure), ssl.create_default_context(cafile=cert), handshake=False)

    def end() -> bool:
        try:
            peer.handshake()
            return peer.ask("/echo/w").status == 200
        except ssl.SSLEOFError:
            return False
        finally:
            peer.close()

    peer.send_raw(peer.first_flight())
    return end


@pytest.mark.parametrize("begin", [begin_body, begin_answer, begin_head, begin_handshake])
def test_what_comes_once_it_runs_again_is_answered(
    begin: Callable[[int, str], Callable[[], bool]], clocks: Clocks, tmp_path: Path
) -> None:
    """Its peer was as quick as it could be: it is not to blame for the time in which nobody heard it."""
    cert, key = web.dev_certificate(tmp_path)
    more = f"""
server.app.add(web.GET("/urls", lambda req: " ".join(server.urls)))
server.listen("127.0.0.1", 0, web.TlsContext({cert!r}, {key!r}))
"""
    with serving(ONE, MORE + more) as (child, port):
        (worker,) = {int(fetch(port, "/echo/w").split()[0])}
        end = begin(port, cert)
        fetch(port)  # what was begun is with the server by now
        with suspended({worker}, clocks, for_hours=True):
            pass
        fetch(port)  # it has looked at its deadlines
        assert end()
        stop(child)
