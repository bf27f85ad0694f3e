"""A master and its workers: who answers, who replaces whom, how all of them stop. Each server is a program."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from pathlib import Path

import pytest

import web
from tests.masters import (
    HUP,
    INT,
    KILL,
    ONE,
    ONE_IMPATIENT,
    SERVER,
    TERM,
    TWO,
    pids,
    serving,
    stop,
    until,
)
from tests.serving import (
    PATIENCE,
    body,
    connect,
    fetch,
    get,
    process,
    program,
    read_all,
    read_answer,
)

# -- who answers -------------------------------------------------------------------------------------------------------


def test_connections_are_spread_evenly() -> None:
    """Neither worker has more than 60 % of 1,000 connections (the bar; two even ones differ by a few per cent)."""
    with serving(TWO) as (child, port):
        counts = Counter(pids(port) for _ in range(1000))
        assert len(counts) == 2
        assert {master for master, _ in counts} == {child.popen.pid}
        assert max(counts.values()) <= (600 if sys.platform == "linux" else 999)
        stop(child)


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_signal_stops_everything_with_status_0(number: signal.Signals) -> None:
    with serving(TWO) as (child, port):
        fetch(port)
        err = stop(child, number)
        assert err.count("ended with exit code 0") == 2
        assert "Traceback" not in err


def test_hooks_run_in_each_worker() -> None:
    hooks = """
def say(what):  # in one piece: two processes write
    os.write(1, f"{what} {os.getpid()}\\n".encode())

server.app.on_start(lambda: say("start"))
server.app.on_stop(lambda: say("stop"))
"""
    with process(*program(SERVER, TWO, hooks)) as child:
        assert child.line().isdecimal()
        child.says("Serving on ")
        started = {child.line().removeprefix("start ") for _ in range(2)}
        child.signal(TERM)
        status, out, _ = child.finish()
        lines = out.split("\n")
        assert (status, lines[-2:]) == (0, ["stopped", ""])
        assert {line.removeprefix("stop ") for line in lines[:2]} == started
        assert str(child.popen.pid) not in started


def test_async_and_blocking_handlers_in_workers() -> None:
    """asyncio and the pool of threads are each worker's own: nothing of them is there before the fork."""
    more = """
async def later(req):
    import asyncio
    await asyncio.sleep(0)
    return str(os.getpid())

def slowly(req):
    import threading
    return threading.current_thread().name

server.app.add(web.GET("/later", later), web.GET("/slowly", slowly, blocking=True))
"""
    with serving(TWO, more) as (child, port):
        workers = {fetch(port, "/later") for _ in range(50)}
        assert len(workers) == 2
        assert str(child.popen.pid) not in workers
        assert fetch(port, "/slowly") != "MainThread"
        child.signal(HUP)
        child.says("the reload is done")
        until(lambda: not {fetch(port, "/later") for _ in range(50)} & workers)
        stop(child)


def test_a_unix_socket_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(TWO, f"server.listen('unix:{path}')") as (child, _):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            assert body(get(sock)).startswith(b"%d " % child.popen.pid)
        child.signal(KILL)  # nobody removes the file then
        child.popen.wait()
    with serving(TWO, f"server.listen('unix:{path}')") as (child, _):
        stop(child)
    assert not path.exists()


def test_an_inherited_socket_is_shared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        more = f"server.listen('fd:{given.fileno()}')"
        with process(*program(SERVER, TWO, more), pass_fds=(given.fileno(),)) as child:
            child.line()
            child.says("Serving on ")
            assert pids(given.getsockname()[1])[0] == child.popen.pid
            stop(child)


def test_a_port_in_use_is_an_error() -> None:
    """Though the sockets of workers share one, another program's are none of them."""
    with serving(TWO) as (child, port):
        with pytest.raises(web.ListenError, match="already does"):
            web.Server(web.App(), "127.0.0.1", port, workers=2).check()
        with pytest.raises(web.ListenError, match="already does"):
            web.Server(web.App(), "127.0.0.1", port).check()
        stop(child)


def test_other_ways_to_run_serve_in_this_process() -> None:
    server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: str(os.getpid())), web.workers(2))
    server.open()
    port = server.port
    with server.running():
        assert server.port == port
        assert fetch(port) == str(os.getpid())


def test_threads_before_the_fork_are_refused() -> None:
    code = """
import threading, web
threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()
try:
    web.defserver("127.0.0.1", 0, workers=2).run()
except web.WebError as error:
    print(error)
"""
    with process(*program(code)) as child:
        status, out, err = child.finish()
    assert (status, err) == (0, "")
    assert "here run: mine. Start them in an on_start hook" in out


