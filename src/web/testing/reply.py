"""What a client gets: a Reply, whole; or a StreamedReply, whose head is there and whose content comes in pieces."""

from __future__ import annotations

import codecs
import json as _json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from web.headers import Headers
from web.testing.decoding import Decoder
from web.testing.errors import StatusError

__all__ = ["AsyncStreamedReply", "Reply", "StreamedReply"]

_CHARSET = re.compile(r';[ \t]*charset[ \t]*=[ \t]*"?([^\s;"]+)', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Head:
    status_code: int
    reason_phrase: str
    http_version: str
    headers: Headers
    method: str
    url: str
    cookies: dict[str, str]
    history: list[Reply]

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code <= 299

    @property
    def is_redirect(self) -> bool:
        """Whether it says where to go on."""
        return self.status_code in (301, 302, 303, 307, 308) and "location" in self.headers

    @property
    def is_client_error(self) -> bool:
        return 400 <= self.status_code <= 499

    @property
    def is_server_error(self) -> bool:
        return self.status_code >= 500

    @property
    def is_error(self) -> bool:
        return self.status_code >= 400

    @property
    def charset(self) -> str:
        """By the Content-Type; UTF-8 where it does not say, or says one that Python does not have."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        if found is None:
            return "utf-8"
        try:
            b"\xff".decode(found[1], "replace")
        except (LookupError, ValueError):  # no text encoding at all, or one that cannot pass over what it cannot read
            return "utf-8"
        return found[1].lower()

    def _status_error(self, more: str) -> StatusError:
        to = f", to {self.headers['location']}" if self.is_redirect else ""
        text = f"{self.method} {self.url}: {self.status_code} {self.reason_phrase}{to}{more}"
        return StatusError(text, self.status_code)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reply(_Head):
    """An answer. ``url``: of the request that it answers; ``cookies``: what it set; ``history``: the redirects that led
    to it; ``raw``: the bytes of its content as they were sent."""

    raw: bytes = field(repr=False)

    @cached_property
    def content(self) -> bytes:
        """bytes, whose content coding is undone (web.testing.decoding). ReplyError where they are not so coded."""
        decoder = Decoder(self.status_code, self.headers)
        content = decoder.decode(self.raw)
        decoder.finish()
        return content

    @property
    def text(self) -> str:
        """The content by its charset; what that does not allow becomes U+FFFD."""
        return self.content.decode(self.charset, "replace")

    def json(self) -> Any:
        """The content as JSON; ValueError where it is none."""
        return _json.loads(self.content)

    def raise_for_status(self) -> Reply:
        """StatusError unless the status is 2xx; else this Reply."""
        if self.is_success:
            return self
        text = self.text.strip()
        raise self._status_error(f": {text[:200]}" if text else "")

    def __repr__(self) -> str:
        return f"<Reply {self.status_code} {self.reason_phrase}, {len(self.raw)} bytes>"


class LineSplitter:
    """Cuts text that comes in pieces into lines, without their ends (LF or CRLF)."""

    def __init__(self, charset: str) -> None:
        self._decoder = codecs.getincrementaldecoder(charset)("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole by now. Empty: that was all."""
        self._rest += self._decoder.decode(data, not data)
        *lines, self._rest = self._rest.split("\n")
        if not data and self._rest:
            lines.append(self._rest)
            self._rest = ""
        return [line.removesuffix("\r") for line in lines]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedReply(_Head):
    """An answer whose content is still to come. It can be read once, and only within the ``with`` that made it."""

    _next: Callable[[], bytes] = field(repr=False)

    def iter_raw(self) -> Iterator[bytes]:
        """The content as it is sent, in the pieces in which it comes."""
        while piece := self._next():
            yield piece

    def iter_bytes(self) -> Iterator[bytes]:
        """The content in the pieces in which it comes; a content coding is undone."""
        decoder = Decoder(self.status_code, self.headers)
        for sent in self.iter_raw():
            if piece := decoder.decode(sent):
                yield piece
        decoder.finish()

    def iter_lines(self) -> Iterator[str]:
        """The content as lines of text, without their ends."""
        splitter = LineSplitter(self.charset)
        for piece in self.iter_bytes():
            yield from splitter.feed(piece)
        yield from splitter.feed(b"")

    def read(self) -> bytes:
        """What is left of the content."""
        return b"".join(self.iter_bytes())

    def raise_for_status(self) -> StreamedReply:
        """StatusError unless the status is 2xx; else this one."""
        if self.is_success:
            return self
        raise self._status_error("")


@dataclass(frozen=True, kw_only=True, eq=False)
class AsyncStreamedReply(_Head):
    """StreamedReply for ``async with``."""

    _next: Callable[[], Awaitable[bytes]] = field(repr=False)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The content as it is sent, in the pieces in which it comes."""
        while piece := await self._next():
            yield piece

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The content in the pieces in which it comes; a content coding is undone."""
        decoder = Decoder(self.status_code, self.headers)
        async for sent in self.aiter_raw():
            if piece := decoder.decode(sent):
                yield piece
        decoder.finish()

    async def aiter_lines(self) -> AsyncIterator[str]:
        """The content as lines of text, without their ends."""
        splitter = LineSplitter(self.charset)
        async for piece in self.aiter_bytes():
            for line in splitter.feed(piece):
                yield line
        for line in splitter.feed(b""):
            yield line

    async def aread(self) -> bytes:
        """What is left of the content."""
        return b"".join([piece async for piece in self.aiter_bytes()])

    def raise_for_status(self) -> AsyncStreamedReply:
        """StatusError unless the status is 2xx; else this one."""
        if self.is_success:
            return self
        raise self._status_error("")
