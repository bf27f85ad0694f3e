"""SIGTERM to a whole program with a hundred requests in flight: what can finish does, the rest is named and cut off."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest

from tests.serving import Process, body, connect, fetch, process, program, read_all, read_answer

# Arguments: "async" or "threads"; options as Python.
SERVER = """
import asyncio, logging, sys, threading, web

logging.basicConfig(level=logging.INFO, format="%(message)s")
gate, never = threading.Event(), threading.Event()

async def quick(req):
    while not gate.is_set():
        await asyncio.sleep(0.01)
    return "whole" * 1000

async def late(req):
    await asyncio.sleep(1000)

def quick_thread(req):
    gate.wait()
    return "whole" * 1000

def late_thread(req):
    never.wait()

def release(req):
    gate.set()
    return "released"

forms = [web.GET("/quick", quick), web.GET("/late", late)]
if sys.argv[1] == "threads":
    forms = [web.GET("/quick", quick_thread, blocking=True), web.GET("/late", late_thread, blocking=True)]
server = web.defserver(
    "127.0.0.1", 0, *forms, web.POST("/release", release, blocking=False), web.metrics(), web.readyz(),
    **{"threads": 100, **eval(sys.argv[2])},
)
server.open()
print(server.port, flush=True)
server.run()
print("stopped", flush=True)
"""
QUICK, LATE = 80, 20


def pending(port: int) -> int:
    line = next(line for line in fetch(port, "/metrics").splitlines() if line.startswith("weblatch_requests_pending "))
    return int(line.partition(" ")[2])


def await_stopping(port: int) -> None:
    """Connections are refused: the process's own time-out ends what never comes true."""
    while True:
        try:
            connect(port).close()
        except OSError:
            return


@pytest.mark.parametrize("way", ["async", "threads"])
@pytest.mark.parametrize("options", ["{}", "{'workers': 1}"])
@pytest.mark.parametrize("ends", ["deadline", "second signal"])
def test_a_hundred_requests_in_flight(way: str, options: str, ends: str) -> None:
    grace = 2.0 if ends == "deadline" else 1000.0
    options = options.replace("}", f", 'limits': web.Limits(shutdown_grace={grace})}}").replace("{, ", "{")
    with process(*program(SERVER, way, options)) as child, ExitStack() as stack:
        port = int(child.line())
        child.says("Serving on ")
        quick = [stack.enter_context(connect(port)) for _ in range(QUICK)]
        late = [stack.enter_context(connect(port)) for _ in range(LATE)]
        for sock in quick:
            sock.sendall(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
        for sock in late:
            sock.sendall(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
        release = stack.enter_context(connect(port))
        release.sendall(b"POST /release HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        while pending(port) < QUICK + LATE:
            pass
        child.signal(signal.SIGTERM)
        await_stopping(port)
        release.sendall(b"x")
        assert body(read_answer(release)) == b"released"
        for sock in quick:
            answer = read_answer(sock)
            assert body(answer) == b"whole" * 1000
            assert b"\r\nConnection: close\r\n" in answer
        if ends == "second signal":
            child.signal(signal.SIGTERM)
        for sock in late:
            assert read_all(sock) == b""
        status, out, err = child.finish()
        assert (status, out.strip()) == (0, "stopped")
        assert sum("cuts off GET /late (handler" in line for line in err.splitlines()) == LATE
        assert "/quick" not in err


@pytest.mark.parametrize("options", ["{}", "{'workers': 2}"])
def test_sigterm_drains_first_and_sigint_does_not(options: str) -> None:
    options = options.replace("}", ", 'limits': web.Limits(shutdown_delay=1000)}").replace("{, ", "{")
    for number, drains in ((signal.SIGTERM, True), (signal.SIGINT, False)):
        with process(*program(SERVER, "async", options)) as child:
            port = int(child.line())
            child.says("Serving on ")
            child.signal(number)
            if drains:
                await_not_ready(child, port)
                assert "503" in fetch(port, "/readyz")  # a new connection, after the first was told
                child.signal(number)
            assert child.finish()[0] == 0


def await_not_ready(child: Process, port: int) -> None:
    while "503" not in fetch(port, "/readyz"):
        assert child.popen.poll() is None