# -- workers that end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"), [("/end", "exit code 7"), ("/leave", "exit code 5"), ("", "was ended by SIGKILL")]
)
def test_a_worker_that_ends_is_replaced(path: str, said: str) -> None:
    with serving(ONE) as (child, port):
        _, worker = pids(port)
        if path:
            with connect(port) as sock:
                sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
                assert read_all(sock) == b""
        else:
            os.kill(worker, KILL)
        assert pids(port) != (child.popen.pid, worker)  # who connects meanwhile waits, and is not refused
        line = child.says("another one begins in ")
        assert line.startswith(f"worker 0 (pid {worker}) ")
        assert said in line
        stop(child)


def test_the_others_go_on_when_one_is_killed() -> None:
    with serving(TWO) as (child, port), connect(port) as kept:
        _, mine = map(int, body(get(kept)).split())
        other = next(worker for _ in iter(int, 1) if (worker := pids(port)[1]) != mine)
        os.kill(other, KILL)
        child.says(f"(pid {other}) was ended by SIGKILL")
        assert body(get(kept)) == b"%d %d" % (child.popen.pid, mine)
        stop(child)


def test_workers_that_never_become_ready_end_the_server() -> None:
    with process(*program(SERVER, TWO, "server.app.on_start(lambda: 1 / 0)")) as child:
        child.line()
        status, out, err = child.finish()
    assert (status, out) == (3, "")
    assert "ZeroDivisionError" in err
    assert "before it was ready" in err
    assert "workers in a row failed before one was ready: the server ends with exit code 3" in err


def test_workers_stop_when_their_master_is_gone() -> None:
    with serving(TWO) as (child, port), connect(port) as busy:
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert busy.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        child.signal(KILL)
        child.says("its master is gone; it stops")
        busy.sendall(b"12345")
        assert body(read_answer(busy)) == b"posted"
        _, out, _ = child.finish()  # returns when the last worker has closed the pipes, too
        assert out == ""


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_reaches_all_processes_and_open_requests_finish() -> None:
    with serving(TWO) as (child, port), connect(port) as busy:
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert busy.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        os.killpg(child.popen.pid, INT)
        child.says("ended with exit code 0")
        busy.sendall(b"12345")
        assert body(read_answer(busy)) == b"posted"
        assert child.finish()[:2] == (0, "stopped\n")


def test_a_signal_to_every_process_of_the_service_counts_once() -> None:
    """As systemd sends it: the workers get SIGTERM, and then their master's word that they are to stop."""
    with serving(ONE) as (child, port), connect(port) as busy:
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert busy.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        _, worker = pids(port)
        os.kill(worker, TERM)
        child.signal(TERM)
        until(lambda: refused(port))
        busy.sendall(b"12345")
        assert body(read_answer(busy)) == b"posted"
        assert child.finish()[:2] == (0, "stopped\n")


def test_a_second_signal_ends_open_requests() -> None:
    with serving("{'workers': 1, 'limits': web.Limits(shutdown_grace=1e5)}") as (child, port), connect(port) as busy:
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert busy.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        child.signal(TERM)
        until(lambda: refused(port))
        child.signal(TERM)
        assert child.finish()[:2] == (0, "stopped\n")


def refused(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionError:
        return True
    return False


def test_a_worker_that_hangs_is_killed() -> None:
    with serving(ONE_IMPATIENT) as (child, port), connect(port) as sock:
        sock.sendall(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        assert child.line() == "stuck"
        err = stop(child)
        assert "did not end in time: it is killed" in err
        assert "was ended by SIGKILL" in err


def test_a_handler_stops_the_whole_server() -> None:
    with serving(TWO) as (child, port):
        assert fetch(port, "/stop") == "stopping"
        status, out, err = child.finish()
        assert (status, out) == (0, "stopped\n")
        assert err.count("ended with exit code 0") == 2


# -- the option --------------------------------------------------------------------------------------------------------


def test_the_option_wins_over_the_form() -> None:
    app = web.App(web.workers(4))
    assert web.Server(app, "127.0.0.1")._workers.number == 4
    assert web.Server(app, "127.0.0.1", workers=0)._workers.number == 0
    assert web.Server(app, "127.0.0.1", workers=web.workers(3, max_requests=7))._workers.max_requests == 7
    assert web.Server(web.App(), "127.0.0.1")._workers.number == 0
    assert web.Server(web.App(), "127.0.0.1", workers="auto")._workers.number >= 1


def test_two_forms_are_refused() -> None:
    with pytest.raises(web.RouteError, match="remove one of them"):
        web.App(web.workers(1), web.workers(2))


@pytest.mark.parametrize("count", [-1, 1025, 1.5, True, "many", None])
def test_wrong_numbers_are_refused(count: object) -> None:
    with pytest.raises(ValueError, match="give 0 to 1024, or 'auto'"):
        web.workers(count)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_requests", "max_memory"])
@pytest.mark.parametrize("value", [-1, 1.5, None, True])
def test_wrong_bounds_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*give a whole number"):
        web.workers(1, **{name: value})  # type: ignore[arg-type]
