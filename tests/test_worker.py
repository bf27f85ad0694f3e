"""The pieces of processes, each alone: messages, bounds, CPUs, sockets that share a port, a loop that is left."""

from __future__ import annotations

import json
import mmap
import os
import socket
import sys
from pathlib import Path

import pytest

import web
from tests.serving import PATIENCE, body, connect, connect_tls, fetch, get, read_all
from web import worker, worker_options
from web.channel import CERTIFICATES, READY, Channel
from web.sockets import Address, bind_again
from web.upgrade import Predecessor

# -- messages ----------------------------------------------------------------------------------------------------------


def test_messages() -> None:
    ours, theirs = Channel.pair()
    try:
        ours.send(READY)
        ours.send(CERTIFICATES, bytearray(b"x" * 100_000))
        found: list[tuple[bytes, bytes]] = []
        while len(found) < 2:
            found += [(kind, bytes(content)) for kind, content in theirs.receive()]
        assert found == [(READY, b""), (CERTIFICATES, b"x" * 100_000)]
        ours.close()
        with pytest.raises(EOFError):
            theirs.receive()
        with pytest.raises(OSError):
            theirs.send(READY)
    finally:
        ours.close()
        theirs.close()


def test_messages_that_come_byte_by_byte() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel(theirs)
        found: list[tuple[bytes, bytes]] = []
        for byte in b"P\0\0\0\3abcR\0\0\0\0":
            ours.send(bytes([byte]))
            found += [(kind, bytes(content)) for kind, content in channel.receive()]
        assert found == [(CERTIFICATES, b"abc"), (READY, b"")]
        channel.close()


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_resident_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = worker.resident_bytes()
    kept = mmap.mmap(-1, 32 << 20)  # and no bytes: malloc may have that much left over from earlier tests
    kept[:: mmap.PAGESIZE] = b"x" * (len(kept) // mmap.PAGESIZE)
    assert worker.resident_bytes() >= before + len(kept) // 2
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
    assert worker.resident_bytes() >= len(kept)  # where the system does not say, the most that it ever was
    kept.close()


@pytest.mark.parametrize(
    ("quota", "expects"),
    [("max 100000\n", 4), ("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("", 4), (None, 4)],
)
def test_usable_cpus(quota: str | None, expects: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(worker_options, "_CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert worker_options.usable_cpus() == expects
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert worker_options.usable_cpus() == expects


# -- sockets -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one socket is shared")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_several_sockets_on_one_port(host: str) -> None:
    address = Address(host, 0)
    assert address.can_balance
    with address.bind(balanced=True) as first, bind_again(first) as second:
        assert first.getsockname() == second.getsockname()
        port = first.getsockname()[1]
        with pytest.raises(web.ListenError, match="already does"):
            Address(host, port).bind()
        with pytest.raises(web.ListenError, match="already does"):
            Address(host, port).bind(balanced=True)


def test_a_socket_that_cannot_be_had_twice_is_shared() -> None:
    with Address("127.0.0.1", 0).bind() as first, bind_again(first) as second:
        assert second.getsockname() == first.getsockname()
        with connect(first.getsockname()[1]):
            accepted, _ = second.accept()
            accepted.close()
        assert not first.getblocking()


def test_unix_and_inherited_sockets_are_shared() -> None:
    assert not Address("unix:/tmp/s", 0).can_balance
    assert not Address("fd:3", 0).can_balance


# -- an upgrade's other end --------------------------------------------------------------------------------------------


def test_what_is_meant_for_another_process_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_UPGRADE", json.dumps({"parent": os.getpid(), "ready": 99, "sockets": []}))
    assert Predecessor.find() is None
    assert "WEB_UPGRADE" not in os.environ


def test_sockets_that_are_handed_over_stay_non_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are shared: made blocking here, they would block the predecessor's workers in accept()."""
    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as given:
        given.setblocking(False)
        handed = [["127.0.0.1", 80, [os.dup(given.fileno())]]]
        facts = {"parent": os.getppid(), "ready": writing, "sockets": handed}
        monkeypatch.setenv("WEB_UPGRADE", json.dumps(facts))
        predecessor = Predecessor.find()
        assert predecessor is not None
        assert predecessor.take(Address("127.0.0.1", 81)) == []
        for _ in range(2):  # check(), then run()
            (sock,) = predecessor.take(Address("127.0.0.1", 80))
            assert sock.getsockname() == given.getsockname()
            sock.close()
        assert not os.get_blocking(given.fileno())
        predecessor.relieve()
        assert os.read(reading, 10) == b"1"
        os.close(reading)
        assert Predecessor.find() is None


# -- a loop that is left -----------------------------------------------------------------------------------------------


def test_a_loop_that_leaves_accepts_no_more_and_ends_with_the_next_answer() -> None:
    with web.defserver("127.0.0.1", 0, web.GET("/", lambda req: "hello")).running() as server:
        loop = server._loop
        assert loop is not None
        with connect(server.port) as kept, connect(server.port) as silent:
            get(kept)
            get(silent)
            assert not loop.has_left
            turned_at = loop.turned_at
            loop.leave()
            while not loop.has_left:
                pass
            assert loop.turned_at > turned_at
            with pytest.raises(ConnectionError):
                connect(server.port).close()
            for sock in (kept, silent):
                answer = get(sock)
                assert body(answer) == b"hello"
                assert b"\r\nConnection: close\r\n" in answer
                assert read_all(sock) == b""


def test_what_a_loop_does_not_accept_any_more_waits_for_another() -> None:
    """The listening socket is somebody else's, too: who connects gets an answer from whoever takes over."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        host, port = f"fd:{given.fileno()}", given.getsockname()[1]
        with web.defserver(host, 0, web.GET("/", lambda req: "old")).running() as old:
            assert fetch(port) == "old"
            loop = old._loop
            assert loop is not None
            loop.leave()
            while not loop.has_left:
                pass
            with connect(port) as waiting:
                waiting.settimeout(PATIENCE)
                with web.defserver(host, 0, web.GET("/", lambda req: "new")).running():
                    assert body(get(waiting)) == b"new"


def test_certificates_are_swapped_for_new_connections_only(tmp_path: Path) -> None:
    cert, key = web.dev_certificate(tmp_path / "first")
    second, _ = web.dev_certificate(tmp_path / "second")
    server = web.defserver_tls("127.0.0.1", 0, cert, key, web.GET("/", lambda req: "hello"))
    with server.running(), connect_tls(server.port, cert) as kept:
        get(kept)
        for name in ("dev-cert.pem", "dev-key.pem"):
            (tmp_path / "first" / name).write_bytes((tmp_path / "second" / name).read_bytes())
        server.reload_certificates()
        with connect_tls(server.port, second) as sock:
            get(sock)
        Path(key).write_text("nonsense")
        with pytest.raises(web.CertificateError, match="there is no private key in"):
            server.reload_certificates()
        with connect_tls(server.port, second) as sock:
            get(sock)
        assert body(get(kept)) == b"hello"
