"""The disk is full: nothing that is logged can be written. The server starts, answers, replaces, reloads and ends as if
it could, and a handler that fails is a 500 all the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.crowd import ECHO, Crowd, crowd, replaced, workers
from tests.masters import HUP, SERVER, TERM, TWO, gone, until
from tests.serving import Process, connect, fetch, get, process, program

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full")

# stderr and, beside it, a log file: each write to either fails.
FULL = """
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
logging.basicConfig(level=logging.INFO, force=True, handlers=[
    logging.StreamHandler(sys.stderr), logging.FileHandler("/dev/full"),
])
logging.raiseExceptions = {}

def broken(req):
    logging.getLogger("web").warning("this goes nowhere")
    return 1 / 0

def tells(req):
    with open("/dev/full", "w") as file:
        print("this neither", file=file)
    return "not reached"

server.app.add(web.GET("/broken", broken), web.GET("/threads/broken", broken, blocking=True), web.GET("/tells", tells))
"""
TARGETS = ("/broken", "/threads/broken", "/tells")


@contextmanager
def on_a_full_disk(options: str, raises: bool, more: str = "", status: int = 0) -> Iterator[tuple[Process, Crowd]]:
    with process(*program(SERVER, options, ECHO + more + FULL.format(raises))) as child:
        port = int(child.line())
        with crowd(port) as those:
            yield child, those
        child.signal(TERM)
        assert child.finish() == (status, "stopped\n", "")


@pytest.mark.parametrize("raises", [True, False])
def test_errors_are_answered(raises: bool) -> None:
    with on_a_full_disk(TWO, raises) as (_, crowd):
        for _ in range(4):
            with connect(crowd.port) as sock:
                for target in TARGETS:
                    assert get(sock, target).startswith(b"HTTP/1.1 500 ")
                assert get(sock, "/echo/w").startswith(b"HTTP/1.1 200 ")
    assert crowd.lost == []


@pytest.mark.parametrize("raises", [True, False])
def test_workers_are_replaced_and_reloaded(raises: bool) -> None:
    with on_a_full_disk(TWO, raises) as (child, crowd):
        victim = min(workers(crowd.port))
        crowd.kill(victim)
        replaced(crowd.port, victim)
        crowd.go_on()
        before = workers(crowd.port)
        child.signal(HUP)
        until(lambda: all(gone(pid) for pid in before))
        crowd.go_on()


def test_without_workers() -> None:
    with on_a_full_disk("{}", True) as (_, crowd), connect(crowd.port) as sock:
        for target in TARGETS:
            assert get(sock, target).startswith(b"HTTP/1.1 500 ")
    assert crowd.lost == []


def test_a_buffered_stderr() -> None:
    """Python itself ends any program with 120 that has words left which it cannot write (see sys.exit): not the server
    is at fault, and its workers, which do not end that way, have their own status."""
    buffered = 'sys.stderr = open(2, "w", buffering=1, closefd=False)\n'
    with on_a_full_disk(TWO, True, buffered, 120) as (child, crowd):
        with connect(crowd.port) as sock:
            for target in TARGETS:
                assert get(sock, target).startswith(b"HTTP/1.1 500 ")
        before = workers(crowd.port)
        child.signal(HUP)
        until(lambda: all(gone(pid) for pid in before))
    assert crowd.lost == []


def test_what_cannot_start_still_says_so_by_its_exit_code() -> None:
    more = FULL.format(True) + "server.app.on_start(lambda: 1 / 0)\n"
    with process(*program(SERVER, TWO, more)) as child:
        child.line()
        assert child.finish() == (3, "", "")


# A handler that lets its error out, as those of the standard library do not.
NAIVE = """
class Naive(logging.Handler):
    def emit(self, record):
        os.write(full, self.format(record).encode())

full = os.open("/dev/full", os.O_WRONLY)
logging.getLogger("web").addHandler(Naive())
"""


def test_a_logging_handler_that_raises() -> None:
    """Neither a request nor a worker, and least of all the master, depends on what can be logged."""
    with on_a_full_disk(TWO, True, NAIVE) as (child, crowd):
        found: set[str] = set()
        while len(found) < 2:
            assert child.popen.poll() is None, "the master ended"
            found.add(fetch(crowd.port))
        with connect(crowd.port) as sock:
            for target in TARGETS[::2]:
                assert get(sock, target).startswith(b"HTTP/1.1 500 ")
        victim = min(workers(crowd.port))
        crowd.kill(victim)
        replaced(crowd.port, victim)
