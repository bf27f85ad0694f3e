"""ws_helpers.h: the wide loops do what their scalar twins say, at each alignment, length and cut, and nothing else.

The twins themselves are held against Python: the mask byte by byte, UTF-8 against the decoder of `bytes`. The header is
also compiled by itself as platforms without vectors have it.
"""

from __future__ import annotations

import codecs
import ctypes
import functools
import itertools
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.websocket_ways import GUARD
from web.hotpath import Utf8Reader, mask_address, mask_repeat

HEADER = Path(__file__).parent.parent / "src/web/ws_helpers.h"
KEY = b"\x9a\x01\xf0\x5c"

Mask = Callable[[int, int, bytes, int], None]  # address, length, key, place in the payload
Utf8 = Callable[[int, int], tuple[int, bool]]  # address, length -> how many are good, whether the text may end there


def wide_mask(address: int, length: int, key: bytes, at: int) -> None:
    mask_address(address, length, key, at)


def scalar_mask(address: int, length: int, key: bytes, at: int) -> None:
    mask_address(address, length, key, at, scalar=True)


def wide_utf8(address: int, length: int) -> tuple[int, bool]:
    reader = Utf8Reader()
    return reader.feed_address(address, length), reader.whole


def scalar_utf8(address: int, length: int) -> tuple[int, bool]:
    reader = Utf8Reader(scalar=True)
    return reader.feed_address(address, length), reader.whole


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The header compiled without vectors."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("words")
    source = folder / "words.c"
    source.write_text(
        f'#include "{HEADER}"\n'
        "void mask(unsigned char *d, size_t n, const unsigned char *m, size_t at) { web_mask(d, n, m, at); }\n"
        "size_t utf8(const unsigned char *d, size_t n, int *left) {\n"
        "    web_utf8 s = {0, 0, 0}; size_t good = web_utf8_feed(&s, d, n); *left = s.left; return good; }\n"
    )
    library = folder / "words.so"
    command = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-DWEB_WS_WORDS", "-fPIC", "-shared"]
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.mask.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    loaded.mask.restype = None
    loaded.utf8.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)]
    loaded.utf8.restype = ctypes.c_size_t
    return loaded


@pytest.fixture(params=["wide", "scalar", "words"])
def mask(request: pytest.FixtureRequest) -> Mask:
    if request.param == "words":
        masked: Mask = request.getfixturevalue("words").mask
        return masked
    return wide_mask if request.param == "wide" else scalar_mask


@pytest.fixture(params=["wide", "scalar", "words"])
def utf8(request: pytest.FixtureRequest) -> Utf8:
    if request.param != "words":
        return wide_utf8 if request.param == "wide" else scalar_utf8
    library = request.getfixturevalue("words")

    def check(address: int, length: int) -> tuple[int, bool]:
        left = ctypes.c_int()
        good: int = library.utf8(address, length, ctypes.byref(left))
        return good, left.value == 0

    return check


# ---- the mask ----


def test_every_length_alignment_and_place(mask: Mask) -> None:
    """0 to 200 bytes at 16 alignments, beginning at each byte of the key; what lies around them stays as it is."""
    noise = random.Random(7).randbytes(256)
    room = bytearray(256)
    memory = (ctypes.c_char * 256).from_buffer(room)
    base = ctypes.addressof(memory)
    shift = -base % 16
    for length in range(201):
        for alignment in range(16):
            at = (length + alignment) % 4
            room[:] = noise
            begin = shift + alignment
            mask(base + begin, length, KEY, at)
            expected = bytearray(noise)
            for i in range(length):
                expected[begin + i] ^= KEY[(at + i) % 4]
            assert room == expected, (length, alignment, at)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 4095, 2**32 + 3])
def test_at_the_end_of_readable_memory(mask: Mask, at: int) -> None:
    for length in (0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 1000):
        data = random.Random(length).randbytes(length)
        address = GUARD.place(data)
        mask(address, length, KEY, at)
        assert ctypes.string_at(address, length) == bytes(byte ^ KEY[(at + i) % 4] for i, byte in enumerate(data))


@settings(deadline=None, database=None)
@given(st.binary(max_size=400), st.binary(min_size=4, max_size=4), st.lists(st.integers(0, 400), max_size=4))
def test_pieces_are_masked_like_the_whole(data: bytes, key: bytes, cuts: list[int]) -> None:
    address = GUARD.place(data)
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in itertools.pairwise(bounds):
        mask_address(address + begin, end - begin, key, begin)
    assert ctypes.string_at(address, len(data)) == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


def test_mask_repeat() -> None:
    data = bytearray(b"Hello")
    for scalar in (False, True):
        assert mask_repeat(data, KEY, 4, scalar=scalar) == 5
        assert data == b"Hello"
        mask_repeat(data, KEY, 3, scalar=scalar)
        assert data == bytes(byte ^ KEY[i % 4] for i, byte in enumerate(b"Hello"))
        mask_repeat(data, KEY, 1, scalar=scalar)
    for wrong in (b"123", b"12345"):
        with pytest.raises(ValueError, match="give 4"):
            mask_address(0, 0, wrong)
        with pytest.raises(ValueError, match="give 4"):
            mask_repeat(data, wrong, 1)


