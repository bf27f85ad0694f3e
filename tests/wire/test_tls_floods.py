"""Floods of TLS records behind the handshake: what costs the sender next to nothing costs little here, and others are
served meanwhile.

How much one turn of the loop takes of a flood is looked at where the test turns it, so that nothing depends on time.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import web
from tests.tls.records import ALERT, ANSWER, DATA, ONCE, Records, logged
from tests.wire.clients import Peer, TlsPeer, eventually, request
from tests.wire.sites import Embed, Embedded, Serve
from tests.wire.tls_attackers import (
    attack,
    both_versions,
    client_context,
    ending,
    resident,
    sealed_by,
    send_all,
    serves,
    until_end,
)
from tests.wire.websocket_peers import BINARY, frame, opening

OK = web.GET("*", lambda req: "ok")
ECHO = web.POST("*", lambda req: str(len(req.body)))
IN_A_ROW = 32  # key updates without data between them that are let pass, whether they ask for an answer or not
READS = 64  # reads of one byte that are one turn's share
SMALL = 3000  # records of a flood of the smallest
MIB = 1 << 20


def drain(req: web.Request) -> str:
    return str(sum(len(piece) for piece in req.stream()))


def received_in_turns(site: Embedded) -> list[int]:
    """How many bytes of data each turn of the loop took, until nothing is left to take."""
    taken, before = [], site.server.stats()["bytes_received"]
    while site.has_work():
        site.server.run_once(0)
        now = site.server.stats()["bytes_received"]
        taken.append(now - before)
        before = now
    return taken


# -- data in small pieces ----------------------------------------------------------------------------------------------


@both_versions
def test_a_request_of_one_byte_a_record(serve_tls: Serve, tmp_path: Path, version: str) -> None:
    site = serve_tls(ECHO)
    peer, records = sealed_by(site, tmp_path, version)
    wire = request("/", "POST", body=b"x" * 2000)
    peer.send_raw(b"".join(records.seal(DATA, bytes([byte])) for byte in wire))
    assert peer.answer().body == b"2000"


STARTS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "counted": lambda: (request("/", "POST", f"Content-Length: {SMALL}\r\n"), b"x" * SMALL),
    "chunked": lambda: (request("/", "POST", "Transfer-Encoding: chunked\r\n") + b"%x\r\n" % SMALL, b"x" * SMALL),
    "streamed": lambda: (request("/stream", "POST", f"Content-Length: {SMALL}\r\n"), b"x" * SMALL),
    "head": lambda: (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x" * SMALL),
    "websocket": lambda: (opening("/ws"), frame(BINARY, b"x" * SMALL)),
    "large websocket": lambda: (opening("/ws") + frame(BINARY, bytes(60_000))[:9000], b"x" * SMALL),
}


@pytest.mark.parametrize("start", STARTS)
def test_one_turn_takes_few_of_the_smallest_records(embed: Embed, start: str) -> None:
    """A record of one byte costs nearly as much as one of a kilobyte: a turn's share is few of them, not its bytes."""
    site = embed(
        web.POST("/stream", drain, stream=True, blocking=True),
        web.WS("/ws", lambda event, params, ws: None),
        OK,
        ECHO,
        threads=1,
    )
    if site.certificate is None:
        pytest.skip("plain bytes have no records: one read takes all that came")
    raw, _ = site.pair()
    peer = TlsPeer(raw.sock, site.certificate.client, site.turn)
    first, rest = STARTS[start]()
    peer.send(first)
    if "websocket" in start:
        assert b" 101 " in peer.head()  # a thread has answered
    site.settle()
    flood = b"".join(peer.sealed(bytes([byte])) for byte in rest)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(flood))
    if raw.sock.send(flood) < len(flood) * 3 // 4:
        pytest.skip("the socket buffers are too small for a flood")
    taken = received_in_turns(site)
    assert sum(taken) > SMALL // 2
    assert max(taken) <= READS
    raw.close()


# -- key updates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ONCE, ANSWER], ids=["once", "answer"])
def test_a_flood_of_key_updates_ends(serve_tls: Serve, tmp_path: Path, kind: bytes) -> None:
    """Nobody reads the answers. Each costs the server a derivation of keys, the sender nothing if it likes."""
    site = serve_tls(OK)
    peer, records = attack(site, tmp_path)
    flood = b"".join(records.update(kind) for _ in range(20_000))
    before = resident()
    send_all(peer, flood)
    site.await_closed("tls_failed")
    assert resident() - before < 8 * MIB
    assert serves(site)


@pytest.mark.parametrize("kind", [ONCE, ANSWER], ids=["once", "answer"])
def test_key_updates_in_a_row_up_to_the_limit(serve_tls: Serve, tmp_path: Path, kind: bytes) -> None:
    """With data between them there may be any number."""
    site = serve_tls(OK)
    peer, records = attack(site, tmp_path)
    for _ in range(20):
        updates = b"".join(records.update(kind) for _ in range(IN_A_ROW))
        peer.send_raw(updates + records.seal(DATA, request()))
        assert peer.answer().body == b"ok"
    peer.send_raw(b"".join(records.update(kind) for _ in range(2 * IN_A_ROW)))
    site.await_closed("tls_failed")


