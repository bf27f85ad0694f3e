"""Handlers that never return, or leave something behind: threads, another folder, signal handlers, closed files, forks.
The others are answered, and the server is reloaded and stopped as if nothing was."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.crowd import ECHO, chaos, connect_to, replaced, workers
from tests.chaos.test_handlers_that_fail import WAYS, WAYS_OF_TWO_APPS
from tests.masters import HUP, KILL, TWO, serving, stop, until
from tests.serving import PATIENCE, fetch, get, read_all

MESS = (
    WAYS
    + """
import gc, signal, threading, time

def daemon(req):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return "left"

def thread(req):
    threading.Thread(target=threading.Event().wait).start()
    return "left"

def folder(req):
    os.chdir("/")
    os.umask(0o777)
    return "left"

def signals(req):
    if threading.current_thread() is threading.main_thread():
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    return "left"

def nothing_collected(req):
    gc.disable()
    gc.freeze()
    sys.setrecursionlimit(200)
    return "left"

def children(req):
    if os.fork() == 0:
        os._exit(3)
    return "left"

for one in (daemon, thread, folder, signals, nothing_collected, children):
    add(one.__name__, one)
"""
)
MESSES = ["daemon", "thread", "folder", "signals", "nothing_collected", "children"]


@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_what_is_left_behind_harms_nobody(tasks: bool, way: str, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("a page")
    more = f"TASKS = {tasks}\n{MESS}\nserver.app.add(web.static({str(tmp_path)!r}))\n"
    with chaos(more) as (child, crowd):
        before = workers(crowd.port)
        for worker in before:
            with connect_to(crowd.port, worker) as sock:
                for name in MESSES:
                    assert get(sock, f"/{way}/{name}").endswith(b"left")
                    assert get(sock, "/page.txt").endswith(b"a page")
        crowd.go_on()
        assert workers(crowd.port) == before
        child.signal(HUP)
        child.says("the reload is done")
        until(lambda: not workers(crowd.port) & before)
        for worker in workers(crowd.port):
            with connect_to(crowd.port, worker) as sock:
                for name in MESSES:
                    assert get(sock, f"/{way}/{name}").endswith(b"left")
    assert crowd.lost == []
    assert crowd.last_words.count("ended with exit code 0") >= 2


# -- files that are the server's own -----------------------------------------------------------------------------------

CLOSE = (
    WAYS
    + """
def close(req):
    os.closerange(3, 1000)
    return "closed"

def close_later(req):
    time.sleep(0.3)  # by then nothing is awake but this thread
    return close(req)

add("close", close)
add("close-later", close_later)
"""
)


@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_a_worker_whose_files_are_closed_is_replaced(tasks: bool, way: str) -> None:
    with chaos(f"TASKS = {tasks}\n{CLOSE}") as (child, crowd):
        victim = min(workers(crowd.port))
        with connect_to(crowd.port, victim) as sock:
            crowd.doom(victim)
            sock.sendall(b"GET /%b/close HTTP/1.1\r\nHost: a\r\n\r\n" % way.encode())
            assert read_all(sock) == b""
        crowd.bury(child, victim, "")
        replaced(crowd.port, victim)


def test_an_idle_worker_whose_files_are_closed_is_replaced() -> None:
    """Nothing can wake its loop any more, nor the thread that hears its master."""
    with serving(TWO, f"{ECHO}TASKS = False\n{CLOSE}") as (child, port):
        victim, other = workers(port)
        end = threading.Timer(PATIENCE, os.kill, (victim, KILL))  # so that a failure is soon seen
        with connect_to(port, victim) as sock:
            sock.sendall(b"GET /thread/close-later HTTP/1.1\r\nHost: a\r\n\r\n")
            end.start()
            said = child.says("another one begins in ")
            end.cancel()
        end.join()
        assert f"(pid {victim})" in said
        assert "SIGKILL" not in said
        assert replaced(port, victim) != other
        stop(child)


# -- forks that come back ----------------------------------------------------------------------------------------------

FORK = (
    WAYS
    + """
import time

