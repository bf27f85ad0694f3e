"""The chunked transfer coding: what is decoded, what is refused, what it may cost (RFC 9112 7.1; faults.md 1 and 2).

Each input goes through `body_verdict`: whole, byte by byte, cut at every point, in place, and in front of unreadable
memory.
"""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1_ways import GUARD, WAITS, Body, Refused, SmallLimits, body_verdict
from web.hotpath import ChunkedDecoder, ProtocolError

VALUE = {9, *range(0x20, 0x7F), *range(0x80, 0x100)}
TOKEN = set(b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode())

DECODED = {
    "nothing": (b"0\r\n\r\n", b"", b""),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "CR and LF in the data": (b"4\r\n\r\n0\r\r\n0\r\n\r\n", b"\r\n0\r", b""),
    "digits in both cases": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", b""),
    "two digits": (b"1F\r\n" + b"x" * 31 + b"\r\n0\r\n\r\n", b"x" * 31, b""),
    "leading zeros": (b"0000000000000002\r\nab\r\n0000\r\n\r\n", b"ab", b""),
    "what follows": (b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", b"a", b"GET / HTTP/1.1\r\n"),
    "extension": (b"1;a=b\r\nx\r\n0;last\r\n\r\n", b"x", b""),
    "extension after bad white space": (b'1 \t; a = "b\\"c" ; d\r\nx\r\n0\t;\r\n\r\n', b"x", b""),
    "extension beyond ASCII": (b"1;\xe9\r\nx\r\n0\r\n\r\n", b"x", b""),
    "trailers": (b"1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\nHost: c\r\nD:\r\n\r\nz", b"x", b"z"),
}

REFUSED = {
    "no size": (400, b"\r\nx"),
    "extension without size": (400, b";a\r\n"),
    "space before the size": (400, b" 1\r\nx\r\n0\r\n\r\n"),
    "plus": (400, b"+1\r\nx\r\n0\r\n\r\n"),
    "minus": (400, b"-1\r\nx\r\n0\r\n\r\n"),
    "0x": (400, b"0x1\r\nx\r\n0\r\n\r\n"),
    "underscore": (400, b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    "space after the size": (400, b"1 \r\nx\r\n0\r\n\r\n"),
    "HTAB after the size": (400, b"1\t\r\nx\r\n0\r\n\r\n"),
    "space within the size": (400, b"1 0\r\nx\r\n0\r\n\r\n"),
    "space after the last size": (400, b"0 \r\n\r\n"),
    "letter beyond f": (400, b"1g\r\nx\r\n0\r\n\r\n"),
    "NUL": (400, b"\x00\r\n"),
    "17 digits": (400, b"00000000000000001\r\nx\r\n0\r\n\r\n"),
    "2**62": (400, b"4000000000000000\r\n"),
    "2**64": (400, b"10000000000000000\r\n"),
    "2**64 + 5": (400, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "lone LF after the size": (400, b"1\nx\r\n0\r\n\r\n"),
    "CR without LF after the size": (400, b"1\rx\r\n0\r\n\r\n"),
    "CR CR LF after the size": (400, b"1\r\r\nx\r\n0\r\n\r\n"),
    "LF in an extension": (400, b"1;a\nx\r\n0\r\n\r\n"),
    "CR in an extension": (400, b"1;a\rb\r\nx\r\n0\r\n\r\n"),
    "LF in a quoted extension": (400, b'1;a="\n"\r\nx\r\n0\r\n\r\n'),
    "NUL in an extension": (400, b"1;\x00\r\nx\r\n0\r\n\r\n"),
    "DEL in an extension": (400, b"1;\x7f\r\nx\r\n0\r\n\r\n"),
    "data too long": (400, b"1\r\nxy\r\n0\r\n\r\n"),
    "data too short": (400, b"3\r\nx\r\n0\r\n\r\n"),
    "lone LF after the data": (400, b"1\r\nx\n0\r\n\r\n"),
    "CR without LF after the data": (400, b"1\r\nx\r0\r\n\r\n"),
    "two other bytes instead of CRLF": (400, b"1\r\nxyz0\r\n\r\n"),
    "lone LF at the end": (400, b"0\r\n\n"),
    "CR without LF at the end": (400, b"0\r\n\rx"),
    "trailer with space before the colon": (400, b"0\r\nA : b\r\n\r\n"),
    "trailer without colon": (400, b"0\r\nA\r\n\r\n"),
    "trailer without name": (400, b"0\r\n: b\r\n\r\n"),
    "obs-fold in the trailers": (400, b"0\r\nA: b\r\n c\r\n\r\n"),
    "white space first in the trailers": (400, b"0\r\n\tA: b\r\n\r\n"),
    "lone LF after a trailer": (400, b"0\r\nA: b\n\r\n"),
    "CR without LF in a trailer": (400, b"0\r\nA: b\rc\r\n\r\n"),
    "NUL in a trailer": (400, b"0\r\nA: \x00\r\n\r\n"),
    "a request instead of trailers": (400, b"0\r\nGET / HTTP/1.1\r\n\r\n"),
}


@pytest.mark.parametrize("name", DECODED)
def test_decoded(name: str) -> None:
    data, payload, unused = DECODED[name]
    assert body_verdict(data) == Body(payload, unused)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    status, data = REFUSED[name]
    verdict = body_verdict(data)
    assert isinstance(verdict, Refused), verdict
    assert verdict.status == status


@pytest.mark.parametrize("name", DECODED)
def test_what_is_not_whole_waits(name: str) -> None:
    data, _, unused = DECODED[name]
    for end in range(len(data) - len(unused)):
        assert body_verdict(data[:end]) == WAITS


def test_the_largest_size_is_counted() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"3fffffffffffffff\r\n" + b"x" * 1000) == b"x" * 1000
    assert not decoder.finished


def test_payload_before_an_error_and_the_error_again() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"2\r\nab\r\n") == b"ab"
    for data in (b"x", b"0\r\n\r\n", b""):
        with pytest.raises(ProtocolError, match="hexadecimal"):
            decoder.feed(data)
    assert not decoder.finished


def test_after_the_end() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"0\r\n\r\n0") == b""
    assert (decoder.finished, decoder.unused) == (True, b"0")
    with pytest.raises(ValueError, match="has ended"):
        decoder.feed(b"")


