"""permessage-deflate (RFC 7692): what is negotiated, what is inflated and refused, what is written, what it costs.

Python's zlib is the other side.
"""

from __future__ import annotations

import itertools
import random
import string
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.websocket_ways import SmallLimits, frame, messages_verdict
from web.hotpath import Deflater, FrameError, Inflater, MessageReader
from web.ws_extensions import Agreed, Deflate, negotiate, parse_offers

TEXT, BINARY = 1, 2
TAIL = b"\x00\x00\xff\xff"
NOISE = random.Random(3).randbytes(300_000)
PLAIN = Deflate(server_max_window_bits=15, client_max_window_bits=15)
MODEST = Deflate()


class Peer:
    """The other side's compressor and decompressor, as a client has them."""

    def __init__(self, bits: int = 15, level: int = 6) -> None:
        self._deflate = zlib.compressobj(level, wbits=-bits)
        self._inflate = zlib.decompressobj(wbits=-bits)

    def message(self, data: bytes) -> bytes:
        return (self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)

    def read(self, payload: bytes) -> bytes:
        return self._inflate.decompress(payload + TAIL)


# ---- negotiation (RFC 7692 7.1) ----

OFFERS: dict[str, tuple[str, Deflate, str | None]] = {
    "nothing asked": ("permessage-deflate", PLAIN, "permessage-deflate"),
    "our window is what we say": ("permessage-deflate", MODEST, "permessage-deflate; server_max_window_bits=12"),
    "what browsers send": (
        "permessage-deflate; client_max_window_bits",
        MODEST,
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
    ),
    "what it sends where all is granted": ("permessage-deflate; client_max_window_bits", PLAIN, "permessage-deflate"),
    "its own window smaller than ours": (
        "permessage-deflate; client_max_window_bits=10",
        MODEST,
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10",
    ),
    "its own window larger than ours": (
        "permessage-deflate; client_max_window_bits=15",
        MODEST,
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
    ),
    "its own window the smallest": (
        "permessage-deflate; client_max_window_bits=8",
        PLAIN,
        "permessage-deflate; client_max_window_bits=8",
    ),
    "our window smaller than we would": (
        "permessage-deflate; server_max_window_bits=9",
        MODEST,
        "permessage-deflate; server_max_window_bits=9",
    ),
    "our window larger than we would": (
        "permessage-deflate; server_max_window_bits=15",
        MODEST,
        "permessage-deflate; server_max_window_bits=12",
    ),
    "no takeover of ours": (
        "permessage-deflate; server_no_context_takeover",
        PLAIN,
        "permessage-deflate; server_no_context_takeover",
    ),
    "no takeover of its own": (
        "permessage-deflate; client_no_context_takeover",
        PLAIN,
        "permessage-deflate; client_no_context_takeover",
    ),
    "no takeover by our will": (
        "permessage-deflate",
        Deflate(
            server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=15
        ),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ),
    "spaces and quotes": (
        ' permessage-deflate ;server_no_context_takeover\t;server_max_window_bits = "1\\0";client_max_window_bits="11"',
        PLAIN,
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=11",
    ),
    "the first acceptable one": (
        "permessage-deflate; a=b, x, permessage-deflate; server_max_window_bits=10, permessage-deflate",
        PLAIN,
        "permessage-deflate; server_max_window_bits=10",
    ),
    "empty elements": (", ,permessage-deflate,, ", PLAIN, "permessage-deflate"),
    "another extension": ("permessage-bzip2", PLAIN, None),
    "another case": ("Permessage-Deflate", PLAIN, None),
    "an unknown parameter": ("permessage-deflate; x", PLAIN, None),
    "a parameter in another case": ("permessage-deflate; Server_no_context_takeover", PLAIN, None),
    "twice": ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", PLAIN, None),
    "twice, other values": ("permessage-deflate; server_max_window_bits=10; server_max_window_bits=11", PLAIN, None),
    "takeover with a value": ("permessage-deflate; server_no_context_takeover=1", PLAIN, None),
    "takeover with an empty value": ('permessage-deflate; client_no_context_takeover=x', PLAIN, None),
    "our window without a value": ("permessage-deflate; server_max_window_bits", PLAIN, None),
    "our window 7": ("permessage-deflate; server_max_window_bits=7", PLAIN, None),
    "our window 8": ("permessage-deflate; server_max_window_bits=8", PLAIN, None),
    "our window 16": ("permessage-deflate; server_max_window_bits=16", PLAIN, None),
    "our window 010": ("permessage-deflate; server_max_window_bits=010", PLAIN, None),
    "its window 0": ("permessage-deflate; client_max_window_bits=0", PLAIN, None),
    "its window 1e1": ("permessage-deflate; client_max_window_bits=1e1", PLAIN, None),
    "its window +10": ("permessage-deflate; client_max_window_bits=+10", PLAIN, None),
    "its window 10 in other digits": ("permessage-deflate; client_max_window_bits=\u0661\u0660", PLAIN, None),
    "nothing": ("", PLAIN, None),
}  # fmt: skip