def test_few_of_the_answers_are_made(serve_tls: Serve, tmp_path: Path) -> None:
    """The update that is one too many is the last one that is answered, however many have come with it."""
    site = serve_tls(OK)
    peer, records = attack(site, tmp_path)
    before = len(peer.heard)
    update = records.update(ANSWER)
    peer.send_raw(update + b"".join(records.update(ANSWER) for _ in range(500)))
    until_end(peer)
    assert len(peer.heard) - before < (IN_A_ROW + 2) * len(update) + 400  # and the ticket
    site.await_closed("tls_failed")


def embedded_attack(site: Embedded, folder: Path) -> tuple[Peer, Records]:
    """A client of TLS 1.3 behind its handshake with a server that the test turns."""
    context = client_context(site, ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(folder / "secrets")
    raw, _ = site.pair()
    TlsPeer(raw.sock, context, site.turn)
    context.keylog_filename = None  # type: ignore[assignment]  # closes the file
    return raw, Records(logged(folder / "secrets", "CLIENT_TRAFFIC_SECRET_0")[1])


def test_key_updates_that_trickle_in_are_counted_together(embed: Embed, tmp_path: Path) -> None:
    site = embed(OK)
    if site.certificate is None:
        pytest.skip("plain connections have no keys")
    raw, records = embedded_attack(site, tmp_path)
    for number in range(2 * IN_A_ROW):
        assert site.closed("tls_failed") == (1 if number > IN_A_ROW * 5 // 3 else 0), number
        with suppress(ConnectionError):
            raw.send_raw(records.update())
        site.settle()
    assert site.closed("tls_failed") == 1
    raw.close()


def test_key_updates_before_data_cost_a_turns_share(embed: Embed, tmp_path: Path) -> None:
    site = embed(ECHO)
    if site.certificate is None:
        pytest.skip("plain connections have no keys")
    raw, records = embedded_attack(site, tmp_path)
    raw.send_raw(records.seal(DATA, request("/", "POST", "Content-Length: 1000\r\n")))
    site.settle()
    parts = [b"".join(records.update() for _ in range(IN_A_ROW)) + records.seal(DATA, b"x") for _ in range(50)]
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    if raw.sock.send(b"".join(parts)) < len(b"".join(parts)):
        pytest.skip("the socket buffers are too small for a flood")
    taken = received_in_turns(site)
    assert sum(taken) == 50
    assert max(taken) == 1
    raw.close()


# -- records without data ----------------------------------------------------------------------------------------------


@both_versions
def test_a_flood_of_empty_records_ends(serve_tls: Serve, tmp_path: Path, version: str) -> None:
    site = serve_tls(OK)
    peer, records = sealed_by(site, tmp_path, version)
    peer.send_raw(b"".join(records.seal(DATA, b"") for _ in range(30)) + records.seal(DATA, request()))
    assert peer.answer().body == b"ok"
    send_all(peer, b"".join(records.seal(DATA, b"") for _ in range(10_000)))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")
    assert serves(site)


def test_a_flood_of_nothing_but_padding_ends(serve_tls: Serve, tmp_path: Path) -> None:
    """TLS 1.3 lets records be padded (RFC 8446, 5.4): 16 KiB of nothing cost as much as 16 KiB of data."""
    site = serve_tls(OK)
    peer, records = attack(site, tmp_path)
    send_all(peer, b"".join(records.seal(DATA, b"", 16_000) for _ in range(200)))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")
    assert serves(site)


@both_versions
def test_a_flood_of_warnings_ends(serve_tls: Serve, tmp_path: Path, version: str) -> None:
    """user_canceled, which both versions let pass alone (CVE-2016-8610)."""
    site = serve_tls(OK)
    peer, records = sealed_by(site, tmp_path, version)
    peer.send_raw(records.seal(ALERT, bytes([1, 90])) + records.seal(DATA, request()))
    assert peer.answer().body == b"ok"
    send_all(peer, b"".join(records.seal(ALERT, bytes([1, 90])) for _ in range(10_000)))
    assert ending(peer) == "unexpected_message"
    site.await_closed("tls_failed")
    assert serves(site)


# -- many at a time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["small records", "key updates"])
def test_others_are_served_during_floods(serve_tls: Serve, tmp_path: Path, what: str) -> None:
    site = serve_tls(OK, ECHO)
    other = site.connect()
    attackers = [attack(site, tmp_path) for _ in range(5)]
    for peer, records in attackers:
        peer.send_raw(records.seal(DATA, request("/", "POST", "Content-Length: 900000\r\n")))
    for _ in range(50):
        for peer, records in attackers:
            if what == "small records":
                peer.send_raw(b"".join(records.seal(DATA, b"x") for _ in range(100)))
            else:
                peer.send_raw(b"".join(records.update() for _ in range(IN_A_ROW)) + records.seal(DATA, b"x"))
        assert other.ask().body == b"ok"
    assert [peer.is_left for peer, _ in attackers] == [True] * 5


def test_unfinished_hellos_cost_bounded_memory(serve_tls: Serve) -> None:
    """What a ClientHello may be is what each unfinished handshake may hold; `Limits.handshakes` bounds their number."""
    site = serve_tls(OK, handshakes=50)
    start = b"\x16\x03\x01\x40\x00" + b"\x01\x01\xff\x00\x03\x03" + bytes(16_378)
    record = b"\x16\x03\x01\x40\x00" + bytes(16_384)
    before = resident()
    peers: list[Peer] = []
    for _ in range(400):
        peer = site.raw()
        send_all(peer, start + record * 6)
        peers.append(peer)
    eventually(lambda: site.closed("made_room") >= 350, "the cap is kept")
    assert resident() - before < 20 * MIB
    assert serves(site)
