"""Bodies and forms that cannot be written to their temporary files: 503, a log that says why, and nothing left behind.

The limit on the size of files stands for a full disk: a write comes out short, the next one fails with EFBIG.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import files_of_at_most
from tests.wire.clients import Peer, chunked, eventually, request
from tests.wire.sites import Embed, Serve, open_fds

OK = web.GET("/ok", lambda req: "ok")
TOO_LARGE = os.strerror(errno.EFBIG)
FORM = "Content-Type: multipart/form-data; boundary=B\r\n"


def size_of(req: web.Request) -> str:
    return str(len(req.body))


async def size_of_async(req: web.Request) -> str:
    await asyncio.sleep(0)
    return size_of(req)


def framed(size: int, framing: str, fields: str = "", begin: bytes = b"", end: bytes = b"") -> bytes:
    """A POST of size bytes of x between begin and end."""
    body = begin + b"x" * size + end
    if framing == "length":
        return request("/", "POST", fields, body)
    chunks = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    return request("/", "POST", fields + "Transfer-Encoding: chunked\r\n") + chunked(*chunks)


def form(size: int) -> bytes:
    begin = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return framed(size, "length", FORM, begin, b"\r\n--B--\r\n")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


WAYS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "loop": (size_of, {}), "thread": (size_of, {"blocking": True}), "task": (size_of_async, {}),
}  # fmt: skip


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_cannot_be_written(serve: Serve, way: str, framing: str, caplog: pytest.LogCaptureFixture) -> None:
    handler, options = WAYS[way]
    seen: list[int] = []

    def see(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        seen.append(resp.status)
        return resp

    site = serve(OK, web.POST("/", handler, **options), web.after(see))
    other = site.connect()
    assert other.ask("/ok").status == 200
    before = open_fds()
    with files_of_at_most(400_000):
        for number in range(1, 4):
            peer = site.connect()
            with suppress(OSError):  # the server may end before it has read all
                peer.send(framed(600_000, framing))
            answer = peer.answer()
            assert (answer.status, answer["Connection"]) == (503, "close")
            assert answer.body == b"Service Unavailable: this server has no room to keep the body"
            assert peer.rest() == b""
            peer.close()
            assert other.ask("/ok").body == b"ok"
            assert len(warnings_of(caplog)) == number
        peer = site.connect()
        peer.send(framed(399_000, framing))
        assert peer.answer().body == b"399000"
        peer.close()
    told = f"a request is refused with 503: its body cannot be written to {tempfile.gettempdir()}: {TOO_LARGE}"
    assert warnings_of(caplog) == [told] * 3
    assert seen == [200, *[503, 200] * 3, 200]
    site.await_closed("bad_request", 3)
    assert site.server.stats()["requests_refused"] == 3
    site.await_connections(1)
    eventually(lambda: open_fds() == before, "sockets and files are closed")
    assert other.ask("/", "POST", body=b"x" * 600_000).body == b"600000"


def test_it_is_given_back_at_once(embed: Embed) -> None:
    """The file goes with the refusal, not with the connection, which lingers."""
    site = embed(web.POST("/", size_of))
    before = open_fds()
    with site.connect() as peer, files_of_at_most(300_000):
        peer.send(request("/", "POST", "Content-Length: 600000\r\n") + b"x" * 280_000)
        site.settle()
        assert open_fds() == before + 3  # both ends and the file
        peer.send(b"x" * 100_000)
        site.settle()
        assert peer.answer().status == 503
        assert open_fds() == before + 2


def test_a_client_that_asks_first_is_told_too(serve: Serve) -> None:
    peer = serve(web.POST("/", size_of)).connect()
    peer.send(request("/", "POST", "Expect: 100-continue\r\nContent-Length: 600000\r\n"))
    assert peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    with files_of_at_most(300_000):
        with suppress(OSError):
            peer.send(b"x" * 600_000)
        assert peer.answer().status == 503


# -- forms -------------------------------------------------------------------------------------------------------------


def parts_of(req: web.Request) -> str:
    return str(req.multipart()["file"].size)


async def parts_of_async(req: web.Request) -> str:
    await asyncio.sleep(0)
    return parts_of(req)


FORM_WAYS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "loop": (parts_of, {}), "thread": (parts_of, {"blocking": True}), "task": (parts_of_async, {}),
}  # fmt: skip


@pytest.mark.parametrize("way", FORM_WAYS)
@pytest.mark.parametrize(
    ("size", "most"),
    [(150_000, 100_000), (150_000, 0), (135_000, 133_500)],  # the last: only what was in a buffer does not fit
)
def test_a_part_that_cannot_be_written(
    serve: Serve, way: str, size: int, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    handler, options = FORM_WAYS[way]
    site = serve(web.POST("/", handler, **options))
    peer = site.connect()
    peer.send(form(10))
    assert peer.answer().body == b"10"
    before = open_fds()
    with files_of_at_most(most):
        for _ in range(2):
            peer.send(form(size))
            answer = peer.answer()
            assert (answer.status, answer.body) == (503, b"this server has no room to keep the form")
    assert open_fds() == before
    why = f"{tempfile.gettempdir()}: [Errno {errno.EFBIG}] {TOO_LARGE}"
    told = f"a form is refused with 503: its parts cannot be written to {why}"
    assert warnings_of(caplog) == [told] * 2
    peer.send(form(size))
    assert peer.answer().body == str(size).encode()


def test_there_is_no_folder_for_parts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peer = serve(web.POST("/", parts_of)).connect()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere at all")
    peer.send(form(150_000))
    assert peer.answer().status == 503
    assert "/nowhere at all: [Errno 2] No such file or directory" in caplog.text


def test_what_cannot_be_saved_whole_is_removed(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That it is a 500 is the application's affair: which disk it saves to, is."""
    target = tmp_path / "saved"

    def save(req: web.Request) -> str:
        with closing(req.multipart()) as parts, files_of_at_most(100_000):
            parts["file"].save(target)
        return "saved"

    peer = serve(web.POST("/", save)).connect()
    peer.send(form(150_000))
    assert peer.answer().status == 500
    assert TOO_LARGE in str(caplog.records[-1].exc_info)
    assert os.listdir(tmp_path) == []
    peer.send(form(90_000))
    assert peer.answer().body == b"saved"
    assert target.stat().st_size == 90_000


def test_a_peer_that_leaves_while_its_body_is_refused(embed: Embed) -> None:
    site = embed(OK, web.POST("/", size_of))
    before = open_fds()
    with files_of_at_most(300_000):
        for leave in (Peer.close, Peer.reset, lambda peer: peer.sock.shutdown(socket.SHUT_RDWR)):
            with site.connect() as peer:
                peer.send(request("/", "POST", "Content-Length: 600000\r\n") + b"x" * 280_000)
                site.settle()
                peer.send(b"x" * 100_000)
                leave(peer)
                site.settle()
    assert open_fds() == before
    assert site.server.connections == 0
