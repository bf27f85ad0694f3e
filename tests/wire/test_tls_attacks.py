"""Attacks on an established TLS connection: renegotiation, truncation, forged and interleaved records, heartbeats.

Each ends with the alert that the RFC names, is counted, and runs nothing of the application's.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

import web
from tests.tls.records import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    DATA,
    HANDSHAKE,
    HEARTBEAT,
    KEY_UPDATE,
    NEW_SESSION_TICKET,
    RENEGOTIATION,
    SIGNATURES,
    SIGNATURES_CERT,
    Records,
    logged,
    message,
    numbers,
    old_hello,
    record,
    split,
    u8,
    u16,
)
from tests.wire.clients import request
from tests.wire.sites import Hits, Serve, Site
from tests.wire.tls_attackers import (
    Attacker,
    attack,
    both_versions,
    client_context,
    ending,
    old_attack,
    resident,
    sealed_by,
    send_all,
    serves,
    until_end,
)


@pytest.fixture
def hits() -> Hits:
    return Hits()


@pytest.fixture
def site(serve_tls: Serve, hits: Hits) -> Iterator[Site]:
    """A server; at the end of each test somebody else is served, and the attacker is gone."""
    site = serve_tls(web.route(["GET", "POST"], "*", hits))
    yield site
    assert serves(site)
    site.await_connections(0)


# -- renegotiation (TLS 1.2) -------------------------------------------------------------------------------------------

AGAIN = {
    "secure": old_hello(extensions={RENEGOTIATION: u8(b"x" * 12)}),
    "insecure": old_hello(extensions={RENEGOTIATION: None}),
    "empty": old_hello(extensions={RENEGOTIATION: u8(b"")}),
    # CVE-2021-3449: signature_algorithms left out, signature_algorithms_cert there
    "signatures": old_hello(extensions={SIGNATURES: None, SIGNATURES_CERT: u16(numbers([0x0403]))}),
}


@pytest.mark.parametrize("how", AGAIN)
def test_renegotiation_is_refused(site: Site, hits: Hits, tmp_path: Path, how: str) -> None:
    """RFC 5746, 3.7; RFC 5246, 7.2.2: no_renegotiation. Nothing is negotiated again, whatever the hello says."""
    peer, records = old_attack(site, tmp_path)
    assert peer.ask("/1").status == 200
    records.number += 1  # what ask() sent
    peer.send_raw(records.seal(HANDSHAKE, AGAIN[how].message()))
    assert ending(peer) == "no_renegotiation"
    peer.close()
    assert hits.paths == ["/1"]


def test_a_flood_of_renegotiations(site: Site, tmp_path: Path) -> None:
    """CVE-2011-1473: each handshake would cost the server much more than the client."""
    peer, records = old_attack(site, tmp_path)
    hello = AGAIN["insecure"].message()
    before = resident()
    send_all(peer, b"".join(records.seal(HANDSHAKE, hello) for _ in range(5000)))
    assert ending(peer) == "no_renegotiation"
    peer.close()
    site.await_connections(0)
    assert resident() - before < 8 << 20
    assert site.counter("handshakes") == 1


@pytest.mark.parametrize("kind", [0, 2, 4, 11, 14, 16, 20, 255])
@both_versions
def test_no_other_message_comes_behind_the_handshake(
    site: Site, hits: Hits, tmp_path: Path, version: str, kind: int
) -> None:
    """HelloRequest, ServerHello, a ticket, Certificate, ServerHelloDone, ClientKeyExchange, Finished, and no kind."""
    peer, records = sealed_by(site, tmp_path, version)
    peer.send_raw(records.seal(HANDSHAKE, message(kind, bytes(12))) + records.seal(DATA, request()))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")
    assert not hits.paths


def test_a_client_hello_behind_a_handshake_of_tls_1_3(site: Site, hits: Hits, tmp_path: Path) -> None:
    """RFC 8446, 4.1.2: there is no renegotiation."""
    peer, records = attack(site, tmp_path)
    peer.send_raw(records.seal(HANDSHAKE, AGAIN["empty"].message()) + records.seal(DATA, request()))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")
    assert not hits.paths


# -- truncation --------------------------------------------------------------------------------------------------------


@both_versions
def test_a_request_that_is_cut_anywhere_is_never_run(site: Site, hits: Hits, tmp_path: Path, version: str) -> None:
    """Chunked, in two records; at every byte. None is run, and each is counted as cut off."""
    wire = request("/", "POST", "Transfer-Encoding: chunked\r\n"), b"5\r\nhello\r\n0\r\n\r\n"
    length = sum(len(record(DATA, part)) + (17 if version == "1.3" else 24) for part in wire)
    cuts = range(0, length, 5)
    for at in cuts:
        peer, records = sealed_by(site, tmp_path, version)
        sealed = b"".join(records.seal(DATA, part) for part in wire)
        assert len(sealed) == length
        peer.send_raw(sealed[:at])
        peer.sock.shutdown(1)
        until_end(peer)  # a close with bytes unread would be a reset
        peer.close()
    site.await_connections(0)
    assert site.closed("truncated") == len(cuts)
    assert not hits.paths


@pytest.mark.parametrize("ends", ["close_notify", "FIN", "RST"])
def test_an_end_within_a_request(site: Site, hits: Hits, tmp_path: Path, ends: str) -> None:
    """A proper close_notify tells that nothing was cut off on the way, but no request is whole by that."""
    peer, records = attack(site, tmp_path)
    peer.send_raw(records.seal(DATA, request("/", "POST", "Content-Length: 9\r\n") + b"part"))
    if ends == "close_notify":
        peer.send_raw(records.seal(ALERT, bytes([1, 0])))
    if ends == "RST":
        peer.reset()
    else:
        peer.sock.shutdown(1)
        until_end(peer)
    site.await_closed("truncated" if ends == "FIN" else "peer_left")
    assert not hits.paths


def test_data_behind_close_notify_is_ignored(site: Site, hits: Hits, tmp_path: Path) -> None:
    """RFC 8446, 6.1."""
    peer, records = attack(site, tmp_path)
    peer.send_raw(records.seal(ALERT, bytes([1, 0])) + records.seal(DATA, request()))
    assert ending(peer) == "close_notify"
    peer.close()
    assert not hits.paths


# -- records -----------------------------------------------------------------------------------------------------------


@both_versions
def test_heartbeats_are_unexpected(site: Site, hits: Hits, tmp_path: Path, version: str) -> None:
    """Heartbleed (CVE-2014-0160): one that claims 16 KiB and has 3 bytes gets an alert, and not one byte else."""
    peer, records = sealed_by(site, tmp_path, version)
    peer.send_raw(records.seal(HEARTBEAT, b"\1\x40\0abc"))
    before = len(peer.heard)
    assert ending(peer) == "unexpected_message"
    assert len(peer.heard) - before < 400  # the ticket, perhaps, and the alert
    site.await_closed("tls_failed")


@pytest.mark.parametrize("kind", [0, 25, 64, 255])
def test_unknown_kinds_of_records(site: Site, tmp_path: Path, kind: int) -> None:
    """RFC 8446, 5; 0 is a record of padding alone, without a kind (5.4)."""
    peer, records = attack(site, tmp_path)
    peer.send_raw(records.seal(kind, b"" if kind == 0 else b"x"))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")


@both_versions
def test_change_cipher_spec_behind_the_handshake(site: Site, tmp_path: Path, version: str) -> None:
    """RFC 8446, 5; in TLS 1.2 it would begin a renegotiation."""
    peer, records = sealed_by(site, tmp_path, version)
    ccs = record(CHANGE_CIPHER_SPEC, b"\1", 0x0303) if version == "1.3" else records.seal(CHANGE_CIPHER_SPEC, b"\1")
    peer.send_raw(ccs)
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")


@both_versions
@pytest.mark.parametrize("how", ["replayed", "left out", "swapped", "tag", "cut short"])
def test_forged_records(site: Site, hits: Hits, tmp_path: Path, version: str, how: str) -> None:
    """RFC 8446, 5.2: bad_record_mac; numbers are not sent, and so are right only in order."""
    peer, records = sealed_by(site, tmp_path, version)
    first, second, third = (records.seal(DATA, request(f"/{i}")) for i in range(3))
    damaged = second[:-1] + bytes([second[-1] ^ 1])
    short = second[:3] + u16(second[5:-1])
    wires = {
        "replayed": first + first, "left out": first + third, "swapped": second, "tag": damaged, "cut short": short,
    }  # fmt: skip
    peer.send_raw(wires[how])
    assert ending(peer) == "bad_record_mac"
    site.await_closed("tls_failed")
    assert set(hits.paths) <= {"/0"}


@both_versions
def test_a_record_that_is_too_long(site: Site, hits: Hits, tmp_path: Path, version: str) -> None:
    """RFC 8446, 5.1 and 5.2: more than 16 KiB, opened or sealed."""
    peer, records = sealed_by(site, tmp_path, version)
    send_all(peer, records.seal(DATA, bytes(16_385)))
    assert ending(peer) == "record_overflow"
    site.await_closed("tls_failed")
    peer, _ = sealed_by(site, tmp_path, version)
    send_all(peer, record(DATA, bytes(20_000), 0x0303))
    assert ending(peer) == "record_overflow"
    site.await_closed("tls_failed", 2)


def test_data_within_a_handshake_message(site: Site, hits: Hits, tmp_path: Path) -> None:
    """RFC 8446, 5.1: a message that spans records may not be interleaved with other records."""
    peer, records = attack(site, tmp_path)
    half = records.seal(HANDSHAKE, message(KEY_UPDATE, b"\0")[:3])
    peer.send_raw(half + records.seal(DATA, request()))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")
    assert not hits.paths


@pytest.mark.parametrize(
    ("wire", "alerts"),
    [
        (message(KEY_UPDATE, b"\0") + message(KEY_UPDATE, b"\0"), {"unexpected_message"}),  # RFC 8446, 5.1
        (message(KEY_UPDATE, b"\2"), {"illegal_parameter"}),  # RFC 8446, 4.6.3
        (message(KEY_UPDATE, b""), {"decode_error", "illegal_parameter"}),
        (message(KEY_UPDATE, b"\0\0"), {"decode_error", "illegal_parameter"}),
        (bytes([KEY_UPDATE]) + b"\xff\xff\xff" + bytes(1000), {"decode_error", "illegal_parameter"}),
        (bytes([CLIENT_HELLO]) + b"\xff\xff\xff" + bytes(1000), {"unexpected_message", "illegal_parameter"}),
    ],
    ids=["two in a record", "unknown kind", "empty", "long", "announces 16 MiB", "hello of 16 MiB"],
)
def test_odd_key_updates(site: Site, tmp_path: Path, wire: bytes, alerts: set[str]) -> None:
    peer, records = attack(site, tmp_path)
    before = resident()
    peer.send_raw(records.seal(HANDSHAKE, wire))
    assert ending(peer) in alerts
    site.await_closed("tls_failed")
    assert resident() - before < 8 << 20


def test_old_keys_behind_a_key_update(site: Site, hits: Hits, tmp_path: Path) -> None:
    """RFC 8446, 7.2: what is sealed with the keys before is no longer taken."""
    peer, records = attack(site, tmp_path)
    update = records.seal(HANDSHAKE, message(KEY_UPDATE, b"\0"))
    peer.send_raw(update + records.seal(DATA, request()))
    assert ending(peer) == "bad_record_mac"
    site.await_closed("tls_failed")
    assert not hits.paths


@both_versions
def test_warnings_of_the_client(site: Site, tmp_path: Path, version: str) -> None:
    """RFC 8446, 6: in TLS 1.3 each alert but close_notify and user_canceled is an end, whatever its level says."""
    peer, records = sealed_by(site, tmp_path, version)
    peer.send_raw(records.seal(ALERT, bytes([1, 42])) + records.seal(DATA, request()))
    if version == "1.2":
        assert peer.answer().status == 200
        peer.send_raw(records.seal(ALERT, bytes([2, 42])))
    until_end(peer)
    site.await_closed("tls_failed")


# -- tickets -----------------------------------------------------------------------------------------------------------


def test_tickets_permit_no_early_data(site: Site, tmp_path: Path) -> None:
    """RFC 8446, 4.6.1: one ticket, for two hours, without the extension early_data."""
    peer, _ = attack(site, tmp_path)
    assert peer.ask().status == 200
    server = Records(logged(tmp_path / "secrets", "SERVER_TRAFFIC_SECRET_0")[1])
    tickets = []
    for kind, text in split(peer.heard):
        with suppress(InvalidTag):  # what was sealed with the keys of the handshake
            inner, opened = server.open(bytes([kind, 3, 3]) + u16(text))
            if inner == HANDSHAKE:
                tickets.append(opened)
    assert [ticket[0] for ticket in tickets] == [NEW_SESSION_TICKET]
    assert int.from_bytes(tickets[0][4:8], "big") == 43200
    assert tickets[0][-2:] == b"\0\0"  # no extensions
    peer.close()


# -- data before Finished ----------------------------------------------------------------------------------------------


def test_data_under_handshake_keys_is_never_read(site: Site, hits: Hits, tmp_path: Path) -> None:
    """TLS 1.3: a request instead of Finished, sealed as Finished is, by a client that has not proved anything yet."""
    context = client_context(site, ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(tmp_path / "secrets")
    peer = Attacker(site.raw().sock, context, handshake=False)
    peer.send_raw(peer.first_flight())
    while True:
        peer.feed()
        with suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
            break
    context.keylog_filename = None  # type: ignore[assignment]
    finished = peer.outgoing.read()  # kept back
    records = Records(logged(tmp_path / "secrets", "CLIENT_HANDSHAKE_TRAFFIC_SECRET")[1])
    peer.send_raw(records.seal(DATA, request("/early")))
    send_all(peer, finished)
    assert ending(peer) in ("unexpected_message", "cut", "reset")
    site.await_closed("handshake_failed")
    assert not hits.paths