def fork(leave):
    def handler(req):
        child = os.fork()
        if child == 0:
            return leave()
        for _ in range(200):
            if os.waitpid(child, os.WNOHANG)[0] == child:
                return "it ended"
            time.sleep(0.01)
        os.kill(child, 9)
        return "it lives on"
    return handler

def leave():
    raise SystemExit(0)

add("returns", fork(lambda: "from the child"))
add("raises", fork(lambda: 1 / 0))
add("exits", fork(leave))
"""
)


@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
def test_a_forked_child_that_comes_back_is_ended(tasks: bool, way: str) -> None:
    """It would answer its parent's clients, and change what its parent waits for."""
    with serving(TWO, f"{ECHO}TASKS = {tasks}\n{FORK}") as (child, port), ExitStack() as stack:
        worker, other = workers(port)
        kept = [stack.enter_context(connect_to(port, pid)) for pid in (worker, worker, other)]
        for sock in kept:
            sock.settimeout(5)
        for name in ("returns", "raises", "exits"):
            assert get(kept[0], f"/{way}/{name}").endswith(b"it ended")
            for sock, pid in zip(kept, (worker, worker, other), strict=True):
                assert get(sock, "/echo/w").endswith(b"%d w" % pid)
        assert workers(port) == {worker, other}
        assert "Traceback" in stop(child)  # of what one child raised


# -- handlers that never return ----------------------------------------------------------------------------------------

STUCK = (
    WAYS
    + """
import asyncio, threading

def stuck(req):
    print("stuck", flush=True)
    threading.Event().wait()

add("stuck", stuck)

if TASKS:
    async def waits(req):
        print("stuck", flush=True)
        await asyncio.get_running_loop().create_future()
    async def waits_on(req):
        print("stuck", flush=True)
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                pass
    server.app.add(web.GET("/waits", waits), web.GET("/waits-on", waits_on))
"""
)
IMPATIENT = "{'workers': 2, 'limits': web.Limits(shutdown_grace=0.2), 'threads': 0}"


@pytest.mark.parametrize(
    ("tasks", "path", "said"),
    [
        (False, "/inline/stuck", "did not end in time: it is killed"),
        (False, "/thread/stuck", "handlers go on in threads, and are left behind"),
        (True, "/inline/stuck", "did not end in time: it is killed"),
        (True, "/thread/stuck", "handlers go on in threads, and are left behind"),
        (True, "/task/stuck", "did not end in time: it is killed"),
        (True, "/waits", ""),
        (True, "/waits-on", "a handler goes on though it was cancelled"),
    ],
)
def test_a_handler_that_never_returns_holds_up_its_own_process_at_most(tasks: bool, path: str, said: str) -> None:
    """Nobody else, where it waits in a thread or a Task; and nobody at the other worker in any case."""
    with serving(IMPATIENT, ECHO + f"TASKS = {tasks}\n{STUCK}") as (child, port), ExitStack() as stack:
        stuck, other = workers(port)
        others = [stack.enter_context(connect_to(port, other)) for _ in range(2)]
        same = stack.enter_context(connect_to(port, stuck))
        sock = stack.enter_context(connect_to(port, stuck))
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        assert child.line() == "stuck"
        for one in others if "is killed" in said else [*others, same]:
            for _ in range(3):
                assert get(one, "/echo/w").startswith(b"HTTP/1.1 200 ")
        err = stop(child)
        assert said in err
        assert read_all(sock) == b""


@pytest.mark.parametrize(("tasks", "way"), WAYS_OF_TWO_APPS)
@pytest.mark.parametrize("options", [TWO, "{}"])
def test_a_handler_stops_everything(tasks: bool, way: str, options: str) -> None:
    more = 'def end(req):\n    server.stop()\n    return "stopping"\n\nadd("stop", end)\n'
    with serving(options, f"TASKS = {tasks}\n{WAYS}{more}") as (child, port):
        assert fetch(port, f"/{way}/stop") == "stopping"
        status, out, err = child.finish()
        assert (status, out) == (0, "stopped\n")
        assert "Traceback" not in err
