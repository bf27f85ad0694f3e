"""WebSocket frames (RFC 6455 5, 7.4, 8.1): what is read, what is refused and how early, what is written.

Each input goes through `frames_verdict`: whole, byte by byte, cut at every point, and in front of unreadable memory.
The rules are also those of the Autobahn suite, whose numbers stand beside them.
"""

from __future__ import annotations

import ctypes
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.websocket_ways import MASK, Refused, Seen, SmallLimits, frame, frames_verdict, messages_verdict
from web.hotpath import (
    FrameError,
    FrameReader,
    MessageReader,
    is_close_code,
    write_close,
    write_frame,
    write_frame_repeat,
)  # fmt: skip

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def head(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes([first, second]) + rest


def read(*events: Any) -> Seen:
    return Seen(events, None, None)


def refusal(seen: Seen) -> Refused:
    assert seen.refused is not None, seen
    return seen.refused


# ---- what is read ----

READ = {
    "nothing": (b"", read()),
    "text (1.1)": (frame(TEXT, b"Hello"), read((TEXT, b"Hello", False))),
    "the RFC's own example (5.7)": (
        bytes.fromhex("818537fa213d7f9f4d5158"),
        read((TEXT, b"Hello", False)),
    ),
    "empty text (1.1.1)": (frame(TEXT), read((TEXT, b"", False))),
    "binary (1.2)": (frame(BINARY, bytes(range(256))), read((BINARY, bytes(range(256)), False))),
    "two messages": (frame(TEXT, b"a") + frame(BINARY, b"b"), read((TEXT, b"a", False), (BINARY, b"b", False))),
    "125 bytes (1.1.2)": (frame(TEXT, b"*" * 125), read((TEXT, b"*" * 125, False))),
    "126 bytes (1.1.3)": (frame(TEXT, b"*" * 126), read((TEXT, b"*" * 126, False))),
    "127 bytes (1.1.4)": (frame(TEXT, b"*" * 127), read((TEXT, b"*" * 127, False))),
    "65535 bytes": (frame(BINARY, b"\xfe" * 65535), read((BINARY, b"\xfe" * 65535, False))),
    "65536 bytes (1.2.8)": (frame(BINARY, b"\xfe" * 65536), read((BINARY, b"\xfe" * 65536, False))),
    "mask of zeros": (frame(TEXT, b"Hello", mask=bytes(4)), read((TEXT, b"Hello", False))),
    "ping (2.1)": (frame(PING), read(("ping", b""))),
    "ping with bytes that are no text (2.3)": (frame(PING, b"\x00\xff\xfe"), read(("ping", b"\x00\xff\xfe"))),
    "ping of 125 bytes (2.4)": (frame(PING, b"\xfe" * 125), read(("ping", b"\xfe" * 125))),
    "pong nobody asked for (2.7)": (frame(PONG, b"x"), read(("pong", b"x"))),
    "ten pings (2.10)": (frame(PING, b"p") * 10, read(*[("ping", b"p")] * 10)),
    "two fragments (5.3)": (
        frame(TEXT, b"frag", fin=False) + frame(0, b"ment"),
        read((TEXT, b"fragment", False)),
    ),
    "a ping between fragments (5.6)": (
        frame(TEXT, b"frag", fin=False) + frame(PING, b"p") + frame(0, b"ment"),
        read(("ping", b"p"), (TEXT, b"fragment", False)),
    ),
    "empty fragments (6.1.2)": (
        frame(TEXT, fin=False) + frame(0, fin=False) + frame(0, b"a") + frame(BINARY, fin=False) + frame(0),
        read((TEXT, b"a", False), (BINARY, b"", False)),
    ),
    "an empty fragment in the middle (6.1.3)": (
        frame(TEXT, b"a", fin=False) + frame(0, fin=False) + frame(0, b"b", fin=False) + frame(0),
        read((TEXT, b"ab", False)),
    ),
    "text cut within a character (6.2.3)": (
        b"".join(frame(0 if i else TEXT, bytes([byte]), fin=i == 10) for i, byte in enumerate("κόσμε!".encode())),
        read((TEXT, "κόσμε!".encode(), False)),
    ),
    "close without a body (7.3.1)": (frame(CLOSE), read(("close", 1005, ""))),
    "close with a code (7.3.3)": (frame(CLOSE, b"\x03\xe8"), read(("close", 1000, ""))),
    "close with a reason (7.3.4)": (frame(CLOSE, b"\x03\xe8Bye \xe2\x82\xac"), read(("close", 1000, "Bye €"))),
    "close with the longest reason (7.3.5)": (
        frame(CLOSE, b"\x03\xe8" + b"*" * 123),
        read(("close", 1000, "*" * 123)),
    ),
    "what follows a close is thrown away (7.1.3)": (
        frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late") + b"\xff\xff" + frame(CLOSE),
        read(("close", 1000, "")),
    ),
    "close within a message (7.1.4)": (
        frame(TEXT, b"frag", fin=False) + frame(CLOSE),
        Seen((("close", 1005, ""),), None, (TEXT, b"frag")),
    ),
    "a message that is not whole": (frame(TEXT, b"Hello")[:-2], Seen((), None, (TEXT, b"Hel"))),
    "a ping that is not whole": (frame(PING, b"Hello")[:-2], read()),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read(name: str) -> None:
    data, expected = READ[name]
    assert frames_verdict(data) == expected


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_compressed_messages_are_told_by_their_first_frame(opcode: int) -> None:
    data = frame(opcode, b"\xff", fin=False, rsv1=True) + frame(PING) + frame(0, b"\xfe") + frame(opcode, b"plain")
    seen = frames_verdict(data, deflate=True)
    assert seen == read(("ping", b""), (opcode, b"\xff\xfe", True), (opcode, b"plain", False))


def test_a_server_does_not_mask() -> None:
    data = write_frame(TEXT, b"frag", fin=False) + write_frame(PING, b"p") + write_frame(0, b"ment") + write_close(1001)
    assert frames_verdict(data, masked=False) == read(("ping", b"p"), (TEXT, b"fragment", False), ("close", 1001, ""))


# ---- what is refused, and with which byte ----

_WIDE = MASK + b"x" * 200

REFUSED: dict[str, tuple[int, str, int, bytes]] = {  # code, reason, place of the wrong byte
    "RSV1 without extension (3.1)": (1002, "RSV1", 0, frame(TEXT, b"a", rsv1=True)),
    "RSV2 (3.2)": (1002, "RSV2", 0, head(0xA1, 0x80, MASK)),
    "RSV3 (3.3)": (1002, "RSV2 or RSV3", 0, head(0x91, 0x80, MASK)),
    "RSV on a ping (3.6)": (1002, "RSV", 0, head(0xA9, 0x80, MASK)),
    "RSV on a close (3.7)": (1002, "RSV", 0, head(0xB8, 0x80, MASK)),
    "no mask (5.1)": (1002, "without a mask", 1, write_frame(TEXT, b"a")),
    "no mask on a ping": (1002, "without a mask", 1, write_frame(PING, b"")),
    "fragmented ping (5.1)": (1002, "fragmented control", 0, frame(PING, fin=False)),
    "fragmented pong (5.2)": (1002, "fragmented control", 0, frame(PONG, fin=False)),
    "fragmented close": (1002, "fragmented control", 0, frame(CLOSE, fin=False)),
    "ping of 126 bytes (2.5)": (1002, "more than 125", 1, frame(PING, b"\xfe" * 126)),
    "close of 126 bytes (7.3.6)": (1002, "more than 125", 1, frame(CLOSE, b"\x03\xe8" + b"*" * 124)),
    "pong of 65536 bytes": (1002, "more than 125", 1, frame(PONG, bytes(65536))),
    "ping whose length of 5 has two bytes": (1002, "more than 125", 1, head(0x89, 0xFE, b"\0\5" + _WIDE)),
    "125 in two bytes": (1002, "fewest", 3, head(0x82, 0xFE, b"\0\x7d" + _WIDE)),
    "0 in two bytes": (1002, "fewest", 3, head(0x82, 0xFE, b"\0\0" + _WIDE)),
    "65535 in eight bytes": (1002, "fewest", 9, head(0x82, 0xFF, b"\0\0\0\0\0\0\xff\xff" + _WIDE)),
    "the highest bit of a length": (1002, "highest bit", 2, head(0x82, 0xFF, b"\x80\0\0\0\0\0\0\1" + _WIDE)),
    "all bits of a length": (1002, "highest bit", 2, head(0x82, 0xFF, b"\xff" * 8 + _WIDE)),
    "continuation first (5.9)": (1002, "continuation without", 0, frame(0, b"a")),
    "continuation after a message (5.12)": (1002, "continuation without", 7, frame(TEXT, b"a") + frame(0, b"b")),
    "text within text (5.18)": (1002, "new message", 7, frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
    "binary within text": (1002, "new message", 7, frame(TEXT, b"a", fin=False) + frame(BINARY, b"b")),
    "text within a message of empty fragments": (1002, "new message", 6, frame(TEXT, fin=False) + frame(TEXT, b"b")),
    "half a code (7.3.2)": (1002, "half a code", 7, frame(CLOSE, b"\x03")),
    "a reason that is no UTF-8 (7.5.1)": (1007, "reason", 10, frame(CLOSE, b"\x03\xe8\xce\xff")),
    "a reason that ends within a character": (1007, "reason", 10, frame(CLOSE, b"\x03\xe8\xe2\x82")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, reason, at, data = REFUSED[name]
    refused = refusal(frames_verdict(data))
    assert (refused.code, refused.at) == (code, at)
    assert reason in refused.reason


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(opcode: int) -> None:
    """4.1 and 4.2."""
    for before in (b"", frame(TEXT, b"a"), frame(TEXT, b"a", fin=False)):
        refused = refusal(frames_verdict(before + frame(opcode, b"x")))
        assert refused == Refused(1002, "reserved opcode", len(before))


def test_rsv1_where_it_must_not_be() -> None:
    """RFC 7692 6.1: on the first frame of a message only."""
    first = frame(TEXT, b"a", fin=False, rsv1=True)
    cases = [(first, frame(0, b"b", rsv1=True)), (b"", frame(PING, rsv1=True)), (first, frame(CLOSE, rsv1=True))]
    for before, wrong in cases:
        assert refusal(frames_verdict(before + wrong, deflate=True)) == Refused(
            1002, "RSV1 set on a continuation or control frame", len(before)
        )


def test_a_masked_frame_from_a_server() -> None:
    assert refusal(frames_verdict(frame(TEXT, b"a"), masked=False)) == Refused(1002, "masked frame from a server", 1)


def test_first_bytes_all() -> None:
    """Each of the 256, first and within a message: those that are taken, with and without compression."""
    for deflate in (False, True):
        taken: dict[bool, set[int]] = {False: set(), True: set()}
        for within, found in taken.items():
            for byte in range(256):
                reader = FrameReader(deflate=deflate)
                if within:
                    reader.feed(frame(TEXT, b"a", fin=False))
                try:
                    reader.feed(bytes([byte]))
                except FrameError as error:
                    assert error.code == 1002
                else:
                    found.add(byte)
        rsv1 = {0x41, 0x42, 0xC1, 0xC2} if deflate else set()
        assert taken == {
            False: {0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A} | rsv1,
            True: {0x00, 0x80, 0x88, 0x89, 0x8A},
        }


# ---- close codes (7.7, 7.9) ----

_VALID = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


def test_every_close_code() -> None:
    assert {code for code in range(65536) if is_close_code(code)} == _VALID
    for code in [*range(990, 1025), 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535, 0]:
        data = frame(CLOSE, struct.pack(">H", code))
        seen = frames_verdict(data)
        if code in _VALID:
            assert seen == read(("close", code, ""))
        else:
            assert refusal(seen) == Refused(1002, "close frame with a code that must not be sent", len(data))


# ---- text (6) ----

_BAD_TEXT = [
    (b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited", 6),  # 6.3: a surrogate
    (b"\xf4\x90\x80\x80", 1),  # 6.4: beyond U+10FFFF
    (b"\xc0\xaf", 0), (b"\xe0\x80\xaf", 1), (b"\xf0\x80\x80\xaf", 1),  # 6.13: overlong
    (b"\xf8\x88\x80\x80\x80", 0), (b"\x80", 0), (b"\xff", 0), (b"a\xc3(", 2),
    (b"*" * 300 + b"\xc3" + b"*" * 300, 301),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "at"), _BAD_TEXT)
def test_text_that_is_no_utf8_fails_with_its_first_wrong_byte(payload: bytes, at: int) -> None:
    """In one frame (6.4.1), in fragments of one byte (6.4.3), before the frame is whole (6.4.4)."""
    one = frame(TEXT, payload)
    begin = len(one) - len(payload)
    expected = Refused(1007, "text that is not UTF-8", begin + at)
    assert refusal(frames_verdict(one)) == expected
    assert refusal(frames_verdict(one[: begin + at + 1])) == expected
    assert frames_verdict(one[: begin + at]).refused is None
    if len(payload) < 50:
        many = b"".join(frame(0 if i else TEXT, bytes([byte]), fin=False) for i, byte in enumerate(payload))
        assert refusal(frames_verdict(many)) == Refused(1007, expected.reason, 7 * at + 6)


@pytest.mark.parametrize("text", ["é", "€", "😀", "abc😀"])
def test_text_that_ends_within_a_character(text: str) -> None:
    whole = text.encode()
    for end in range(len(whole) - len(text[-1].encode()) + 1, len(whole)):
        data = frame(TEXT, whole[:end])
        expected = Refused(1007, "text that ends within a character", len(data))
        assert refusal(frames_verdict(data)) == expected
        # An empty last fragment ends it, too.
        unended = frame(TEXT, whole[:end], fin=False)
        assert frames_verdict(unended) == Seen((), None, (TEXT, whole[:end]))
        assert refusal(frames_verdict(unended + frame(0))).reason == expected.reason


def test_binary_messages_and_pings_are_no_text() -> None:
    data = frame(BINARY, b"\xff", fin=False) + frame(PING, b"\xff") + frame(0, b"\xc3") + frame(TEXT, b"a")
    assert frames_verdict(data) == read(("ping", b"\xff"), (BINARY, b"\xff\xc3", False), (TEXT, b"a", False))


def test_a_control_frame_within_a_character() -> None:
    data = frame(TEXT, b"\xe2", fin=False) + frame(PING, b"\x82") + frame(0, b"\x82\xac")
    assert frames_verdict(data) == read(("ping", b"\x82"), (TEXT, "€".encode(), False))


# ---- limits (9) ----


def test_a_frame_too_big_is_refused_by_its_length() -> None:
    limits = SmallLimits(frame=1000)
    assert frames_verdict(frame(BINARY, bytes(1000)), limits).events == ((BINARY, bytes(1000), False),)
    data = frame(BINARY, bytes(1001))
    assert refusal(frames_verdict(data, limits)) == Refused(1009, "frame too big", 3)
    assert refusal(frames_verdict(data[:4], limits)) == Refused(1009, "frame too big", 3)
    small = SmallLimits(frame=10)
    assert refusal(frames_verdict(frame(BINARY, bytes(11)), small)) == Refused(1009, "frame too big", 1)
    huge = head(0x82, 0xFF, b"\x7f" + b"\xff" * 7)
    assert refusal(frames_verdict(huge, SmallLimits(frame=1 << 53, message=1 << 53))).reason == "frame too big"


def test_a_message_too_big_is_refused_by_the_length_that_makes_it_so() -> None:
    limits = SmallLimits(message=1000)
    half = frame(BINARY, bytes(500), fin=False)
    rest = frame(0, bytes(500))
    assert frames_verdict(half + rest, limits).events == ((BINARY, bytes(1000), False),)
    for more in (frame(0, b"a"), frame(0, bytes(501)), frame(0, bytes(70000))):
        before = half + frame(0, bytes(500), fin=False) + frame(PING)
        refused = refusal(frames_verdict(before + more, limits))
        assert (refused.code, refused.reason) == (1009, "message too big")
        assert refused.at < len(before) + 10
    # Each message for itself.
    assert len(frames_verdict((half + rest) * 5, limits).events) == 5
    assert refusal(frames_verdict(frame(BINARY, bytes(1001)), limits)) == Refused(1009, "message too big", 3)


def test_compressed_payloads_may_be_a_little_larger_than_what_they_hold() -> None:
    limits = SmallLimits(message=800)
    assert frames_verdict(frame(BINARY, bytes(964), rsv1=True), limits, deflate=True).refused is None
    seen = frames_verdict(frame(BINARY, bytes(965), rsv1=True), limits, deflate=True)
    assert refusal(seen) == Refused(1009, "message too big", 3)


def test_fragments_are_counted_and_empty_ones_count() -> None:
    limits = SmallLimits(fragments=4)
    for opcode, payload in ((TEXT, b""), (BINARY, b"x")):
        first = frame(opcode, payload, fin=False)
        three = first + frame(0, payload, fin=False) * 2
        assert frames_verdict(three + frame(PING) + frame(0, payload), limits).refused is None
        assert frames_verdict((three + frame(0, payload)) * 3, limits).refused is None
        four = three + frame(0, payload, fin=False)
        refused = refusal(frames_verdict(four + frame(0, payload), limits))
        assert refused == Refused(1009, "message of too many fragments", len(four))
    assert refusal(frames_verdict(frame(TEXT), SmallLimits(fragments=0))).code == 1009


def test_limits_must_be_in_their_range() -> None:
    for limits in (SmallLimits(frame=-1), SmallLimits(message=2**53 + 1), SmallLimits(fragments=-1)):
        with pytest.raises(ValueError, match="give 0 to"):
            FrameReader(limits)


def test_a_message_in_fragments_of_64_bytes() -> None:
    """9.3: four MiB of them, in pieces that have nothing to do with frames (10.1)."""
    payload = bytes(range(256)) * (4 * 4096)
    data = b"".join(
        frame(0 if at else BINARY, payload[at : at + 64], fin=at + 64 == len(payload))
        for at in range(0, len(payload), 64)
    )
    reader = MessageReader(SmallLimits(message=1 << 22, fragments=70_000))
    found = [one for at in range(0, len(data), 1460) for one in reader.feed(data[at : at + 1460])]
    assert found == [payload]
    assert reader.memory == (0, 0)


# ---- the reader goes on, and does not ----


def test_a_fault_is_for_ever() -> None:
    reader = FrameReader()
    for data in (frame(TEXT, b"a") + b"\xff", frame(TEXT, b"a"), b""):
        with pytest.raises(FrameError, match="1002: reserved bit RSV2") as caught:
            reader.feed(data)
        assert caught.value.events == ([("data", TEXT, b"a", True, True, False)] if data[-1:] == b"\xff" else [])


def test_after_a_close_nothing_is_read() -> None:
    reader = FrameReader()
    assert reader.feed(frame(CLOSE)) == [("close", 1005, "")]
    for data in (frame(TEXT, b"a"), b"\xff" * 100, b""):
        assert reader.feed(data) == []


def test_spans_come_as_they_came() -> None:
    """Nothing is held back: what came of a message is reported at once, and its end is known with its last byte."""
    data = frame(BINARY, b"abcdef")
    reader = FrameReader()
    assert reader.feed(data[:8]) == [("data", BINARY, b"ab", True, False, False)]
    assert reader.feed(data[8:9]) == [("data", BINARY, b"c", False, False, False)]
    assert reader.feed(b"") == []
    assert reader.feed(data[9:]) == [("data", BINARY, b"def", False, True, False)]


def test_the_limits_of_unmasking_in_place() -> None:
    """Only the payload is written to: what lies around it is as it came."""
    data = bytearray(b"before" + frame(TEXT, b"Hello") + b"behind")
    room = (ctypes.c_char * len(data)).from_buffer(data)
    FrameReader().feed_address(ctypes.addressof(room) + 6, 11)
    assert bytes(data) == b"before" + frame(TEXT, b"Hello")[:6] + b"Hello" + b"behind"


def test_repeat() -> None:
    data = frame(TEXT, b"Hello", mask=bytes(4)) + frame(PING) + frame(BINARY, b"x", fin=False) + frame(0, b"y")
    assert FrameReader().repeat(data, 100) == 4
    with pytest.raises(FrameError, match="1002"):
        FrameReader().repeat(b"\xff", 2)
    assert FrameReader().repeat(data, 0) == 0


# ---- messages ----


def test_messages() -> None:
    data = (
        frame(TEXT, b"one span") + frame(TEXT, "zw\xf6lf".encode()[:3], fin=False) + frame(PING, b"p")
        + frame(0, "zw\xf6lf".encode()[3:]) + frame(BINARY, fin=False) + frame(0) + frame(TEXT) + frame(CLOSE)
    )  # fmt: skip
    found = ["one span", ("ping", b"p"), "zwölf", b"", "", ("close", 1005, "")]
    assert messages_verdict(data) == (found, None)


def test_the_buffer_of_a_message_is_bounded_by_what_came() -> None:
    reader = MessageReader(SmallLimits(message=1 << 20))
    data = frame(BINARY, bytes(1 << 20))
    reader.feed(data[:20])
    assert reader.memory[1] <= 64
    reader.feed(data[20:100_000])
    assert reader.memory[1] <= 200_000
    assert reader.feed(data[100_000:]) == [bytes(1 << 20)]
    assert reader.memory == (0, 0)


def test_a_message_that_comes_whole_is_not_copied() -> None:
    reader = MessageReader()
    assert reader.feed(frame(TEXT, b"*" * 10_000) * 3) == ["*" * 10_000] * 3
    assert reader.memory == (0, 0)


# ---- writing ----


@pytest.mark.parametrize(
    ("length", "start"),
    [
        (0, b"\x82\x00"), (5, b"\x82\x05"), (125, b"\x82\x7d"), (126, b"\x82\x7e\x00\x7e"), (127, b"\x82\x7e\x00\x7f"),
        (65535, b"\x82\x7e\xff\xff"), (65536, b"\x82\x7f\0\0\0\0\0\1\0\0"), (70000, b"\x82\x7f\0\0\0\0\0\1\x11\x70"),
    ],
)  # fmt: skip
def test_written_heads(length: int, start: bytes) -> None:
    payload = random.Random(1).randbytes(length)
    assert write_frame(BINARY, payload) == start + payload
    assert write_frame_repeat(BINARY, payload, 3) == len(start) + length
    masked = frame(BINARY, payload)
    assert masked[: len(start) + 4] == start[:1] + bytes([start[1] | 0x80]) + start[2:] + MASK
    assert masked[len(start) + 4 :] == bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


def test_written_bits() -> None:
    assert write_frame(TEXT, b"", fin=False)[0] == 0x01
    assert write_frame(TEXT, b"", rsv1=True)[0] == 0xC1
    assert write_frame(0, b"")[0] == 0x80
    with pytest.raises(ValueError, match="give 4"):
        write_frame(TEXT, b"", mask=b"123")


def test_written_close_frames() -> None:
    assert write_close() == b"\x88\x00"
    assert write_close(1000) == b"\x88\x02\x03\xe8"
    assert write_close(4999, "€") == b"\x88\x05\x13\x87\xe2\x82\xac"
    assert write_close(1001, "x" * 123)[:2] == b"\x88\x7d"
    for code, reason in ((1005, "x"), (1006, ""), (999, ""), (1004, ""), (1015, ""), (5000, ""), (1000, "x" * 124)):
        with pytest.raises(ValueError, match="cannot have code"):
            write_close(code, reason)


# ---- round trips and junk ----

_controls = st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=2)
_masks = st.binary(min_size=4, max_size=4)
_texts = st.text(max_size=40).map(str.encode)


@st.composite
def _conversations(draw: st.DrawFn) -> tuple[bytes, Seen]:
    data = b""
    events: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(0, 4))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        payload = draw(_texts if opcode == TEXT else st.binary(max_size=300))
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        for i, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(payload)], strict=True)):
            last = i == len(cuts)
            data += frame(0 if i else opcode, payload[begin:end], fin=last, mask=draw(_masks))
            if last:
                events.append((opcode, payload, False))
            for control, content in draw(_controls):
                data += frame(control, content, mask=draw(_masks))
                events.append(("ping" if control == PING else "pong", content))
    return data, read(*events)


@settings(deadline=None, database=None, max_examples=60)
@given(_conversations())
def test_round_trip(conversation: tuple[bytes, Seen]) -> None:
    data, expected = conversation
    assert frames_verdict(data) == expected


_bytes = st.binary(max_size=60)


@settings(deadline=None, database=None)
@given(_bytes, st.integers(0, 60), st.booleans(), st.booleans())
def test_any_bytes_get_one_verdict(junk: bytes, at: int, masked: bool, deflate: bool) -> None:
    data = frame(TEXT, b"Hello", fin=False) + frame(PING, b"p") + frame(0, b"!") + frame(CLOSE, b"\x03\xe8bye")
    limits = SmallLimits(frame=100, message=150, fragments=3)
    for whole in (junk, data[:at] + junk + data[at:]):
        seen = frames_verdict(whole, limits, masked=masked, deflate=deflate)
        assert seen.refused is None or seen.refused.code in (1002, 1007, 1009)


def test_misuse_raises() -> None:
    nothing: Any = None
    for call in (FrameReader().feed, MessageReader().feed):
        with pytest.raises(TypeError):
            call(nothing)
    with pytest.raises(ValueError, match="bits is 16"):
        MessageReader(deflate=(16, True))
