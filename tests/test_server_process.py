"""Servers in processes of their own: signals, exit status, what is said at exit, fork, inherited sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import web
from tests.serving import (
    PATIENCE,
    Process,
    body,
    connect,
    connect_tls,
    environment,
    get,
    process,
    program,
    read_all,
    read_answer,
)

INT, TERM = signal.SIGINT, signal.SIGTERM

# A server that prints its ports, and says when a handler is inside. Arguments: cert key grace.
SERVER = """
import sys, threading, web

def slow(req):
    print("inside", flush=True)
    go_on.wait(30)
    return "finished"

def release(req):
    go_on.set()
    return "released"

go_on = threading.Event()
server = web.defserver(
    "127.0.0.1", 0, web.GET("/", lambda req: "hello"), web.GET("/slow", slow),
    web.POST("/", lambda req: "posted"), limits=web.Limits(shutdown_grace=float(sys.argv[3]), head_timeout=1e5,
    handshake_timeout=1e5, idle_timeout=1e5, body_min_rate=0, linger_timeout=1e5),
)
server.listen("127.0.0.1", 0, web.TlsContext(sys.argv[1], sys.argv[2]))
server.open()
print(server.port, server.urls[1].rpartition(":")[2], flush=True)
server.run()
print("stopped", flush=True)
"""

# How long the shutdown may take is left to the server's own grace, which is longer than the tests' patience: a stop
# that waits for an idle peer fails here by hanging, not by being slow.
LONG_GRACE = "100000"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return web.dev_certificate(tmp_path_factory.mktemp("dev"))


def ports(child: Process) -> tuple[int, int]:
    plain, secure = child.line().split()
    assert child.ready() == f"Serving on http://127.0.0.1:{plain}, https://127.0.0.1:{secure} (Ctrl-C stops)"
    return int(plain), int(secure)


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_signal_ends_an_idle_server_with_status_0(number: signal.Signals, pair: tuple[str, str]) -> None:
    with process(*program(SERVER, *pair, LONG_GRACE)) as child:
        ports(child)
        child.signal(number)
        assert child.finish() == (0, "stopped\n", "")


@pytest.mark.parametrize("number", [INT, TERM])
def test_connections_without_a_request_do_not_delay_the_end(number: signal.Signals, pair: tuple[str, str]) -> None:
    with process(*program(SERVER, *pair, LONG_GRACE)) as child:
        plain, secure = ports(child)
        with (
            connect(plain) as kept_alive,
            connect_tls(secure, pair[0]) as kept_alive_tls,
            connect(plain) as silent,
            connect(secure) as silent_tls,
            connect(secure) as half_hello,
            connect(plain) as half_head,
            connect_tls(secure, pair[0]) as half_head_tls,
        ):
            half_hello.sendall(b"\x16\x03\x01\x02\x00\x01")
            half_head.sendall(b"GET / HTTP/1.1\r\nHos")
            half_head_tls.sendall(b"GET / HTTP/1.1\r\nHos")
            assert body(get(kept_alive)) == b"hello"
            assert body(get(kept_alive_tls)) == b"hello"
            child.signal(number)
            for sock in (kept_alive, kept_alive_tls, silent, silent_tls, half_head, half_head_tls):
                assert read_all(sock) == b""
            assert child.finish()[:2] == (0, "stopped\n")


def test_a_connection_that_only_lingers_does_not_delay_the_end(pair: tuple[str, str]) -> None:
    """It got its answer, and keeps its end open."""
    with process(*program(SERVER, *pair, LONG_GRACE)) as child:
        plain, secure = ports(child)
        with connect(plain) as sock, connect(secure) as wrong:
            assert body(get(sock, close=True)) == b"hello"
            wrong.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_all(wrong).startswith(b"HTTP/1.1 400 ")
            child.signal(INT)
            assert child.finish()[:2] == (0, "stopped\n")


@pytest.mark.parametrize("tls", [False, True])
def test_an_open_request_finishes(tls: bool, pair: tuple[str, str]) -> None:
    with process(*program(SERVER, *pair, LONG_GRACE)) as child:
        plain, secure = ports(child)
        with connect_tls(secure, pair[0]) if tls else connect(plain) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            child.signal(TERM)
            wait_until_refused(plain)
            sock.sendall(b"12345")
            answer = read_all(sock)
            assert body(answer) == b"posted"
            assert b"\r\nConnection: close\r\n" in answer
        assert child.finish()[:2] == (0, "stopped\n")


def wait_until_refused(port: int) -> None:
    """The server heard the signal when nobody listens any more."""
    while True:
        try:
            connect(port).close()
        except ConnectionError:
            return


def test_a_second_signal_ends_open_requests_at_once(pair: tuple[str, str]) -> None:
    with process(*program(SERVER, *pair, LONG_GRACE)) as child:
        plain, _ = ports(child)
        with connect(plain) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            child.signal(INT)
            wait_until_refused(plain)
            child.signal(INT)
            assert child.finish()[:2] == (0, "stopped\n")


def test_the_grace_bounds_the_end(pair: tuple[str, str]) -> None:
    with process(*program(SERVER, *pair, "0.2")) as child:
        plain, _ = ports(child)
        with connect(plain) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            child.signal(INT)
            assert read_all(sock) == b""
            assert child.finish()[:2] == (0, "stopped\n")


def test_a_signal_while_a_handler_runs(pair: tuple[str, str]) -> None:
    code = SERVER.replace("go_on.wait(30)", "sys.stdin.read()").replace("import sys,", "import sys, os,")
    # what the handler waits for is a pipe: EINTR must not end its wait, nor the signal be lost
    with subprocess.Popen(
        [sys.executable, *program(code, *pair, LONG_GRACE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            plain = int(child.stdout.readline().split()[0])
            with connect(plain) as sock:
                sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                assert child.stdout.readline() == "inside\n"
                child.send_signal(INT)
                child.stdin.close()
                assert body(read_all(sock)) == b"finished"
            assert child.stdout.readline() == "stopped\n"
            assert child.wait(PATIENCE) == 0
        finally:
            child.kill()


def test_the_handlers_of_signals_are_put_back() -> None:
    code = """
