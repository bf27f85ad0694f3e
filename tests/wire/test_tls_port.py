"""What strangers do to a TLS port, and TLS to a plain one; ends with and without close_notify (RFC 8446, 6.1)."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress

import pytest

import web
from tests.wire.clients import TlsPeer, request
from tests.wire.sites import Certificate, Hits, Serve, Site

OK = web.GET("*", lambda req: "ok")
ECHO = web.POST("*", lambda req: req.body)


def beginner(site: Site) -> TlsPeer:
    """Connected, the handshake not begun."""
    assert site.certificate is not None
    return TlsPeer(site.raw().sock, site.certificate.client, handshake=False)


def what_came(peer: TlsPeer) -> bytes:
    """All that came until the end, which may be an alert (one that OpenSSL sends by itself) or a reset."""
    found = b""
    with suppress(ssl.SSLError, ConnectionError):
        while data := peer.receive():
            found += data
    return found


def tls_peer(site: Site) -> TlsPeer:
    peer = site.connect()
    assert isinstance(peer, TlsPeer)
    return peer


# -- handshakes that do not end ----------------------------------------------------------------------------------------


def test_who_says_nothing_is_closed(serve_tls: Serve) -> None:
    site = serve_tls(OK, handshake_timeout=0.1)
    assert site.raw().rest() == b""
    site.await_closed("handshake_timeout")


def test_a_client_hello_byte_by_byte_buys_no_time(serve_tls: Serve) -> None:
    site = serve_tls(OK, handshake_timeout=0.2)
    peer = beginner(site)
    hello = peer.first_flight()
    peer.sock.settimeout(0.02)
    for byte in hello:
        try:
            assert peer.receive_raw() == b""
            break
        except TimeoutError:
            peer.send_raw(bytes([byte]))
        except ConnectionResetError:
            break
    else:
        raise AssertionError("the handshake may last for ever")
    site.await_closed("handshake_timeout")


def test_half_a_handshake_is_closed(serve_tls: Serve) -> None:
    site = serve_tls(OK, handshake_timeout=0.1)
    peer = beginner(site)
    peer.send_raw(peer.first_flight())
    assert peer.receive_raw()
    while peer.receive_raw():
        pass
    site.await_closed("handshake_timeout")


def test_a_handshake_byte_by_byte_in_time_succeeds(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    peer = beginner(site)
    for byte in peer.first_flight():
        peer.send_raw(bytes([byte]))
    peer.handshake()
    for byte in peer.sealed(request()):
        peer.send_raw(bytes([byte]))
    assert peer.answer().body == b"ok"
    assert site.counter("handshakes") == 1


def test_the_head_has_its_own_time_after_the_handshake(serve_tls: Serve) -> None:
    site = serve_tls(OK, handshake_timeout=100, head_timeout=0.1)
    peer = site.connect()
    assert peer.rest() == b""
    assert peer.clean_end
    peer.close()
    site.await_closed("head_timeout")


# -- what is no ClientHello --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [request(), b"G", b"POST / HTTP/1.0\r\n\r\n", request() + b"x" * 1_000_000])
def test_plain_http_gets_a_readable_answer(serve_tls: Serve, wire: bytes) -> None:
    site = serve_tls(OK)
    peer = site.raw()
    peer.send(wire)
    answer = peer.answer()
    assert (answer.status, answer["Connection"], answer["Content-Type"]) == (400, "close", "text/plain; charset=utf-8")
    assert b"https" in answer.body
    assert peer.rest() == b""
    peer.close()
    site.await_closed("plain_on_tls")
    assert (site.counter("requests"), site.counter("handshakes")) == (0, 0)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"\x00", "plain_on_tls"),
        (b"\xff" * 100, "plain_on_tls"),
        (b"\r\n\r\n", "plain_on_tls"),
        (b"\x80\x2e\x01\x03\x01", "plain_on_tls"),  # a ClientHello of SSL 2
        (b"\x17\x03\x03\x00\x05hello", "plain_on_tls"),  # application data first
        (b"\x15\x03\x01\x00\x02\x02\x28", "plain_on_tls"),  # an alert first
        (b"\x14\x03\x03\x00\x01\x01", "plain_on_tls"),
        (b"\x16\x02\x00", "plain_on_tls"),
        (b"\x16\x03\x01\x00\x00", "handshake_timeout"),  # an empty record: the ClientHello may still come
        (b"\x16\x03\x01\xff\xff" + b"x" * 70_000, "handshake_failed"),
        (b"\x16\x03\x01\x00\x05hello", "handshake_failed"),
        (b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00", "handshake_failed"),  # ServerHelloDone
    ],
)
def test_garbage_is_closed_without_an_answer_in_plain_text(serve_tls: Serve, wire: bytes, reason: str) -> None:
    site = serve_tls(OK, handshake_timeout=0.3)
    peer = site.raw()
    peer.send(wire)
    try:
        said = peer.rest()
    except ConnectionResetError:
        said = b""
    assert not said or said[0] == 0x15  # nothing, or a TLS alert
    peer.close()
    site.await_closed(reason)
    assert site.connect().ask().status == 200


def test_random_bytes(serve_tls: Serve) -> None:
    site = serve_tls(OK, handshake_timeout=0.2)
    for i in range(100):
        peer = site.raw()
        peer.send((b"\x16\x03\x01\x00\x40" if i % 2 else b"") + os.urandom(100))
        peer.close()
    assert site.connect().ask().status == 200
    site.await_connections(1)


def test_a_client_hello_with_one_byte_changed(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    length = len(beginner(site).first_flight())
    for at in range(0, length, 3):
        peer = beginner(site)
        hello = bytearray(peer.first_flight())
        hello[at] ^= 0xFF
        peer.send_raw(bytes(hello))
        peer.close()
    assert site.connect().ask().status == 200
    assert site.counter("handshakes") == 1


def test_a_client_hello_to_a_plain_port(serve_plain: Serve, certificate: Certificate) -> None:
    hits = Hits()
    site = serve_plain(web.route(["GET", "POST"], "*", hits))
    peer = TlsPeer(site.raw().sock, certificate.client, handshake=False)
    peer.send_raw(peer.first_flight())
    raw = b""
    while data := peer.receive_raw():
        raw += data
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close\r\n" in raw
    peer.close()
    site.await_closed("bad_request")
    assert not hits.paths


def test_a_client_that_does_not_trust_us(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    peer = TlsPeer(site.raw().sock, ssl.create_default_context(), handshake=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        peer.handshake()
    peer.flush()  # the alert
    peer.close()
    # TLS 1.3: the server had sent all that it had to; the alert comes where the client's Finished should be
    site.await_closed("handshake_failed")


def test_a_client_that_leaves_at_every_point_of_the_handshake(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    length = len(beginner(site).first_flight())
    for cut in range(0, length + 1, 7):
        peer = beginner(site)
        peer.send_raw(peer.first_flight()[:cut])
        peer.reset() if cut % 2 else peer.close()
    assert site.connect().ask().status == 200
    site.await_connections(2)  # and the one that was only measured
    assert site.counter("handshakes") == 1


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["close", "idle", "bad request", "client"])
def test_close_notify_is_sent_at_every_end_in_good_order(serve_tls: Serve, why: str) -> None:
    site = serve_tls(OK, idle_timeout=0.1)
    peer = tls_peer(site)
    if why == "bad request":
        peer.send(b"bad\r\n\r\n")
        assert peer.answer().status == 400
    else:
        assert peer.ask(fields="Connection: close\r\n" if why == "close" else "").status == 200
    if why == "client":
        peer.close_notify()
    assert peer.rest() == b""
    assert peer.clean_end


def test_an_end_without_close_notify_is_counted_as_truncated(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    peer = tls_peer(site)
    assert peer.ask().status == 200
    peer.close()
    site.await_closed("truncated")


def test_an_end_with_close_notify_is_counted_as_done(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    peer = tls_peer(site)
    assert peer.ask().status == 200
    peer.close_notify()
    peer.close()
    site.await_closed("done")


@pytest.mark.parametrize("clean", [True, False])
def test_a_body_that_is_cut_off_is_never_run(serve_tls: Serve, clean: bool) -> None:
    """Chunked and cut where a server that took the end of the stream for the end of the body would be content."""
    hits = Hits()
    site = serve_tls(web.POST("*", hits))
    peer = tls_peer(site)
    peer.send(request("/", "POST", "Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n")
    if clean:
        peer.close_notify()
    peer.sock.shutdown(1)
    assert what_came(peer) == b""
    site.await_closed("peer_left" if clean else "truncated")
    assert not hits.paths


def test_a_damaged_record_is_counted_and_ends(serve_tls: Serve) -> None:
    site = serve_tls(OK)
    peer = tls_peer(site)
    assert peer.ask().status == 200
    record = bytearray(peer.sealed(request()))
    record[-1] ^= 1
    peer.send_raw(bytes(record))
    assert what_came(peer) == b""
    assert not peer.clean_end
    site.await_closed("tls_failed")
    assert site.counter("requests") == 1


def test_plain_text_inside_a_tls_connection(serve_tls: Serve) -> None:
    hits = Hits()
    site = serve_tls(web.GET("*", hits))
    peer = tls_peer(site)
    assert peer.ask("/1").status == 200
    peer.send_raw(request("/2"))
    assert what_came(peer) == b""
    assert not peer.clean_end
    site.await_closed("tls_failed")
    assert hits.paths == ["/1"]


def test_plain_text_behind_a_client_hello(serve_tls: Serve) -> None:
    """CPython CVE-2023-40217, nginx CVE-2026-1642: bytes before the handshake's end are never the application's."""
    hits = Hits()
    site = serve_tls(web.GET("*", hits))
    peer = beginner(site)
    peer.send_raw(peer.first_flight() + request("/injected"))
    with suppress(ssl.SSLError, ConnectionError):
        peer.handshake()
        assert what_came(peer) == b""
    peer.close()
    site.await_closed("handshake_failed")
    assert not hits.paths
