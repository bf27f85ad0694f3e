"""HTTP/2 without TLS is not spoken: an upgrade is passed over (RFC 9110 7.8), the preface refused (RFC 9113 3.4)."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import web
from tests.serving import foreign_environment
from tests.wire.clients import request
from tests.wire.sites import Hits, Serve

SETTINGS = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
UPGRADE = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{SETTINGS}"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("fields", [UPGRADE, UPGRADE.replace("h2c", "h2c, websocket"), SETTINGS, "Upgrade: h2\r\n"])
def test_an_upgrade_is_answered_as_http_1_1(serve: Serve, fields: str) -> None:
    hits = Hits()
    peer = serve(web.GET("*", hits)).connect()
    for _ in range(2):  # and the connection goes on
        answer = peer.ask(fields=fields)
        assert (answer.status, answer.body) == (200, b"ran")
        assert (answer["Upgrade"], answer["Connection"]) == (None, None)
    assert hits.paths == ["/", "/"]


def test_an_upgrade_with_a_body(serve: Serve) -> None:
    peer = serve(web.POST("*", lambda req: req.body)).connect()
    assert peer.ask(method="POST", body=b"hello", fields=UPGRADE).body == b"hello"
    assert peer.ask(method="POST", body=b"again").body == b"again"


def test_a_websockets_route_knows_another_protocol(serve: Serve) -> None:
    def nothing(event: object, params: object, ws: web.WebSocket) -> None:
        pass

    answer = serve(web.WS("/", nothing)).connect().ask(fields=UPGRADE)
    assert (answer.status, answer["Upgrade"]) == (426, "websocket")


@pytest.mark.parametrize("cut", [*range(1, 18), len(PREFACE)])
def test_the_preface_is_refused(serve: Serve, cut: int) -> None:
    """However it comes; what follows it is not taken for a request."""
    hits = Hits()
    site = serve(web.route(["GET", "PRI", "SM"], "*", hits))
    peer = site.connect()
    peer.send(PREFACE[:cut])
    peer.send(PREFACE[cut:] + b"\0\0\0\4\0\0\0\0\0" + request())
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (505, "close")
    assert answer.body == b"505 HTTP Version Not Supported: HTTP version other than 1.x\n"
    assert peer.rest() == b""
    peer.close()
    site.await_closed("bad_request")
    assert hits.paths == []


def test_the_method_of_the_preface_means_nothing_in_http_1_1(serve: Serve) -> None:
    peer = serve(web.GET("*", lambda req: "ran")).connect()
    peer.send(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert peer.answer().status == 400  # the target * is for OPTIONS


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl(serve_plain: Serve) -> None:
    site = serve_plain(web.GET("*", lambda req: f"HTTP/{req.http_version}"))
    asked = ["curl", "--silent", "--max-time", "20", site.server.url]

    def run(option: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*asked, option], capture_output=True, text=True, env=foreign_environment())

    if run("--http2").returncode == 2:
        pytest.skip("this curl has no HTTP/2")
    assert run("--http2").stdout == "HTTP/1.1"
    assert run("--http2-prior-knowledge").returncode != 0
