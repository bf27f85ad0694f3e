"""Server in this process: what making one does and does not do, check(), running(), stop(), several addresses."""

from __future__ import annotations

import errno
import inspect
import os
import resource
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import PATIENCE, body, connect, connect_tls, get, read_all, read_answer
from tests.test_sockets import needs_ipv6


def hello(req: web.Request) -> str:
    return "hello"


def make(*forms: web.App, **options: Any) -> web.Server:
    return web.defserver("127.0.0.1", 0, web.GET("/", hello), **options)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return web.dev_certificate(tmp_path_factory.mktemp("dev"))


# -- made, not started -------------------------------------------------------------------------------------------------


def test_defserver_is_server_of_an_app_and_starts_nothing() -> None:
    threads = threading.active_count()
    server = web.defserver("127.0.0.1", 0, web.GET("/", hello))
    assert isinstance(server, web.Server)
    assert isinstance(server.app, web.App)
    assert threading.active_count() == threads
    assert server.urls == []
    assert server.connections == 0
    assert server.stats()["accepted"] == server.stats()["processes"] == 0
    for name in ("url", "port"):
        with pytest.raises(RuntimeError, match="the server is not open"):
            getattr(server, name)


def test_making_one_touches_neither_ports_nor_files() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        web.defserver("127.0.0.1", port, web.GET("/", hello))
        web.defserver_tls("127.0.0.1", port, "no/such/cert.pem", "no/such/key.pem", web.GET("/", hello))
        web.defserver("no-such-host.invalid", 80)
        web.defserver("unix:/no/such/folder/s", 0)


def test_options_are_keyword_only_and_known() -> None:
    for function in (web.defserver, web.defserver_tls, web.Server):
        kinds = {p.kind for p in list(inspect.signature(function).parameters.values())[5:]}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    with pytest.raises(TypeError, match="dewelop"):
        web.defserver("127.0.0.1", 0, dewelop=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": {}}, "limits: a Limits"),
        ({"limits": 5}, "limits: a Limits"),
        ({"dev": 1}, "dev: True or False"),
        ({"dual_stack": "yes"}, "dual_stack: True or False"),
        ({"server_header": None}, "server_header: True or False"),
        ({"tls": ("cert.pem", "key.pem")}, r"tls: a TlsContext\(cert_file, key_file\)"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        web.Server(web.App(), "127.0.0.1", 0, **options)


def test_what_is_not_an_app_is_refused() -> None:
    with pytest.raises(TypeError, match="an App is needed, not Route; defserver"):
        web.Server(web.GET("/", hello), "127.0.0.1", 0)  # type: ignore[arg-type]
    with pytest.raises(web.RouteError, match="is no form"):
        web.defserver("127.0.0.1", 0, web.App())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="host: text is needed"):
        web.defserver(8080, 0)  # type: ignore[arg-type]


# -- check() and errors ------------------------------------------------------------------------------------------------


def test_check_finds_a_port_in_use_and_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = web.defserver("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(web.ListenError, match="already does") as caught:
            server.check()
        assert caught.value.errno == errno.EADDRINUSE
    server.check()
    server.check()
    with pytest.raises(RuntimeError):
        _ = server.port


def test_check_gives_every_port_back_when_a_later_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = web.defserver(f"unix:{path}", 0)
    server.listen("192.0.2.1", 0)
    with pytest.raises(web.ListenError, match="no such address"):
        server.check()
    assert not path.exists()
    assert server.urls == []


def test_check_reads_the_certificate(tmp_path: Path, pair: tuple[str, str]) -> None:
    other = web.dev_certificate(tmp_path / "other")
    for cert, key, words in [
        ("no/such.pem", pair[1], "no/such.pem"),
        (pair[0], "no/such.key", "no/such.key"),
        (pair[0], other[1], "match"),
        (pair[0], pair[0], "key"),
    ]:
        with pytest.raises(web.CertificateError, match=words) as caught:
            web.defserver_tls("127.0.0.1", 0, cert, key).check()
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, web.WebError)
    web.defserver_tls("127.0.0.1", 0, *pair).check()


def test_the_fixed_errors_come_from_run_and_running_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = web.defserver("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(web.ListenError):
            server.run()
        with pytest.raises(web.ListenError), server.running():
            pytest.fail("it runs")
    with server.running() as s:
        assert s.port > 0


# -- running() ---------------------------------------------------------------------------------------------------------


def test_running_serves_in_a_thread_and_gives_all_back() -> None:
    threads = threading.active_count()
    server = make()
    with server.running() as s:
        assert s is server
        assert s.url == f"http://127.0.0.1:{s.port}"
        assert s.urls == [s.url]
        assert repr(s) == "<Server 127.0.0.1:0 open>"
        port = s.port
        with connect(port) as sock:
            assert body(get(sock)) == b"hello"
            assert s.stats()["requests"] == 1
            assert s.connections == 1
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    socket.create_server(("127.0.0.1", port)).close()
    with server.running() as s, connect(s.port) as sock:
        assert body(get(sock)) == b"hello"


def test_an_exception_in_the_body_stops_the_server_and_goes_on() -> None:
    server = make()
    server.open()
    port = server.port
    with pytest.raises(ZeroDivisionError), server.running():
        _ = 1 / 0
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    assert server.urls == []


def test_servers_run_within_one_another() -> None:
    inner = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "inner"))
    with make().running() as a, inner.running() as b:
        assert a.port != b.port
        with connect(a.port) as to_a, connect(b.port) as to_b:
            assert body(get(to_a)) == b"hello"
            assert body(get(to_b)) == b"inner"


