"""web.testing.parser: what is an answer and what is not, however the bytes come."""

from __future__ import annotations

import http.client
import io
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from web.testing import ReplyError
from web.testing.parser import CHUNK_LINE_MAX, HEAD_MAX, ReplyParser

OK = b"HTTP/1.1 200 OK\r\n"


def parse(data: bytes, method: str = "GET", ends: bool = True) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, headers, content) of bytes and then the end of the connection."""
    parser = ReplyParser(method)
    content = parser.feed(data)
    if ends:
        parser.end()
    assert parser.finished
    assert parser.head is not None
    return parser.head.status, list(parser.head.headers.items()), content


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n", b"abcde"),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 \r\nContent-Length: 99\r\n\r\n", b""),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n"
            + OK
            + b"Content-Length: 1\r\n\r\nx",
            b"x",
        ),
    ],
)
def test_answers_that_say_where_they_end(data: bytes, content: bytes) -> None:
    assert parse(data, ends=False)[2] == content


def test_an_answer_may_end_with_the_connection() -> None:
    parser = ReplyParser()
    assert parser.feed(b"HTTP/1.0 200 OK\r\nA:  b c \t\r\n\r\nall of ") == b"all of "
    assert parser.feed(b"it") == b"it"
    assert not parser.finished
    parser.end()
    assert parser.finished
    assert parser.head is not None
    assert (parser.head.http_version, parser.head.reason) == ("1.0", "OK")
    assert list(parser.head.headers.items()) == [("A", "b c")]


def test_an_answer_to_head_has_no_content() -> None:
    assert parse(OK + b"Content-Length: 5\r\n\r\n", "HEAD", ends=False)[2] == b""
    assert parse(OK + b"Transfer-Encoding: chunked\r\n\r\n", "HEAD", ends=False)[2] == b""


WRONG = [
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 200\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 600 OK\r\n\r\n",
    b"HTTP/1.1 200 O\0K\r\n\r\n",
    b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    OK + b"A : b\r\n\r\n",
    OK + b" A: b\r\n\r\n",
    OK + b"A: b\r\n c\r\n\r\n",
    OK + b": b\r\n\r\n",
    OK + b"A\r\n\r\n",
    OK + b"A: b\rc\r\n\r\n",
    OK + b"A: b\nc: d\r\n\r\n",
    OK + b"A: b\0c\r\n\r\n",
    OK + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    OK + b"Content-Length: +1\r\n\r\na",
    OK + b"Content-Length: 1, 1\r\n\r\na",
    OK + b"Content-Length:\r\n\r\n",
    OK + b"Content-Length: \xb2\r\n\r\naa",
    OK + b"Content-Length: 1\r\n\r\nab",
    OK + b"Content-Length: 2\r\n\r\na",
    OK + b"Transfer-Encoding: gzip\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * (CHUNK_LINE_MAX + 1),
    OK + b"A: " + b"a" * HEAD_MAX + b"\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\nx",
    OK,
    b"",
]


@pytest.mark.parametrize("data", WRONG, ids=lambda data: repr(data[:60]))
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(ReplyError) as caught:
        parse(data)
    assert len(str(caught.value)) < 500


def outcome(pieces: list[bytes], method: str) -> Any:
    """What a parser says of bytes that come in pieces."""
    parser = ReplyParser(method)
    content = b""
    try:
        for piece in pieces:
            content += parser.feed(piece)
        parser.end()
    except ReplyError:
        return "no answer"
    assert parser.finished
    assert parser.head is not None
    return parser.head.status, list(parser.head.headers.items()), content


BITS = st.sampled_from(
    [
        OK, b"HTTP/1.1 100 C\r\n", b"HTTP/1.0 404 No\r\n", b"HTTP/1.1 204 \r\n", b"Content-Length: 3\r\n", b"A: b\r\n",
        b"Transfer-Encoding: chunked\r\n", b"\r\n", b"\n", b"3\r\nabc\r\n", b"0\r\n", b"abc", b"0\r\n\r\n", b":", b"\0",
    ]
)  # fmt: skip
BYTES = st.one_of(st.binary(max_size=60), st.lists(BITS, max_size=8).map(b"".join))


@given(BYTES, st.sampled_from(["GET", "HEAD"]), st.lists(st.integers(0, 80), max_size=5))
@example(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "GET", list(range(60)))
def test_any_bytes_are_an_answer_or_a_reply_error(data: bytes, method: str, cuts: list[int]) -> None:
    """And it does not matter how they are cut."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    assert outcome(pieces, method) == outcome([data], method)


class _Socket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


@given(BYTES, st.sampled_from(["GET", "HEAD"]))
def test_http_client_reads_the_same_out_of_what_is_an_answer(data: bytes, method: str) -> None:
    ours = outcome([data], method)
    if ours == "no answer":
        return
    response = http.client.HTTPResponse(_Socket(data), method=method)  # type: ignore[arg-type]
    response.begin()
    theirs = (response.status, [(name, value.strip(" \t")) for name, value in response.getheaders()], response.read())
    assert theirs == ours
