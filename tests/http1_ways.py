"""Ways to hand the same bytes to the parsers: whole, byte by byte, cut anywhere, in front of unreadable memory.

A verdict must depend on the bytes alone, so every way must give the same one: `head_verdict` and `body_verdict` assert
that and return it.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from web.hotpath import ChunkedDecoder, ParsedRequest, ProtocolError, RequestParser


@dataclass(frozen=True)
class SmallLimits:
    """What the parsers need of web.Limits; bytes, bytes, bytes, number."""

    request_line: int = 8192
    field: int = 8192
    fields: int = 32768
    field_count: int = 100


@dataclass(frozen=True)
class Refused:
    status: int
    reason: str


@dataclass(frozen=True)
class Head:
    method: str
    target: bytes
    path: bytes
    query: bytes
    authority: bytes
    version: tuple[int, int]
    headers: tuple[tuple[bytes, bytes], ...]
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    head_length: int


@dataclass(frozen=True)
class Body:
    payload: bytes
    unused: bytes


WAITS = "waits for more"
T = TypeVar("T")


class GuardPage:
    """Memory whose end is followed by a page that may not be touched."""

    def __init__(self, capacity: int = 16 * mmap.PAGESIZE) -> None:
        self._memory = mmap.mmap(-1, capacity + mmap.PAGESIZE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._capacity = capacity
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        if mprotect(ctypes.c_void_p(self._start + capacity), ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, data: bytes) -> int:
        """Copy `data` so that its last byte is the last readable one; its address."""
        assert len(data) <= self._capacity
        self._memory[self._capacity - len(data) : self._capacity] = data
        return self._start + self._capacity - len(data)


GUARD = GuardPage()


def _cuts(data: bytes) -> Iterator[list[bytes]]:
    """`data` whole, byte by byte, and in two pieces cut at every point (at some points when it is long)."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for at in range(1, len(data), 1 + len(data) // 500):
        yield [data[:at], data[at:]]


def head_of(request: ParsedRequest) -> Head:
    return Head(
        request.method, request.target, request.path, request.query, request.authority, request.version,
        tuple(request.headers), request.content_length, request.chunked, request.keep_alive, request.expect_continue,
        request.head_length,
    )  # fmt: skip


def _whole(data: bytes, limits: SmallLimits | None) -> Head | Refused | str:
    """In one piece, in front of unreadable memory."""
    try:
        request = RequestParser(limits).feed_address(GUARD.place(data), len(data))
    except ProtocolError as error:
        return Refused(error.status, error.reason)
    return WAITS if request is None else head_of(request)


def _step_by_step(data: bytes, limits: SmallLimits | None) -> Head | Refused | str:
    """Byte by byte; after each the verdict must be the one on the bytes so far in one piece."""
    parser = RequestParser(limits)
    verdict: Head | Refused | str = WAITS
    for end in range(1, len(data) + 1):
        try:
            request = parser.feed(data[end - 1 : end])
        except ProtocolError as error:
            verdict = Refused(error.status, error.reason)
        else:
            verdict = WAITS if request is None else head_of(request)
        assert verdict == _whole(data[:end], limits), data[:end]
        if verdict is not WAITS:
            break
    return verdict


def _feed_head(pieces: list[bytes], limits: SmallLimits | None) -> Head | Refused | str:
    parser = RequestParser(limits)
    fed = 0
    for piece in pieces:
        fed += len(piece)
        try:
            request = parser.feed(piece)
        except ProtocolError as error:
            return Refused(error.status, error.reason)
        if request is not None:
            assert request.head_length + len(parser.unused) == fed
            return head_of(request)
    return WAITS


def _agreed(verdicts: Iterator[T]) -> T:
    first = next(verdicts)
    for verdict in verdicts:
        assert verdict == first
    return first


def head_verdict(data: bytes, limits: SmallLimits | None = None) -> Head | Refused | str:
    """What the parser says of `data`, the same however it is cut, and in front of unreadable memory."""

    def ways() -> Iterator[Head | Refused | str]:
        for pieces in _cuts(data):
            yield _feed_head(pieces, limits)
        yield _whole(data, limits)
        yield _step_by_step(data, limits)

    return _agreed(ways())


def _feed_body(
    pieces: list[bytes], limits: SmallLimits | None, decode: Callable[[ChunkedDecoder, bytes], bytes]
) -> Body | Refused | str:
    decoder = ChunkedDecoder(limits)
    payload = b""
    for i, piece in enumerate(pieces):
        try:
            payload += decode(decoder, piece)
        except ProtocolError as error:
            return Refused(error.status, error.reason)
        if decoder.finished:
            return Body(payload, decoder.unused + b"".join(pieces[i + 1 :]))
    return WAITS


def _in_place(decoder: ChunkedDecoder, piece: bytes) -> bytes:
    room = bytearray(piece)
    return bytes(room[: decoder.feed_in_place(room)])


def _unreadable_behind(decoder: ChunkedDecoder, piece: bytes) -> bytes:
    return decoder.feed_address(GUARD.place(piece), len(piece))


def body_verdict(data: bytes, limits: SmallLimits | None = None) -> Body | Refused | str:
    """What the chunked decoder says of `data`, the same however it is cut, in place, and before unreadable memory."""

    def ways() -> Iterator[Body | Refused | str]:
        for decode in (ChunkedDecoder.feed, _in_place, _unreadable_behind):
            for pieces in _cuts(data):
                yield _feed_body(pieces, limits, decode)

    return _agreed(ways())
