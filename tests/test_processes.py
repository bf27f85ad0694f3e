"""A master and its workers: who answers, what restarts, reloads, upgrades and stops do. Each server is a program."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import web
from tests.serving import (
    PATIENCE,
    Process,
    body,
    connect,
    connect_tls,
    fetch,
    get,
    process,
    program,
    read_all,
    read_answer,
)

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
        with pytest.raises(web.ListenError, match="another process already does"):
            web.Server(web.App(), "127.0.0.1", port, workers=2).check()
        with pytest.raises(web.ListenError, match="another process already does"):
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


# -- reload ------------------------------------------------------------------------------------------------------------


def test_a_reload_replaces_every_worker_and_loses_no_connection() -> None:
    with serving(TWO) as (child, port):
        before = {pids(port)[1] for _ in range(50)}
        with connect(port) as kept:
            mine = int(body(get(kept)).split()[1])
            child.signal(HUP)
            child.says("the reload is done")
            answer = get(kept)  # by the worker that has it, which leaves
            assert body(answer) == b"%d %d" % (child.popen.pid, mine)
            assert b"\r\nConnection: close\r\n" in answer
            assert read_all(kept) == b""
        until(lambda: all(gone(worker) for worker in before))
        after = {pids(port)[1] for _ in range(50)}
        assert len(before) == len(after) == 2
        assert not before & after
        stop(child)


def test_a_reload_whose_worker_fails_leaves_the_old_ones(tmp_path: Path) -> None:
    (tmp_path / "good").touch()
    with serving(TWO, "server.app.on_start(lambda: os.stat('good'))", tmp_path) as (child, port):
        before = {pids(port)[1] for _ in range(50)}
        (tmp_path / "good").unlink()
        child.signal(HUP)
        child.says("the reload is given up, the old workers stay: worker 0 ")
        assert {pids(port)[1] for _ in range(50)} == before
        (tmp_path / "good").touch()
        child.signal(HUP)
        child.says("the reload is done")
        until(lambda: not {pids(port)[1] for _ in range(50)} & before)
        stop(child)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")
def test_reloads_leave_no_files_open_in_the_master() -> None:
    with serving(TWO) as (child, port):
        before = len(os.listdir(f"/proc/{child.popen.pid}/fd"))
        for _ in range(5):
            _, worker = pids(port)
            child.signal(HUP)
            child.says("the reload is done")
            until(lambda worker=worker: gone(worker))  # type: ignore[misc]
        until(lambda: len(os.listdir(f"/proc/{child.popen.pid}/fd")) <= before)
        stop(child)


def test_a_worker_is_replaced_after_so_many_requests() -> None:
    with serving("{'workers': web.workers(1, max_requests=3)}") as (child, port):
        _, worker = pids(port)
        fetch(port)
        fetch(port)
        assert child.says("is replaced").startswith(f"worker 0 (pid {worker}) is replaced: it answered 3 requests")
        child.says(f"worker 0 (pid {worker}) ended with exit code 0")
        assert pids(port)[1] != worker
        stop(child)


def test_a_worker_is_replaced_that_uses_too_much_memory() -> None:
    with serving(f"{{'workers': web.workers(1, max_memory={64 << 20})}}") as (child, port):
        _, worker = pids(port)
        fetch(port, "/grow")
        line = child.says("is replaced")
        assert line.startswith(f"worker 0 (pid {worker}) is replaced: it uses ")
        child.says(f"worker 0 (pid {worker}) ended with exit code 0")
        assert pids(port)[1] != worker
        stop(child)


# -- certificates ------------------------------------------------------------------------------------------------------


def put_certificate(folder: Path) -> bytes:
    """Writes a new pair; the certificate as clients see it."""
    for path in folder.glob("*.pem"):
        path.unlink()
    cert, _ = web.dev_certificate(folder)
    return ssl.PEM_cert_to_DER_cert(Path(cert).read_text())


def seen(port: int) -> bytes | None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(port) as sock, context.wrap_socket(sock) as tls:
        return tls.getpeercert(binary_form=True)


@contextlib.contextmanager
def serving_tls(workers: int, folder: Path) -> Iterator[tuple[Process, int, int]]:
    """(program, its plain and its TLS port); the certificate lies in the folder."""
    more = """