import signal, web
before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
server = web.defserver("127.0.0.1", 0)
server.open()
server.stop()
server.run()
assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
assert signal.set_wakeup_fd(-1) == -1
"""
    with process(*program(code)) as child:
        assert child.finish()[0] == 0


# -- at exit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("server = web.defserver('127.0.0.1', 8000)", 1),
        ("web.defserver('127.0.0.1', 8000)", 1),
        ("web.Server(web.App(), '127.0.0.1', 8000)", 1),
        ("def main():\n    web.defserver('127.0.0.1', 8000)\nmain()", 1),
        ("for port in (8000, 8001):\n    web.defserver('127.0.0.1', port)", 2),
        ("web.defserver('127.0.0.1', 0).check()", 0),
        ("server = web.defserver('127.0.0.1', 0)\nwith server.running():\n    pass", 0),
        ("server = web.defserver('127.0.0.1', 0)\nserver.open()\nserver.stop()\nserver.run()", 0),
        ("server = web.defserver('127.0.0.1', 0)\nserver.run_once(0)\nserver.close()", 0),
    ],
)
def test_a_server_that_never_ran_is_said_at_exit(code: str, said: int) -> None:
    with process(*program("import web\n" + code)) as child:
        status, _, err = child.finish()
    lines = [line for line in err.splitlines() if "never run" in line]
    assert status == 0
    assert len(lines) == said
    if said:
        assert lines[0] == "web: <Server 127.0.0.1:8000> was made but never run; call its run()"
        assert len(err.splitlines()) == said


def test_a_server_that_a_module_made_is_no_mistake_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "pages.py").write_text("import web\nserver = web.defserver('127.0.0.1', 8000)\n")
    with process(*program(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pages")) as child:
        assert child.finish() == (0, "", "")


def test_a_running_server_is_stopped_and_joined_at_exit(tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = f"""
import threading, web
server = web.defserver("unix:{path}", 0)
context = server.running()
context.__enter__()
second = web.defserver("127.0.0.1", 0)
threading.Thread(target=second.run, daemon=True).start()
while second.urls == []:
    pass
