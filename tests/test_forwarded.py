"""Forwarded and X-Forwarded-*: who the client is, walked from the right; what a client itself writes is nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from web.forwarded import Origin, by_forwarded, by_x_forwarded
from web.proxies import Proxies

TRUSTED = Proxies("10.0.0.0/8", "2001:db8:ffff::/48", "unix", fields="forwarded").networks
PEER = ("10.0.0.1", 5)
DIRECT = Origin(PEER, "http", "own.example:8000")


def of(value: str | None, *, host: bool = False, direct: Origin = DIRECT) -> Origin:
    return by_forwarded({} if value is None else {"forwarded": value}, direct, TRUSTED.hold, host=host)


def of_x(
    value: str | None = None,
    proto: str | None = None,
    named: str | None = None,
    port: str | None = None,
    *,
    host: bool = True,
    direct: Origin = DIRECT,
) -> Origin:
    given = {"for": value, "proto": proto, "host": named, "port": port}
    fields = {f"x-forwarded-{name}": one for name, one in given.items() if one is not None}
    return by_x_forwarded(fields, direct, TRUSTED.hold, host=host)


# ---- X-Forwarded-For ----


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:4711", ("192.0.2.1", 4711)),
        (" \t192.0.2.1 \t", ("192.0.2.1", 0)),
        ("2001:DB8:0::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        ("::ffff:192.0.2.1", ("192.0.2.1", 0)),
        # the right-most that is no proxy
        ("6.6.6.6, 192.0.2.1", ("192.0.2.1", 0)),
        ("6.6.6.6, 192.0.2.1, 10.1.2.3", ("192.0.2.1", 0)),
        ("6.6.6.6,192.0.2.1,2001:db8:ffff::7,10.1.2.3:80", ("192.0.2.1", 0)),
        ("6.6.6.6, 192.0.2.1, ::ffff:10.0.0.9", ("192.0.2.1", 0)),
        ("10.0.0.9, 10.0.0.8", ("10.0.0.9", 0)),  # only proxies: the first of them
        ("10.0.0.9, 192.0.2.1, 10.0.0.8", ("192.0.2.1", 0)),
        ("garbage, 192.0.2.1", ("192.0.2.1", 0)),
    ],
)
def test_the_client_of_x_forwarded_for(value: str, client: tuple[str, int]) -> None:
    assert of_x(value).client == client


BAD_NODES = [
    "", "unknown", "_hidden", "x", "192.0.2", "192.0.2.256", "192.0.2.01", "192.0.2.1:", "192.0.2.1:65536",
    "192.0.2.1:123456", "192.0.2.1:x", "192.0.2.1:-1", "192.0.2.1 192.0.2.2", "192.0.2.1;", '"192.0.2.1"',
    "[192.0.2.1]", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]x", "[2001:db8::1]443", "[::1%eth0]", "::1%eth0",
    "fe80::1::2", "unix:", "localhost", "3221225985", "192.0.2.1/24", "\xb2.0.2.1", "192.0.2.1\x00", "\u066192.0.2.1",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_NODES)
def test_what_is_no_address_ends_the_walk(bad: str) -> None:
    assert of_x(bad).client == PEER
    assert of_x(f"192.0.2.1, {bad}").client == PEER
    assert of_x(f"6.6.6.6, {bad}, 10.0.0.7").client == ("10.0.0.7", 0)
    assert of_x(f"{bad}, 192.0.2.1").client == ("192.0.2.1", 0)
    assert of_x(f"6.6.6.6, {bad}", direct=DIRECT._replace(client=None)).client is None


def test_without_a_field_the_connection_counts() -> None:
    assert of_x() == DIRECT
    assert of(None) == DIRECT


# ---- X-Forwarded-Proto, -Host, -Port ----


@pytest.mark.parametrize(
    ("clients", "proto", "scheme"),
    [
        ("192.0.2.1", "https", "https"),
        ("192.0.2.1", "HTTPS", "https"),
        ("192.0.2.1", "http", "http"),
        (None, "https", "https"),
        ("192.0.2.1, 10.0.0.7", "https", "https"),  # the outer proxy set it, the inner one passes it on
        ("192.0.2.1, 10.0.0.7", "https, http", "https"),  # each added its own
        ("192.0.2.1", "https, http", "http"),  # the left one is the client's
        ("6.6.6.6, 192.0.2.1, 10.0.0.7", "http, https, http", "https"),
        ("unknown, 10.0.0.7", "https, http", "https"),
        ("192.0.2.1", "wss", "http"),
        ("192.0.2.1", "https,", "http"),
        ("192.0.2.1", "", "http"),
        ("192.0.2.1", "https https", "http"),
        ("192.0.2.1", "ftp", "http"),
        ("192.0.2.1", '"https"', "http"),
        ("192.0.2.1", "http\u017f", "http"),  # a letter whose upper case is S
    ],
)
def test_the_scheme(clients: str | None, proto: str, scheme: str) -> None:
    assert of_x(clients, proto).scheme == scheme


def test_a_scheme_that_cannot_be_is_the_connections() -> None:
    assert of_x("192.0.2.1", "ftp", direct=DIRECT._replace(scheme="https")).scheme == "https"
    assert of_x("192.0.2.1", "http", direct=DIRECT._replace(scheme="https")).scheme == "http"


@pytest.mark.parametrize(
    ("named", "port", "proto", "host"),
    [
        ("example.org", None, None, "example.org"),
        ("example.org:8443", None, None, "example.org:8443"),
        ("[2001:db8::1]", None, None, "[2001:db8::1]"),
        ("6.example, example.org", None, None, "example.org"),
        (None, None, None, "own.example:8000"),
        ("exa mple", None, None, "own.example:8000"),
        ("a@example.org", None, None, "own.example:8000"),
        ("example.org/x", None, None, "own.example:8000"),
        ("", None, None, "own.example:8000"),
        ("example.org:99999", None, None, "own.example:8000"),
        ("example.org", "8443", None, "example.org:8443"),
        ("example.org", "443", "https", "example.org"),
        ("example.org", "80", "https", "example.org:80"),
        ("example.org", "80", "http", "example.org"),
        ("example.org:1", "8443", None, "example.org:1"),
        ("[2001:db8::1]", "8443", None, "[2001:db8::1]:8443"),
        ("[2001:db8::1]:1", "8443", None, "[2001:db8::1]:1"),
        (None, "8443", None, "own.example:8000"),
        ("example.org", "1, 8443", None, "example.org:8443"),
        ("example.org", "0", None, "example.org"),
        ("example.org", "65536", None, "example.org"),
        ("example.org", "x", None, "example.org"),
        ("example.org", "08443", None, "example.org"),
        ("example.org", "٨٤", None, "example.org"),
    ],
)
def test_the_host(named: str | None, port: str | None, proto: str | None, host: str) -> None:
    assert of_x("192.0.2.1", proto, named, port).host == host
    assert of_x("192.0.2.1", proto, named, port, host=False).host == "own.example:8000"


def test_a_port_is_for_a_host_that_there_is() -> None:
    nobody = DIRECT._replace(host="")
    assert of_x("192.0.2.1", port="8443", direct=nobody).host == ""
    assert of_x("192.0.2.1", port="8443", direct=DIRECT._replace(host="own.example")).host == "own.example:8443"


# ---- Forwarded ----


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=192.0.2.1", ("192.0.2.1", 0)),
        ("For=192.0.2.1", ("192.0.2.1", 0)),
        ('for="192.0.2.1"', ("192.0.2.1", 0)),
        ('for="192.0.2.1:4711"', ("192.0.2.1", 4711)),
        ('for="[2001:db8::1]"', ("2001:db8::1", 0)),
        ('for="[2001:db8::1]:443"', ("2001:db8::1", 443)),
        ('for="192.0.2.1:_secret"', ("192.0.2.1", 0)),
        (r'for="192\.0.2.1"', ("192.0.2.1", 0)),
        ('for="[::ffff:192.0.2.1]"', ("192.0.2.1", 0)),
        ("by=10.0.0.9;for=192.0.2.1;proto=http", ("192.0.2.1", 0)),
        (";;for=192.0.2.1;", ("192.0.2.1", 0)),
        ("for=6.6.6.6, for=192.0.2.1", ("192.0.2.1", 0)),
        ("for=6.6.6.6,for=192.0.2.1,for=10.0.0.7", ("192.0.2.1", 0)),
        ('for=192.0.2.1;x="a, for=6.6.6.6", for=10.0.0.7', ("192.0.2.1", 0)),
        # what a client begins on the left does not reach beyond it
        ('for="6.6.6.6, for=192.0.2.1', ("192.0.2.1", 0)),
        ('for="6.6.6.6\\, for=192.0.2.1', ("192.0.2.1", 0)),
        ('for="6.6.6.6, for="[2001:db8::1]"', ("2001:db8::1", 0)),
        ('x="\\", for="192.0.2.1:80"', ("192.0.2.1", 80)),
        ('for="a\\\\", for=192.0.2.1;by="_x\\"\\\\"', ("192.0.2.1", 0)),
    ],
)
def test_the_client_of_forwarded(value: str, client: tuple[str, int]) -> None:
    assert of(value).client == client


@pytest.mark.parametrize(
    "bad",
    [
        "", "for", "for=", "=192.0.2.1", "192.0.2.1", "for=192.0.2.1:80", "for=[2001:db8::1]", "for=2001:db8::1",
        'for="2001:db8::1"', 'for="[192.0.2.1]"', 'for="192.0.2.1', 'for=192.0.2.1"', "for =192.0.2.1",
        "for= 192.0.2.1", "for=192.0.2.1 ;proto=https", "for=192.0.2.1; proto=https", "for=192.0.2.1;for=192.0.2.1",
        "for=192.0.2.1;FOR=192.0.2.2", "for='192.0.2.1'", 'for=""', 'for="192.0.2.1"x', 'for="192.0.2.1:"',
        'for="192.0.2.1:65536"', 'for="192.0.2.1:_"', 'for="192.0.2.1\x00"', "for=unknown", "for=_hidden",
        'for="_hidden:80"', "proto=https", "by=192.0.2.1", "for=192.0.2.1;\x7f=1",
    ],
)  # fmt: skip
def test_an_element_without_an_address_ends_the_walk(bad: str) -> None:
    assert of(bad).client == PEER
    assert of(f"for=192.0.2.1, {bad}").client == PEER
    assert of(f"for=6.6.6.6, {bad}, for=10.0.0.7").client == ("10.0.0.7", 0)


def test_scheme_and_host_are_those_of_the_clients_element() -> None:
    value = (
        'for=6.6.6.6;proto=http;host=6.example, for=192.0.2.1;proto=https;host="example.org:8443", for=10.0.0.7;host=x'
    )
    assert of(value, host=True) == (("192.0.2.1", 0), "https", "example.org:8443")
    assert of(value) == (("192.0.2.1", 0), "https", "own.example:8000")
    assert of("for=192.0.2.1, for=10.0.0.7;proto=https;host=x", host=True) == (("192.0.2.1", 0), "http", DIRECT.host)
    assert of('for=192.0.2.1;proto=HTTPS;host="a b"', host=True) == (("192.0.2.1", 0), "https", DIRECT.host)
    assert of("for=192.0.2.1;proto=wss").scheme == "http"


def test_a_proxy_that_hides_an_address_is_still_believed_about_the_rest() -> None:
    assert of("for=_hidden;proto=https;host=example.org", host=True) == (PEER, "https", "example.org")
    assert of("proto=https") == (PEER, "https", DIRECT.host)


def test_a_malformed_element_says_nothing_at_all() -> None:
    assert of("for=192.0.2.1 ;proto=https;host=6.example", host=True) == DIRECT
    assert of("proto=https;host=6.example;for=", host=True) == DIRECT
    mixed = of("for=_x;proto=https;proto=http, for=10.0.0.7;proto=https", host=True)
    assert mixed == (("10.0.0.7", 0), "https", DIRECT.host)


# ---- anything ----

TEXT = st.text(alphabet=st.characters(max_codepoint=255), max_size=60) | st.text(
    alphabet='for=,;" \\[]:.0192_ax', max_size=60
)
LISTS = st.lists(st.sampled_from(["6.6.6.6", "10.0.0.7", "192.0.2.1", "::1", "_x", "", '"', "a,b"]), max_size=6)


@given(TEXT, TEXT, TEXT, TEXT)
@example('"', "", "", "")
@example('\\"', "", "", "")
def test_nothing_raises(clients: str, proto: str, named: str, port: str) -> None:
    for found in (of_x(clients, proto, named, port), of(clients, host=True)):
        assert found.scheme in ("http", "https")
        assert found.client == PEER or (found.client is not None and 0 <= found.client[1] <= 65535)


@given(TEXT, st.sampled_from(["for=192.0.2.1", 'for="[2001:db8::1]:80"', 'proto=https;for=192.0.2.1;x="\\"\\\\,"']))
@example('for="', 'for="[2001:db8::1]:80"')
@example('x="\\', 'proto=https;for=192.0.2.1;x="\\"\\\\,"')
@example("\\", 'for="[2001:db8::1]:80"')
def test_what_a_client_writes_before_a_proxys_element_changes_nothing(written: str, element: str) -> None:
    """Of the same line: where the proxy adds one, it only becomes easier."""
    assert of(f"{written}, {element}", host=True) == of(element, host=True)
    assert of(f"{written},{element},for=10.0.0.7", host=True) == of(f"{element}, for=10.0.0.7", host=True)


@given(TEXT, TEXT)
def test_what_a_client_writes_before_a_proxys_address_changes_nothing(written: str, proto: str) -> None:
    assert of_x(f"{written}, 192.0.2.1").client == ("192.0.2.1", 0)
    assert of_x(f"{written}, 192.0.2.1, 10.0.0.7").client == ("192.0.2.1", 0)
    assert of_x(f"{written}, 192.0.2.1", f"{proto}, https").scheme == "https"
    assert of_x(f"{written}, 192.0.2.1", "https", f"{proto}, example.org").host == "example.org"


@given(LISTS)
def test_the_walk_is_that_of_its_definition(members: list[str]) -> None:
    client: tuple[str, int] = PEER
    for member in [one.strip() for one in ",".join(members).split(",")][::-1]:
        if not re.fullmatch(r"[0-9.]+|::1", member):
            break
        client = (member, 0)
        if not member.startswith("10."):
            break
    assert of_x(",".join(members)).client == client