# ---- every byte of the 256 in every place ----


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (b"", b"", set(b"0123456789abcdefABCDEF")),
        (b"0", b"", set(b"0123456789abcdefABCDEF; \t\r")),
        (b"0\t", b";\r\n\r\n", set(b" \t;")),
        (b"0;a", b"\r\n\r\n", VALUE),
        (b"1\r\n", b"\r\n0\r\n\r\n", set(range(256))),
        (b"0\r\nA", b"A: b\r\n\r\n", TOKEN | {ord(":")}),
        (b"0\r\n", b"A: b\r\n\r\n", TOKEN),
        (b"0\r\nA:", b"\r\n\r\n", VALUE),
        (b"0", b"\n\r\n", {13}),
        (b"0\r", b"\r\n", {10}),
        (b"0;a", b"\n\r\n", {13}),
        (b"1\r\nx", b"\n0\r\n\r\n", {13}),
        (b"1\r\nx\r", b"0\r\n\r\n", {10}),
        (b"0\r\nA:", b"\n\r\n", {13}),
        (b"0\r\nA:\r", b"\r\n", {10}),
        (b"0\r\n", b"\n", {13}),
        (b"0\r\n\r", b"", {10}),
    ],
)
def test_every_byte(before: bytes, after: bytes, allowed: set[int]) -> None:
    found, statuses = set(), set()
    for byte in range(256):
        data = before + bytes([byte]) + after
        decoder = ChunkedDecoder()
        try:
            decoder.feed_address(GUARD.place(data), len(data))
        except ProtocolError as error:
            statuses.add(error.status)
        else:
            assert decoder.finished or after == b""
            found.add(byte)
    assert statuses <= {400}
    assert found == allowed