def test_a_server_runs_once_at_a_time() -> None:
    server = make()
    with server.running():
        for again in (server.run, server.running().__enter__):
            with pytest.raises(RuntimeError, match="the server runs already"):
                again()
        with pytest.raises(RuntimeError, match="open already"):
            server.open()
        with pytest.raises(RuntimeError, match="open already"):
            server.listen("127.0.0.1", 0)
        with pytest.raises(RuntimeError, match="running"):
            server.close()
        with connect(server.port) as sock:
            assert body(get(sock)) == b"hello"


def test_a_server_that_was_opened_before_runs_on_the_same_port() -> None:
    server = make()
    server.open()
    port = server.port
    with connect(port) as sock, server.running() as s:
        assert s.port == port
        assert body(get(sock)) == b"hello"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_thread_is_raised_where_running_ends(kind: type[BaseException]) -> None:
    def leave(req: web.Request) -> str:
        raise kind("from the handler")

    server = web.defserver("127.0.0.1", 0, web.GET("/", leave))

    def ask() -> None:
        with server.running() as s, connect(s.port) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_all(sock) == b""  # nobody is left waiting

    with pytest.raises(kind, match="from the handler"):
        ask()
    with pytest.raises(RuntimeError):
        _ = server.port


# -- stop() ------------------------------------------------------------------------------------------------------------


def test_stop_when_nothing_runs_does_nothing() -> None:
    server = make()
    server.stop()
    server.close()
    server.close()
    with server.running() as s, connect(s.port) as sock:
        assert body(get(sock)) == b"hello"
    server.stop()


@pytest.mark.parametrize("grace", [-1.0, float("nan"), float("inf"), 1e7])
def test_stop_refuses_a_strange_grace(grace: float) -> None:
    with make().running() as s, pytest.raises(ValueError, match="give 0 to 1e6 seconds"):
        s.stop(grace)


def test_stop_from_a_handler_answers_it_first() -> None:
    def end(req: web.Request) -> str:
        server.stop()
        return "bye"

    server = web.defserver("127.0.0.1", 0, web.GET("/", end))
    server.open()
    runs = threading.Thread(target=server.run)
    with connect(server.port) as sock, connect(server.port) as idle:
        runs.start()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = read_all(sock)
        assert body(answer) == b"bye"
        assert b"\r\nConnection: close\r\n" in answer
        assert read_all(idle) == b""
    runs.join(PATIENCE)
    assert not runs.is_alive()


def test_stop_from_another_thread_ends_run(capfd: pytest.CaptureFixture[str]) -> None:
    server = make()
    server.open()
    url, port = server.url, server.port
    runs = threading.Thread(target=server.run)
    runs.start()
    with connect(port) as sock:
        assert body(get(sock)) == b"hello"
        server.stop()
        assert read_all(sock) == b""
        runs.join(PATIENCE)
    assert not runs.is_alive()
    assert capfd.readouterr().err == f"Serving on {url} (Ctrl-C stops)\n"


def test_stop_before_run_ends_it_at_once() -> None:
    server = make()
    server.open()
    server.stop()
    server.run()


