"""What a service tells systemd, and the sockets that it gets; with a socket of the test in systemd's place."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import web
from tests.serving import PATIENCE, Process, connect, fetch, process, program
from web.systemd import Notifier, passed_fds

HUP, TERM, USR1, USR2 = signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2

SERVER = """
import os, sys, time, web
{before}
server = web.defserver("127.0.0.1", 0, web.GET("/", lambda req: str(os.getppid())),
                       web.GET("/slow", lambda req: time.sleep(1000)), workers=int(sys.argv[1]))
{more}
server.run()
"""


class Manager:
    """The end of NOTIFY_SOCKET that systemd has."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)

    def hears(self) -> list[str]:
        return self.sock.recv(4096).decode().split("\n")

    def hears_but_life(self) -> list[str]:
        """The next message that is no sign of life."""
        while (lines := self.hears()) == ["WATCHDOG=1"]:
            pass
        return lines


@pytest.fixture(params=["path", "abstract"] if sys.platform == "linux" else ["path"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@weblatch-test-{os.getpid()}-{time.time_ns()}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    found = Manager(address)
    with found.sock:
        yield found


@contextlib.contextmanager
def serving(workers: int, before: str = "", more: str = "", cwd: Path | None = None) -> Iterator[Process]:
    with process(*program(SERVER.format(before=before, more=more), str(workers)), cwd=cwd) as child:
        yield child


@pytest.mark.parametrize("workers", [0, 2])
def test_ready_and_stopping(manager: Manager, workers: int) -> None:
    with serving(workers) as child:
        port = int(child.ready().partition(" (")[0].partition(" with ")[0].rpartition(":")[2])
        ready = manager.hears()
        assert ready[0] == "READY=1"
        assert ready[1].startswith("STATUS=")
        fetch(port)
        child.signal(TERM)
        assert manager.hears() == ["STOPPING=1"]
        assert child.finish()[0] == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_reload_is_told(manager: Manager, tmp_path: Path, workers: int) -> None:
    web.dev_certificate(tmp_path)
    tls = "server.listen('127.0.0.1', 0, web.TlsContext('dev-cert.pem', 'dev-key.pem'))"
    with serving(workers, more=tls, cwd=tmp_path) as child:
        assert manager.hears()[0] == "READY=1"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        child.signal(HUP)
        reloading, usec = manager.hears()
        assert reloading == "RELOADING=1"
        assert (
            before <= int(usec.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        )
        assert manager.hears()[0] == "READY=1"
        (tmp_path / "dev-key.pem").unlink()
        child.signal(HUP)  # it fails, and the service is ready as before
        assert manager.hears()[0] == "RELOADING=1"
        assert manager.hears()[0] == "READY=1"


def test_an_upgrade_names_the_new_main_process(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", str(10**9))
    with serving(1, before="os.environ['WATCHDOG_PID'] = str(os.getpid())") as child:
        child.ready()
        assert manager.hears_but_life()[0] == "READY=1"
        child.signal(USR2)
        told = [manager.hears_but_life() for _ in range(2)]  # the successor's own word, and the old one's
        pid = next(
            int(line.removeprefix("MAINPID=")) for lines in told for line in lines if line.startswith("MAINPID=")
        )
        assert child.popen.wait(PATIENCE) == 0
        os.kill(pid, TERM)
        assert manager.hears_but_life() == ["STOPPING=1"]


@pytest.mark.parametrize("workers", [0, 1])
def test_signs_of_life(manager: Manager, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with serving(workers) as child:
        child.ready()
        while manager.hears()[0] != "READY=1":
            pass
        for _ in range(3):
            assert manager.hears() == ["WATCHDOG=1"]


def test_a_loop_that_is_held_gives_no_sign_of_life(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with serving(0, more="server.open(); print(server.port, flush=True)") as child:
        port = int(child.line())
        child.ready()
        with connect(port) as sock:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            manager.sock.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                for _ in range(100):  # those that were under way
                    manager.hears()
            with pytest.raises(TimeoutError):
                manager.hears()


def test_a_watchdog_of_another_process_is_none_of_ours(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    assert Notifier().watchdog == pytest.approx(0.1)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Notifier().watchdog == pytest.approx(0.1)
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier().watchdog == 0
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert Notifier().watchdog == 0


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready("")


def test_a_manager_that_is_gone_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    Notifier().ready("")
    assert "systemd cannot be told READY=1: " in caplog.text


# -- sockets -----------------------------------------------------------------------------------------------------------

PASSED = """
import fcntl
os.dup2(int(sys.argv[2]), 3)
os.dup2(int(sys.argv[3]), 4)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "2"
os.environ["LISTEN_FDNAMES"] = "{names}"
"""
ASKED = """
server = web.Server(server.app, sys.argv[4], workers=int(sys.argv[1]))
server.check()
print([name for name in os.environ if name.startswith("LISTEN")], fcntl.fcntl(3, fcntl.F_GETFD), flush=True)
"""


@contextlib.contextmanager
def passing(names: str, host: str, workers: int = 0) -> Iterator[tuple[Process, int, int]]:
    """(program, and the ports of the two sockets that it is passed)."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        code = SERVER.format(before=PASSED.format(names=names), more=ASKED)
        fds = (first.fileno(), second.fileno())
        with process(*program(code, str(workers), *map(str, fds), host), pass_fds=fds) as child:
            yield child, first.getsockname()[1], second.getsockname()[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_socket_by_its_name(workers: int) -> None:
    with passing("admin:web", "fd:web", workers) as (child, _, port):
        assert child.line() == "[] 1"  # no child takes them for its own, or inherits them by accident
        assert f":{port} " in child.ready()
        fetch(port)
        child.signal(TERM)
        assert child.finish()[0] == 0


def test_a_socket_by_its_number() -> None:
    with passing("admin:web", "fd:3") as (child, port, _):
        assert child.line() == "[] 1"
        child.ready()
        fetch(port)


@pytest.mark.parametrize(
    ("names", "host", "words"),
    [
        ("web:web", "fd:web", "several sockets have that name; write fd:3, fd:4"),
        ("admin:web", "fd:other", "no socket of that name (LISTEN_FDNAMES), but admin, web"),
        ("", "fd:web", "no socket of that name (LISTEN_FDNAMES), but , unknown"),
    ],
)
def test_names_that_lead_nowhere(names: str, host: str, words: str) -> None:
    with passing(names, host) as (child, _, _):
        status, _, err = child.finish()
        assert status == 1
        assert words in err


def test_without_systemd_there_are_no_names() -> None:
    with pytest.raises(web.ListenError, match=r"systemd passed no socket of that name .*, but no socket at all"):
        web.defserver("fd:web", 0).check()


def test_sockets_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert passed_fds() == []
    assert "LISTEN_FDS" not in os.environ
