"""Workers, certificates and whole programs that are replaced while they serve. Each server is a program."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

import web
from tests.masters import (
    HUP,
    ONE_IMPATIENT,
    SERVER,
    TERM,
    TWO,
    USR1,
    USR2,
    gone,
    pids,
    serving,
    stop,
    until,
)
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
)
from tests.wire.clients import Peer
from tests.wire.websocket_peers import SocketPeer, closing

# -- reload ------------------------------------------------------------------------------------------------------------


def test_a_reload_replaces_every_worker_and_loses_no_connection() -> None:
    with serving(TWO) as (child, port):
        before = {pids(port)[1] for _ in range(50)}
        with connect(port) as kept:
            mine = int(body(get(kept)).split()[1])
            child.signal(HUP)
            child.says("the reload is done")
            answer = b""
            while b"\r\nConnection: close\r\n" not in answer:  # it may hear a moment later that it is to leave
                answer = get(kept)  # by the worker that has it
                assert body(answer) == b"%d %d" % (child.popen.pid, mine)
            assert read_all(kept) == b""
        until(lambda: all(gone(worker) for worker in before))
        after = {pids(port)[1] for _ in range(50)}
        assert len(before) == len(after) == 2
        assert not before & after
        stop(child)


def test_websockets_stay_with_the_worker_that_is_replaced_and_are_closed_at_its_end() -> None:
    """They have no last answer: 1001 comes when the worker that is replaced stops."""
    route = (
        "server.app.add(web.WS('/ws', lambda event, params, ws: getattr(event, 'text', '') and ws.send(event.text)))"
    )
    with serving(ONE_IMPATIENT, route) as (child, port):
        _, worker = pids(port)
        with connect(port) as sock:
            peer = SocketPeer(Peer(sock), "/ws")
            assert peer.ask("before") == "before"
            child.signal(HUP)
            child.says("the reload is done")
            assert peer.closed() == (1001, "the server stops")
            peer.send(closing(1001))
            assert peer.peer.rest() == b""
        until(lambda: gone(worker))
        assert pids(port)[1] != worker
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
def serving_tls(workers: int, folder: Path, tickets: str = "None") -> Iterator[tuple[Process, int, int]]:
    """(program, its plain and its TLS port); the certificate lies in the folder."""
    more = f"""
server.listen("127.0.0.1", 0, web.TlsContext("dev-cert.pem", "dev-key.pem", tickets={tickets}))
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


class Resumer:
    """A client that keeps its sessions."""

    def __init__(self, folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.context = ssl.create_default_context(cafile=folder / "dev-cert.pem")
        self.context.minimum_version = self.context.maximum_version = version

    def ask(self, port: int, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession, bool, bytes]:
        """(the session afterwards, whether it was resumed, the answer)"""
        with (
            connect(port) as sock,
            self.context.wrap_socket(sock, server_hostname="localhost", session=session) as tls,
        ):
            answer = body(get(tls))
            assert tls.session is not None
            return tls.session, bool(tls.session_reused), answer


FILE = "web.TicketKeys('tickets.key', lifetime=604800)"


def put_ticket_file(folder: Path) -> None:
    (folder / "tickets.key").touch(0o600)
    (folder / "tickets.key").write_bytes(os.urandom(64))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_ticket_file_is_shared_and_reloaded(tmp_path: Path, workers: int) -> None:
    """Two servers that know nothing of each other, as on two machines; then one hears of a new file, then the other."""
    put_certificate(tmp_path)
    put_ticket_file(tmp_path)
    with serving_tls(workers, tmp_path, FILE) as (one, _, here), serving_tls(0, tmp_path, FILE) as (other, _, there):
        client = Resumer(tmp_path)
        old, _, _ = client.ask(here)
        assert client.ask(there, old)[1]
        put_ticket_file(tmp_path)
        one.signal(USR1)
        one.says("certificates are reloaded")

        def knows_both() -> bool:  # each worker has heard of it when its tickets are of no use elsewhere
            found = [client.ask(here, old) for _ in range(20)]
            assert all(resumed for _, resumed, _ in found)
            return not any(client.ask(there, session)[1] for session, _, _ in found)

        until(knows_both)
        new, _, _ = client.ask(here, old)
        other.signal(HUP)
        other.says("certificates are reloaded")
        assert [client.ask(there, session)[1] for session in (old, new)] == [True, True]
        (tmp_path / "tickets.key").chmod(0o644)
        one.signal(USR1)
        assert "chmod 600" in one.says("the old ones stay")
        assert all(client.ask(here, session)[1] for session in [old, new] * 10)
        if workers:
            (tmp_path / "tickets.key").chmod(0o600)
            one.signal(HUP)
            one.says("the reload is done")
            assert all(client.ask(here, session)[1] for session in [old, new] * 10)  # by workers forked since
        for child in (one, other):
            child.signal(TERM)
            assert child.finish()[0] == 0


@pytest.mark.parametrize("tickets", [FILE, "None"])
def test_sessions_go_on_through_an_upgrade_where_keys_come_from_a_file(tmp_path: Path, tickets: str) -> None:
    put_certificate(tmp_path)
    put_ticket_file(tmp_path)
    with serving_tls(2, tmp_path, tickets) as (child, _, secure):
        client = Resumer(tmp_path)
        session, _, before = client.ask(secure)
        child.signal(USR2)
        child.says("is ready; this one ends")
        old_master = before.split()[0]
        until(lambda: all(client.ask(secure)[2].split()[0] != old_master for _ in range(20)))
        assert all(client.ask(secure, session)[1] is (tickets == FILE) for _ in range(10))


def test_the_master_forgets_old_ticket_keys(tmp_path: Path) -> None:
    """It has no handshakes, which would do it."""
    put_certificate(tmp_path)
    more = """
import web.processes
web.processes._FORGET_EVERY = 0.05
web.listeners.Listeners.forget_old_tickets = lambda self, real=web.listeners.Listeners.forget_old_tickets: (
    real(self), print("forgot", os.getpid(), flush=True))
server.listen("127.0.0.1", 0, web.TlsContext("dev-cert.pem", "dev-key.pem"))
"""
    with process(*program(SERVER, TWO, more), cwd=tmp_path) as child:
        child.line()
        for _ in range(3):
            assert child.line() == f"forgot {child.popen.pid}"


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