@pytest.mark.parametrize("name", OFFERS)
def test_offers(name: str) -> None:
    text, options, header = OFFERS[name]
    agreed = negotiate([text], options)
    assert (None if agreed is None else agreed.header) == header


def test_offers_of_several_fields() -> None:
    values = ["permessage-deflate; server_max_window_bits=8", "permessage-deflate; client_max_window_bits=9"]
    assert negotiate(values, MODEST) == Agreed(12, 9)
    assert negotiate([], MODEST) is None
    assert negotiate(values[::-1], PLAIN) == Agreed(15, 9)


@pytest.mark.parametrize("text", [
    "permessage-deflate;", "permessage-deflate; =1", "permessage-deflate; a=", "permessage-deflate; a b", "a b",
    'permessage-deflate; a="', 'permessage-deflate; a="b c"', 'permessage-deflate; a=""', "permessage-deflate a", "é",
    "; a", "permessage-deflate, ;", 'a; b="\\', "a; b=c=d", "permessage-deflate; \u0663",
])  # fmt: skip
def test_malformed_fields(text: str) -> None:
    assert parse_offers([text]) is None
    assert parse_offers(["permessage-deflate", text]) is None
    assert negotiate([text], PLAIN) is None


def test_what_is_parsed() -> None:
    assert parse_offers(["a, b;c;d=e", ' f ; g = "h\\i" ,']) == [
        ("a", ()),
        ("b", (("c", None), ("d", "e"))),
        ("f", (("g", "hi"),)),
    ]
    assert parse_offers([]) == parse_offers(["", " , "]) == []


_pieces = st.sampled_from([
    "permessage-deflate", ";", ",", "=", '"', "\\", " ", "\t", "server_max_window_bits", "client_max_window_bits",
    "server_no_context_takeover", "client_no_context_takeover", "8", "9", "10", "15", "16", "x", "é", "\x00",
])  # fmt: skip
_texts = st.one_of(st.text(max_size=60), st.lists(_pieces, max_size=15).map("".join))
_options = st.builds(
    Deflate,
    server_max_window_bits=st.integers(9, 15),
    client_max_window_bits=st.integers(9, 15),
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
)


@settings(deadline=None, database=None, max_examples=400)
@given(st.lists(_texts, max_size=3), _options)
def test_no_text_raises_and_what_is_agreed_is_granted(values: list[str], options: Deflate) -> None:
    agreed = negotiate(values, options)
    if agreed is None:
        return
    assert 9 <= agreed.server_max_window_bits <= options.server_max_window_bits
    assert 8 <= agreed.client_max_window_bits <= 15
    assert agreed.server_no_context_takeover >= options.server_no_context_takeover
    # The answer, taken for an offer by somebody who grants all, means the same.
    assert parse_offers([agreed.header]) is not None
    again = negotiate([agreed.header], PLAIN)
    assert again == agreed


@pytest.mark.parametrize("piece", [" ", "\t", ",", "; ", ";a", '"', "\\", 'a;b="', "a ", ", ", '\\"'])
def test_long_fields_take_time_in_proportion(piece: str) -> None:
    for start in ("", "permessage-deflate", 'a; b="'):
        parse_offers([start + piece * 20_000])
        parse_offers([start + piece * 20_000 + "x y"])


