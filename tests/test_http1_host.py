"""Host and port, in the Host field and in targets (RFC 9110 7.2, RFC 9112 3.2, RFC 3986 3.2; faults.md 7)."""

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.http1_ways import Head, Refused, head_verdict

VALID_HOSTS = [
    b"a", b"EXAMPLE.org.", b"a_b-c~d", b"127.0.0.1", b"1.2.3", b"a:", b"a:0", b"a:65535", b"[::]", b"[::1]:8443",
    b"[1:2:3:4:5:6:7:8]", b"[1::8]", b"[::ffff:1.2.3.4]", b"[1:2:3:4:5:6:1.2.3.4]:1", b"[1:2:3:4:5:6:7::]",
    b"a!$&'()*+;=", b"[::1]:",
]  # fmt: skip
INVALID_HOSTS = [
    b":80", b"a:65536", b"a:000080", b"a:8x", b"a:+8", b"a::8", b"a:8:8", b"u@a", b"u:p@a", b"a/b", b"a?b", b"a#b",
    b"a\\b", b"a b", b"a,b", b"a, b", b"a%2fb", b"a%", b'"a"', b"a<b", b"http://a", b"a|b", b"a^b", b"[", b"[]",
    b"[::1", b"::1", b"[:::]", b"[:]", b"[::1]x", b"[::1]]", b"[1:2:3:4:5:6:7]", b"[1:2:3:4:5:6:7:8:9]", b"[1::2::3]",
    b"[1::2:]", b"[1:2:3:4:5:6:7:8:]",
    b"[12345::]", b"[1:2:3:4:5:6:7:8::]", b"[::1%25eth0]", b"[::1.2.3]", b"[::1.2.3.256]", b"[::01.2.3.4]",
    b"[1.2.3.4]", b"[::1.2.3.4:1]", b"[v1.x]", b"[a]", b"[1:2:3:4:5:6:7:1.2.3.4]", b"[1:]", b"[:1]", b"[g::]",
]  # fmt: skip


@pytest.mark.parametrize("host", [*VALID_HOSTS, *INVALID_HOSTS])
def test_hosts(host: bytes) -> None:
    field = head_verdict(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    if host in VALID_HOSTS:
        assert isinstance(field, Head)
        assert field.authority == host
    else:
        assert isinstance(field, Refused)
        assert (field.status, field.reason) == (400, "invalid Host")
    if not set(host) & set(b'/?# "<%\\,'):
        target = head_verdict(b"GET http://" + host + b"/ HTTP/1.1\r\nHost: b\r\n\r\n")
        assert isinstance(target, Head if host in VALID_HOSTS else Refused)


@settings(deadline=None, database=None)
@given(st.text("0123456789abcdefABCDEF:.:", min_size=2, max_size=45) | st.ip_addresses(v=6).map(str))
@example("1:2:3:4:5:6:7::")
@example("::1.2.3.4")
def test_ipv6_like_the_standard_library(address: str) -> None:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        valid = False
    else:
        valid = True
    verdict = head_verdict(b"GET / HTTP/1.1\r\nHost: [%s]\r\n\r\n" % address.encode())
    assert isinstance(verdict, Head if valid else Refused)


def authority(data: bytes) -> bytes:
    head = head_verdict(data)
    assert isinstance(head, Head)
    return head.authority


def test_an_empty_host_where_the_target_needs_none() -> None:
    # RFC 9112 3.2: sent when the target has no authority. The target's own wins over the field's (3.2.2).
    assert authority(b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n") == b""
    assert authority(b"GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n") == b"b"
    assert authority(b"GET http://b/ HTTP/1.1\r\nHost: c\r\n\r\n") == b"b"
    assert authority(b"CONNECT b:1 HTTP/1.1\r\nHost: \r\n\r\n") == b"b:1"
