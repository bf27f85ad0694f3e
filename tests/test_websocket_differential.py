"""The same frames through our reader and wsproto: two strict readers agree about what is refused, with which code, and
about what was read before.

The frames are whole: wsproto judges a header when all of it came, ours with each byte. One difference is known: wsproto
refuses the close code 1014, which IANA's registry has.
"""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from web.hotpath import FrameError, FrameReader, write_frame

MASK = b"\x37\xfa\x21\x3d"


def by_ours(data: bytes) -> tuple[list[Any], int | None]:
    reader = FrameReader()
    refused = None
    try:
        events = reader.feed(data)
    except FrameError as error:
        events, refused = list(error.events), error.code
    found: list[Any] = []
    open_: tuple[int, bytes] | None = None
    for event in events:
        if event[0] == "data":
            open_ = (event[1], (b"" if open_ is None else open_[1]) + event[2])
            if event[4]:
                found.append(open_)
                open_ = None
        else:
            found.append(event)
    return found, refused


def by_wsproto(data: bytes) -> tuple[list[Any], int | None]:
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(data)
    found: list[Any] = []
    open_: tuple[int, bytes] | None = None
    try:
        for frame in protocol.received_frames():
            payload: Any = frame.payload  # bytes, str, or code and reason
            if frame.opcode is Opcode.PING:
                found.append(("ping", bytes(payload)))
            elif frame.opcode is Opcode.PONG:
                found.append(("pong", bytes(payload)))
            elif frame.opcode is Opcode.CLOSE:
                code, reason = payload
                found.append(("close", int(code), reason or ""))
                break  # what follows is nobody's business
            else:
                text = frame.opcode is Opcode.TEXT
                piece = payload.encode() if text else bytes(payload)
                open_ = (int(frame.opcode), (b"" if open_ is None else open_[1]) + piece)
                if frame.message_finished:
                    found.append(open_)
                    open_ = None
    except ParseFailed as failed:
        return found, int(failed.code)
    return found, None


_payloads = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=6).map(str.encode),
    st.sampled_from([b"", b"\xff", "é€😀".encode(), b"\xed\xa0\x80", b"\xe2\x82", b"*" * 125, b"*" * 126]),
)
_closes = st.builds(
    lambda code, reason: struct.pack(">H", code) + reason,
    st.sampled_from([0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1011, 1015, 1016, 2999, 3000, 4999]),
    st.sampled_from([b"", b"bye", b"\xff", "é".encode()]),
)


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    opcode = draw(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 8, 9, 10, 3, 11, 15]))
    payload = draw(_closes if opcode == 8 and draw(st.booleans()) else _payloads)
    fin = draw(st.sampled_from([True, True, False]))
    mask = draw(st.sampled_from([MASK] * 9 + [None]))
    frame = bytearray(write_frame(opcode, payload, fin=fin, mask=mask))
    frame[0] |= draw(st.sampled_from([0] * 12 + [0x10, 0x20, 0x40]))
    return bytes(frame)


@settings(deadline=None, database=None, max_examples=300)
@given(st.lists(_frames(), max_size=6).map(b"".join))
def test_both_say_the_same(data: bytes) -> None:
    assert by_ours(data) == by_wsproto(data)


def test_close_codes() -> None:
    differ = {code for code in range(5100) if by_ours(closing(code)) != by_wsproto(closing(code))}
    assert differ == {1014}


def closing(code: int) -> bytes:
    return write_frame(8, struct.pack(">H", code), mask=MASK)