@pytest.mark.parametrize(("name", "value"), [
    ("server_max_window_bits", 8), ("server_max_window_bits", 16), ("client_max_window_bits", 8), ("mem_level", 0),
    ("mem_level", 10), ("level", -2), ("level", 10), ("level", True), ("mem_level", 5.0),
    ("server_no_context_takeover", 1), ("client_no_context_takeover", None),
])  # fmt: skip
def test_options_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Deflate\({name}="):
        Deflate(**{name: value})


# ---- inflating ----


@pytest.mark.parametrize("bits", range(9, 16))
def test_messages_of_one_context(bits: int) -> None:
    """With takeover the second message refers to the first one, and is much shorter."""
    peer, inflater = Peer(bits), Inflater(bits)
    text = NOISE[:200]
    lengths = []
    for _ in range(3):
        payload = peer.message(text)
        lengths.append(len(payload))
        assert inflater.feed(payload) == text
    assert lengths[1] < 50 < lengths[0]


def test_without_takeover_each_message_stands_alone() -> None:
    inflater = Inflater(15, takeover=False)
    for _ in range(2):
        assert inflater.feed(Peer().message(NOISE[:200])) == NOISE[:200]
        assert inflater.memory == 0
    peer = Peer()
    assert inflater.feed(peer.message(NOISE[:200])) == NOISE[:200]
    with pytest.raises(FrameError, match="1007"):
        inflater.feed(peer.message(NOISE[:200]))  # refers to what was forgotten


def test_cut_at_every_point() -> None:
    payload = Peer().message(b"Hello " * 20 + NOISE[:50])
    for at in range(len(payload) + 1):
        inflater = Inflater()
        first = inflater.feed(payload[:at], ends=False)
        assert first + inflater.feed(payload[at:]) == b"Hello " * 20 + NOISE[:50]
    inflater = Inflater()
    pieces = [inflater.feed(payload[i : i + 1], ends=i == len(payload) - 1) for i in range(len(payload))]
    assert b"".join(pieces) == b"Hello " * 20 + NOISE[:50]


EXAMPLES = {  # RFC 7692 7.2.3
    "one block": ("f248cdc9c90700", b"Hello"),
    "no compression": ("000500faff48656c6c6f00", b"Hello"),
    "a final block": ("f348cdc9c9070000", b"Hello"),
    "two blocks": ("f248050000 00ffffcac9c9 0700", b"Hello"),
    "an empty message": ("00", b""),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_rfc(name: str) -> None:
    text, expected = EXAMPLES[name]
    payload = bytes.fromhex(text)
    inflater = Inflater()
    for _ in range(3):
        assert inflater.feed(payload) == expected


def test_the_rfcs_message_that_refers_to_the_one_before() -> None:
    inflater = Inflater()
    assert inflater.feed(bytes.fromhex("f248cdc9c90700")) == b"Hello"
    assert inflater.feed(bytes.fromhex("f200110000")) == b"Hello"
    with pytest.raises(FrameError, match="1007"):
        Inflater().feed(bytes.fromhex("f200110000"))


def test_a_block_behind_a_final_one_refers_to_the_same_window() -> None:
    first = zlib.compressobj(wbits=-15)
    payload = first.compress(NOISE[:300]) + first.flush()
    then = zlib.compressobj(wbits=-15, zdict=NOISE[:300])
    second = (then.compress(NOISE[:300]) + then.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
    assert len(second) < 50
    inflater = Inflater()
    assert inflater.feed(payload + b"\x00") == NOISE[:300]
    assert inflater.feed(second) == NOISE[:300]
    assert Inflater().feed(payload + second) == NOISE[:300] * 2


def test_many_final_blocks_cost_little() -> None:
    """Two bytes each: what is done for one is not proportional to the window, or this would take half a minute."""
    inflater = Inflater()
    inflater.feed(Peer().message(NOISE[:40_000]))
    assert inflater.feed(b"\x03\x00" * 200_000 + b"\x00") == b""


@pytest.mark.parametrize(
    "payload", [b"\x06", b"\x07", b"\xff\xff\xff\xff", b"\x00\x01\x00\x00\x00a", b"\xf2\x00\x11\x00\x00"]
)
def test_what_is_no_deflate(payload: bytes) -> None:
    inflater = Inflater()
    with pytest.raises(FrameError) as caught:
        inflater.feed(payload)
    assert (caught.value.code, caught.value.reason) == (1007, "compressed message that is not deflate")
    assert inflater.memory == 0
    with pytest.raises(FrameError, match="1007"):  # from then on
        inflater.feed(b"\x00")


@pytest.mark.parametrize("payload", [b"", b"\xf2\x48", b"\x00\x05\x00\xfa\xffHe", bytes.fromhex("f348cdc9c90700")])
def test_a_message_that_ends_within_a_block(payload: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        Inflater().feed(payload)
    assert caught.value.code == 1007


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = Peer(level=9).message(bytes(100_000_000))
    assert len(bomb) < 100_000
    inflater = Inflater()
    with pytest.raises(FrameError) as caught:
        inflater.feed(bomb, limit=1 << 16)
    assert (caught.value.code, caught.value.reason) == (1009, "message too big once it is inflated")
    assert inflater.memory == 0
    reader = MessageReader(SmallLimits(message=1 << 16), deflate=(15, True))
    with pytest.raises(FrameError, match="1009"):
        reader.feed(frame(BINARY, bomb[:70_000], rsv1=True))
    zlibs, buffer = reader.memory
    assert zlibs == 0
    assert buffer <= 2 << 16


def byte_by_byte(payload: bytes, limit: int) -> int | None:
    """The code of the refusal."""
    inflater = Inflater()
    try:
        for i in range(len(payload)):
            inflater.feed(payload[i : i + 1], ends=i == len(payload) - 1, limit=limit)
    except FrameError as error:
        return error.code
    return None


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 65536])
def test_the_limit_is_exact_and_counts_the_whole_message(size: int) -> None:
    payload = Peer().message(bytes(size))
    assert Inflater().feed(payload, limit=size) == bytes(size)
    for takeover in (False, True):
        inflater = Inflater(takeover=takeover)
        for _ in range(3):  # each message for itself
            assert inflater.feed(Peer().message(bytes(size)), limit=size) == bytes(size)
    if size:
        with pytest.raises(FrameError, match="1009"):
            Inflater().feed(payload, limit=size - 1)
        assert byte_by_byte(payload, size - 1) == 1009


@settings(deadline=None, database=None, max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 300), st.lists(st.integers(0, 200), max_size=3))
def test_any_bytes_get_one_verdict(payload: bytes, limit: int, cuts: list[int]) -> None:
    def verdict(bounds: list[int]) -> bytes | int:
        inflater = Inflater()
        out = b""
        try:
            for begin, end in itertools.pairwise(bounds):
                out += inflater.feed(payload[begin:end], ends=False, limit=limit)
            return out + inflater.feed(b"", limit=limit)
        except FrameError as error:
            return error.code

    whole = verdict([0, len(payload)])
    assert verdict(sorted({0, len(payload), *(cut for cut in cuts if cut < len(payload))})) == whole
    if isinstance(whole, bytes):
        assert len(whole) <= limit


# ---- deflating ----


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("mem_level", [1, 5, 9])
def test_what_is_written_the_peer_reads(bits: int, mem_level: int) -> None:
    deflater, peer = Deflater(bits, mem_level), Peer(bits)
    for message in (b"Hello", b"", b"", b"Hello", NOISE, bytes(100_000), b"a", NOISE[:100] * 30, b""):
        payload = deflater.message(message)
        assert not payload.endswith(TAIL)
        assert peer.read(payload) == message


def test_takeover_of_what_is_written() -> None:
    text = NOISE[:200]
    kept, fresh = Deflater(), Deflater(takeover=False)
    assert len(kept.message(text)) > 200 > 50 > len(kept.message(text))
    payload = fresh.message(text)
    assert fresh.memory == 0
    assert fresh.message(text) == payload
    assert Peer().read(payload) == text


def test_a_deflater_may_be_freed_between_messages() -> None:
    deflater, peer = Deflater(), Peer()
    for _ in range(3):
        assert peer.read(deflater.message(NOISE[:200])) == NOISE[:200]
        deflater.free()
        deflater.free()
        assert deflater.memory == 0


def test_levels() -> None:
    text = (string.ascii_letters * 50).encode()
    sizes = [len(Deflater(level=level).message(text)) for level in (0, 1, 9)]
    assert sizes[0] > len(text) > sizes[1] >= sizes[2]


@settings(deadline=None, database=None)
@given(st.lists(st.binary(max_size=2000), max_size=5), st.integers(9, 15), st.integers(1, 9), st.booleans())
def test_round_trip(messages: list[bytes], bits: int, mem_level: int, takeover: bool) -> None:
    deflater, inflater = Deflater(bits, mem_level, takeover=takeover), Inflater(bits, takeover=takeover)
    for message in messages:
        assert inflater.feed(deflater.message(message)) == message


# ---- memory ----

ng = pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng takes more memory than zlib")


@ng
def test_memory_is_what_is_documented() -> None:
    for bits in range(9, 16):
        inflater = Inflater(bits)
        assert inflater.memory == 0
        inflater.feed(Peer(bits).message(NOISE))
        assert 1 << bits < inflater.memory <= Deflate(client_max_window_bits=bits).receive_memory
        inflater.free()
        assert inflater.memory == 0
        for mem_level in range(1, 10):
            deflater = Deflater(bits, mem_level)
            assert deflater.memory == 0
            deflater.message(NOISE[:1000])
            options = Deflate(server_max_window_bits=bits, mem_level=mem_level)
            assert options.send_memory - 8192 < deflater.memory <= options.send_memory


def test_an_empty_message_needs_no_memory() -> None:
    deflater = Deflater()
    assert deflater.message(b"") == b"\x00"
    assert deflater.memory == 0


def _failing(step: Callable[[], bytes], before: Callable[[], None]) -> bytes:
    """Runs the step with one allocation after the other failing, and gives what it gives in the end."""
    allocations = pytest.importorskip("_testcapi")
    for number in range(100):
        before()
        allocations.set_nomemory(number, number + 1)
        try:
            result = step()
        except MemoryError:
            continue
        finally:
            allocations.remove_mem_hooks()
        assert number > 2
        return result
    raise AssertionError("it never went through")


@pytest.mark.parametrize("takeover", [False, True])
def test_without_memory_for_a_message_nothing_changes_for_the_peer(takeover: bool) -> None:
    deflater, peer = Deflater(takeover=takeover), Peer()
    large = NOISE[:50_000]

    def before() -> None:
        """It is live when it fails: what it took of a message must not come out with the next one."""
        assert peer.read(deflater.message(b"again")) == b"again"

    assert peer.read(_failing(lambda: deflater.message(large), before)) == large
    before()


@pytest.mark.parametrize("takeover", [False, True])
def test_without_memory_to_inflate_all_is_given_back(takeover: bool) -> None:
    payload = Peer().message(NOISE[:50_000])
    inflaters: list[Inflater] = []
    assert _failing(lambda: inflaters[-1].feed(payload), lambda: inflaters.append(Inflater(takeover=takeover)))
    # Those that failed last had inflated it all, and lacked memory for the bytes object only.
    held = [one.memory for one in inflaters]
    assert held[0] == 0
    assert set(held) <= {0, held[-1]}


# ---- within messages ----


def test_compressed_messages() -> None:
    peer = Peer()
    first, second = peer.message(b"Hello"), peer.message("zwölf".encode())
    data = (
        frame(TEXT, first[:3], fin=False, rsv1=True) + frame(9, b"p") + frame(0, fin=False) + frame(0, first[3:])
        + frame(BINARY, b"\xff") + frame(TEXT, second, rsv1=True) + frame(TEXT, b"plain")
        + frame(BINARY, peer.message(b""), rsv1=True)
    )  # fmt: skip
    found = [("ping", b"p"), "Hello", b"\xff", "zwölf", "plain", b""]
    assert messages_verdict(data, deflate=(15, True)) == (found, None)


@pytest.mark.parametrize(("text", "reason"), [
    (b"abc\xff" + b"x" * 1000, "text that is not UTF-8"),
    (b"abc\xe2\x82", "text that ends within a character"),
])  # fmt: skip
def test_inflated_text_is_checked(text: bytes, reason: str) -> None:
    payload = Peer().message(text)
    for data in (
        frame(TEXT, payload, rsv1=True),
        frame(TEXT, payload[:3], fin=False, rsv1=True) + frame(0, payload[3:], fin=False) + frame(0, b""),
    ):
        assert messages_verdict(data, deflate=(15, True)) == ([], (1007, reason))
    assert messages_verdict(frame(BINARY, payload, rsv1=True), deflate=(15, True)) == ([text], None)


def test_inflated_text_fails_before_its_message_is_whole() -> None:
    payload = Peer().message(b"abc\xff") + TAIL
    reader = MessageReader(deflate=(15, True))
    with pytest.raises(FrameError, match="1007: text that is not UTF-8"):
        reader.feed(frame(TEXT, payload, fin=False, rsv1=True))


def test_the_limit_of_messages_is_that_of_what_they_hold() -> None:
    limits = SmallLimits(message=1000)
    for size, refused in ((1000, None), (1001, (1009, "message too big once it is inflated"))):
        payload = Peer().message(bytes(size))
        data = frame(BINARY, payload[:5], fin=False, rsv1=True) + frame(0, payload[5:])
        assert messages_verdict(data, limits, deflate=(15, True)) == ([] if refused else [bytes(1000)], refused)
    # What does not compress is larger on the wire than the limit, and passes.
    payload = Peer().message(NOISE[:1000])
    assert len(payload) > 1000
    assert messages_verdict(frame(BINARY, payload, rsv1=True), limits, deflate=(15, True)) == ([NOISE[:1000]], None)


def test_broken_compression_ends_the_connection() -> None:
    data = frame(TEXT, b"ok") + frame(BINARY, b"\xff\xff\xff\xff", rsv1=True) + frame(TEXT, b"late")
    found = messages_verdict(data, deflate=(15, True))
    assert found == (["ok"], (1007, "compressed message that is not deflate"))


def test_misuse_raises() -> None:
    for make in (lambda: Inflater(7), lambda: Inflater(16), lambda: Deflater(8), lambda: Deflater(12, 10)):
        with pytest.raises(ValueError, match="give"):
            make()
    nothing: Any = None
    for call in (Inflater().feed, Deflater().message):
        with pytest.raises(TypeError):
            call(nothing)
