"""Clients that people use, against the same server over plain HTTP and over TLS: curl, openssl s_client, http.client,
urllib, ssl."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import web
from tests.serving import PATIENCE, body, connect, foreign_environment, get, read_all

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

BIG = bytes(range(256)) * 2000  # 512 000 bytes: several TLS records, several reads


def about(req: web.Request) -> dict[str, object]:
    return {
        "method": req.method,
        "version": req.http_version,
        "scheme": req.scheme,
        "length": len(req.body),
        "sum": sum(req.body),
        "headers": {name.lower(): value for name, value in req.headers.items()},
    }


def run(command: list[str], data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=data, capture_output=True, timeout=2 * PATIENCE, env=foreign_environment())


@dataclass(frozen=True)
class Site:
    """A running server as a client knows it."""

    server: web.Server
    url: str
    port: int
    cert: str | None

    @property
    def context(self) -> ssl.SSLContext | None:
        return None if self.cert is None else ssl.create_default_context(cafile=self.cert)

    def connection(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.context)

    def curl(self, *arguments: str, data: bytes | None = None) -> bytes:
        trust = [] if self.cert is None else ["--cacert", self.cert]
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            str(PATIENCE),
            "--noproxy",
            "*",
            *trust,
            *arguments,
        ]
        done = run(command, data)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return web.dev_certificate(tmp_path_factory.mktemp("dev"))


@pytest.fixture(params=["plain", "tls"])
def site(request: pytest.FixtureRequest, pair: tuple[str, str], tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "big").write_bytes(BIG)
    tls = None if request.param == "plain" else web.TlsContext(*pair)
    app = web.App(
        web.GET("/", lambda req: "hello\n"),
        web.route(("GET", "POST", "PUT"), "/about", about),
        web.GET("/bytes", lambda req: BIG),
        web.static(tmp_path, at="/files"),
    )
    with web.Server(app, "127.0.0.1", 0, tls=tls).running() as s:
        yield Site(s, s.url, s.port, pair[0] if tls else None)


# -- curl --------------------------------------------------------------------------------------------------------------


@needs_curl
def test_curl_get(site: Site) -> None:
    assert site.curl(site.url + "/") == b"hello\n"
    assert site.curl(site.url + "/bytes") == BIG
    assert site.curl(site.url + "/files/big") == BIG
    assert json.loads(site.curl(site.url + "/about"))["scheme"] == site.url.partition(":")[0]


@needs_curl
def test_curl_http_1_0(site: Site) -> None:
    answer = site.curl("--http1.0", "--include", site.url + "/about")  # under TLS it offers ALPN http/1.0
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body(answer))["version"] == "1.0"
    assert b"\r\nTransfer-Encoding:" not in answer


@needs_curl
def test_curl_head(site: Site) -> None:
    answer = site.curl("--head", site.url + "/bytes")
    assert f"\r\nContent-Length: {len(BIG)}\r\n".encode() in answer
    assert answer.endswith(b"\r\n\r\n")


@needs_curl
def test_curl_uploads_a_file(site: Site, tmp_path: Path) -> None:
    got = json.loads(site.curl("--data-binary", f"@{tmp_path / 'big'}", site.url + "/about"))
    assert (got["method"], got["length"], got["sum"]) == ("POST", len(BIG), sum(BIG))
    got = json.loads(site.curl("--upload-file", str(tmp_path / "big"), site.url + "/about"))
    assert (got["method"], got["length"], got["sum"]) == ("PUT", len(BIG), sum(BIG))


@needs_curl
def test_curl_uploads_in_chunks(site: Site) -> None:
    got = json.loads(
        site.curl("--header", "Transfer-Encoding: chunked", "--data-binary", "@-", site.url + "/about", data=BIG)
    )
    assert got["headers"]["transfer-encoding"] == "chunked"
    assert (got["length"], got["sum"]) == (len(BIG), sum(BIG))


@needs_curl
def test_curl_waits_for_100_continue(site: Site, tmp_path: Path) -> None:
    answer = site.curl(
        "--include", "--header", "Expect: 100-continue", "--data-binary", f"@{tmp_path / 'big'}", site.url + "/about"
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@needs_curl
def test_curl_gets_the_413_that_it_earned(site: Site, tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(bytes(3 * 1024 * 1024))
    answer = site.curl(
        "--include", "--header", "Expect:", "--data-binary", f"@{tmp_path / 'huge'}", site.url + "/about"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


@needs_curl
def test_curl_keeps_the_connection(site: Site) -> None:
    write = ["--write-out", "%{num_connects} "]
    out = site.curl(*write, "--output", "/dev/null", site.url + "/", "--output", "/dev/null", site.url + "/bytes")
    assert out == b"1 0 "
    assert site.server.stats()["requests"] == 2
    assert site.server.stats()["accepted"] == 1


@needs_curl
def test_curl_refuses_a_certificate_that_it_does_not_know(pair: tuple[str, str]) -> None:
    server = web.defserver_tls("127.0.0.1", 0, *pair, web.GET("/", lambda req: "hello"))
    with server.running() as s:
        done = run(["curl", "--silent", "--noproxy", "*", s.url])
        assert done.returncode == 60
        assert Site(s, s.url, s.port, pair[0]).curl(s.url) == b"hello"


# -- openssl s_client --------------------------------------------------------------------------------------------------


def s_client(port: int, cert: str, text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", cert, "-verify_return_error"]
    return run([*command, *arguments], text)


@needs_openssl
@pytest.mark.parametrize(("version", "protocol"), [("-tls1_2", b"TLSv1.2"), ("-tls1_3", b"TLSv1.3")])
def test_s_client(pair: tuple[str, str], version: str, protocol: bytes) -> None:
    with web.defserver_tls("127.0.0.1", 0, *pair, web.GET("/", lambda req: "hello")).running() as s:
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        done = s_client(s.port, pair[0], request, version, "-alpn", "http/1.1", "-ign_eof", "-servername", "localhost")
        assert done.returncode == 0, done.stderr
        assert b"Verify return code: 0 (ok)" in done.stdout
        assert b"ALPN protocol: http/1.1" in done.stdout
        assert protocol in done.stdout
        assert b"\r\n\r\nhello" in done.stdout


@needs_openssl
@pytest.mark.parametrize(
    "arguments", [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-alpn", "h2"], ["-tls1_2", "-cipher", "AES128-SHA"]]
)
def test_s_client_that_asks_for_what_is_refused(pair: tuple[str, str], arguments: list[str]) -> None:
    with web.defserver_tls("127.0.0.1", 0, *pair).running() as s:
        done = s_client(s.port, pair[0], b"", *arguments)
        assert done.returncode != 0
        assert b"alert" in done.stderr
        assert s.stats()["handshakes"] == 0


# -- Python's own ------------------------------------------------------------------------------------------------------


def test_http_client(site: Site) -> None:
    connection = site.connection()
    try:
        for path, expected in [("/", b"hello\n"), ("/bytes", BIG), ("/files/big", BIG), ("/", b"hello\n")]:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, expected)
        connection.request("HEAD", "/bytes")
        answer = connection.getresponse()
        assert answer.getheader("Content-Length") == str(len(BIG))
        assert answer.read() == b""
        connection.request("GET", "/missing")
        answer = connection.getresponse()
        assert answer.status == 404
        answer.read()
        parts: Iterator[bytes] = iter([b"one", b"two", BIG])
        connection.request("POST", "/about", body=parts, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert json.loads(connection.getresponse().read())["length"] == len(BIG) + 6
        assert site.server.stats()["accepted"] == 1
    finally:
        connection.close()


def test_urllib(site: Site) -> None:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if site.context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=site.context))
    opener = urllib.request.build_opener(*handlers)
    with opener.open(site.url + "/bytes", timeout=PATIENCE) as answer:
        assert answer.read() == BIG
    with opener.open(site.url + "/about", data=BIG, timeout=PATIENCE) as answer:
        assert json.load(answer)["sum"] == sum(BIG)
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(site.url + "/missing", timeout=PATIENCE)
    assert caught.value.code == 404
    caught.value.close()


def test_ssl_reads_the_end_as_an_end(pair: tuple[str, str]) -> None:
    """close_notify comes before FIN: with suppress_ragged_eofs=False Python raises where it does not."""
    server = web.defserver_tls("127.0.0.1", 0, *pair, web.GET("/", lambda req: "hello"))
    context = ssl.create_default_context(cafile=pair[0])
    with (
        server.running() as s,
        context.wrap_socket(connect(s.port), server_hostname="localhost", suppress_ragged_eofs=False) as tls,
    ):
        assert tls.version() == "TLSv1.3"
        assert body(get(tls, close=True)) == b"hello"
        assert read_all(tls) == b""


def test_a_browser_that_sends_every_request_at_once(site: Site) -> None:
    connection = site.connection()
    try:
        connection.connect()
        connection.sock.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 99 + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        assert read_all(connection.sock).count(b"\r\n\r\nhello\n") == 100
    finally:
        connection.close()
