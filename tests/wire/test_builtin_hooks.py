"""Built-in hooks against a running server, plain and under TLS, in every way handlers run; http.client and curl ask."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import web
from tests.serving import foreign_environment
from tests.wire.clients import eventually, request
from tests.wire.sites import Certificate, Serve, Site

APP = "https://app.example"


def client(site: Site) -> http.client.HTTPConnection:
    if site.certificate is None:
        return http.client.HTTPConnection("localhost", site.server.port, timeout=20)
    return http.client.HTTPSConnection("localhost", site.server.port, timeout=20, context=site.certificate.client)


def ask(
    site: Site, target: str = "/", method: str = "GET", fields: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    with closing(client(site)) as connection:
        connection.request(method, target, body, fields or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the access log says."""
    logger, keeper = logging.getLogger("web.access"), Keeper()
    before = logger.level, logger.propagate
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield keeper.lines
    logger.removeHandler(keeper)
    logger.level, logger.propagate = before


# -- all of them, in each way that a handler runs ----------------------------------------------------------------------


def plain(req: web.Request) -> dict[str, str]:
    return {"id": req.state.request_id}


async def later(req: web.Request) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"id": req.state.request_id}


async def look(req: web.Request) -> None:
    await asyncio.sleep(0)


WAYS: dict[str, tuple[list[web.app.Form], dict[str, Any]]] = {
    "plain": ([web.route(["GET", "POST"], "/", plain)], {}),
    "threads": ([web.route(["GET", "POST"], "/", plain)], {"threads": 3}),
    "blocking": ([web.route(["GET", "POST"], "/", plain, blocking=True)], {}),
    "async": ([web.route(["GET", "POST"], "/", later)], {}),
    "async hook": ([web.before(look), web.route(["GET", "POST"], "/", plain)], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_together(way: str, serve: Serve, lines: list[str]) -> None:
    forms, options = WAYS[way]
    site = serve(
        web.access_log("json"),
        web.request_id(trust=True),
        web.cors([APP], credentials=True),
        web.security_headers(),
        web.csrf(trusted_origins=[APP]),
        web.rate_limit(3, 1000),
        *forms,
        **options,
    )
    wanted: list[tuple[str, str, int, int]] = []

    status, fields, body = ask(site, "/", fields={"Origin": APP, "X-Request-ID": "one"})
    assert (status, json.loads(body)) == (200, {"id": "one"})
    assert fields["X-Request-ID"] == "one"
    assert fields["Access-Control-Allow-Origin"] == APP
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert ("Strict-Transport-Security" in fields) == site.is_tls
    wanted.append(("GET", "one", 200, len(body)))

    preflight = {"Origin": APP, "Access-Control-Request-Method": "POST", "X-Request-ID": "two"}
    status, fields, body = ask(site, "/", "OPTIONS", preflight)
    assert (status, body, fields["Access-Control-Allow-Credentials"]) == (204, b"", "true")
    wanted.append(("OPTIONS", "two", 204, 0))

    for name, field, expected in (
        ("three", {"Origin": APP, "Sec-Fetch-Site": "cross-site"}, 200),
        ("four", {"Origin": "https://evil.example"}, 403),
        ("five", {}, 200),
        ("six", {"Origin": APP}, 429),
    ):
        status, fields, body = ask(site, "/", "POST", {"X-Request-ID": name, **field}, b"x")
        assert (name, status, fields["X-Request-ID"], fields["Vary"]) == (
            name,
            expected,
            name,
            "Origin" if expected == 200 else "Accept, Origin",
        )
        wanted.append(("POST", name, status, len(body)))
    assert "Retry-After" in fields
    assert fields["Access-Control-Allow-Origin"] == APP, "a page can read why"

    told = [json.loads(line) for line in lines]
    assert [(one["method"], one["request_id"], one["status"], one["bytes"]) for one in told] == wanted
    for one in told:
        assert (one["client"], one["tls"]) == ("127.0.0.1", "TLSv1.3" if site.is_tls else None)
        assert one["duration"] >= 0


def test_hsts_on_tls_only(serve: Serve) -> None:
    site = serve(web.security_headers(hsts_subdomains=True, hsts_preload=True), web.GET("/", lambda req: ""))
    for target in ("/", "/nowhere"):
        value = ask(site, target)[1].get("Strict-Transport-Security")
        assert value == ("max-age=31536000; includeSubDomains; preload" if site.is_tls else None)


def test_hsts_can_be_taken_back_or_left_out(serve_tls: Serve) -> None:
    assert ask(serve_tls(web.security_headers(hsts=0)))[1]["Strict-Transport-Security"] == "max-age=0"
    assert "Strict-Transport-Security" not in ask(serve_tls(web.security_headers(hsts=None)))[1]


def test_forgery_is_refused_by_origin_and_scheme(serve: Serve) -> None:
    """On TLS a page of the same host by plain HTTP is another origin: who sits on the line can write it."""
    site = serve(web.csrf(exempt="/hook"), web.route(["GET", "POST"], "*", lambda req: "done"))
    host = f"localhost:{site.server.port}"
    for origin, status in ((f"https://{host}", 200), (f"http://{host}", 403 if site.is_tls else 200), ("null", 403)):
        assert ask(site, "/", "POST", {"Origin": origin}, b"x")[0] == status
        assert ask(site, "/hook", "POST", {"Origin": origin}, b"x")[0] == 200
        assert ask(site, "/", "GET", {"Origin": origin})[0] == 200
    assert ask(site, "/", "POST", body=b"x")[0] == 200


# -- the access log ----------------------------------------------------------------------------------------------------


def test_a_file_is_one_record(serve: Serve, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x" * 100_000)
    (tmp_path / "small").write_bytes(b"x" * 100)
    site = serve(
        web.access_log("json"),
        web.GET("/gone", lambda req: web.Response.file(tmp_path / "gone")),
        web.static(tmp_path),
    )
    for target, method, status, size in (
        ("/there", "GET", 200, 100_000), ("/small", "GET", 200, 100), ("/small", "GET", 200, 100),
        ("/there", "HEAD", 200, 0), ("/gone", "GET", 404, None),
    ):  # fmt: skip
        lines.clear()
        assert ask(site, target, method)[0] == status
        (line,) = lines
        said = json.loads(line)
        assert (said["target"], said["status"], said["bytes"]) == (target, status, size)


def test_refused_bodies_and_errors_are_logged(serve: Serve, lines: list[str]) -> None:
    def broken(req: web.Request) -> str:
        raise web.HTTPError(500, "on purpose")

    site = serve(web.access_log("json"), web.request_id(), web.GET("/broken", broken), body=10)
    site.connect().ask("/", "POST", body=b"x" * 11)
    ask(site, "/broken")
    said = [json.loads(line) for line in lines]
    assert [(one["status"], one["duration"] is None) for one in said] == [(413, True), (500, False)]
    assert all(len(one["request_id"]) == 32 for one in said)


@pytest.mark.parametrize("format", ["combined", "json"])
def test_a_line_cannot_be_forged(format: Any, serve: Serve, lines: list[str]) -> None:  # noqa: A002
    peer = serve(web.access_log(format), web.GET("*", lambda req: "")).connect()
    evil = 'a" 200 5 "\x85127.0.0.1\x9b2J \\"\t\xff'
    assert peer.ask("/a%22b%0d%0ac", fields=f"User-Agent: {evil}\r\nReferer: {evil}\r\n").status == 200
    (line,) = lines
    assert line.isascii()
    assert line.isprintable()
    if format == "combined":
        assert line.count('"') == 6
    else:
        assert json.loads(line)["user_agent"] == evil


def test_a_failing_log_hurts_no_answer(serve: Serve, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    logger, handler = logging.getLogger("web.access"), Failing()
    logger.addHandler(handler)
    try:
        site = serve(web.access_log(), web.GET("/", lambda req: "hello"))
        assert [ask(site)[::2] for _ in range(3)] == [(200, b"hello")] * 3
    finally:
        logger.removeHandler(handler)
    assert [record.levelname for record in caplog.records if record.name == "web"] == ["ERROR"]


# -- rate and time limits ----------------------------------------------------------------------------------------------


def test_each_address_has_its_own_rate(serve: Serve) -> None:
    site = serve(web.rate_limit(2, 1000), web.GET("/", lambda req: "ok"))
    for source in ("127.0.0.1", "127.0.0.2"):
        peer = site.connect(source)
        assert [peer.ask().status for _ in range(3)] == [200, 200, 429]
    assert site.connect().ask().status == 429, "another connection is the same client"


def test_threads_share_one_rate(serve: Serve) -> None:
    site = serve(web.rate_limit(10, 1000), web.GET("/", lambda req: "ok"), threads=4)
    found: list[int] = []

    def several() -> None:
        peer = site.connect()
        found.extend(peer.ask().status for _ in range(10))

    threads = [threading.Thread(target=several) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200] * 10 + [429] * 30


def test_a_slow_handler_is_ended(serve: Serve, lines: list[str]) -> None:
    ended = threading.Event()

    @web.time_limit(0.05)
    async def slow(req: web.Request) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    site = serve(web.access_log("json"), web.GET("/slow", slow), web.GET("/", lambda req: "quick"))
    peer = site.connect()
    peer.send(request("/slow") + request("/"))
    assert peer.answer().status == 503
    assert peer.answer().body == b"quick"
    assert ended.is_set()
    assert [json.loads(line)["status"] for line in lines] == [503, 200]


# -- from HTTP to HTTPS ------------------------------------------------------------------------------------------------


@pytest.fixture
def both(certificate: Certificate, tmp_path: Path) -> Iterator[tuple[web.Server, str, Path]]:
    """A server on two ports, the address of the plain one, and certbot's webroot."""
    cert, key = web.dev_certificate(tmp_path / "tls")
    webroot = tmp_path / "webroot"
    webroot.mkdir()
    app = web.App(
        web.redirect_to_https(hosts=["localhost"], acme_folder=webroot),
        web.security_headers(),
        web.GET("/where", lambda req: req.scheme),
    )
    server = web.Server(app, "127.0.0.1", 0, tls=web.TlsContext(cert, key))
    server.listen("127.0.0.1", 0)
    with server.running():
        yield server, server.urls[1], webroot


def test_only_plain_requests_are_redirected(both: tuple[web.Server, str, Path], tmp_path: Path) -> None:
    server, plain_url, _ = both
    plain_port = int(plain_url.rpartition(":")[2].strip("/"))
    for host, status, location in (
        ("localhost", 308, "https://localhost/where?a=b"),
        (f"localhost:{plain_port}", 308, "https://localhost/where?a=b"),
        ("evil.example", 421, None),
    ):
        with closing(http.client.HTTPConnection("127.0.0.1", plain_port, timeout=20)) as connection:
            connection.request("POST", "/where?a=b", b"x", {"Host": host})
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Location")) == (status, location)
            assert answer.getheader("Strict-Transport-Security") is None
    context = ssl.create_default_context(cafile=str(tmp_path / "tls/dev-cert.pem"))
    with closing(http.client.HTTPSConnection("localhost", server.port, timeout=20, context=context)) as connection:
        connection.request("GET", "/where")
        assert connection.getresponse().read() == b"https"


def serial(server: web.Server) -> bytes:
    """The certificate that a new connection is shown."""
    return ssl.get_server_certificate(("localhost", server.port)).encode()


def test_a_renewal(both: tuple[web.Server, str, Path], tmp_path: Path) -> None:
    """What certbot's webroot plug-in, the CA and a deploy hook do, without them."""
    server, plain_url, webroot = both
    plain_port = int(plain_url.rpartition(":")[2].strip("/"))
    challenge = webroot / ".well-known/acme-challenge"

    def validate() -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", plain_port, timeout=20)) as connection:
            connection.request("GET", "/.well-known/acme-challenge/evaGxf_AC-3", headers={"Host": "example.org"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    old = serial(server)
    assert validate()[0] == 404
    challenge.mkdir(parents=True)
    (challenge / "evaGxf_AC-3").write_bytes(b"evaGxf_AC-3.thumbprint")
    assert validate() == (200, b"evaGxf_AC-3.thumbprint")
    shutil.rmtree(webroot / ".well-known")
    assert validate()[0] == 404

    cert, key = web.dev_certificate(tmp_path / "new")
    for path, name in ((cert, "dev-cert.pem"), (key, "dev-key.pem")):
        shutil.copy(path, tmp_path / "tls" / name)
    assert serial(server) == old
    server.reload_certificates()
    eventually(lambda: serial(server) != old, "a new certificate")
    assert serial(server).split() == Path(cert).read_bytes().split()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_follows(both: tuple[web.Server, str, Path], tmp_path: Path) -> None:
    server, plain_url, _ = both
    plain_port = plain_url.rpartition(":")[2].strip("/")
    done = subprocess.run(
        ["curl", "-sS", "--location", "--cacert", tmp_path / "tls/dev-cert.pem", "--noproxy", "*",
         "--connect-to", f"localhost:80:127.0.0.1:{plain_port}",
         "--connect-to", f"localhost:443:127.0.0.1:{server.port}",
         "--write-out", " %{num_redirects} %header{strict-transport-security}", "http://localhost/where"],
        capture_output=True, text=True, check=False, timeout=60, env=foreign_environment(),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("https 1 max-age=31536000", "")
