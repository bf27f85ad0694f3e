"""The WebSocket codec: unmasking, UTF-8, frames in and out, permessage-deflate; beside `websockets` and `wsproto`.

    make bench ARGS="-k websocket"

In the group `in C` the parts run alone, IN_C times in one call, and the wide loops of ws_helpers.h beside their scalar
twins. In the groups `websocket message` each library hands one message to Python. Compare within one run only.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message

from web.hotpath import (
    Deflater,
    FrameReader,
    Inflater,
    MessageReader,
    Utf8Reader,
    mask_repeat,
    write_frame,
    write_frame_repeat,
)  # fmt: skip

Rate = Callable[[str, int, int], None]  # the fixture: name, bytes, times

IN_C = 100
IN_C_GROUP = f"websocket in C: {IN_C} times in one call"
SIZES = [125, 65536]
MASK = b"\x37\xfa\x21\x3d"
NOISE = random.Random(1).randbytes(65536)
TEXTS = {
    "ASCII": b"The quick brown fox. " * 3121,
    "German": ("zwölf Boxkämpfer jagen Viktor. " * 2000).encode()[:65536],
    "Greek": ("Ξεσκεπάζω την ψυχοφθόρα " * 1700).encode()[:65536],
    "Japanese": ("いろはにほへとちりぬるを" * 2000).encode()[:65535],
    "emoji": ("😀🎉" * 9000).encode()[:65536],
}
CHAT = b'{"type":"message","room":"lobby","from":"ada","text":"Shall we meet at noon, or a little later?"}'


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scalar", [False, True])
def test_mask(benchmark: BenchmarkFixture, rate: Rate, size: int, scalar: bool) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"unmask {size} bytes{', byte by byte' if scalar else ''}"
    data = bytearray(NOISE[:size])
    assert benchmark(mask_repeat, data, MASK, IN_C, scalar=scalar) == size
    rate(benchmark.name, size, IN_C)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("scalar", [False, True])
def test_utf8(benchmark: BenchmarkFixture, rate: Rate, kind: str, scalar: bool) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"UTF-8: {kind}{', byte by byte' if scalar else ''}"
    data = TEXTS[kind].decode("utf-8", "ignore").encode()
    assert benchmark(Utf8Reader(scalar=scalar).repeat, data, IN_C) == len(data)
    rate(benchmark.name, len(data), IN_C)


@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_decode(benchmark: BenchmarkFixture, rate: Rate, size: int, opcode: int) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"read a {'text' if opcode == 1 else 'binary'} frame of {size} bytes"
    data = write_frame(opcode, TEXTS["ASCII"][:size], mask=bytes(4))
    assert benchmark(FrameReader().repeat, data, IN_C) == 1
    rate(benchmark.name, size, IN_C)


@pytest.mark.parametrize("size", SIZES)
def test_encode(benchmark: BenchmarkFixture, rate: Rate, size: int) -> None:
    benchmark.group = IN_C_GROUP
    benchmark.name = f"write a frame of {size} bytes"
    assert benchmark(write_frame_repeat, 2, NOISE[:size], IN_C) > size
    rate(benchmark.name, size, IN_C)


def test_deflate(benchmark: BenchmarkFixture, rate: Rate) -> None:
    benchmark.group = "websocket deflate"
    benchmark.name = "compress a chat message"
    deflater = Deflater()
    assert len(benchmark(deflater.message, CHAT)) < len(CHAT)
    rate(benchmark.name, len(CHAT), 1)


def test_inflate(benchmark: BenchmarkFixture, rate: Rate) -> None:
    benchmark.group = "websocket deflate"
    benchmark.name = "inflate a chat message"
    payload = Deflater().message(CHAT)
    assert benchmark(Inflater().feed, payload) == CHAT
    rate(benchmark.name, len(CHAT), 1)


# ---- whole messages, given to Python ----


def by_ours(data: bytes) -> Callable[[], object]:
    reader = MessageReader()
    return lambda: reader.feed(data)[0]


def by_websockets(data: bytes) -> Callable[[], object]:
    protocol = ServerProtocol(state=OPEN)

    def read() -> object:
        protocol.receive_data(data)
        (frame,) = protocol.events_received()
        assert frame.opcode is Opcode.TEXT  # type: ignore[union-attr]
        return bytes(frame.data).decode()  # type: ignore[union-attr]

    return read


def by_wsproto(data: bytes) -> Callable[[], object]:
    connection = Connection(ConnectionType.SERVER)

    def read() -> object:
        connection.receive_data(data)
        (message,) = connection.events()
        assert isinstance(message, Message)
        return message.data

    return read


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parse", [by_ours, by_websockets, by_wsproto])
def test_message(
    benchmark: BenchmarkFixture, rate: Rate, size: int, parse: Callable[[bytes], Callable[[], object]]
) -> None:
    benchmark.group = f"websocket message: text of {size} bytes"
    text = TEXTS["ASCII"][:size]
    assert benchmark(parse(write_frame(1, text, mask=MASK))) == text.decode()
    rate(f"message, {parse.__name__}", size, 1)