# ---- what a body may cost beside its payload ----


def test_extensions_are_bounded_in_the_whole_body() -> None:
    limits = SmallLimits(field=20)
    chunk = b"1 ;34567890\r\nx\r\n"  # ten bytes between size and CR
    assert body_verdict(chunk * 2 + b"0\r\n\r\n" + chunk, limits) == Body(b"xx", chunk)
    assert body_verdict(chunk * 2 + b"1", limits) == WAITS
    for endless in (chunk * 3, b"1;" + b"x" * 20, b"1" + b" " * 21, chunk * 2 + b"1;", b"1;\r\nx\r\n" * 21):
        assert body_verdict(endless, limits) == Refused(400, "chunk extensions too long")


def test_trailers_are_bounded() -> None:
    limits = SmallLimits(field=10, fields=24, field_count=2)
    assert body_verdict(b"0\r\nHost: abcd\r\nHost: abcd\r\n\r\n", limits) == Body(b"", b"")
    for trailers in (
        b"Host: abcde\r\n\r\n",
        b"a" * 11,
        b"a:" + b" " * 9,
        b"a:\r\nb:\r\nc",
        b"Host: abcd\r\nHost: abcd\r\nc",
    ):
        verdict = body_verdict(b"0\r\n" + trailers, limits)
        assert isinstance(verdict, Refused)
        assert verdict.status == 431
    verdict = body_verdict(b"0\r\nHost: abcd\r\nHost: abcd\r\n\r\n", SmallLimits(field=10, fields=23))
    assert verdict == Refused(431, "trailer, or all trailers together, too long")


def test_a_million_chunks_of_one_byte() -> None:
    # Each byte is looked at once: work that grew with the square of the number of chunks would not end here.
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\nx\r\n" * 2**20) == b"x" * 2**20
    for _ in range(2**18):
        for byte in (b"1", b"\r", b"\n", b"x", b"\r", b"\n"):
            decoder.feed(byte)
    assert decoder.feed(b"0\r\n\r\n") == b""
    assert decoder.finished


# ---- round trips ----

extensions = st.sampled_from([b"", b";a", b";a=b", b' ; a="b;c"', b"\t;"])


@settings(deadline=None, database=None)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), extensions, st.booleans(), st.integers(0, 3)), max_size=6),
    st.lists(st.sampled_from([b"A: b", b"Content-Length: 5", b"X:"]), max_size=3),
    st.binary(max_size=10),
)
def test_round_trip(chunks: list[tuple[bytes, bytes, bool, int]], trailers: list[bytes], unused: bytes) -> None:
    data = b""
    for payload, extension, upper, zeros in chunks:
        size = b"%0*x" % (zeros + 2, len(payload))
        data += (size.upper() if upper else size) + extension + b"\r\n" + payload + b"\r\n"
    data += b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n" + unused
    assert body_verdict(data) == Body(b"".join(chunk[0] for chunk in chunks), unused)


@settings(deadline=None, database=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_get_one_verdict(junk: bytes, at: int) -> None:
    data = b'5;a="b"\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n'
    body_verdict(junk)
    body_verdict(data[:at] + junk + data[at:])


# ---- the object ----


def test_repeat() -> None:
    data = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert ChunkedDecoder().repeat(data + b"rest", 1000) == 11
    with pytest.raises(ProtocolError, match="white space"):
        ChunkedDecoder().repeat(b"5 \r\n", 2)
    for partial, n in ((data[:-1], 1), (data, 0)):
        with pytest.raises(ValueError, match="whole chunked body"):
            ChunkedDecoder().repeat(partial, n)


def test_misuse_raises() -> None:
    with pytest.raises(TypeError):
        ChunkedDecoder().feed(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ChunkedDecoder().feed_in_place(b"0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"limits\.field is 0"):
        ChunkedDecoder(SmallLimits(field=0))
