"""web.testing.decoding: what a content coding did is undone, in one piece or in many; and what is not undone."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

import web
from web.content_codings import make_coding
from web.headers import Headers
from web.testing import AsyncClient, Client, Reply, ReplyError
from web.testing.decoding import Decoder

TEXT = "".join(f"{number} bottles of beer\n" for number in range(5000)).encode()


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


CODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
    "deflate": zlib.compress(TEXT),
    "Deflate": raw_deflate(TEXT),
    "br": make_coding("x", "br", 5).compress(TEXT),
    "zstd": make_coding("x", "zstd", 3).compress(TEXT),
    "gzip, br": make_coding("x", "br", 5).compress(gzip.compress(TEXT)),
}


def decoder(value: str, status: int = 200) -> Decoder:
    return Decoder(status, Headers([("Content-Encoding", value)]))


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_each_coding(coding: str, size: int) -> None:
    made, coded = decoder(coding), CODED[coding]
    found = b"".join(made.decode(coded[at : at + size]) for at in range(0, len(coded), size))
    made.finish()
    assert found == TEXT


def test_several_fields_are_one_list() -> None:
    made = Decoder(200, Headers([("Content-Encoding", "gzip"), ("Content-Encoding", "br")]))
    assert made.decode(CODED["gzip, br"]) == TEXT


@pytest.mark.parametrize("coding", CODED)
def test_one_that_ends_too_soon(coding: str) -> None:
    made = decoder(coding)
    made.decode(CODED[coding][:-1])
    with pytest.raises(ReplyError, match=r"before its coding did \(Content-Encoding: "):
        made.finish()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_one_that_is_none(coding: str) -> None:
    made = decoder(coding)
    with pytest.raises(ReplyError, match=f"is not {coding}, as Content-Encoding says"):
        made.decode(b"\xff<!doctype html>" * 10)


@pytest.mark.parametrize(
    ("value", "status"), [("identity", 200), ("compress", 200), ("gzip, own", 200), ("gzip", 206), ("", 200)]
)
def test_what_is_left_as_it_was_sent(value: str, status: int) -> None:
    made = decoder(value, status)
    assert made.decode(CODED["gzip"]) == CODED["gzip"]
    made.finish()


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_without_the_library(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("brotli", "zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, library, None)
    assert decoder(coding).decode(CODED[coding]) == CODED[coding]
    assert decoder("gzip").decode(CODED["gzip"]) == TEXT


def test_nothing_is_no_coded_body() -> None:
    decoder("gzip").finish()


# -- replies -----------------------------------------------------------------------------------------------------------


def items(req: web.Request) -> Iterator[bytes]:
    yield from TEXT.splitlines(True)


def site() -> web.App:
    return web.App(
        web.compress(("br", "gzip"), types=("text/*", "application/octet-stream")),
        web.GET("/", lambda req: TEXT.decode()),
        web.GET("/stream", items),
        web.GET("/broken", lambda req: web.Response.text("no gzip", headers={"Content-Encoding": "gzip"})),
    )


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_reply(coding: str) -> None:
    client = Client(site(), headers={"Accept-Encoding": coding})
    reply = client.get("/")
    assert (reply.content, reply.text) == (TEXT, TEXT.decode())
    assert reply.content is reply.content
    assert reply.headers["content-encoding"] == coding
    assert len(reply.raw) == int(reply.headers["content-length"]) < len(TEXT)
    assert decoder(coding).decode(reply.raw) == TEXT
    assert f"{len(reply.raw)} bytes" in repr(reply)
    assert client.get("/stream").content == TEXT
    head = client.head("/")
    assert (head.raw, head.content, head.headers["content-encoding"]) == (b"", b"", coding)


def test_a_reply_that_is_not_coded() -> None:
    reply = Client(site()).get("/")
    assert reply.raw == reply.content == TEXT


def test_one_that_is_not_what_it_says() -> None:
    reply: Reply = Client(site()).get("/broken")
    assert reply.raw == b"no gzip"
    assert reply.is_success
    with pytest.raises(ReplyError, match="is not gzip"):
        _ = reply.text
    assert "7 bytes" in repr(reply)


@pytest.mark.parametrize("reading", ["iter_bytes", "iter_lines", "read", "iter_raw"])
def test_a_streamed_reply(reading: str) -> None:
    def read(client: Client) -> bytes:
        with client.stream("GET", "/stream") as reply:
            found = getattr(reply, reading)()
            if reading == "iter_lines":
                return "".join(f"{line}\n" for line in found).encode()
            return found if reading == "read" else b"".join(found)

    found = read(Client(site(), headers={"Accept-Encoding": "gzip"}))
    assert (decoder("gzip").decode(found) if reading == "iter_raw" else found) == TEXT


@pytest.mark.parametrize("reading", ["aiter_bytes", "aiter_lines", "aread", "aiter_raw"])
def test_an_async_streamed_reply(reading: str) -> None:
    async def read() -> bytes:
        async with (
            AsyncClient(site(), headers={"Accept-Encoding": "gzip"}) as client,
            client.stream("GET", "/stream") as reply,
        ):
            found: Any = getattr(reply, reading)()
            if reading == "aread":
                return bytes(await found)
            pieces = [piece async for piece in found]
            return b"".join(pieces) if reading != "aiter_lines" else "".join(f"{line}\n" for line in pieces).encode()

    found = asyncio.run(read())
    assert (decoder("gzip").decode(found) if reading == "aiter_raw" else found) == TEXT


@pytest.mark.parametrize(
    ("sent", "words"), [(b"no gzip", "is not gzip"), (CODED["gzip"][:-1], "before its coding did")]
)
def test_a_streamed_reply_that_is_not_what_it_says(sent: bytes, words: str) -> None:
    resp = web.Response.bytes(sent, headers={"Content-Encoding": "gzip"})
    client = Client(web.App(web.GET("/", lambda req: resp)))
    with client.stream("GET", "/") as reply, pytest.raises(ReplyError, match=words):
        reply.read()


def test_one_that_is_cut() -> None:
    resp = web.Response.bytes(CODED["gzip"][:-1], headers={"Content-Encoding": "gzip"})
    reply = Client(web.App(web.GET("/", lambda req: resp))).get("/")
    with pytest.raises(ReplyError, match="before its coding did"):
        _ = reply.content
