"""Conditions and ranges beside the table (test_conditional.py): streams, the ways in which handlers run, what hooks
see, files that change, clients that leave in the middle of a multipart answer, curl."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import foreign_environment
from tests.wire.clients import eventually
from tests.wire.sites import Embed, Serve, open_fds

BODY = bytes(i * 7 % 251 for i in range(300_000))
TAG = '"v1"'


def tagged(body: str = "hello") -> web.Response:
    return web.Response.text(body).with_etag("v1")


async def tagged_later(req: web.Request) -> web.Response:
    await asyncio.sleep(0)
    return tagged()


WAYS: dict[str, tuple[web.routing.Handler, dict[str, Any]]] = {
    "loop": (lambda req: tagged(), {}),
    "thread": (lambda req: tagged(), {"blocking": True}),
    "task": (tagged_later, {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("final", [False, True], ids=["by the server", "as a hook"])
def test_every_way(serve: Serve, way: str, final: bool) -> None:
    handler, options = WAYS[way]
    seen: list[int] = []

    def see(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        seen.append(resp.status)
        return resp

    site = serve(web.GET("/", handler, **options), web.routing.After(see, final=final))
    peer = site.connect()
    assert peer.ask(fields=f"If-None-Match: {TAG}\r\n").status == 304
    assert peer.ask(fields='If-Match: "v2"\r\n').status == 412
    assert peer.ask(fields="Range: bytes=9-\r\n").status == 416
    part = peer.ask(fields="Range: bytes=1-3\r\n")
    assert (part.status, part.body) == (206, b"ell")
    assert peer.ask().body == b"hello"
    assert seen == ([304, 412, 416, 206, 200] if final else [200] * 5)


class Source:
    """A stream that knows whether it was ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def plain(self) -> Iterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            self.ended.set()

    async def later(self) -> AsyncIterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            self.ended.set()


