"""TLS records and ClientHellos made by hand, for what no TLS library sends.

Before there are keys a record is its header and its text; after the handshake it is sealed here, of the secrets that
Python's ssl logs: TLS_AES_128_GCM_SHA256 in TLS 1.3 (RFC 8446, 5.2 and 7), ECDHE with AES-128-GCM in TLS 1.2 (RFC 5246,
6.3; RFC 5288, 3).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA, HEARTBEAT = range(20, 25)  # ContentType (RFC 8446, B.1; RFC 6520)
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, KEY_UPDATE = 1, 2, 4, 24  # HandshakeType
ONCE, ANSWER = b"\0", b"\1"  # update_not_requested, update_requested (RFC 8446, 4.6.3)
WARNING, FATAL = 1, 2
TLS_1_2_SUITE = "ECDHE-ECDSA-AES128-GCM-SHA256"
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446, 4.1.3

# Extensions (the IANA registry); groups; suites
SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURES, ALPN, TICKET = 0, 10, 11, 13, 16, 35
PADDING, PSK, EARLY_DATA, VERSIONS, PSK_MODES, SIGNATURES_CERT, KEY_SHARE = 21, 41, 42, 43, 45, 50, 51
HEARTBEATS, RENEGOTIATION = 15, 0xFF01
P256, X25519, HYBRID = 23, 29, 4588  # the last: X25519MLKEM768
SUITES_1_3, SUITE_1_2, FALLBACK = (0x1301, 0x1302, 0x1303), 0xC02B, 0x5600


def u8(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def u16(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def numbers(values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def record(kind: int, data: bytes, version: int = 0x0301) -> bytes:
    """A record in plain text."""
    return bytes([kind]) + version.to_bytes(2, "big") + u16(data)


def message(kind: int, body: bytes) -> bytes:
    """A handshake message (RFC 8446, 4)."""
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def in_records(data: bytes, size: int, kind: int = HANDSHAKE) -> bytes:
    """data in records of so many bytes each."""
    return b"".join(record(kind, data[at : at + size]) for at in range(0, len(data), size))


def names(*hosts: bytes) -> bytes:
    return u16(b"".join(b"\0" + u16(host) for host in hosts))


def shares(*entries: tuple[int, bytes]) -> bytes:
    return u16(b"".join(numbers([group]) + u16(key) for group, key in entries))


def both_versions() -> dict[int, bytes]:
    """The extensions of a client that speaks TLS 1.3 and 1.2."""
    return {
        SERVER_NAME: names(b"localhost"),
        GROUPS: u16(numbers([X25519, P256])),
        POINT_FORMATS: u8(b"\0"),
        SIGNATURES: u16(numbers([0x0403, 0x0804, 0x0401])),
        RENEGOTIATION: u8(b""),
        VERSIONS: u8(numbers([0x0304, 0x0303])),
        KEY_SHARE: shares((X25519, os.urandom(32))),
    }


@dataclass
class Hello:
    """A ClientHello (RFC 8446, 4.1.2). An extension of None is left out; `more` comes behind the others, as it is."""

    version: int = 0x0303
    random: bytes = field(default_factory=lambda: os.urandom(32))
    session: bytes = field(default_factory=lambda: os.urandom(32))
    suites: Sequence[int] = (*SUITES_1_3, SUITE_1_2)
    compression: bytes = b"\0"
    extensions: dict[int, bytes | None] = field(default_factory=dict)
    more: bytes = b""

    def message(self) -> bytes:
        found = {**both_versions(), **self.extensions}
        listed = b"".join(numbers([kind]) + u16(data) for kind, data in found.items() if data is not None)
        start = self.version.to_bytes(2, "big") + self.random + u8(self.session)
        body = start + u16(numbers(self.suites)) + u8(self.compression)
        return message(CLIENT_HELLO, body + u16(listed + self.more))

    def record(self) -> bytes:
        """The whole of it, in as few records as it takes."""
        return in_records(self.message(), 16384)


def old_hello(version: int = 0x0303, **changes: object) -> Hello:
    """A ClientHello as it was before TLS 1.3."""
    dropped: dict[int, bytes | None] = {VERSIONS: None, KEY_SHARE: None}
    given = changes.pop("extensions", {})
    assert isinstance(given, dict)
    return Hello(version=version, suites=(SUITE_1_2,), extensions={**dropped, **given}, **changes)  # type: ignore[arg-type]


def split(data: bytes) -> list[tuple[int, bytes]]:
    """(kind, text) of each whole record."""
    found = []
    while len(data) >= 5 and len(data) >= 5 + (size := int.from_bytes(data[3:5], "big")):
        found.append((data[0], data[5 : 5 + size]))
        data = data[5 + size :]
    return found


def alert_in(data: bytes) -> tuple[int, int] | None:
    """(level, description) of the first alert in plain text."""
    return next(((text[0], text[1]) for kind, text in split(data) if kind == ALERT and len(text) == 2), None)


@dataclass
class Server:
    """What a ServerHello says (RFC 8446, 4.1.3)."""

    version: int
    random: bytes
    suite: int
    compression: int
    extensions: dict[int, bytes]

    @property
    def is_retry(self) -> bool:
        return self.random == RETRY


def server_hello_in(data: bytes) -> Server:
    """The ServerHello that a server's first flight begins with."""
    kind, text = split(data)[0]
    assert (kind, text[0]) == (HANDSHAKE, SERVER_HELLO), data[:64]
    body = text[4 : 4 + int.from_bytes(text[1:4], "big")]
    at = 35 + body[34]
    left, extensions = body[at + 5 :], {}
    while left:
        size = int.from_bytes(left[2:4], "big")
        extensions[int.from_bytes(left[:2], "big")] = left[4 : 4 + size]
        left = left[4 + size :]
    suite = int.from_bytes(body[at : at + 2], "big")
    return Server(int.from_bytes(body[:2], "big"), body[2:34], suite, body[at + 2], extensions)


