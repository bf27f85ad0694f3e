"""Range (RFC 9110 14): which bytes of a representation a client wants, and the heads of a multipart/byteranges.

Pure. A field that is not understood asks for nothing (14.2: it is ignored), and nothing raises. What would cost the
server more than the whole is refused: more than MOST ranges, or ranges that overlap (14.2; CVE-2011-3192).
"""

import re
from itertools import pairwise
from secrets import token_hex
from typing import NamedTuple

__all__ = ["MOST", "Span", "content_range", "multipart_heads", "parse_ranges", "select"]

MOST = 16
_SET = re.compile(r"bytes[ \t]*=(.*)", re.IGNORECASE | re.DOTALL)
_ONE = re.compile(r"([0-9]+)-([0-9]*)|-([0-9]+)")
_ENDLESS = 1 << 62  # what any larger number counts as: no representation is that long


class Span(NamedTuple):
    """Bytes ``first`` to ``last`` of a representation, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def parse_ranges(text: str) -> list[tuple[int | None, int | None]] | None:
    """(first, last) as they were written: (5, 9), (5, None) to the end, (None, 5) the last five. None: not understood,
    another unit. What comes after MOST + 1 ranges is not read."""
    found = _SET.fullmatch(text)
    if found is None:
        return None
    ranges: list[tuple[int | None, int | None]] = []
    for member in found[1].split(","):
        text = member.strip(" \t")
        if not text:  # an empty element of a list (5.6.1)
            continue
        one = _ONE.fullmatch(text)
        if one is None:
            return None
        if len(ranges) > MOST:
            break
        if one[3] is not None:
            ranges.append((None, _number(one[3])))
            continue
        first, last = _number(one[1]), _number(one[2]) if one[2] else None
        if last is not None and last < first:
            return None
        ranges.append((first, last))
    return ranges or None


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return min(int(digits or "0"), _ENDLESS) if len(digits) < 20 else _ENDLESS


def select(text: str, size: int) -> list[Span] | str | None:
    """What is sent of a representation of ``size`` bytes: spans in the client's order; a text: none, and why (416);
    None: the whole."""
    ranges = parse_ranges(text)
    if ranges is None:
        return None
    if len(ranges) > MOST:
        return f"more than {MOST} ranges"
    spans = []
    for first, last in ranges:
        if first is None:
            if last and not size:  # the last bytes of nothing: that is all of it, which no Content-Range can say
                return None
            if last:
                spans.append(Span(max(size - last, 0), size - 1))
        elif first < size:
            spans.append(Span(first, size - 1 if last is None else min(last, size - 1)))
    if not spans:
        return f"none of the ranges lies in the {size} bytes that there are"
    ordered = sorted(spans)
    if any(one.last >= other.first for one, other in pairwise(ordered)):
        return "the ranges overlap"
    return spans


def content_range(span: Span, size: int) -> str:
    """The value of Content-Range (14.4)."""
    return f"bytes {span.first}-{span.last}/{size}"


def multipart_heads(spans: list[Span], size: int, content_type: str | None) -> tuple[str, list[bytes], bytes]:
    """(the Content-Type of the whole, what comes before each part, what comes after the last) (14.6)."""
    boundary = token_hex(16)
    kind = "" if content_type is None else f"Content-Type: {content_type}\r\n"
    heads = [
        f"\r\n--{boundary}\r\n{kind}Content-Range: {content_range(span, size)}\r\n\r\n".encode("latin-1")
        for span in spans
    ]
    heads[0] = heads[0][2:]  # the line end belongs to the part before it
    return f"multipart/byteranges; boundary={boundary}", heads, f"\r\n--{boundary}--\r\n".encode()