@pytest.mark.parametrize("kind", ["loop", "thread", "task"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [(f"If-None-Match: {TAG}\r\n", 304), ('If-Match: "v2"\r\n', 412), ("Range: bytes=0-0\r\n", 200)],
)
def test_streams(serve: Serve, kind: str, fields: str, status: int) -> None:
    source = Source()

    def handler(req: web.Request) -> web.Response:
        return web.Response.stream(source.plain(), length=6).with_etag("v1")

    async def later(req: web.Request) -> web.Response:
        return web.Response.stream(source.later(), length=6).with_etag("v1")

    site = serve(web.GET("/", later if kind == "task" else handler, blocking=kind == "thread"))
    peer = site.connect()
    answer = peer.ask(fields=fields)
    assert answer.status == status
    assert (answer.body == b"onetwo") == (status == 200)
    assert source.ended.wait(10), "nobody closed the stream"
    assert peer.ask(fields=fields).status == status, "the connection goes on"


def test_hooks_keep_their_fields_and_content_its_own(serve: Serve) -> None:
    def handler(req: web.Request) -> web.Response:
        fields = {
            "Cache-Control": "max-age=60",
            "Content-Language": "de",
            "Content-Disposition": "inline",
            "Vary": "Origin",
        }
        return web.Response.text("hallo", headers=fields).with_etag("v1")

    def cookies(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.set_cookie("a", "1").set_cookie("b", "2")

    def error(req: web.Request, status: int, reason: str) -> dict[str, Any]:
        return {"status": status, "reason": reason}

    peer = serve(web.GET("/", handler), web.after(cookies), web.errors(error)).connect()
    names = [name for name, _ in peer.ask(fields='If-Match: "v2"\r\n').headers]
    assert sorted(names) == ["Content-Length", "Content-Type", "Date", "Server", "Set-Cookie", "Set-Cookie", "Vary"]
    refused = peer.ask(fields="Range: bytes=5-\r\n")
    assert refused.body == b'{"status":416,"reason":"none of the ranges lies in the 5 bytes that there are"}'
    assert refused["content-range"] == "bytes */5"
    unchanged = peer.ask(fields=f"If-None-Match: {TAG}\r\n")
    assert unchanged["cache-control"] == "max-age=60"
    assert unchanged["content-language"] is None


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("final", [False, True], ids=["by the server", "as a hook"])
def test_errors_makes_the_bodies(serve: Serve, kind: str, final: bool) -> None:
    def error(req: web.Request, status: int, reason: str) -> dict[str, Any]:
        return {"status": status}

    async def error_later(req: web.Request, status: int, reason: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"status": status}

    forms: list[web.app.Form] = [web.routing.After(lambda req, params, resp: resp, final=True)] if final else []
    own = web.errors(error if kind == "plain" else error_later)
    source = Source()
    site = serve(
        web.GET("/", lambda req: tagged()),
        web.GET("/later", tagged_later),
        web.GET("/stream", lambda req: web.Response.stream(source.plain()).with_etag("v1")),
        own,
        *forms,
    )
    peer = site.connect()
    for path in ("/", "/later"):
        assert peer.ask(path, fields='If-Match: "v2"\r\n').body == b'{"status":412}'
        refused = peer.ask(path, fields="Range: bytes=9-\r\n")
        assert (refused.status, refused.body, refused["content-range"]) == (416, b'{"status":416}', "bytes */5")
    assert peer.ask("/stream", fields='If-Match: "v2"\r\n').body == b'{"status":412}'
    assert source.ended.wait(10), "nobody closed the stream"


class Closable:
    """An iterator that nobody closes by the way: the test holds it."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return "item"

    def close(self) -> None:
        self.closed += 1


class ClosableLater(Closable):
    __iter__ = None  # type: ignore[assignment]

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        return "item"

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", ["loop", "thread", "task"])
@pytest.mark.parametrize(("fields", "status"), [(f"If-None-Match: {TAG}\r\n", 304), ('If-Match: "v2"\r\n', 412)])
def test_a_stream_that_is_not_sent_is_closed(serve: Serve, fields: str, status: int, kind: str) -> None:
    made: list[Closable] = []

    def handler(req: web.Request) -> web.Response:
        made.append(Closable())
        return web.Response.stream(made[-1]).with_etag("v1")

    async def later(req: web.Request) -> web.Response:
        made.append(ClosableLater())
        return web.Response.stream(made[-1]).with_etag("v1")

    peer = serve(web.GET("/", later if kind == "task" else handler, blocking=kind == "thread")).connect()
    assert peer.ask(fields=fields).status == status
    eventually(lambda: made[0].closed == 1, "it is closed")


def test_what_an_error_says_itself_counts(serve: Serve) -> None:
    error = web.errors(lambda req, status, reason: web.Response.text("no", status=status, headers={"X-Own": "error"}))
    resp = tagged().add_header("X-Own", "answer").add_header("X-Other", "answer")
    answer = serve(web.GET("/", lambda req: resp), error).connect().ask(fields='If-Match: "v2"\r\n')
    assert (answer["x-own"], answer["x-other"]) == ("error", "answer")


def test_a_file_behind_a_link(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    peer = serve(web.GET("/", lambda req: web.Response.file(tmp_path / "link"))).connect()
    assert peer.ask(fields=f"If-None-Match: {peer.ask()['etag']}\r\n").status == 304
    assert peer.ask(fields="Range: bytes=1-2\r\n").body == b"on"


def test_a_refusal_varies_by_what_the_answer_does_in_one_line(serve: Serve) -> None:
    resp = tagged().add_header("Vary", "Origin").add_header("Vary", "accept, Cookie")
    peer = serve(web.GET("/", lambda req: resp)).connect()
    assert peer.ask(fields='If-Match: "v2"\r\n')["vary"] == "Accept, Origin, Cookie"


DIGESTS = {"Content-Digest": "sha-256=:a:", "Content-MD5": "b", "Repr-Digest": "sha-256=:c:", "Digest": "sha-256=d"}


@pytest.mark.parametrize(
    ("fields", "status", "left"),
    [
        ("", 200, ["content-digest", "content-md5", "digest", "repr-digest"]),
        ("Range: bytes=0-1\r\n", 206, ["digest", "repr-digest"]),
        ("Range: bytes=0-1,3-4\r\n", 206, ["digest", "repr-digest"]),
        (f"If-None-Match: {TAG}\r\n", 304, ["digest", "repr-digest"]),
        ('If-Match: "v2"\r\n', 412, []),
        ("Range: bytes=9-\r\n", 416, []),
    ],
)
def test_digests_are_those_of_what_is_sent(serve: Serve, fields: str, status: int, left: list[str]) -> None:
    """RFC 9530: Content-Digest is about the bytes of this answer, Repr-Digest about what they are a part of."""
    resp = web.Response.text("hello", headers=DIGESTS).with_etag("v1")
    answer = serve(web.GET("/", lambda req: resp)).connect().ask(fields=fields)
    assert answer.status == status
    assert sorted(name.lower() for name, _ in answer.headers if name in DIGESTS) == left


def test_only_get_and_head_of_what_is_there(serve: Serve) -> None:
    site = serve(
        web.POST("/", lambda req: tagged()),
        web.GET("/made", lambda req: tagged().with_status(201)),
        web.GET("/untagged", lambda req: web.Response.text("hello")),
        web.GET("/undivided", lambda req: tagged().with_header("Accept-Ranges", "none")),
    )
    peer = site.connect()
    for fields in (f"If-None-Match: {TAG}\r\n", 'If-Match: "v2"\r\n', "Range: bytes=0-0\r\n"):
        assert peer.ask(method="POST", fields=fields).status == 200
        assert peer.ask("/made", fields=fields).status == 201
        assert peer.ask("/untagged", fields=fields).status == 200
    assert peer.ask("/undivided", fields="Range: bytes=0-0\r\n").status == 200
    assert peer.ask("/undivided", fields=f"If-None-Match: {TAG}\r\n").status == 304


def test_the_access_log_has_what_is_sent(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(BODY)
    site = serve(web.access_log(), web.static(tmp_path))
    peer = site.connect()
    with caplog.at_level(logging.INFO, "web.access"):
        tag = peer.ask("/file")["etag"]
        peer.ask("/file", fields=f"If-None-Match: {tag}\r\n")
        peer.ask("/file", fields="Range: bytes=0-9\r\n")
        several = peer.ask("/file", fields="Range: bytes=0-9,20-29\r\n")
        peer.ask("/file", fields="Range: bytes=300000-\r\n")
        eventually(lambda: len(caplog.records) == 5)
    sent = [(record.access["status"], record.access["bytes"]) for record in caplog.records]  # type: ignore[attr-defined]
    assert sent[:4] == [(200, len(BODY)), (304, 0), (206, 10), (206, len(several.body))]
    assert sent[4][0] == 416


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_replaced_after_the_conditions_is_sent_whole(embed: Embed, tmp_path: Path) -> None:
    """What after hooks of a final kind see was judged by the path; then another file stands there."""
    path = tmp_path / "file"
    path.write_bytes(BODY)

    def swap(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        assert resp.status == 206
        assert resp.size == 10
        (tmp_path / "new").write_bytes(b"new content")
        os.replace(tmp_path / "new", path)
        return resp

    site = embed(web.GET("/", lambda req: web.Response.file(path)), web.routing.After(swap, final=True))
    with site.connect() as peer:
        answer = peer.ask(fields="Range: bytes=0-9\r\n")
    assert (answer.status, answer.body) == (200, b"new content")
    assert answer["content-range"] is None
    assert str(answer["etag"]).startswith('W/"b-')


def test_a_file_that_goes_away_after_the_conditions(embed: Embed, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)

    def remove(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        path.unlink(missing_ok=True)
        return resp

    site = embed(web.GET("/", lambda req: web.Response.file(path)), web.routing.After(remove, final=True))
    with site.connect() as peer:
        answer = peer.ask(fields="Range: bytes=0-9\r\n")
    assert answer.status == 404
    assert answer["content-range"] is None


@pytest.mark.parametrize("fields", ["", "If-None-Match: *\r\n", "Range: bytes=0-9\r\n"])
def test_a_missing_file_is_a_404_whatever_is_asked(serve: Serve, tmp_path: Path, fields: str) -> None:
    site = serve(web.GET("/", lambda req: web.Response.file(tmp_path / "none")))
    answer = site.connect().ask(fields=fields)
    assert answer.status == 404
    assert answer["etag"] is None


def test_the_validators_of_the_application_stay(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    fields = {"ETag": TAG, "Last-Modified": "Sun, 13 Sep 2020 12:26:40 GMT", "Accept-Ranges": "none"}
    peer = serve(web.GET("/", lambda req: web.Response.file(tmp_path / "file", headers=fields))).connect()
    answer = peer.ask()
    assert {name: answer[name] for name in fields} == fields
    assert peer.ask(fields=f"If-None-Match: {TAG}\r\n").status == 304
    assert peer.ask(fields="Range: bytes=0-1\r\n").status == 200


def test_a_file_with_another_status_has_no_validators(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    peer = serve(web.GET("/", lambda req: web.Response.file(tmp_path / "file", status=503))).connect()
    answer = peer.ask(fields="Range: bytes=0-1\r\nIf-None-Match: *\r\n")
    assert (answer.status, answer.body) == (503, b"content")
    assert answer["etag"] is answer["last-modified"] is answer["accept-ranges"] is None


def test_tags_follow_every_change(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    peer = serve(web.static(tmp_path)).connect()
    tags = set()
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        os.utime(path, (1_600_000_000, 1_600_000_000))  # as a build does that is to be reproducible
        tags.add(peer.ask("/file")["etag"])
    assert len(tags) == 3


def test_last_modified_never_lies_ahead(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.utime(tmp_path / "file", (4_000_000_000, 4_000_000_000))
    answer = serve(web.static(tmp_path)).connect().ask("/file")
    assert str(answer["last-modified"]).endswith(str(answer["date"])[-13:])


def test_an_empty_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    peer = serve(web.static(tmp_path)).connect()
    assert peer.ask("/file", fields="Range: bytes=-5\r\n").status == 200
    refused = peer.ask("/file", fields="Range: bytes=0-\r\n")
    assert (refused.status, refused["content-range"]) == (416, "bytes */0")


# -- multipart/byteranges of a large file ----------------------------------------------------------------------------

SPANS = "Range: bytes=0-99999,100001-200000,-90000\r\n"


def test_parts_of_a_large_file_and_what_follows_them(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    site = serve(web.static(tmp_path))
    peer = site.connect(receive_buffer=4096)
    peer.ask("/file", "HEAD")
    before = open_fds()
    for _ in range(3):
        answer = peer.ask("/file", fields=SPANS)
        parts = re.split(rb"\r\n--[0-9a-f]{32}(?:\r\n|--\r\n)", b"\r\n" + answer.body)
        contents = [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]]
        assert contents == [BODY[:100_000], BODY[100_001:200_001], BODY[-90_000:]]
    assert peer.ask("/file", fields="Range: bytes=7-7\r\n").body == BODY[7:8]
    eventually(lambda: open_fds() == before, "the files are closed")


@pytest.mark.parametrize("read", [0, 50_000, 150_000, 250_000])
def test_a_client_that_leaves_amid_the_parts(serve: Serve, tmp_path: Path, read: int) -> None:
    (tmp_path / "file").write_bytes(BODY * 20)
    site = serve(web.static(tmp_path))
    site.connect().ask("/file", "HEAD")
    before = open_fds()
    peer = site.connect(receive_buffer=4096)
    peer.send(b"GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes=0-99999,100001-2000000,2000002-5999999\r\n\r\n")
    peer.exactly(read)
    peer.reset()
    eventually(lambda: open_fds() <= before, "its file is closed")
    assert site.connect().ask("/file", fields="Range: bytes=0-0\r\n").status == 206


def test_pipelined_parts_keep_one_file_open(embed: Embed, tmp_path: Path) -> None:
    """The end of the parts stands behind the file; it is open all the while."""
    (tmp_path / "file").write_bytes(BODY * 20)
    site = embed(web.static(tmp_path))
    with site.connect() as peer:
        before = open_fds()
        peer.send(f"GET /file HTTP/1.1\r\nHost: a\r\n{SPANS}\r\n".encode() * 10)
        site.settle()
        assert open_fds() == before + 1
        for _ in range(10):
            assert len(peer.answer().body) > 290_000
        assert open_fds() == before


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_resumes_a_download(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/file").write_bytes(BODY)
    site = serve(web.static(tmp_path / "site"))
    scheme = "https" if site.certificate else "http"
    trust = ["--cacert", site.certificate.cert] if site.certificate else []
    (tmp_path / "got").write_bytes(BODY[:123_456])
    subprocess.run(
        ["curl", "-sS", "--fail", "-C", "-", *trust, "-o", tmp_path / "got", f"{scheme}://localhost:{site.server.port}/file"],
        check=True, env=foreign_environment(),
    )  # fmt: skip
    assert (tmp_path / "got").read_bytes() == BODY


@pytest.mark.parametrize("kind", ["loop", "thread", "task"])
def test_compressed_answers(serve: Serve, kind: str) -> None:
    """Their tag is weak: good for 304, and the client that has it gets no part of other bytes."""
    source = Source()

    def handler(req: web.Request) -> web.Response:
        return web.Response.stream(source.plain()).with_etag("v1")

    async def later(req: web.Request) -> web.Response:
        return web.Response.stream(source.later()).with_etag("v1")

    site = serve(
        web.compress(minimum=0),
        web.GET("/stream", later if kind == "task" else handler, blocking=kind == "thread"),
        web.GET("/", lambda req: tagged("hello " * 100)),
    )
    peer = site.connect()
    coded = peer.ask(fields="Accept-Encoding: gzip\r\n")
    assert (coded["content-encoding"], coded["etag"]) == ("gzip", 'W/"v1"')
    for path in ("/", "/stream"):
        answer = peer.ask(path, fields='Accept-Encoding: gzip\r\nIf-None-Match: W/"v1"\r\n')
        assert (answer.status, answer["etag"], answer["vary"]) == (304, 'W/"v1"', "Accept-Encoding")
        assert answer["content-encoding"] is None
    assert source.ended.wait(10), "nobody closed the stream"
    part = peer.ask(fields="Accept-Encoding: gzip\r\nRange: bytes=0-4\r\n")
    assert (part.status, part.body, part["etag"]) == (206, b"hello", '"v1"')
    whole = peer.ask(fields='Accept-Encoding: gzip\r\nRange: bytes=0-4\r\nIf-Range: W/"v1"\r\n')
    assert (whole.status, len(whole.body)) == (200, 600)
