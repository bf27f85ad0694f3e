"""ClientHellos of attackers: old versions, downgrades, floods of extensions, sizes, odd and forged parts.

What answers each is an alert, where an RFC names one, and nothing of an application's; another client is served.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

import web
from tests.tls.records import (
    ALPN,
    CHANGE_CIPHER_SPEC,
    DATA,
    EARLY_DATA,
    FALLBACK,
    GROUPS,
    HEARTBEAT,
    HEARTBEATS,
    HYBRID,
    KEY_SHARE,
    P256,
    PADDING,
    POINT_FORMATS,
    PSK,
    PSK_MODES,
    RENEGOTIATION,
    SERVER_NAME,
    SIGNATURES,
    SUITE_1_2,
    SUITES_1_3,
    TICKET,
    VERSIONS,
    X25519,
    Hello,
    in_records,
    names,
    numbers,
    old_hello,
    record,
    server_hello_in,
    shares,
    u8,
    u16,
)
from tests.wire.clients import eventually
from tests.wire.sites import Hits, Serve, Site
from tests.wire.tls_attackers import answer_to, hello_answer, resident, serves, until_end

CCS = record(CHANGE_CIPHER_SPEC, b"\1", 0x0303)
MALFORMED = {"illegal_parameter", "decode_error"}  # where no RFC says which of them
ENCRYPTED = ""  # behind ServerHello TLS 1.3 encrypts the alert


@pytest.fixture
def site(serve_tls: Serve) -> Iterator[Site]:
    """A server; at the end of each test somebody else is served, and nobody whose handshake failed is left."""
    hits = Hits()
    site = serve_tls(web.GET("*", hits))
    yield site
    assert serves(site)
    assert len(hits.paths) == 1
    site.await_connections(0)
    assert site.counter("handshakes") == 1


def refused(site: Site, *wire: bytes) -> str:
    """The alert ("" where it is encrypted); it must have been the server that ended the handshake, not the client."""
    before, failures = site.closed("handshake_failed"), site.server.stats()["handshakes_failed"]
    alert = answer_to(site, *wire)
    eventually(lambda: site.closed("handshake_failed") > before, "the refusal is counted")
    assert site.server.stats()["handshakes_failed"]["peer_left"] == failures["peer_left"], alert
    return alert


# -- downgrades --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302], ids=["SSL 3", "TLS 1.0", "TLS 1.1"])
def test_old_versions_get_protocol_version(site: Site, version: int) -> None:
    """RFC 8446, 4.2.1 and D.5. SSL 3 had no such alert."""
    assert refused(site, old_hello(version).record()) == (
        "protocol_version" if version > 0x0300 else "handshake_failure"
    )
    assert refused(site, Hello(extensions={VERSIONS: u8(numbers([version]))}).record()) == "protocol_version"


def test_who_negotiates_tls_1_2_is_told_of_tls_1_3(site: Site) -> None:
    """RFC 8446, 4.1.3: the random ends with a mark, by which a client of TLS 1.3 sees that its hello was changed."""
    assert hello_answer(site, old_hello().record()).random[-8:] == b"DOWNGRD\1"
    newer = hello_answer(site, Hello().record())
    assert newer.extensions[VERSIONS] == b"\3\4"
    assert b"DOWNGRD" not in newer.random


def test_a_fallback_that_was_not_needed_is_refused(site: Site) -> None:
    """RFC 7507, 3: the client says that it fell back, and this server speaks more."""
    fallen = old_hello()
    fallen.suites = (SUITE_1_2, FALLBACK)
    assert refused(site, fallen.record()) == "inappropriate_fallback"
    assert hello_answer(site, Hello(suites=(*SUITES_1_3, FALLBACK)).record()).extensions[VERSIONS] == b"\3\4"


def test_compression_is_never_chosen(site: Site) -> None:
    """CRIME. TLS 1.3 clients must not even offer it (RFC 8446, 4.1.2)."""
    assert hello_answer(site, old_hello(compression=b"\1\0").record()).compression == 0
    assert refused(site, Hello(compression=b"\1\0").record()) == "illegal_parameter"
    assert refused(site, old_hello(compression=b"\1").record()) in MALFORMED
    assert refused(site, old_hello(compression=b"").record()) in MALFORMED


def test_heartbeats_are_not_agreed_on(site: Site) -> None:
    """Heartbleed (CVE-2014-0160) needs the extension of RFC 6520."""
    for hello in (old_hello(extensions={HEARTBEATS: b"\1"}), Hello(extensions={HEARTBEATS: b"\1"})):
        assert HEARTBEATS not in hello_answer(site, hello.record()).extensions
    assert refused(site, Hello().record(), record(HEARTBEAT, b"\1\x40\0", 0x0303)) == ENCRYPTED


# -- renegotiation info in the first hello -----------------------------------------------------------------------------


def test_renegotiation_info_that_is_not_empty_is_refused(site: Site) -> None:
    """RFC 5746, 3.6: a first ClientHello cannot know of a handshake before it."""
    assert refused(site, old_hello(extensions={RENEGOTIATION: u8(b"x" * 12)}).record()) == "handshake_failure"


# -- sizes and fragments -----------------------------------------------------------------------------------------------


def test_a_hello_of_one_byte_a_record(site: Site) -> None:
    """RFC 8446, 5.1 allows it; it costs no more than its bytes."""
    hello = Hello()
    assert hello_answer(site, in_records(hello.message(), 1)).extensions[VERSIONS] == b"\3\4"


def test_a_hello_of_one_byte_a_segment(site: Site) -> None:
    peer = site.raw()
    for byte in in_records(Hello().message(), 50):
        peer.send_raw(bytes([byte]))
    assert server_hello_in(peer.receive_raw()).version == 0x0303
    peer.close()


@pytest.mark.parametrize("size", [16_384, 60_000])
def test_a_large_hello_is_read(site: Site, size: int) -> None:
    """All that an extension block can hold; some keys of the future need much of it."""
    assert hello_answer(site, Hello(extensions={PADDING: bytes(size)}).record()).extensions[VERSIONS] == b"\3\4"


@pytest.mark.parametrize("size", [131_397, 1 << 20, (1 << 24) - 1])
def test_a_hello_that_announces_too_much_is_refused_at_once(site: Site, size: int) -> None:
    """Its header is enough; nothing is reserved for what is only announced."""
    before = resident()
    wire = record(22, b"\1" + size.to_bytes(3, "big") + b"\3\3" + bytes(100))
    assert refused(site, wire) in MALFORMED
    assert resident() - before < 8 << 20


def test_a_record_that_is_too_long_is_refused(site: Site) -> None:
    assert refused(site, b"\x16\3\1" + (16_385).to_bytes(2, "big") + bytes(16_385)) == "record_overflow"


def test_empty_records_are_refused(site: Site) -> None:
    """RFC 8446, 5.1 forbids them; some before the version is known are let pass, a flood is not."""
    assert refused(site, record(22, b"") * 1000) == "unexpected_message"


def test_thousands_of_extensions(site: Site) -> None:
    """All of them unknown, and each once; then as many of one kind (RFC 8446, 4.2: no more than one)."""
    unknown = b"".join(numbers([kind, 0]) for kind in range(1000, 15_000))
    assert hello_answer(site, Hello(more=unknown).record()).extensions[VERSIONS] == b"\3\4"
    twice = numbers([SERVER_NAME]) + u16(names(b"other"))
    assert refused(site, Hello(more=twice).record()) in MALFORMED
    assert refused(site, Hello(more=twice * 1000).record()) in MALFORMED


def test_thousands_of_suites(site: Site) -> None:
    many = [one for one in range(0x2000, 0x2000 + 32_000) if one not in (FALLBACK, SUITE_1_2)]
    assert hello_answer(site, Hello(suites=(*many, *SUITES_1_3)).record()).suite in SUITES_1_3
    assert refused(site, Hello(suites=many).record()) == "handshake_failure"
    assert refused(site, Hello(suites=()).record()) in MALFORMED


def test_lengths_that_do_not_fit(site: Site) -> None:
    """Any two bytes may be a length: no read beyond the end, no success, and no hang."""
    hello = Hello().message()
    for at in range(38, len(hello) - 1):
        for value in (b"\0\0", b"\xff\xff"):
            answer_to(site, in_records(hello[:at] + value + hello[at + 2 :], 16_384))


# -- names and protocols -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extension", "alert"),
    [
        (b"", "decode_error"),
        (u16(b""), "decode_error"),
        (names(b""), "decode_error"),
        (names(b"localhost", b"other"), "decode_error"),  # RFC 6066, 3: no more than one of a kind
        (names(*[b"a"] * 5000), "decode_error"),
        (names(b"a" * 256), "unrecognized_name"),
        (names(b"a\0b"), "unrecognized_name"),
        (u16(b"\0" + u16(b"localhost") + b"\0"), "decode_error"),
    ],
    ids=["nothing", "empty list", "empty name", "two names", "5000 names", "long", "NUL", "trailing byte"],
)
def test_odd_server_names(site: Site, extension: bytes, alert: str) -> None:
    for hello in (old_hello(extensions={SERVER_NAME: extension}), Hello(extensions={SERVER_NAME: extension})):
        assert refused(site, hello.record()) == alert


@pytest.mark.parametrize(
    "extension",
    [b"", u16(b""), u16(u8(b"")), u16(u8(b"http/1.1") + u8(b"")), u16(b"\x09http/1.1"), b"\0\x20" + u8(b"http/1.1")],
    ids=["nothing", "empty list", "empty name", "empty name behind ours", "name too long", "list too long"],
)
def test_odd_protocol_lists(site: Site, extension: bytes) -> None:
    """RFC 7301, 3.1. An empty list is what made SSL_select_next_proto read beyond its end (CVE-2024-5535)."""
    for hello in (old_hello(extensions={ALPN: extension}), Hello(extensions={ALPN: extension})):
        assert refused(site, hello.record()) == "decode_error"


def test_thousands_of_protocols(site: Site) -> None:
    many = b"".join(u8(b"%d" % i) for i in range(10_000))
    assert refused(site, Hello(extensions={ALPN: u16(many)}).record()) == "no_application_protocol"
    assert hello_answer(site, Hello(extensions={ALPN: u16(many + u8(b"http/1.1"))}).record()).suite in SUITES_1_3


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        (X25519, bytes(32)),
        (X25519, b""),
        (X25519, bytes(31)),
        (X25519, b"\1" + bytes(31)),
        (P256, b"\4" + bytes(64)),
        (P256, b"\4" + b"\xff" * 64),
        (P256, b"\4" + b"\1" * 64),
        (P256, b"\0"),
        (P256, b"\2" + bytes(32)),
        (P256, b""),
    ],
    ids=[
        "zero",
        "empty",
        "short",
        "low order",
        "0,0",
        "beyond p",
        "off the curve",
        "infinity",
        "compressed",
        "empty P-256",
    ],
)
def test_key_shares_that_are_no_points(site: Site, entry: tuple[int, bytes]) -> None:
    """RFC 8446, 4.2.8.2 and 7.4.2: an invalid curve attack learns nothing."""
    expected = MALFORMED if entry[1] == b"" else {"illegal_parameter"}
    assert refused(site, Hello(extensions={KEY_SHARE: shares(entry)}).record()) in expected


@pytest.mark.parametrize(
    "point",
    [b"\4" + bytes(64), b"\4" + b"\1" * 64, b"\4" + b"\xff" * 64, b"\0", b"", b"\2" + bytes(32)],
    ids=["0,0", "off the curve", "beyond p", "infinity", "empty", "compressed"],
)
def test_client_key_exchange_that_is_no_point(site: Site, point: bytes) -> None:
    """TLS 1.2 (RFC 8422, 5.11): the same."""
    peer = site.raw()
    peer.send_raw(old_hello(extensions={GROUPS: u16(numbers([P256]))}).record())
    peer.receive_raw()
    exchange = record(22, b"\x10" + (len(point) + 1).to_bytes(3, "big") + u8(point), 0x0303)
    peer.send_raw(exchange + CCS + record(22, os.urandom(40), 0x0303))
    until_end(peer)
    peer.close()
    site.await_closed("handshake_failed")


def test_point_formats_without_the_only_one(site: Site) -> None:
    """RFC 8422, 5.1.2: a list must hold uncompressed (0)."""
    assert refused(site, old_hello(extensions={POINT_FORMATS: u8(b"\1\2")}).record()) == "handshake_failure"
    assert refused(site, old_hello(extensions={POINT_FORMATS: u8(b"")}).record()) in MALFORMED


def test_key_shares_of_groups_that_were_not_offered(site: Site) -> None:
    """RFC 8446, 4.2.8."""
    groups, entry = u16(numbers([P256])), shares((X25519, os.urandom(32)))
    assert refused(site, Hello(extensions={GROUPS: groups, KEY_SHARE: entry}).record()) == "illegal_parameter"


def test_the_hybrid_with_ml_kem_is_taken_where_openssl_has_it(site: Site) -> None:
    """X25519MLKEM768: a share is ML-KEM's key (FIPS 203, here with a vector of zeros) and X25519's, 1216 bytes."""
    both = shares((HYBRID, bytes(1152) + os.urandom(64)), (X25519, os.urandom(32)))
    hello = Hello(extensions={GROUPS: u16(numbers([HYBRID, X25519])), KEY_SHARE: both})
    share = hello_answer(site, hello.record()).extensions[KEY_SHARE]
    found = re.match(r"OpenSSL (\d+)\.(\d+)", web.openssl_version())
    assert found is not None
    expected = (HYBRID, 1088 + 32) if (int(found[1]), int(found[2])) >= (3, 5) else (X25519, 32)
    assert (int.from_bytes(share[:2], "big"), int.from_bytes(share[2:4], "big")) == expected
    assert len(share) == 4 + expected[1]


def test_a_thousand_key_shares(site: Site) -> None:
    many = shares(*[(0x9000 + i, bytes(32)) for i in range(1000)])
    groups = u16(numbers([*range(0x9000, 0x9000 + 1000), X25519]))
    assert hello_answer(site, Hello(extensions={GROUPS: groups, KEY_SHARE: many}).record()).is_retry


def test_only_one_hello_retry_request(site: Site) -> None:
    """RFC 8446, 4.1.2: who does not do as it was asked is refused, not asked again."""
    hello = Hello(extensions={KEY_SHARE: shares()})
    assert hello_answer(site, hello.record()).is_retry
    for second in (
        hello,
        Hello(session=hello.session, random=hello.random, extensions={KEY_SHARE: shares((P256, b"\4" + bytes(64)))}),
    ):
        assert refused(site, hello.record(), CCS, second.record()) == "illegal_parameter"


def test_a_second_hello_of_another_client(site: Site) -> None:
    """The version and suite were agreed on: a second hello that offers others is refused (RFC 8446, 4.1.2)."""
    first = Hello(extensions={KEY_SHARE: shares()})
    second = Hello(session=first.session, random=first.random, suites=(SUITE_1_2,))
    assert refused(site, first.record(), second.record()) == "handshake_failure"
    old = old_hello(session=first.session, random=first.random)
    assert refused(site, first.record(), old.record()) == "protocol_version"


def test_missing_extensions(site: Site) -> None:
    """RFC 8446, 9.2."""
    assert refused(site, Hello(extensions={SIGNATURES: None}).record()) == "missing_extension"
    assert refused(site, Hello(extensions={GROUPS: None}).record()) == "missing_extension"
    assert refused(site, Hello(extensions={KEY_SHARE: None}).record()) == "missing_extension"


# -- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16, 200, 60_000])
def test_tickets_that_are_garbage_are_no_sessions(site: Site, size: int) -> None:
    """TLS 1.2 and 1.3: a full handshake, as if there were none."""
    ticket = os.urandom(size)
    old = hello_answer(site, old_hello(extensions={TICKET: ticket}).record())
    assert old.version == 0x0303
    if size:
        identities, binders = u16(u16(ticket) + bytes(4)), u16(u8(bytes(32)))
        psk = numbers([PSK]) + u16(identities + binders)
        new = hello_answer(site, Hello(extensions={PSK_MODES: u8(b"\1")}, more=psk).record())
        assert PSK not in new.extensions
        assert KEY_SHARE in new.extensions


IDENTITY = u16(bytes(100)) + bytes(4)
BINDER = u8(bytes(32))
MODES = {PSK_MODES: u8(b"\1")}


@pytest.mark.parametrize(
    ("extensions", "identities", "binders", "behind", "alert"),
    [
        (MODES, IDENTITY, BINDER, numbers([PADDING, 0]), "illegal_parameter"),
        ({}, IDENTITY, BINDER, b"", "missing_extension"),
        (MODES, IDENTITY[:-1], BINDER, b"", "decode_error"),
        (MODES, u16(b"") + bytes(4), BINDER, b"", "decode_error"),
        (MODES, b"", BINDER, b"", None),
        (MODES, IDENTITY * 3, BINDER, b"", None),
        (MODES, IDENTITY, u8(b"short"), b"", None),
        (MODES, IDENTITY, b"", b"", None),
    ],
    ids=["not last", "no modes", "cut", "empty", "no identity", "fewer binders", "short binder", "no binder"],
)
def test_odd_sessions_of_tls_1_3(
    site: Site, extensions: dict[int, bytes | None], identities: bytes, binders: bytes, behind: bytes, alert: str | None
) -> None:
    """RFC 8446, 4.2.11. None: it is no session of ours, and nobody looks at the rest: a full handshake."""
    psk = numbers([PSK]) + u16(u16(identities) + u16(binders))
    hello = Hello(extensions=extensions, more=psk + behind).record()
    if alert is None:
        assert PSK not in hello_answer(site, hello).extensions
    else:
        assert refused(site, hello) == alert


def test_a_thousand_forged_sessions(site: Site) -> None:
    """Each identity may cost a decryption; the hello's size bounds how many there are."""
    identities = u16(b"".join(u16(b"\0" * 16 + os.urandom(10)) + bytes(4) for _ in range(900)))
    binders = u16(u8(bytes(32)) * 900)
    hello = Hello(extensions={PSK_MODES: u8(b"\1")}, more=numbers([PSK]) + u16(identities + binders))
    assert PSK not in hello_answer(site, hello.record()).extensions


