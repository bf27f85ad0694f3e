"""Answers that do not fit into a socket's buffer, and files: whole, in order, or never looking complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import web
from tests.wire.clients import Peer, TlsPeer, eventually, request
from tests.wire.sites import Serve, Site, open_fds

MIB = 1 << 20
OK = web.GET("/ok", lambda req: "ok")


def file_of(tmp_path: Path, size: int) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(os.urandom(size))
    return path


def sends(path: Path) -> web.app.Form:
    return web.GET("/file", lambda req: web.Response.file(path))


@pytest.mark.parametrize("size", [16_383, 16_384, 16_385, MIB, 3 * MIB + 1])
@pytest.mark.parametrize("receive_buffer", [0, 4096])
def test_large_bodies(serve: Serve, size: int, receive_buffer: int) -> None:
    body = os.urandom(size)
    peer = serve(OK, web.GET("/big", lambda req: body)).connect(receive_buffer=receive_buffer)
    peer.send(request("/big") + request("/ok") + request("/big", "HEAD") + request("/ok"))
    assert peer.answer().body == body
    assert peer.answer().body == b"ok"
    assert peer.answer(to_head=True)["Content-Length"] == str(size)
    assert peer.answer().body == b"ok"


@pytest.mark.parametrize("receive_buffer", [0, 4096])
def test_a_large_file_with_requests_behind_it(serve: Serve, tmp_path: Path, receive_buffer: int) -> None:
    path = file_of(tmp_path, 5 * MIB)
    site = serve(OK, sends(path))
    peer = site.connect(receive_buffer=receive_buffer)
    assert peer.ask("/ok").body == b"ok"
    before = open_fds()
    peer.send(request("/file") + request("/ok") + request("/file", "HEAD") + request("/file"))
    first = peer.answer()
    assert first["Content-Type"] == "application/octet-stream"
    assert first.body == path.read_bytes()
    assert peer.answer().body == b"ok"
    assert peer.answer(to_head=True)["Content-Length"] == str(5 * MIB)
    assert peer.answer().body == path.read_bytes()
    assert peer.ask("/ok").body == b"ok"
    eventually(lambda: open_fds() == before, "the files are closed")


def test_the_same_bytes_in_small_pieces(serve: Serve, tmp_path: Path) -> None:
    path = file_of(tmp_path, MIB + 1)
    peer = serve(sends(path)).connect(receive_buffer=4096)
    peer.send(request("/file"))
    peer.head()
    expected = path.read_bytes()
    got = bytearray(peer.buffer)
    peer.buffer = b""
    while len(got) < len(expected):
        got += peer.receive(977)
    assert got == expected


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385])
def test_small_files(serve: Serve, tmp_path: Path, size: int) -> None:
    path = file_of(tmp_path, size)
    peer = serve(OK, sends(path)).connect()
    peer.send(request("/file") + request("/ok"))
    answer = peer.answer()
    assert (answer.status, answer["Content-Length"], answer.body) == (200, str(size), path.read_bytes())
    assert peer.answer().body == b"ok"


def test_two_slow_downloads_at_once(serve: Serve, tmp_path: Path) -> None:
    path = file_of(tmp_path, 2 * MIB)
    site = serve(OK, sends(path))
    peers = [site.connect(receive_buffer=4096) for _ in range(2)]
    for peer in peers:
        peer.send(request("/file"))
    assert site.connect().ask("/ok").body == b"ok"
    for peer in peers:
        peer.head()
    for _ in range(20):
        for peer in peers:
            peer.buffer += peer.receive(10_000)
    for peer in peers:
        assert peer.exactly(2 * MIB) == path.read_bytes()


def test_one_connection_holds_one_file(serve: Serve, tmp_path: Path) -> None:
    """However many requests for files are pipelined: files that wait to be sent are opened when their turn comes."""
    path = file_of(tmp_path, 8 * MIB)
    site = serve(OK, sends(path))
    peer, other = site.connect(receive_buffer=4096), site.connect()
    assert peer.ask("/ok").status == other.ask("/ok").status == 200
    before = open_fds()
    peer.send(request("/file") * 20)
    peer.receive(100)
    assert other.ask("/ok").status == 200
    assert before < open_fds() <= before + 2
    peer.close()
    site.await_connections(1)


# -- files that change -------------------------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_404(serve: Serve, tmp_path: Path) -> None:
    path = file_of(tmp_path, 10)
    peer = serve(OK, sends(path)).connect()
    peer.send(request("/file"))
    assert peer.answer().status == 200
    path.unlink()
    peer.send(request("/file") + request("/file", "HEAD") + request("/ok"))
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (404, None)
    assert peer.answer(to_head=True).status == 404
    assert peer.answer().body == b"ok"
    path.mkdir()
    assert peer.ask("/file").status in (404, 500)
    assert peer.ask("/ok").body == b"ok"


def what_came(peer: Peer) -> tuple[int, bool]:
    """How many bytes, and whether the end looked like a good one."""
    got = len(peer.buffer)
    try:
        while data := peer.receive():
            got += len(data)
    except ConnectionError:
        return got, False
    return got, bool(peer.clean_end)


def download(site: Site, size: int) -> Peer:
    """A download that is under way and blocked: the client has read the head and no more."""
    peer = site.connect(receive_buffer=4096)
    peer.send(request("/file") + request("/ok"))
    while b"\r\n\r\n" not in peer.buffer:
        peer.buffer += peer.receive(500)
    head, _, peer.buffer = peer.buffer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % size in head
    return peer


@pytest.mark.parametrize("left", [0, 100_000])
def test_a_file_that_shrinks_ends_the_connection(serve: Serve, tmp_path: Path, left: int) -> None:
    size = 16 * MIB
    path = file_of(tmp_path, size)
    site = serve(OK, sends(path))
    peer = download(site, size)
    os.truncate(path, left)
    got, clean = what_came(peer)
    assert got < size
    if isinstance(peer, TlsPeer):
        assert not clean  # no close_notify: nobody takes it for the whole file
    site.await_closed("file_shrank")
    assert site.connect().ask("/ok").body == b"ok"


def test_a_file_that_grows_is_sent_as_long_as_it_was(serve: Serve, tmp_path: Path) -> None:
    size = 8 * MIB
    path = file_of(tmp_path, size)
    before = path.read_bytes()
    peer = download(serve(OK, sends(path)), size)
    with path.open("ab") as file:
        file.write(b"more" * 1000)
    assert peer.exactly(size) == before
    assert peer.answer().body == b"ok"


def test_a_file_that_is_replaced_is_sent_as_it_was(serve: Serve, tmp_path: Path) -> None:
    size = 8 * MIB
    path = file_of(tmp_path, size)
    before = path.read_bytes()
    peer = download(serve(OK, sends(path)), size)
    other = tmp_path / "other"
    other.write_bytes(b"new")
    other.replace(path)
    assert peer.exactly(size) == before
    assert peer.answer().body == b"ok"
    assert peer.ask("/file").body == b"new"


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_a_download(serve: Serve, tmp_path: Path, leave: Callable[[Peer], None]) -> None:
    size = 16 * MIB
    site = serve(OK, sends(file_of(tmp_path, size)), web.GET("/big", lambda req: bytes(8 * MIB)))
    first = site.connect()
    assert first.ask("/ok").status == 200
    before = open_fds()
    for target in ("/file", "/big"):
        peer = site.connect(receive_buffer=4096)
        peer.send(request(target))
        peer.receive(1000)
        leave(peer)
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "sockets and files are closed")
    assert first.ask("/ok").status == 200
