"""Content codings (RFC 9110 8.4.1): gzip, br (RFC 7932) and zstd (RFC 8878), for whole bodies and for streams.

A ``Coding`` is what an application asked for, made once: it never changes, and threads may share it. Each stream gets
an ``Encoder`` of its own, which belongs to whoever iterates the stream.

Invariants: which library codes is a matter of the Python version and of what the application names, never of what is
installed: what is missing is told when the Coding is made. Memory of an Encoder is bounded by the windows below.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from web.errors import WebError

__all__ = ["LEVELS", "Coding", "Encoder", "make_coding"]

# coding -> least, most and usual level. zstd beyond 19 needs windows that no client must have (RFC 9659: 8 MB).
LEVELS: dict[str, tuple[int, int, int]] = {"zstd": (1, 19, 3), "br": (0, 11, 4), "gzip": (1, 9, 5)}

_GZIP_WBITS = 31  # zlib: a window of 32 KiB, with gzip's header and trailer (RFC 1952)
_STREAM_WINDOW = 18  # log2: 256 KiB for each stream of br and zstd, in place of up to 8 MiB


class Encoder(Protocol):
    """One stream on its way through a coding. What it gives is never empty: as a chunk that would be the end."""

    def encode(self, data: bytes) -> bytes:
        """``data``, which is not empty, flushed: whoever gets this can decode all that was given so far."""

    def finish(self) -> bytes:
        """What makes the stream whole. Called once, and only when nothing is missing."""


@dataclass(frozen=True, slots=True)
class Coding:
    """``name``: as in Content-Encoding. ``compress``: a whole body. ``stream``: a new Encoder."""

    name: str
    compress: Callable[[bytes], bytes]
    stream: Callable[[], Encoder]


def make_coding(what: str, name: str, level: int) -> Coding:
    """A coding of LEVELS at a level within its bounds. WebError, which begins with ``what``: its library is missing."""
    if name == "gzip":
        return Coding(name, lambda body: zlib.compress(body, level, _GZIP_WBITS), lambda: _Gzip(level))
    if name == "br":
        brotli = _load(what, name, "brotli")
        return Coding(name, lambda body: brotli.compress(body, quality=level), lambda: _Brotli(brotli, level))
    if sys.version_info >= (3, 14):
        return zstd_of_python(_load(what, name, "compression.zstd"), level)
    return zstd_of_zstandard(_load(what, name, "zstandard"), level)


def _load(what: str, name: str, library: str) -> Any:
    try:
        return import_module(library)
    except ImportError:
        help_ = (
            "this Python was built without it; use another one, or leave 'zstd' out"
            if library == "compression.zstd"
            else "pip install weblatch[compress]"
        )
        raise WebError(f"{what}: {name!r} needs {library}, which is not installed; {help_}") from None


def zstd_of_python(module: Any, level: int) -> Coding:
    """zstd by the standard library, from Python 3.14 on."""
    return Coding("zstd", lambda body: module.compress(body, level), lambda: _PythonZstd(module, level))


def zstd_of_zstandard(module: Any, level: int) -> Coding:
    """zstd by the package zstandard. Its compressors are not for several threads: each body gets a new one."""
    return Coding(
        "zstd", lambda body: module.ZstdCompressor(level=level).compress(body), lambda: _Zstandard(module, level)
    )


class _Gzip:
    """About 270 KB."""

    __slots__ = ("_made",)

    def __init__(self, level: int) -> None:
        self._made = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WBITS)

    def encode(self, data: bytes) -> bytes:
        return self._made.compress(data) + self._made.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._made.flush()


class _Brotli:
    __slots__ = ("_made",)

    def __init__(self, module: ModuleType, level: int) -> None:
        self._made: Any = module.Compressor(quality=level, lgwin=_STREAM_WINDOW)

    def encode(self, data: bytes) -> bytes:
        coded: bytes = self._made.process(data) + self._made.flush()
        return coded

    def finish(self) -> bytes:
        coded: bytes = self._made.finish()
        return coded


class _PythonZstd:
    __slots__ = ("_made",)

    def __init__(self, module: Any, level: int) -> None:
        names = module.CompressionParameter
        self._made: Any = module.ZstdCompressor(
            options={names.compression_level: level, names.window_log: _STREAM_WINDOW}
        )

    def encode(self, data: bytes) -> bytes:
        coded: bytes = self._made.compress(data, self._made.FLUSH_BLOCK)
        return coded

    def finish(self) -> bytes:
        coded: bytes = self._made.flush()
        return coded


class _Zstandard:
    __slots__ = ("_block", "_made")

    def __init__(self, module: Any, level: int) -> None:
        bounded = module.ZstdCompressionParameters.from_level(level, window_log=_STREAM_WINDOW)
        self._made: Any = module.ZstdCompressor(compression_params=bounded).compressobj()
        self._block = module.COMPRESSOBJ_FLUSH_BLOCK

    def encode(self, data: bytes) -> bytes:
        coded: bytes = self._made.compress(data) + self._made.flush(self._block)
        return coded

    def finish(self) -> bytes:
        coded: bytes = self._made.flush()
        return coded