# -- sealed records ----------------------------------------------------------------------------------------------------


def derive(secret: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand-Label without context, of at most one block (RFC 8446, 7.1)."""
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:size]


class Records:
    """What one side sends after a handshake of TLS 1.3."""

    def __init__(self, secret: bytes) -> None:
        self.use(secret)

    def use(self, secret: bytes) -> None:
        self.secret = secret
        self.number = 0
        self.key, self.iv = AESGCM(derive(secret, "key", 16)), derive(secret, "iv", 12)

    def seal(self, kind: int, data: bytes, padding: int = 0) -> bytes:
        nonce = (int.from_bytes(self.iv, "big") ^ self.number).to_bytes(12, "big")
        self.number += 1
        text = data + bytes([kind]) + bytes(padding)
        header = bytes([DATA, 3, 3]) + (len(text) + 16).to_bytes(2, "big")
        return header + self.key.encrypt(nonce, text, header)

    def open(self, sealed: bytes) -> tuple[int, bytes]:
        """(kind, text) of a record of the other side's, whose secret this has; InvalidTag: it is none of these."""
        nonce = (int.from_bytes(self.iv, "big") ^ self.number).to_bytes(12, "big")
        text = self.key.decrypt(nonce, sealed[5:], sealed[:5]).rstrip(b"\0")
        self.number += 1
        return text[-1], text[:-1]

    def next_keys(self) -> None:
        """What is sealed behind a key update is sealed with new keys (RFC 8446, 7.2)."""
        self.use(derive(self.secret, "traffic upd", 32))

    def update(self, request: bytes = ONCE, padding: int = 0) -> bytes:
        """A key update."""
        sealed = self.seal(HANDSHAKE, message(KEY_UPDATE, request), padding)
        self.next_keys()
        return sealed


class OldRecords:
    """What a client sends after a handshake of TLS 1.2; its Finished was record 0."""

    def __init__(self, master: bytes, client_random: bytes, server_random: bytes) -> None:
        block = expand(master, b"key expansion" + server_random + client_random, 40)
        self.key, self.salt, self.number = AESGCM(block[:16]), block[32:36], 1

    def seal(self, kind: int, data: bytes) -> bytes:
        number = self.number.to_bytes(8, "big")
        self.number += 1
        header = bytes([kind, 3, 3])
        sealed = self.key.encrypt(self.salt + number, data, number + header + len(data).to_bytes(2, "big"))
        return header + u16(number + sealed)


def expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """P_SHA256 (RFC 5246, 5)."""
    found, link = b"", seed
    while len(found) < size:
        link = hmac.new(secret, link, hashlib.sha256).digest()
        found += hmac.new(secret, link + seed, hashlib.sha256).digest()
    return found[:size]


def logged(path: Path, label: str) -> tuple[bytes, bytes]:
    """(client random, secret) of the last line with that label in a file of secrets (NSS key log format)."""
    lines = [line.split() for line in path.read_text().splitlines()]
    _, random, secret = next(line for line in reversed(lines) if line[:1] == [label])
    return bytes.fromhex(random), bytes.fromhex(secret)
