"""PROXY headers, versions 1 and 2: what is read of them, what is refused, and that nothing behind them is looked at.

Each input goes through `verdict`: whole, byte by byte, cut at every point and in front of unreadable memory.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.http1_ways import GUARD
from web.hotpath import proxy_header, proxy_header_address

Found: TypeAlias = tuple[int, Literal["tcp", "unknown", "local"], tuple[str, int] | None]
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MAX = 2048


def once(data: bytes) -> Found | str | None:
    """What is said of these bytes in one piece, in front of unreadable memory."""
    try:
        return proxy_header_address(GUARD.place(data), len(data))
    except ValueError as error:
        return str(error)


def verdict(data: bytes) -> Found | str | None:
    """The header, why there is none, or None: more is needed. The same after each byte that does not change it."""
    found = once(data)
    early: Found | str | None = None
    for end in range(len(data) + 1):
        early = once(data[:end])
        if early is not None:
            break
    if isinstance(found, str):  # refused no later than it must be, and for good
        assert isinstance(early, str)
    else:
        assert early == found
    return found


def accepted(data: bytes) -> Found:
    found = verdict(data)
    assert isinstance(found, tuple), found
    for follows in (b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", bytes(3000)):
        assert once(data + follows) == found
    assert found[0] == len(data)
    for end in range(len(data)):
        assert once(data[:end]) is None
    return found


def refused(data: bytes) -> str:
    found = verdict(data)
    assert isinstance(found, str), found
    return found


def line(rest: bytes) -> bytes:
    return b"PROXY " + rest + b"\r\n"


def binary(body: bytes = b"", *, kind: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, kind]) + size.to_bytes(2, "big") + body


FOUR = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
SIX = ipaddress.ip_address("2001:db8::1").packed + bytes(16) + b"\xff\xff\0\1"


# ---- version 1 ----


def test_a_line() -> None:
    assert accepted(line(b"TCP4 192.0.2.1 198.51.100.7 4711 443"))[1:] == ("tcp", ("192.0.2.1", 4711))
    assert accepted(line(b"TCP6 2001:DB8::1 ::1 65535 0"))[1:] == ("tcp", ("2001:db8::1", 65535))
    assert accepted(line(b"TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535"))[0] == 104


def test_an_ipv4_address_within_ipv6_is_the_ipv4_address() -> None:
    assert accepted(line(b"TCP6 ::ffff:192.0.2.1 ::1 1 2"))[2] == ("192.0.2.1", 1)
    mapped = ipaddress.ip_address("::ffff:10.0.0.1").packed + bytes(20)
    assert accepted(binary(mapped, kind=0x21))[2] == ("10.0.0.1", 0)


@pytest.mark.parametrize("rest", [b"UNKNOWN", b"UNKNOWN ", b"UNKNOWN ffff::1 ::1 1 2", b"UNKNOWN \0\xff\r\t anything"])
def test_who_is_unknown(rest: bytes) -> None:
    assert accepted(line(rest)) == (len(rest) + 8, "unknown", None)


def test_the_longest_line() -> None:
    assert accepted(line(b"UNKNOWN " + b"x" * 91))[0] == 107
    assert "107 bytes" in refused(line(b"UNKNOWN " + b"x" * 92))
    assert "107 bytes" in refused(b"PROXY " + b"\0" * 101)
    assert once(b"PROXY " + b"\0" * 100) is None


@pytest.mark.parametrize(
    "rest",
    [
        b"", b" ", b"TCP4", b"TCP4 ", b"TCP", b"UDP4 192.0.2.1 192.0.2.2 1 2", b"tcp4 192.0.2.1 192.0.2.2 1 2",
        b"UNKNOWNS", b"UNKNOW", b"unknown",
        b"TCP4 192.0.2.1 192.0.2.2 1", b"TCP4 192.0.2.1 192.0.2.2 1 ", b"TCP4 192.0.2.1 192.0.2.2 1 2 ",
        b"TCP4 192.0.2.1 192.0.2.2 1 2 3", b"TCP4  192.0.2.1 192.0.2.2 1 2", b"TCP4 192.0.2.1  192.0.2.2 1 2",
        b" TCP4 192.0.2.1 192.0.2.2 1 2", b"TCP4\t192.0.2.1 192.0.2.2 1 2", b"TCP4 192.0.2.1\t192.0.2.2 1 2",
        b"TCP4 ::1 ::1 1 2", b"TCP6 192.0.2.1 192.0.2.2 1 2", b"TCP4 192.0.2.1 ::1 1 2", b"TCP6 ::1 192.0.2.2 1 2",
        b"TCP4 192.0.2 192.0.2.2 1 2", b"TCP4 192.0.2.256 192.0.2.2 1 2", b"TCP4 192.0.2.01 192.0.2.2 1 2",
        b"TCP4 192.0.2.1. 192.0.2.2 1 2", b"TCP4 3221225985 192.0.2.2 1 2", b"TCP4 0xc0.0.2.1 192.0.2.2 1 2",
        b"TCP6 ::1%eth0 ::1 1 2", b"TCP6 [::1] ::1 1 2", b"TCP6 1:2:3:4:5:6:7 ::1 1 2", b"TCP6 ::1::2 ::1 1 2",
        b"TCP6 12345::1 ::1 1 2",
        b"TCP4 192.0.2.1 192.0.2.2 65536 2", b"TCP4 192.0.2.1 192.0.2.2 1 65536", b"TCP4 192.0.2.1 192.0.2.2 01 2",
        b"TCP4 192.0.2.1 192.0.2.2 1 00", b"TCP4 192.0.2.1 192.0.2.2 -1 2", b"TCP4 192.0.2.1 192.0.2.2 +1 2",
        b"TCP4 192.0.2.1 192.0.2.2 1 2x", b"TCP4 192.0.2.1 192.0.2.2 1 123456", b"TCP4 192.0.2.1 192.0.2.2  2",
        b"TCP4 192.0.2.1 192.0.2.2 1 2\r", b"TCP4 192.0.2.1\0 192.0.2.2 1 2", b"TCP4 localhost localhost 1 2",
    ],
)  # fmt: skip
def test_lines_that_are_none(rest: bytes) -> None:
    assert refused(line(rest)) == "malformed PROXY line"


def test_a_line_ends_with_cr_and_lf() -> None:
    whole = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2"
    assert "LF without CR" in refused(whole + b"\n")
    assert "LF without CR" in refused(b"PROXY UNKNOWN\nGET / HTTP/1.1\r\n")
    assert once(whole + b"\rGET") is None  # a CR is no end; the LF that comes says that it is malformed
    assert refused(whole + b"\rGET / HTTP/1.1\r\n") == "malformed PROXY line"


# ---- version 2 ----


def test_a_binary_header() -> None:
    assert accepted(binary(FOUR)) == (28, "tcp", ("192.0.2.1", 4711))
    assert accepted(binary(SIX, kind=0x21)) == (52, "tcp", ("2001:db8::1", 65535))


def test_what_a_proxy_adds_is_passed_over() -> None:
    added = b"\x02\0\x0bexample.org" + b"\x04\0\0" + b"\xff\xff\xff"  # TLVs, the last one cut off
    assert accepted(binary(FOUR + added)) == (28 + len(added), "tcp", ("192.0.2.1", 4711))
    assert accepted(binary(SIX + added, kind=0x21))[1:] == ("tcp", ("2001:db8::1", 65535))
    assert accepted(binary(b"x" * 9, kind=0))[1:] == ("unknown", None)


@pytest.mark.parametrize("kind", [0x00, 0x01, 0x02, 0x10, 0x20, 0x30])
def test_unspecified_families_and_transports(kind: int) -> None:
    assert accepted(binary(kind=kind)) == (16, "unknown", None)
    assert accepted(binary(SIX, kind=kind)) == (52, "unknown", None)


@pytest.mark.parametrize(("kind", "least"), [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)])
def test_what_is_not_tcp_is_unknown(kind: int, least: int) -> None:
    assert accepted(binary(bytes(least), kind=kind)) == (16 + least, "unknown", None)


@pytest.mark.parametrize("kind", [0x00, 0x11, 0x21, 0x31, 0xFF])
def test_the_proxys_own_connections(kind: int) -> None:
    """Whatever else the header says (2.2)."""
    assert accepted(binary(kind=kind, command=0x20)) == (16, "local", None)
    assert accepted(binary(FOUR, kind=kind, command=0x20)) == (28, "local", None)


@pytest.mark.parametrize(("kind", "least"), [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)])
def test_addresses_need_their_room(kind: int, least: int) -> None:
    for size in (0, least - 1):
        assert "without room" in refused(binary(bytes(size), kind=kind))


def test_versions_commands_families_and_transports() -> None:
    for command in set(range(256)) - {0x20, 0x21}:
        assert "another version" in refused(binary(FOUR, command=command))
        assert isinstance(once(SIGNATURE + bytes([command])), str)
    for kind in range(256):
        if kind >> 4 > 3 or kind & 15 > 2:
            assert "another family" in refused(binary(bytes(300), kind=kind))
            assert isinstance(once(SIGNATURE + bytes([0x21, kind])), str)


def test_the_longest_binary_header() -> None:
    assert accepted(binary(FOUR + bytes(MAX - 28)))[0] == MAX
    assert "2048 bytes" in refused(binary(FOUR + bytes(MAX - 27)))
    assert "2048 bytes" in refused(binary(length=65535))
    assert "2048 bytes" in refused(binary(length=65535, command=0x20))


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"proxy ", b"PROXX", b"PROXY\r\n", b"\r\n\r\nGET", b"\0"]
)
def test_other_protocols_are_refused_at_their_first_wrong_byte(data: bytes) -> None:
    assert refused(data) == "no PROXY header"
    whole = [b"PROXY ", SIGNATURE]
    first = next(end for end in range(len(data) + 1) if not any(one.startswith(data[:end]) for one in whole))
    assert once(data[: first - 1]) is None
    assert isinstance(once(data[:first]), str)


# ---- anything ----

ADDRESSES = st.ip_addresses()
PORTS = st.integers(0, 65535)


def usual(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@given(source=ADDRESSES, port=PORTS, form=st.sampled_from(["compressed", "exploded"]))
def test_lines_round_trip(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, form: Literal["compressed", "exploded"]
) -> None:
    data = line(f"TCP{source.version} {getattr(source, form)} {getattr(source, form)} {port} 443".encode())
    found = once(data)
    assert isinstance(found, tuple)
    assert found[2] is not None
    assert (ipaddress.ip_address(found[2][0]), found[2][1]) == (ipaddress.ip_address(usual(source)), port)


@given(source=ADDRESSES, port=PORTS, added=st.binary(max_size=64))
def test_binary_headers_round_trip(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, added: bytes
) -> None:
    body = source.packed * 2 + port.to_bytes(2, "big") * 2 + added
    found = once(binary(body, kind=0x11 if source.version == 4 else 0x21))
    assert isinstance(found, tuple)
    assert found[2] is not None
    assert (ipaddress.ip_address(found[2][0]), found[2][1]) == (ipaddress.ip_address(usual(source)), port)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda data: SIGNATURE + b"\x21" + data),
        st.binary(max_size=120).map(lambda data: b"PROXY TCP4 " + data),
        st.text(alphabet="0123456789.: \r\n", max_size=120).map(lambda text: b"PROXY TCP6 " + text.encode()),
    )
)
@example(b"")
def test_any_bytes(data: bytes) -> None:
    """A verdict, always the same, and a length that lies within them."""
    found = verdict(data)
    assert found is None or isinstance(found, str) or 0 < found[0] <= len(data)


def test_what_it_is_given() -> None:
    assert proxy_header(bytearray(b"PROXY UNKNOWN\r\n")) == (15, "unknown", None)
    assert proxy_header(memoryview(b"")) is None
    with pytest.raises(TypeError):
        proxy_header(None)  # type: ignore[arg-type]
