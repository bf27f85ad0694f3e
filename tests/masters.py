"""A program with a master and workers, and what the tests of both ask of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.serving import Process, fetch, process, program

HUP, INT, TERM, KILL = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL
USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2

# A server with workers that logs everything. Arguments: options as Python, then, after its port, what else is wanted.
SERVER = """
import logging, os, sys, time, web

logging.basicConfig(level=logging.INFO, format="%(message)s")

def end(req):
    os._exit(7)

def leave(req):
    raise SystemExit(5)

def stuck(req):
    print("stuck", flush=True)
    time.sleep(1000)

def stop(req):
    server.stop()
    return "stopping"

def reload(req):
    server.reload_certificates()
    return "asked"

def grow(req):
    kept.append(b"x" * (64 << 20))
    return "grown"

kept = []
server = web.defserver(
    "127.0.0.1", 0, web.GET("/", lambda req: f"{os.getppid()} {os.getpid()}"), web.GET("/end", end),
    web.GET("/leave", leave), web.GET("/stuck", stuck), web.GET("/stop", stop), web.GET("/reload", reload),
    web.GET("/grow", grow), web.POST("/", lambda req: "posted"), **eval(sys.argv[1]),
)
exec(sys.argv[2])
server.open()
print(server.port, flush=True)
server.run()
print("stopped", flush=True)
"""
TWO = "{'workers': 2}"
ONE = "{'workers': 1}"
ONE_IMPATIENT = "{'workers': 1, 'limits': web.Limits(shutdown_grace=0.3)}"


@contextlib.contextmanager
def serving(options: str, more: str = "", cwd: Path | None = None) -> Iterator[tuple[Process, int]]:
    """(program, its port), once it is ready."""
    with process(*program(SERVER, options, more), cwd=cwd) as child:
        port = int(child.line())
        child.says("Serving on ")
        yield child, port


def pids(port: int) -> tuple[int, int]:
    """(master, the worker that answered)."""
    master, worker = map(int, fetch(port).split())
    return master, worker


def until(found: Callable[[], bool]) -> None:
    """Asks again and again; the process's own time-out ends what never comes true."""
    while not found():
        pass


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def stop(child: Process, number: signal.Signals = TERM) -> str:
    """Ends it in good order; all that it logged meanwhile."""
    child.signal(number)
    status, out, err = child.finish()
    assert (status, out) == (0, "stopped\n"), err
    return err
