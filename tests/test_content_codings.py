"""web.content_codings: what is coded can be decoded, a stream at each item; a library that is missing is told."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import web
from web.content_codings import LEVELS, Coding, make_coding, zstd_of_python, zstd_of_zstandard

PYTHONS_ZSTD: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

MAKERS: dict[str, Callable[[int], Coding]] = {
    **{name: lambda level, name=name: make_coding("x", name, level) for name in LEVELS},  # type: ignore[misc]
    "zstd of Python": lambda level: zstd_of_python(PYTHONS_ZSTD, level),
}
if sys.version_info < (3, 14):
    MAKERS["zstd of zstandard"] = lambda level: zstd_of_zstandard(import_module("zstandard"), level)


class Decoder:
    """Decodes a stream as it comes; ``ended``: it is whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: Any
        if name == "gzip":
            self.made = zlib.decompressobj(31)
        elif name == "br":
            self.made = import_module("brotli").Decompressor()
        else:
            self.made = PYTHONS_ZSTD.ZstdDecompressor()

    def decode(self, data: bytes) -> bytes:
        if self.name != "br":
            found: bytes = self.made.decompress(data)
            return found
        pieces = [self.made.process(data)]
        while pieces[-1] and not self.ended:  # it gives some 32 KiB at a time
            pieces.append(self.made.process(b""))
        return b"".join(pieces)

    @property
    def ended(self) -> bool:
        return bool(self.made.is_finished() if self.name == "br" else self.made.eof)


@pytest.mark.parametrize("maker", MAKERS)
@settings(deadline=None, database=None)
@given(body=st.binary(max_size=5000), bound=st.integers(0, 1))
def test_a_whole_body(maker: str, body: bytes, bound: int) -> None:
    name = maker.split(maxsplit=1)[0]
    coding = MAKERS[maker](LEVELS[name][bound])
    decoder = Decoder(name)
    assert coding.name == name
    assert decoder.decode(coding.compress(body)) == body
    assert decoder.ended


@pytest.mark.parametrize("maker", MAKERS)
@settings(deadline=None, database=None)
@given(items=st.lists(st.one_of(st.binary(min_size=1, max_size=100), st.just(b"x" * 20_000)), max_size=5))
def test_each_item_of_a_stream_can_be_read_at_once(maker: str, items: list[bytes]) -> None:
    coding = MAKERS[maker](LEVELS[maker.split(maxsplit=1)[0]][2])
    encoder, decoder = coding.stream(), Decoder(coding.name)
    for item in items:
        coded = encoder.encode(item)
        assert coded
        assert decoder.decode(coded) == item
        assert not decoder.ended
    end = encoder.finish()
    assert end
    assert decoder.decode(end) == b""
    assert decoder.ended


@pytest.mark.parametrize("maker", MAKERS)
def test_streams_know_nothing_of_each_other(maker: str) -> None:
    coding = MAKERS[maker](LEVELS[maker.split(maxsplit=1)[0]][2])
    first, second = coding.stream(), coding.stream()
    coded = [first.encode(b"one"), second.encode(b"two"), first.finish(), second.finish()]
    decoder = Decoder(coding.name)
    assert decoder.decode(coded[1]) + decoder.decode(coded[3]) == b"two"


def test_a_level_is_used() -> None:
    body = b"".join(b"%d %d;" % (number * number % 977, number % 131) for number in range(4000))
    for name, (least, most, _) in LEVELS.items():
        sizes = [len(make_coding("x", name, level).compress(body)) for level in (least, most)]
        assert sizes[1] < sizes[0], name
        streams = [make_coding("x", name, level).stream() for level in (least, most)]
        assert len(streams[1].encode(body)) < len(streams[0].encode(body)), name


@pytest.mark.parametrize(
    ("coding", "library", "help_"),
    [
        ("br", "brotli", r"pip install weblatch\[compress\]"),
        ("zstd", "zstandard", r"pip install weblatch\[compress\]")
        if sys.version_info < (3, 14)
        else ("zstd", "compression.zstd", "built without it"),
    ],
)
def test_a_missing_library_is_told(coding: str, library: str, help_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(web.WebError, match=rf"compress\(\.\.\.\): '{coding}' needs {library}, .*{help_}"):
        web.compress((coding, "gzip"))
    web.compress("gzip")
