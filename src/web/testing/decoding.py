"""Content codings of replies undone (RFC 9110 8.4): gzip, deflate; br and zstd where their libraries are there.

A Decoder belongs to one reply. What is coded in a way that is not known here is left as it was sent, and so is a part
of a coded body (206), which cannot be decoded by itself.
"""

from __future__ import annotations

import sys
import zlib
from importlib import import_module
from typing import Any

from web.headers import Headers
from web.testing.errors import ReplyError

__all__ = ["Decoder"]


class Decoder:
    """``decode`` takes what comes, and ``finish`` says whether that was all of it. ReplyError: it is not so coded."""

    def __init__(self, status: int, headers: Headers) -> None:
        names = [name.strip().lower() for value in headers.get_all("content-encoding") for name in value.split(",")]
        made = [_step(name) for name in reversed(names)]
        self._steps = [] if status == 206 or None in made else made
        self._shown = ", ".join(names)
        self._begun = False

    def decode(self, data: bytes) -> bytes:
        self._begun = self._begun or bool(data)
        for step in self._steps:
            try:
                data = step.decompress(data) if data else data
            except Exception as error:  # each library has its own
                raise ReplyError(f"the content is not {self._shown}, as Content-Encoding says: {error}") from error
        return data

    def finish(self) -> None:
        """The content is over. An answer without content (to HEAD, or 304) was never begun."""
        if self._begun and not all(step.eof for step in self._steps):
            raise ReplyError(f"the content ended before its coding did (Content-Encoding: {self._shown})")


def _step(name: str) -> Any:
    """What undoes a coding: ``decompress(data)``, and ``eof``. None: nothing here does."""
    try:
        match name:
            case "gzip" | "x-gzip":
                return _Gzip()
            case "deflate":
                return _Deflate()
            case "br":
                return _Brotli(import_module("brotli"))
            case "zstd" if sys.version_info >= (3, 14):
                return import_module("compression.zstd").ZstdDecompressor()
            case "zstd":
                return import_module("zstandard").ZstdDecompressor().decompressobj()
    except ImportError:
        pass
    return None


class _Gzip:
    """One member, or several (RFC 1952 2.2)."""

    def __init__(self) -> None:
        self._made = zlib.decompressobj(31)

    def decompress(self, data: bytes) -> bytes:
        pieces = []
        while data:
            if self._made.eof:
                self._made = zlib.decompressobj(31)
            pieces.append(self._made.decompress(data))
            data = self._made.unused_data
        return b"".join(pieces)

    @property
    def eof(self) -> bool:
        return self._made.eof


class _Deflate:
    """zlib's format (RFC 1950); and DEFLATE without it (RFC 1951), which some send under this name."""

    def __init__(self) -> None:
        self._made: Any = None

    def decompress(self, data: bytes) -> bytes:
        if self._made is None:
            self._made = zlib.decompressobj(15 if data[0] & 15 == 8 else -15)
        found: bytes = self._made.decompress(data)
        return found

    @property
    def eof(self) -> bool:
        return self._made is not None and bool(self._made.eof)


class _Brotli:
    def __init__(self, library: Any) -> None:
        self._made: Any = library.Decompressor()

    def decompress(self, data: bytes) -> bytes:
        pieces: list[bytes] = [self._made.process(data)]
        while pieces[-1] and not self.eof:  # it gives some 32 KiB at a time
            pieces.append(self._made.process(b""))
        return b"".join(pieces)

    @property
    def eof(self) -> bool:
        return bool(self._made.is_finished())
