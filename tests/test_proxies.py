"""web.Proxies, and the options of Server that go with it: mistakes are told before anything is served."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web._core import Networks, is_authority, read_ip
from web.testing import Client

APP = web.App(web.GET("/", lambda req: {"client": req.client, "scheme": req.scheme, "host": req.host}))


# ---- the value ----


def test_it_says_what_it_is() -> None:
    assert repr(web.Proxies("10.0.0.0/8")) == "Proxies('10.0.0.0/8')"
    made = web.Proxies("10.0.0.0/8", "unix", fields="forwarded", host=True)
    assert repr(made) == "Proxies('10.0.0.0/8', 'unix', fields='forwarded', host=True)"


@pytest.mark.parametrize(
    ("networks", "options", "words"),
    [
        ((), {}, "nobody is trusted"),
        (("10.0.0.0/8",), {"fields": "x-real-ip"}, "fields='x-real-ip'): give 'x-forwarded', 'forwarded'"),
        (("10.0.0.0/8",), {"fields": True}, "fields=True"),
        (("10.0.0.0/8",), {"host": True}, "say which are read by fields="),
        (("10.0.0.0/8",), {"fields": "forwarded", "host": 1}, "host=1"),
        (("*",), {}, "no address"),
        (("localhost",), {}, "no address"),
        (("",), {}, "no address"),
        (("10.0.0.0.0",), {}, "no address"),
        (("10.0.0.0/",), {}, "how many bits count, 1 to 32"),
        (("10.0.0.0/33",), {}, "1 to 32"),
        (("10.0.0.0/-1",), {}, "1 to 32"),
        (("10.0.0.0/255.0.0.0",), {}, "1 to 32"),
        (("10.0.0.0/\u0668",), {}, "1 to 32"),
        (("2001:db8::/129",), {}, "1 to 128"),
        (("[2001:db8::1]",), {}, "no address"),
        (("10.0.0.1/8",), {}, "bits behind the first 8 are set"),
        (("2001:db8::1/32",), {}, "bits behind the first 32 are set"),
        (("0.0.0.0/0",), {}, "everybody would be trusted"),
        (("::/0",), {}, "everybody would be trusted"),
        (("::ffff:10.0.0.0/104",), {}, "write '10.0.0.0'"),
        ((b"10.0.0.0/8",), {}, "text is needed"),
        ((["10.0.0.0/8"],), {}, "text is needed"),
        (("\ud800",), {}, "surrogates"),
    ],
)
def test_mistakes_are_named(networks: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        web.Proxies(*networks, **options)
    assert words in str(caught.value)


# ---- Networks ----


def test_networks_hold_what_lies_in_them() -> None:
    found = web.Proxies("10.0.0.0/8", "192.0.2.128/25", "198.51.100.7", "2001:db8::/33", "::1").networks

    def holds(text: str) -> bool:
        read = read_ip(text)
        assert read is not None
        return found.hold(read[1])

    inside = ["10.0.0.0", "10.255.255.255", "192.0.2.128", "192.0.2.255", "198.51.100.7", "2001:db8::", "::1",
              "2001:db8:7fff:ffff::1", "::ffff:10.1.2.3"]  # fmt: skip
    outside = ["9.255.255.255", "11.0.0.0", "192.0.2.127", "198.51.100.6", "198.51.100.8", "2001:db8:8000::", "::2",
               "2001:db7::", "::10.1.2.3", "::ffff:11.0.0.0"]  # fmt: skip
    assert [text for text in inside if not holds(text)] == []
    assert [text for text in outside if holds(text)] == []
    assert not found.unix


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_blocks_are_those_of_ipaddress(
    one: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    prefix: int,
) -> None:
    prefix = min(prefix, one.max_prefixlen)
    block = ipaddress.ip_network((one, prefix), strict=False)
    networks = Networks([(one.packed, prefix)])
    for address in (one, other, ipaddress.ip_address(int(one) ^ 1) if one.version == 4 else one):
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        counts = mapped or address
        assert networks.hold(address.packed) == (counts.version == block.version and counts in block)


@pytest.mark.parametrize("blocks", [[(b"abc", 8)], [(b"abcd", 33)], [(b"abcd", -1)], [("abcd", 8)], [b"abcd"]])
def test_networks_are_checked(blocks: list[Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Networks(blocks)


def test_networks_are_made_once() -> None:
    networks = Networks([(b"\x0a\0\0\0", 8)])
    with pytest.raises(RuntimeError, match="made before"):
        networks.__init__([])
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        networks.hold(b"abc")
    assert Networks([]).hold(b"\0\0\0\0") is False


@given(st.one_of(st.text(max_size=50), st.ip_addresses().map(str), st.text("0123456789abcdef:.%/", max_size=50)))
def test_an_address_is_what_ipaddress_takes_for_one(text: str) -> None:
    try:
        expected = ipaddress.ip_address(text)
    except ValueError:
        assert read_ip(text) is None
        return
    if "%" in text:  # a zone: of one machine, and no address of another
        assert read_ip(text) is None
        return
    mapped = expected.ipv4_mapped if isinstance(expected, ipaddress.IPv6Address) else None
    counts = mapped or expected
    found = read_ip(text)
    assert found is not None
    assert (ipaddress.ip_address(found[0]), found[1]) == (counts, counts.packed)


def test_hosts_with_ports() -> None:
    assert [is_authority(one) for one in ("a", "a.example:80", "[::1]:1", "192.0.2.1")] == [True] * 4
    assert [is_authority(one) for one in ("", "a b", "a:b", "u@a", "[::1", "a:80000", "é", "a/b")] == [False] * 8


# ---- the options of Server ----


def test_the_protocol_needs_proxies() -> None:
    with pytest.raises(ValueError, match=r"whose PROXY headers are believed\? Give Server\(proxies="):
        web.Server(APP, "127.0.0.1", proxy_protocol=True)
    server = web.Server(APP, "127.0.0.1")
    with pytest.raises(ValueError, match="whose PROXY headers"):
        server.listen("127.0.0.1", 0, proxy_protocol=True)


def test_options_are_of_their_type() -> None:
    with pytest.raises(TypeError, match="a Proxies"):
        web.Server(APP, "127.0.0.1", proxies="10.0.0.0/8")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="True or False"):
        web.Server(APP, "127.0.0.1", proxies=web.Proxies("127.0.0.1"), proxy_protocol=1)  # type: ignore[arg-type]


def test_proxies_that_could_not_connect_are_a_mistake(tmp_path: Path) -> None:
    unix = f"unix:{tmp_path}/s"
    with pytest.raises(ValueError, match=r"none of Proxies.* could connect"):
        web.Server(APP, unix, proxies=web.Proxies("127.0.0.1"), proxy_protocol=True)
    with pytest.raises(ValueError, match=r"none of Proxies.* could connect"):
        web.Server(APP, "127.0.0.1", proxies=web.Proxies("unix"), proxy_protocol=True)
    with pytest.raises(ValueError, match="none of them could connect to unix:"):
        web.Server(APP, unix, proxies=web.Proxies("127.0.0.1", fields="forwarded")).check()
    with pytest.raises(ValueError, match=r"none of them could connect to 127\.0\.0\.1"):
        web.Server(APP, "127.0.0.1", proxies=web.Proxies("unix", fields="forwarded")).check()
    web.Server(APP, unix, proxies=web.Proxies("unix", fields="forwarded")).check()
    web.Server(APP, "fd:web", proxies=web.Proxies("unix"), proxy_protocol=True)  # it may be a Unix socket


def test_proxies_that_say_nothing_are_a_mistake() -> None:
    server = web.Server(APP, "127.0.0.1", proxies=web.Proxies("127.0.0.1"))
    with pytest.raises(ValueError, match="says nothing: give it fields="):
        server.check()
    server.listen("127.0.0.1", 0, proxy_protocol=True)
    server.check()


def test_the_test_client_is_a_proxy_by_unix_socket(tmp_path: Path) -> None:
    proxies = web.Proxies("unix", fields="x-forwarded")
    with Client(web.Server(APP, f"unix:{tmp_path}/s", proxies=proxies)) as client:
        headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "x"}
        assert client.get("/", headers=headers).json() == {
            "client": ["192.0.2.1", 0], "scheme": "https", "host": "localhost",
        }  # fmt: skip
        assert client.get("/").json() == {"client": None, "scheme": "http", "host": "localhost"}


def test_a_request_made_by_hand_is_nobodys() -> None:
    req = web.Request(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    assert (req.client, req.scheme, req.host) == (None, "http", "a")