server.listen("127.0.0.1", 0, web.TlsContext("dev-cert.pem", "dev-key.pem"))
server.open()
print(server.urls[1].rpartition(":")[2], server.urls[0].rpartition(":")[2], flush=True)
server.run()
sys.exit()
"""
    with process(*program(SERVER, f"{{'workers': {workers}}}", more), cwd=folder) as child:
        secure, plain = map(int, child.line().split())
        child.says("Serving on ")
        yield child, plain, secure


@pytest.mark.parametrize("workers", [0, 2])
def test_certificates_are_reloaded(tmp_path: Path, workers: int) -> None:
    first = put_certificate(tmp_path)
    with serving_tls(workers, tmp_path) as (child, plain, secure):
        before = {fetch(plain) for _ in range(50)}
        assert {seen(secure) for _ in range(20)} == {first}
        with connect_tls(secure, str(tmp_path / "dev-cert.pem")) as kept:
            get(kept)
            second = put_certificate(tmp_path)
            child.signal(USR1)
            child.says("certificates are reloaded")
            until(lambda: {seen(secure) for _ in range(20)} == {second})
            assert get(kept).startswith(b"HTTP/1.1 200 ")  # open connections keep theirs
        (tmp_path / "dev-cert.pem").write_text("nonsense")
        child.signal(USR1)
        line = child.says("the old ones stay")
        assert "there is no certificate in 'dev-cert.pem'" in line
        assert {seen(secure) for _ in range(20)} == {second}
        third = put_certificate(tmp_path)
        assert fetch(plain, "/reload") == "asked"
        until(lambda: {seen(secure) for _ in range(20)} == {third})
        assert {fetch(plain) for _ in range(50)} == before
        child.signal(TERM)
        assert child.finish()[0] == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_sighup_reloads_certificates_too(tmp_path: Path, workers: int) -> None:
    put_certificate(tmp_path)
    with serving_tls(workers, tmp_path) as (child, _, secure):
        second = put_certificate(tmp_path)
        child.signal(HUP)
        child.says("the reload is done" if workers else "certificates are reloaded")
        until(lambda: {seen(secure) for _ in range(20)} == {second})  # each worker has heard of it
        (tmp_path / "dev-key.pem").unlink()
        child.signal(HUP)
        child.says("the old ones stay")
        assert {seen(secure) for _ in range(20)} == {second}
        child.signal(TERM)
        assert child.finish()[0] == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_by_every_worker_and_after_a_reload(tmp_path: Path, version: ssl.TLSVersion) -> None:
    put_certificate(tmp_path)
    with serving_tls(2, tmp_path) as (child, _, secure):
        context = ssl.create_default_context(cafile=tmp_path / "dev-cert.pem")
        context.minimum_version = context.maximum_version = version

        def ask(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, int]:
            with (
                connect(secure) as sock,
                context.wrap_socket(sock, server_hostname="localhost", session=session) as tls,
            ):
                worker = int(body(get(tls)).split()[1])
                assert tls.session_reused == (session is not None)
                return tls.session, worker

        session, _ = ask(None)
        workers = {ask(session)[1] for _ in range(30)}
        child.signal(HUP)
        child.says("the reload is done")
        workers |= {ask(session)[1] for _ in range(30)}
        assert len(workers) == 4
        child.signal(USR1)
        child.says("certificates are reloaded")
        ask(session)
        child.signal(TERM)
        assert child.finish()[0] == 0


# -- upgrade -----------------------------------------------------------------------------------------------------------


def test_an_upgrade_starts_the_program_anew(tmp_path: Path) -> None:
    """With the sockets of the old one: connections on the same port are answered throughout, by new code in the end."""
    path = tmp_path / "app.py"
    code = SERVER.replace('f"{os.getppid()} {os.getpid()}"', "VERSION")
    path.write_text(f"VERSION = 'first'\n{code}")
    more = f"server.listen('127.0.0.1'); server.listen('unix:{tmp_path}/s')"
    with process(str(path), TWO, more, cwd=tmp_path) as child:
        port = int(child.line())
        urls = child.says("Serving on ").partition(" with ")[0]
        with connect(port) as kept:
            assert body(get(kept)) == b"first"
            path.write_text(f"VERSION = 'second'\n{code}")
            child.signal(USR2)
            assert child.says("Serving on ").startswith(urls)
            line = child.says("is ready; this one ends")
            assert body(get(kept)) == b"first"
        assert int(child.line()) == port
        until(lambda: {fetch(port) for _ in range(20)} == {"second"})  # the old workers have heard of it
        assert child.line() == "stopped"
        assert child.popen.wait(PATIENCE) == 0
        with socket.socket(socket.AF_UNIX) as sock:  # the file is the successor's now
            sock.settimeout(PATIENCE)
            sock.connect(f"{tmp_path}/s")
            assert body(get(sock)) == b"second"
        os.kill(int(line.partition("(pid ")[2].partition(")")[0]), TERM)
        assert child.finish()[1] == "stopped\n"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("broken", ["1 / 0", "import os, sys; sys.exit(0)", "server.app.on_start(lambda: 1 / 0)"])
def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "app.py"
    path.write_text(SERVER)
    with process(str(path), TWO, f"server.listen('unix:{tmp_path}/s')", cwd=tmp_path) as child:
        port = int(child.line())
        child.says("Serving on ")
        before = {fetch(port) for _ in range(50)}
        path.write_text(SERVER.replace("exec(sys.argv[2])", f"exec(sys.argv[2]); {broken}"))
        child.signal(USR2)
        child.says("failed before it was ready; this one goes on")
        assert {fetch(port) for _ in range(50)} == before
        assert (tmp_path / "s").exists()
        path.write_text(SERVER)
        child.signal(USR2)  # and it can be tried again
        child.says("is ready; this one ends")


def test_a_stop_during_an_upgrade_ends_both(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(SERVER)
    with process(str(path), TWO, "", cwd=tmp_path) as child:
        child.line()
        child.says("Serving on ")
        path.write_text("import time; print('begun', flush=True); time.sleep(1000)")
        child.signal(USR2)
        assert child.line() == "begun"
        child.signal(TERM)
        assert child.finish()[:2] == (0, "stopped\n")


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
