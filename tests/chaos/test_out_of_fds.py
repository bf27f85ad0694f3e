"""Processes without a file descriptor left, worker or master: none spins, none ends, each says so, and all goes on once
there are some again."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import web
from tests.chaos.crowd import ECHO, TELL, chaos, connect_to, crowd, replaced, workers
from tests.masters import HUP, SERVER, TWO, USR1, USR2, stop, until
from tests.serving import body, connect, connect_tls, fetch, get, process, program, read_answer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and prlimit")

# A worker has 128 descriptors. "/hog" takes all that are left, "/free" gives them back.
HOG = """
import resource
hogged = []

def hog(req):
    while True:
        hogged.append(open("/dev/null"))

def free(req):
    hogged.clear()
    return "free"

server.app.on_start(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)))
server.app.add(
    web.GET("/hog", hog), web.GET("/hog/threads", hog, blocking=True), web.GET("/free", free),
)
"""
LOOKS = 4  # a second, at which a server without descriptors tries again


def tell(sock: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body(get(sock, "/tell")))
    return found


def cpu_seconds(pid: int) -> float:
    """What a process used so far, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("target", ["/hog", "/hog/threads"])
def test_a_handler_that_opens_files_without_end(target: str) -> None:
    """It is answered 500, again and again; its worker accepts nobody, looks a few times a second, and recovers."""
    with chaos(TELL + HOG) as (child, crowd), ExitStack() as stack:
        hog, other = workers(crowd.port)
        for _ in range(10):  # idle ones make room for who wants in: not those that are in use
            stack.enter_context(connect_to(crowd.port, hog))
        others = stack.enter_context(connect_to(crowd.port, other))
        sock = stack.enter_context(connect_to(crowd.port, hog))
        for _ in range(2):
            assert get(sock, target).startswith(b"HTTP/1.1 500 ")
            assert "Too many open files" in child.says("OSError: [Errno 24]")
        waiting = [stack.enter_context(connect(crowd.port)) for _ in range(20)]
        for waiter in waiting:
            waiter.sendall(b"GET /echo/w HTTP/1.1\r\nHost: a\r\n\r\n")
        began, used, failures = time.monotonic(), cpu_seconds(hog), Failures(sock)
        failures.come(3)
        elapsed = time.monotonic() - began
        assert failures.count <= LOOKS * elapsed + 2  # one that spins fails a hundred thousand times
        assert cpu_seconds(hog) - used < elapsed / 2
        assert get(sock, "/free").startswith(b"HTTP/1.1 200 ")
        assert get(others, "/echo/w").startswith(b"HTTP/1.1 200 ")
        assert {int(body(read_answer(waiter)).split()[0]) for waiter in waiting} == {hog, other}
        assert workers(crowd.port) == {hog, other}
    assert crowd.lost == []


@dataclass
class Failures:
    """Of accept, in the worker of a kept connection."""

    sock: Any
    count: int = 0

    def come(self, at_least: int) -> None:
        first = int(tell(self.sock)["accept_failures"])
        while self.count < at_least:
            self.count = int(tell(self.sock)["accept_failures"]) - first


# -- the master --------------------------------------------------------------------------------------------------------


def limit_files(pid: int, soft: int) -> int:
    """What the soft limit was before."""
    before, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return before


def test_a_master_that_cannot_fork() -> None:
    """It has no descriptor for a channel: it tries again, ever later, and what cannot be had meanwhile is told."""
    with chaos() as (child, crowd), ExitStack() as stack:
        master = child.popen.pid
        before = limit_files(master, 3)
        victim, other = workers(crowd.port)
        sock = stack.enter_context(connect_to(crowd.port, other))
        began, used = time.monotonic(), cpu_seconds(master)
        crowd.kill(victim)
        child.says(f"(pid {victim}) was ended by SIGKILL")
        for wait in ("0.2", "0.4", "0.8"):
            assert child.says("cannot be forked").endswith(f"(Too many open files); again in {wait} s")
        elapsed = time.monotonic() - began
        assert elapsed > 0.6  # it waited between them
        assert cpu_seconds(master) - used < elapsed / 2
        assert get(sock, "/echo/w").startswith(b"HTTP/1.1 200 ")
        child.signal(USR2)
        assert "Too many open files" in child.says("no successor can be started")
        limit_files(master, before)
        replaced(crowd.port, victim)
        crowd.go_on()
    assert "Traceback" not in crowd.last_words


def test_a_reload_without_descriptors_goes_on_when_there_are_some() -> None:
    with chaos() as (child, crowd):
        before = limit_files(child.popen.pid, 3)
        old = workers(crowd.port)
        child.signal(HUP)
        child.says("cannot be forked")
        crowd.go_on()
        assert workers(crowd.port) == old
        limit_files(child.popen.pid, before)
        child.says("the reload is done")
        until(lambda: not workers(crowd.port) & old)
    assert crowd.lost == []


def test_certificates_that_cannot_be_opened(tmp_path: Path) -> None:
    cert, key = web.dev_certificate(tmp_path)
    more = f"""
server.listen("127.0.0.1", 0, web.TlsContext({cert!r}, {key!r}))
server.app.add(web.GET("/urls", lambda req: " ".join(server.urls)))
"""
    with process(*program(SERVER, TWO, ECHO + more)) as child:
        port = int(child.line())
        child.says("Serving on ")
        secure = int(fetch(port, "/urls").rpartition(":")[2])
        with crowd(port) as those:
            before = limit_files(child.popen.pid, 3)
            child.signal(USR1)
            assert "the old ones stay" in child.says("certificates are not reloaded")
            limit_files(child.popen.pid, before)
            child.signal(USR1)
            child.says("certificates are reloaded")
            with connect_tls(secure, cert) as sock:
                assert get(sock, "/echo/w").startswith(b"HTTP/1.1 200 ")
        assert those.lost == []
        stop(child)
