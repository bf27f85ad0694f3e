"""Kernel TLS: who receives cannot tell it from OpenSSL's. The same requests are answered with ktls off and on, and all
bytes are compared.

Where the kernel cannot do it (no tls module; another system) the option falls back, and that is what is compared. With
WEB_REQUIRE_KTLS=1 in the environment this is a failure: so a workflow job that has loaded the module proves that these
tests have run with it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import web
from tests.wire.clients import Answer, TlsPeer, chunked, request
from tests.wire.sites import Certificate, Site
from tests.wire.tls_attackers import client_context

SIZES = [0, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300_001, 3_000_000]
TCP_ULP = 31  # linux/tcp.h
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


def kernel_can() -> bool:
    """Whether the kernel offers TLS for sockets (Documentation/networking/tls.rst)."""
    if sys.platform != "linux":
        return False
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        except OSError:
            return False
        return True


def content(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


def application(folder: Path) -> web.App:
    for size in SIZES:
        (folder / f"{size}.bin").write_bytes(content(size))

    def pieces(req: web.Request) -> Iterator[bytes]:
        whole = content(300_001)
        return (whole[at : at + 7001] for at in range(0, len(whole), 7001))

    return web.App(
        web.GET("/body/:size:int", lambda req, params: content(params["size"])),
        web.GET("/stream", pieces),
        web.GET("/ktls", lambda req: str(getattr(req.connection, "ktls", None))),
        web.POST("/echo", lambda req: req.body, max_body=1 << 24),
        web.static(str(folder), at="/files"),
    )


@pytest.fixture
def sites(certificate: Certificate, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """The same application, without and with kernel TLS."""
    with ExitStack() as stack:
        found = []
        for ktls in (False, True):
            tls = web.TlsContext(certificate.cert, certificate.key, ktls=ktls)
            limits = web.Limits(shutdown_grace=0.0, body=1 << 24)
            server = web.Server(application(tmp_path), "127.0.0.1", 0, tls=tls, limits=limits)
            found.append(Site(stack.enter_context(server.running()), certificate, stack))
        yield found[0], found[1]


def connect(site: Site, version: ssl.TLSVersion, receive_buffer: int = 0) -> TlsPeer:
    return TlsPeer(site.raw(receive_buffer=receive_buffer).sock, client_context(site, version))


def told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What of an answer must be the same: all but the date."""
    return answer.status, [(name, value) for name, value in answer.headers if name != "Date"], answer.body


@both_versions
def test_it_is_used_where_the_kernel_can(sites: tuple[Site, Site], version: ssl.TLSVersion) -> None:
    without, with_ktls = sites
    assert connect(without, version).ask("/ktls").body == b"False"
    used = connect(with_ktls, version).ask("/ktls").body
    if os.environ.get("WEB_REQUIRE_KTLS") == "1":
        assert kernel_can(), "WEB_REQUIRE_KTLS=1, and the tls module is not loaded (modprobe tls)"
        assert used == b"True"
    elif not kernel_can():
        assert used == b"False"  # the fallback, and it says so
        pytest.skip("this kernel has no TLS (modprobe tls)")


@both_versions
def test_all_bytes_are_the_same(sites: tuple[Site, Site], version: ssl.TLSVersion) -> None:
    """Bodies, files and ranges of them of many sizes, on one connection each."""
    plain, kernel = (connect(site, version) for site in sites)
    for size in SIZES:
        for target in (f"/body/{size}", f"/files/{size}.bin"):
            answer = kernel.ask(target)
            assert told(answer) == told(plain.ask(target)), target
            assert answer.body == content(size)
        if size > 2:
            part = f"Range: bytes=1-{size - 2}\r\n"
            answer = kernel.ask(f"/files/{size}.bin", fields=part)
            assert told(answer) == told(plain.ask(f"/files/{size}.bin", fields=part))
            assert (answer.status, answer.body) == (206, content(size)[1:-1])


@both_versions
def test_streams_and_uploads_are_the_same(sites: tuple[Site, Site], version: ssl.TLSVersion) -> None:
    plain, kernel = (connect(site, version) for site in sites)
    for peer in (plain, kernel):
        for size in SIZES:
            assert peer.ask("/echo", "POST", body=content(size)).body == content(size)
        body = content(300_001)
        peer.send(
            request("/echo", "POST", "Transfer-Encoding: chunked\r\n")
            + chunked(body[:1], body[1:70_000], body[70_000:])
        )
        assert peer.answer().body == body
        peer.send(request("/stream", fields="Connection: close\r\n"))
    received = [peer.rest().partition(b"\r\n\r\n")[2] for peer in (plain, kernel)]
    assert received[0] == received[1]
    assert len(received[0]) > 300_001
    assert plain.clean_end
    assert kernel.clean_end


@both_versions
def test_slow_readers_of_files_get_the_same(sites: tuple[Site, Site], version: ssl.TLSVersion) -> None:
    """Sends that block in the middle of a record, or of a file, and requests behind one another."""
    plain, kernel = (connect(site, version, receive_buffer=4096) for site in sites)
    targets = ["/files/3000000.bin", "/body/65537", "/files/16385.bin", "/body/1", "/files/0.bin"]
    for peer in (plain, kernel):
        peer.send(b"".join(request(target) for target in targets))
        for target in targets:
            size = int("".join(filter(str.isdigit, target)))
            assert peer.answer().body == content(size), target


def test_a_reload_keeps_it(sites: tuple[Site, Site]) -> None:
    _, kernel = sites
    before = connect(kernel, VERSIONS[1]).ask("/ktls").body
    kernel.server.reload_certificates()
    assert connect(kernel, VERSIONS[1]).ask("/ktls").body == before