# ---- UTF-8 ----


@functools.cache
def can_go_on(tail: bytes) -> bool:
    """Whether some bytes make it a character. Python's own incremental decoder waits for them before it judges."""
    for count in range(1, 4):
        for rest in itertools.product((0x80, 0x90, 0xA0), repeat=count):
            with suppress(UnicodeDecodeError):
                return len((tail + bytes(rest)).decode()) == 1
    return False


def by_python(data: bytes) -> tuple[int, bool]:
    """How many bytes go on with a text, by Python's decoder; whether the text may end there."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for i in range(len(data)):
        try:
            decoder.decode(data[i : i + 1])
        except UnicodeDecodeError:
            return i, False
        tail = decoder.getstate()[0]
        if tail and not can_go_on(tail):
            return i, False
    return len(data), decoder.getstate()[0] == b""


_EDGES = [0x00, 0x41, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x9F, 0xA0, 0xBE, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
          0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF]  # fmt: skip


def agrees(utf8: Utf8, data: bytes) -> None:
    good, whole = utf8(GUARD.place(data), len(data))
    expected_good, expected_whole = by_python(data)
    assert good == expected_good, data
    assert good < len(data) or whole == expected_whole, data


def test_every_one_and_two_bytes(utf8: Utf8) -> None:
    for first in range(256):
        agrees(utf8, bytes([first]))
        for second in range(256):
            agrees(utf8, bytes([first, second]))


def test_every_three_and_four_bytes_near_the_boundaries(utf8: Utf8) -> None:
    leads = [byte for byte in _EDGES if byte >= 0xE0]
    for data in itertools.product(leads, _EDGES, _EDGES):
        agrees(utf8, bytes(data))
    tails = [0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0]
    for four in itertools.product([0xE0, 0xED, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5], tails, tails, tails):
        agrees(utf8, bytes(four))


def test_every_character(utf8: Utf8) -> None:
    """All of Unicode, in one text; and each surrogate is refused with its second byte."""
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])).encode()
    memory = ctypes.create_string_buffer(text, len(text))
    assert utf8(ctypes.addressof(memory), len(text)) == (len(text), True)
    for surrogate in range(0xD800, 0xE000):
        data = chr(surrogate).encode("utf-8", "surrogatepass")
        assert utf8(GUARD.place(data), 3)[0] == 1


def test_a_wrong_byte_is_found_wherever_it_stands(utf8: Utf8) -> None:
    """In ASCII of every length up to 200, at every place, at the end of readable memory."""
    for length in range(1, 201):
        for at in {*range(min(length, 70)), length - 1, length // 2}:
            data = bytearray(b"a" * length)
            data[at] = 0xFF
            assert utf8(GUARD.place(bytes(data)), length)[0] == at, (length, at)


def test_long_texts_of_each_script(utf8: Utf8) -> None:
    for text in ("ascii " * 50, "zwölf Boxkämpfer " * 20, "κόσμε" * 60, "日本語" * 60, "😀é€a" * 50, "𐀀" * 70):
        data = text.encode()
        for begin in range(20):
            agrees(utf8, data[begin:])
            agrees(utf8, data[: len(data) - begin])


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize(
    "text",
    ["a" * 70 + "é€😀" + "b" * 70, "日本語日本語", "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"],
)
def test_cut_at_every_point(text: str, scalar: bool) -> None:
    data = text.encode()
    for at in range(len(data) + 1):
        reader = Utf8Reader(scalar=scalar)
        assert reader.feed(data[:at]) == at
        assert reader.whole == by_python(data[:at])[1]
        assert reader.feed(data[at:]) == len(data) - at
        assert reader.whole


@settings(deadline=None, database=None, max_examples=300)
@given(
    st.one_of(st.binary(max_size=100), st.text(max_size=60).map(str.encode)),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from(_EDGES)), max_size=3),
    st.lists(st.integers(0, 300), max_size=4),
)
def test_pieces_get_one_verdict(data: bytes, changes: list[tuple[int, int]], cuts: list[int]) -> None:
    changed = bytearray(data)
    for at, byte in changes:
        if at < len(changed):
            changed[at] = byte
    data = bytes(changed)
    for scalar in (False, True):
        reader = Utf8Reader(scalar=scalar)
        good = 0
        bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for begin, end in itertools.pairwise(bounds):
            here = reader.feed(data[begin:end])
            good += here
            if here < end - begin:
                break
        expected, whole = by_python(data)
        assert good == expected
        if good == len(data):
            assert reader.whole == whole


def test_repeat() -> None:
    for scalar in (False, True):
        assert Utf8Reader(scalar=scalar).repeat("zwölf".encode(), 10) == 6
        assert Utf8Reader(scalar=scalar).repeat(b"ab\xff", 10) == 2
