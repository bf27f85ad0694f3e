"""Clients that speak TLS as no library does: what they send behind a handshake is sealed by hand.

The records are tests/tls/records.py's.
"""

from __future__ import annotations

import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tls.records import TLS_1_2_SUITE, OldRecords, Records, Server, alert_in, logged, server_hello_in
from tests.wire.clients import Peer, TlsPeer, eventually
from tests.wire.sites import Embedded, Site

ALERTS = {
    10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    47: "illegal_parameter", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version", 80: "internal_error",
    86: "inappropriate_fallback", 100: "no_renegotiation", 109: "missing_extension", 112: "unrecognized_name",
    120: "no_application_protocol",
}  # fmt: skip  # AlertDescription (RFC 8446, B.2; RFC 5246, A.3; RFC 7507)

both_versions = pytest.mark.parametrize("version", ["1.2", "1.3"])


class Attacker(TlsPeer):
    """A client that keeps what it heard as it came."""

    heard = b""

    def receive_raw(self, n: int = 65536) -> bytes:
        data = super().receive_raw(n)
        self.heard += data
        return data

    @property
    def is_left(self) -> bool:
        """Whether nothing has come to say that the server ended or refused."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1) != b""
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        finally:
            self.sock.settimeout(20)


def client_context(site: Site | Embedded, version: ssl.TLSVersion) -> ssl.SSLContext:
    assert site.certificate is not None
    context = ssl.create_default_context(cafile=site.certificate.cert)
    context.minimum_version = context.maximum_version = version
    if version == ssl.TLSVersion.TLSv1_2:
        context.set_ciphers(TLS_1_2_SUITE)
    return context


def attack(site: Site, folder: Path) -> tuple[Attacker, Records]:
    """A client of TLS 1.3 behind its handshake, and what seals its records."""
    context = client_context(site, ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(folder / "secrets")
    peer = Attacker(site.raw().sock, context)
    context.keylog_filename = None  # type: ignore[assignment]  # closes the file
    assert peer.tls.cipher()[0] == "TLS_AES_128_GCM_SHA256"  # type: ignore[index]
    return peer, Records(logged(folder / "secrets", "CLIENT_TRAFFIC_SECRET_0")[1])


def old_attack(site: Site, folder: Path) -> tuple[Attacker, OldRecords]:
    """The same with TLS 1.2."""
    context = client_context(site, ssl.TLSVersion.TLSv1_2)
    context.keylog_filename = str(folder / "secrets")
    peer = Attacker(site.raw().sock, context)
    context.keylog_filename = None  # type: ignore[assignment]
    client_random, master = logged(folder / "secrets", "CLIENT_RANDOM")
    return peer, OldRecords(master, client_random, server_hello_in(peer.heard).random)


def ending(peer: Peer) -> str:
    """How the server ends: "close_notify", "cut" (without it), "reset", or the name of its alert."""
    try:
        while peer.receive():
            pass
    except ConnectionResetError:
        return "reset"
    except ssl.SSLError as error:
        name = (error.reason or "").lower()
        return next((alert for alert in ALERTS.values() if name.endswith(alert)), name)
    return "close_notify" if peer.clean_end else "cut"


def until_end(peer: Peer) -> bytes:
    """All that comes, undeciphered, until the server ends or resets."""
    found = b""
    try:
        while data := peer.receive_raw():
            found += data
    except ConnectionResetError:
        pass
    return found


def answer_to(site: Site, *pieces: bytes) -> str:
    """The alert, in plain text, that a client gets which begins with these bytes; "" when it gets none."""
    peer = site.raw()
    try:
        for piece in pieces:
            peer.send_raw(piece)
        peer.sock.shutdown(1)
    except OSError:  # it was refused before it had said all (ENOTCONN, which is no ConnectionError, among others)
        pass
    said = alert_in(until_end(peer))
    peer.close()
    return "" if said is None else ALERTS[said[1]]


def hello_answer(site: Site, wire: bytes) -> Server:
    """The ServerHello that answers a ClientHello. The client leaves, and that is counted when it is returned."""
    before = site.closed("handshake_failed")
    peer = site.raw()
    peer.send_raw(wire)
    found = b""
    while len(found) < 5 or len(found) < 5 + int.from_bytes(found[3:5], "big"):
        data = peer.receive_raw()
        assert data, f"no ServerHello: {found!r}"
        found += data
    peer.close()
    eventually(lambda: site.closed("handshake_failed") > before, "the client is gone")
    return server_hello_in(found)


def serves(site: Site) -> bool:
    """Whether somebody else is served."""
    other = site.connect()
    served = other.ask().status == 200
    other.close()
    return served


def send_all(peer: Peer, wire: bytes) -> None:
    """Sends as much as the server takes before it ends."""
    with suppress(ConnectionError):
        peer.send_raw(wire)


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not tell, and under AddressSanitizer, whose
    allocator keeps what is freed."""
    if sys.platform != "linux" or "libasan" in os.environ.get("LD_PRELOAD", ""):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sealed_by(site: Site, folder: Path, version: str) -> tuple[Attacker, Records | OldRecords]:
    """A client of that version after its handshake, and what seals its records."""
    return attack(site, folder) if version == "1.3" else old_attack(site, folder)