import atexit
atexit.register(lambda: print(len(server.urls), len(second.urls)))
web.server._at_exit()
print(threading.active_count(), server.urls, second.urls)
"""
    # once by hand, to look at what is left; at exit nothing remains to be done, and a second call does no harm
    with process(*program(code)) as child:
        status, out, err = child.finish()
        assert (status, out) == (0, "1 [] []\n0 0\n")
        assert "Traceback" not in err
    assert not path.exists()
    code = code.partition("web.server._at_exit")[0]
    with process(*program(code)) as child:
        status, out, err = child.finish()
        assert (status, out) == (0, "1 1\n")
        assert "Traceback" not in err
    assert not path.exists()


def test_a_fork_that_exits_leaves_the_parents_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = f"""
import os, socket, sys, warnings, web
warnings.simplefilter("ignore")
server = web.defserver("unix:{path}", 0, web.GET("/", lambda req: "alive"))
with server.running():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect({str(path)!r})
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        sock.recv(1000)
        child = os.fork()
        if child == 0:
            sys.exit(0)     # runs the functions of atexit
        assert os.waitpid(child, 0)[1] == 0
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        print(sock.recv(1000)[-5:])
    print(os.path.exists({str(path)!r}))
"""
    with process(*program(code)) as child:
        assert child.finish() == (0, "b'alive'\nTrue\n", "")


# -- sockets from outside ----------------------------------------------------------------------------------------------


def test_an_inherited_socket() -> None:
    code = "import sys, web; web.defserver(f'fd:{sys.argv[1]}', 0, web.GET('/', lambda req: 'hello')).run()"
    with socket.create_server(("127.0.0.1", 0)) as given:
        number = given.fileno()
        with (
            process(*program(code, str(number)), pass_fds=(number,)) as child,
            connect(given.getsockname()[1]) as sock,  # waits in the queue while the process starts
        ):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert child.ready().startswith(f"Serving on http://127.0.0.1:{given.getsockname()[1]} ")
            assert body(read_answer(sock)) == b"hello"
            child.signal(TERM)
            assert child.finish() == (0, "", "")


def test_a_restart_on_the_same_port_needs_no_wait() -> None:
    code = """
import sys, web
server = web.defserver("127.0.0.1", int(sys.argv[1]), web.GET("/", lambda req: "hello"))
server.open()
print(server.port, flush=True)
server.run()
"""
    port = 0
    for _ in range(2):
        with process(*program(code, str(port))) as child:
            port = int(child.line())
            child.ready()
            with connect(port) as sock:
                get(sock)
                child.signal(TERM)  # the server ends the connection first: TIME_WAIT is on its side
                assert read_all(sock) == b""
            assert child.finish()[0] == 0


def test_errors_of_run_are_one_typed_exception() -> None:
    code = """
import sys, web
try:
    web.defserver("127.0.0.1", int(sys.argv[1])).run()
except web.ListenError as error:
    print(error)
"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(*program(code, str(port))) as child:
            status, out, err = child.finish()
    assert (status, err) == (0, "")
    who = rf"\S+ \(pid {os.getpid()}: .*\)" if sys.platform == "linux" else ".*"
    assert re.match(rf"cannot listen on 127\.0\.0\.1:{port}: {who} already does; stop it, or ", out)
    assert out.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_NOFILE")
def test_a_low_limit_of_fds_lowers_the_number_of_connections() -> None:
    code = """
import resource, web
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "hello"))
server.open()
print(server.port, flush=True)
server.run()
"""
    with process(*program(code)) as child:
        port = int(child.line())
        child.ready()
        clients = []
        try:
            for _ in range(100):  # each newcomer is let in: the one that idled longest makes room
                sock = connect(port)
                clients.append(sock)
                assert body(get(sock)) == b"hello"
        finally:
            for sock in clients:
                sock.close()
        child.signal(INT)
        assert child.finish()[0] == 0
