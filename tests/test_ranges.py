"""Range: what is understood, what is chosen, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.ranges import MOST, Span, content_range, multipart_heads, parse_ranges, select


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("Bytes = 5-", [(5, None)]),
        ("bytes=-5", [(None, 5)]),
        ("bytes=,, 1-2 ,\t3-,", [(1, 2), (3, None)]),
        ("bytes=" + "0" * 5000 + "7-8", [(7, 8)]),
    ],
)
def test_understood(text: str, ranges: list[tuple[int | None, int | None]]) -> None:
    assert parse_ranges(text) == ranges


@pytest.mark.parametrize(
    "text",
    [
        "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=1", "bytes=2-1", "bytes=1-2-3", "bytes=--1", "bytes=+1-2",
        "bytes=1-2;3-4", "bytes=1 - 2", "bytes=0x1-2", "bytes=\u0661-\u0662", "bytes 1-2", "items=1-2",
        "xbytes=1-2", "bytes=a",
    ],
)  # fmt: skip
def test_not_understood(text: str) -> None:
    assert parse_ranges(text) is None
    assert select(text, 10) is None


def test_no_more_is_read_than_can_be_meant() -> None:
    ranges = parse_ranges("bytes=" + ",".join(["1-2"] * 5000))
    assert ranges is not None
    assert len(ranges) == MOST + 1


@pytest.mark.parametrize(
    ("text", "size", "spans"),
    [
        ("bytes=0-0", 1, [(0, 0)]),
        ("bytes=0-9", 10, [(0, 9)]),
        ("bytes=0-10", 10, [(0, 9)]),
        ("bytes=9-", 10, [(9, 9)]),
        ("bytes=-1", 10, [(9, 9)]),
        ("bytes=-11", 10, [(0, 9)]),
        ("bytes=0-1,2-3", 10, [(0, 1), (2, 3)]),
        ("bytes=0-1,-0,10-", 10, [(0, 1)]),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(MOST)), 100, [(i, i) for i in range(MOST)]),
    ],
)
def test_chosen(text: str, size: int, spans: list[tuple[int, int]]) -> None:
    assert select(text, size) == spans


@pytest.mark.parametrize(
    ("text", "size", "why"),
    [
        ("bytes=10-", 10, "none of the ranges lies in the 10 bytes"),
        ("bytes=-0", 10, "none of the ranges"),
        ("bytes=0-", 0, "none of the ranges"),
        ("bytes=-0", 0, "none of the ranges"),
        ("bytes=0-2,2-3", 10, "overlap"),
        ("bytes=8-,-3", 10, "overlap"),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(MOST + 1)), 100, f"more than {MOST}"),
    ],
)
def test_refused(text: str, size: int, why: str) -> None:
    chosen = select(text, size)
    assert isinstance(chosen, str)
    assert why in chosen


def test_the_last_bytes_of_nothing_are_all_of_it() -> None:
    assert select("bytes=-5", 0) is None


@given(st.text() | st.from_regex(r"bytes=[0-9, \t-]{0,40}", fullmatch=True), st.integers(0, 1 << 62))
def test_any_text(text: str, size: int) -> None:
    chosen = select(text, size)
    if isinstance(chosen, list):
        assert 1 <= len(chosen) <= MOST
        assert all(0 <= span.first <= span.last < size for span in chosen)
        assert sum(span.length for span in chosen) <= size


numbers = st.integers(0, 1 << 61)


@given(st.lists(st.tuples(numbers, numbers).map(sorted), min_size=1, max_size=MOST))
def test_what_is_written_is_read(pairs: list[list[int]]) -> None:
    assert parse_ranges("bytes=" + ",".join(f"{a}-{b}" for a, b in pairs)) == [(a, b) for a, b in pairs]


def test_content_range() -> None:
    assert content_range(Span(0, 499), 1234) == "bytes 0-499/1234"


def test_parts_begin_with_the_boundary() -> None:
    kind, heads, tail = multipart_heads([Span(0, 0), Span(2, 2)], 9, "a/b")
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    fields = b"\r\nContent-Type: a/b\r\nContent-Range: bytes %s/9\r\n\r\n"
    assert heads == [boundary + fields % b"0-0", b"\r\n" + boundary + fields % b"2-2"]
    assert tail == b"\r\n" + boundary + b"--\r\n"


def test_boundaries_are_not_to_be_guessed() -> None:
    first, second = (multipart_heads([Span(0, 0), Span(2, 2)], 9, None)[0] for _ in range(2))
    assert first != second