def test_stop_lets_an_open_request_finish() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(req: web.Request) -> str:
        inside.set()
        assert go_on.wait(PATIENCE)
        return "finished"

    server = web.defserver("127.0.0.1", 0, web.GET("/", slow))
    with server.running() as s, connect(s.port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert inside.wait(PATIENCE)
        s.stop()
        go_on.set()
        assert body(read_all(sock)) == b"finished"


def test_stop_waits_no_longer_than_its_grace() -> None:
    """A body that never comes is an open request; grace 0 ends it."""
    server = web.defserver("127.0.0.1", 0, web.POST("/", hello), limits=web.Limits(shutdown_grace=1e6))
    with server.running() as s, connect(s.port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        s.stop()
        s.stop(0.0)
        assert read_all(sock) == b""


def test_a_request_that_was_sent_before_the_stop_is_answered() -> None:
    """It may still lie in the kernel, or its connection in the queue of the listening socket."""
    server = make()
    server.open()
    with connect(server.port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.stop()
        server.run()
        assert body(read_all(sock)) == b"hello"


# -- where it listens --------------------------------------------------------------------------------------------------


def test_plain_and_tls_side_by_side(pair: tuple[str, str], tmp_path: Path) -> None:
    server = make()
    server.listen("127.0.0.1", 0, web.TlsContext(*pair))
    server.listen(f"unix:{tmp_path / 's'}")
    with server.running() as s:
        plain, secure, unix = s.urls
        assert plain == s.url
        assert plain.startswith("http://127.0.0.1:")
        assert secure.startswith("https://127.0.0.1:")
        assert unix == f"http+unix:{tmp_path / 's'}"
        with connect(s.port) as sock:
            assert body(get(sock)) == b"hello"
        with connect_tls(int(secure.rpartition(":")[2]), pair[0]) as tls:
            assert body(get(tls)) == b"hello"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(tmp_path / "s"))
            assert body(get(sock)) == b"hello"
        assert s.stats()["requests"] == 3


def test_tls_over_a_unix_socket(pair: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    seen: list[object] = []

    def who(req: web.Request) -> str:
        seen.extend([req.client, req.scheme, req.connection.peer, req.connection.local])
        return "hello"

    import ssl

    server = web.defserver_tls(f"unix:{path}", 0, *pair, web.GET("/", who))
    with server.running() as s:
        assert s.url == f"https+unix:{path}"
        assert s.port == 0
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            context = ssl.create_default_context(cafile=pair[0])
            with context.wrap_socket(sock, server_hostname="localhost") as tls:
                assert body(get(tls)) == b"hello"
    assert seen == [None, "https", None, None]


def test_the_unix_file_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = web.defserver(f"unix:{path}", 0, web.GET("/", hello))
    with server.running():
        assert stat.S_ISSOCK(path.lstat().st_mode)
        with pytest.raises(web.ListenError, match="already does"):
            web.defserver(f"unix:{path}", 0).check()
    assert not path.exists()


def test_a_successors_unix_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    old = web.defserver(f"unix:{path}", 0, web.GET("/", hello))
    old.open()
    path.unlink()
    with web.defserver(f"unix:{path}", 0, web.GET("/", lambda req: "new")).running():
        old.close()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            assert body(get(sock)) == b"new"


def test_an_inherited_socket_serves_again_and_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        server = web.defserver(f"fd:{given.fileno()}", 0, web.GET("/", hello))
        server.check()
        for _ in range(2):
            with server.running() as s, connect(port) as sock:
                assert s.port == port
                assert body(get(sock)) == b"hello"


@needs_ipv6
def test_ipv6() -> None:
    clients = []

    def who(req: web.Request) -> str:
        clients.append(req.client)
        return "hello"

    server = web.defserver("::1", 0, web.GET("/", who))
    with server.running() as s:
        assert s.url == f"http://[::1]:{s.port}"
        with connect(s.port, "::1") as sock:
            assert body(get(sock)) == b"hello"
            assert clients == [sock.getsockname()[:2]]


@needs_ipv6
def test_dual_stack_sees_ipv4_clients_as_ipv4() -> None:
    clients = []

    def who(req: web.Request) -> str:
        clients.append(req.client)
        return "hello"

    server = web.defserver("::", 0, web.GET("/", who), dual_stack=True)
    with server.running() as s, connect(s.port) as sock, connect(s.port, "::1") as sock6:
        get(sock)
        get(sock6)
        assert clients == [sock.getsockname(), sock6.getsockname()[:2]]


def test_a_host_name() -> None:
    with web.defserver("localhost", 0, web.GET("/", hello)).running() as s, connect(s.port, "localhost") as sock:
        assert body(get(sock)) == b"hello"


# -- small things ------------------------------------------------------------------------------------------------------


def test_the_soft_limit_of_fds_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        make().check()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_server_header_can_be_turned_off() -> None:
    for yes in (True, False):
        with make(server_header=yes).running() as s, connect(s.port) as sock:
            assert (b"\r\nServer: weblatch\r\n" in get(sock)) == yes


def test_dev_shows_the_traceback_and_otherwise_nothing_is_told() -> None:
    def broken(req: web.Request) -> str:
        raise LookupError("secret")

    for dev in (True, False):
        server = web.defserver("127.0.0.1", 0, web.GET("/", broken), dev=dev)
        with server.running() as s, connect(s.port) as sock:
            answer = get(sock)
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert (b"LookupError: secret" in answer) == dev


def test_what_is_added_to_the_app_later_counts_for_the_next_start() -> None:
    server = make()
    with server.running() as s, connect(s.port) as sock:
        server.app.add(web.GET("/late", lambda req: "late"))
        assert get(sock, "/late").startswith(b"HTTP/1.1 404 ")
    with server.running() as s, connect(s.port) as sock:
        assert body(get(sock, "/late")) == b"late"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12: fork with threads; there are none of ours
def test_a_server_opened_before_a_fork_is_refused_after_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = make()
    server.listen(f"unix:{path}")
    server.open()
    with connect(server.port) as sock:
        server.run_once(5.0)
        child = os.fork()
        if child == 0:
            refused = 0
            for step in (lambda: server.run_once(0), server.fileno, server.run):
                try:
                    step()
                except RuntimeError as error:
                    refused += "process" in str(error) or "fork" in str(error)
            server.stop()
            server.close()
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert path.exists()  # the child did not remove it
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # nor take the connection out of the poller
        with server.running():
            assert body(read_answer(sock)) == b"hello"