def test_early_data_is_not_read(serve_tls: Serve) -> None:
    """RFC 8446, 4.2.10: refused, so its records are skipped unread; more than 16 KiB of them ends the handshake."""
    hits = Hits()
    site = serve_tls(web.GET("*", hits), handshake_timeout=0.3)
    psk = numbers([PSK]) + u16(u16(u16(os.urandom(100)) + bytes(4)) + u16(u8(bytes(32))))
    hello = Hello(extensions={PSK_MODES: u8(b"\1"), EARLY_DATA: b""}, more=psk).record()
    early = record(DATA, os.urandom(1000), 0x0303)
    peer = site.raw()
    peer.send_raw(hello + early * 10)
    assert PSK not in server_hello_in(peer.receive_raw()).extensions
    site.await_closed("handshake_timeout")  # it was waiting for the handshake to go on
    flood = site.raw()
    flood.send_raw(hello + early * 100)
    until_end(flood)
    site.await_closed("handshake_failed")
    assert serves(site)
    assert len(hits.paths) == 1


# -- other records during the handshake --------------------------------------------------------------------------------


def test_change_cipher_spec_floods_are_refused(site: Site) -> None:
    """RFC 8446, D.4: one is let pass for middleboxes, a flood is not; OpenSSL's own injection was CVE-2014-0224."""
    assert refused(site, Hello().record() + CCS * 1000) == ENCRYPTED
    assert refused(site, old_hello().record() + CCS) == "unexpected_message"  # before ClientKeyExchange: CVE-2014-0224
    assert refused(site, Hello().record() + record(CHANGE_CIPHER_SPEC, b"\2", 0x0303)) == ENCRYPTED


def test_alert_floods_are_refused(site: Site) -> None:
    """Warnings cost nothing to send (CVE-2016-8610)."""
    warning = record(21, bytes([1, 90]), 0x0303)
    assert refused(site, old_hello().record() + warning * 1000) == "unexpected_message"
    assert refused(site, Hello().record() + warning * 1000) == ENCRYPTED


def test_data_before_the_handshake_ends(site: Site) -> None:
    for hello in (old_hello(), Hello()):
        answer_to(site, hello.record() + record(DATA, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0x0303))
    site.await_closed("handshake_failed", 2)


def test_messages_out_of_order(site: Site) -> None:
    """Each kind of handshake message instead of, and behind, a ClientHello."""
    for kind in [*range(26), 254, 255]:
        if kind != 1:
            assert refused(site, record(22, bytes([kind, 0, 0, 0]))) == "unexpected_message", kind
        answer_to(site, old_hello().record() + record(22, bytes([kind, 0, 0, 0]), 0x0303))


def test_a_client_hello_and_something_else_in_one_record(site: Site) -> None:
    """RFC 8446, 5.1: keys change behind a ClientHello, so nothing may follow it in its record."""
    assert refused(site, record(22, Hello().message() + b"\x14\0\0\x20")) == "unexpected_message"
