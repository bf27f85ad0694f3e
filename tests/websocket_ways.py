"""Ways to hand the same bytes to the WebSocket codec: whole, byte by byte, cut anywhere, before unreadable memory.

A verdict must depend on the bytes alone, so every way must give the same one: `frames_verdict` and `messages_verdict`
assert that and return it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.http1_ways import GuardPage
from web.hotpath import FrameError, FrameReader, MessageReader, write_frame

MASK = b"\x37\xfa\x21\x3d"
GUARD = GuardPage(1 << 17)


@dataclass(frozen=True)
class SmallLimits:
    """What the readers need of limits: bytes, bytes, number."""

    frame: int = 1 << 20
    message: int = 1 << 20
    fragments: int = 1000


@dataclass(frozen=True)
class Refused:
    code: int
    reason: str
    at: int  # the place of the wrong byte, or of the end of the bytes that are wrong together


@dataclass(frozen=True)
class Seen:
    """Messages as (opcode, payload, compressed), control frames as they are reported, in their order."""

    events: tuple[Any, ...]
    refused: Refused | None
    unfinished: tuple[int, bytes] | None  # what came of a message that is not whole


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False, mask: bytes = MASK) -> bytes:
    """As a client sends it."""
    return write_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask)


def _cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for at in range(1, len(data), 1 + len(data) // 200):
        yield [data[:at], data[at:]]


def _feed_guarded(reader: FrameReader, piece: bytes) -> list[tuple[Any, ...]]:
    return reader.feed_address(GUARD.place(piece), len(piece))


def _gathered(
    pieces: list[bytes], make: Callable[[], FrameReader], feed: Callable[[FrameReader, bytes], list[tuple[Any, ...]]]
) -> Seen:
    reader = make()
    found: list[Any] = []
    refused = None
    fed = 0
    for piece in pieces:
        try:
            found += feed(reader, piece)
        except FrameError as error:
            found += error.events
            refused = Refused(error.code, error.reason, fed + error.at)
            break
        fed += len(piece)
    events: list[Any] = []
    open_: tuple[int, bytes, bool] | None = None
    for event in found:
        if event[0] != "data":
            events.append(event)
            continue
        _, opcode, payload, begins, ends, compressed = event
        assert begins == (open_ is None), "a message begins once"
        before = b"" if open_ is None else open_[1]
        assert open_ is None or (open_[0], open_[2]) == (opcode, compressed)
        open_ = (opcode, before + payload, compressed)
        if ends:
            events.append(open_)
            open_ = None
    # What came of a message before it was refused depends on the cuts.
    unfinished = None if open_ is None or refused else (open_[0], open_[1])
    return Seen(tuple(events), refused, unfinished)


def frames_verdict(
    data: bytes, limits: SmallLimits | None = None, *, masked: bool = True, deflate: bool = False
) -> Seen:
    """What the frame reader says of `data`, the same however it is cut, and before unreadable memory."""

    def make() -> FrameReader:
        return FrameReader(limits, masked=masked, deflate=deflate)

    first = _gathered([data], make, FrameReader.feed)
    for feed in (FrameReader.feed, _feed_guarded):
        for pieces in _cuts(data):
            assert _gathered(pieces, make, feed) == first, pieces
    return first


def messages_verdict(
    data: bytes, limits: SmallLimits | None = None, *, deflate: tuple[int, bool] | None = None
) -> tuple[list[Any], tuple[int, str] | None]:
    """Messages and control frames, and the code and reason of a refusal, the same however the bytes are cut."""

    def verdict(pieces: list[bytes]) -> tuple[list[Any], tuple[int, str] | None]:
        reader = MessageReader(limits, deflate=deflate)
        found: list[Any] = []
        for piece in pieces:
            try:
                found += reader.feed(piece)
            except FrameError as error:
                return [*found, *error.events], (error.code, error.reason)
        return found, None

    first = verdict([data])
    for pieces in _cuts(data):
        assert verdict(pieces) == first, pieces
    return first
