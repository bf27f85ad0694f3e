"""Cookies and sessions on the wire, plain and under TLS: by http.cookiejar and curl as browsers keep them, and raw."""

from __future__ import annotations

import json
import shutil
import subprocess
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, HTTPSHandler, ProxyHandler, build_opener

import pytest

import web
from tests.serving import foreign_environment
from tests.wire.clients import HANG, request
from tests.wire.sites import Serve, Site

KEY = "k" * 32
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Browser:
    """urllib with a cookie jar of the standard library."""

    def __init__(self, site: Site) -> None:
        self.jar = CookieJar()
        tls = [] if site.certificate is None else [HTTPSHandler(context=site.certificate.client)]
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self.jar), *tls)
        self.url = site.server.url

    def get(self, path: str = "/") -> Any:
        with self.opener.open(self.url + path, timeout=HANG) as answer:
            return json.loads(answer.read())

    def names(self) -> set[str]:
        return {cookie.name for cookie in self.jar}


def count(req: web.Request) -> dict[str, int]:
    req.session["n"] = req.session.get("n", 0) + 1
    return {"n": req.session["n"]}


async def count_async(req: web.Request) -> dict[str, int]:
    return count(req)


def leave(req: web.Request) -> dict[str, str]:
    req.session.clear()
    return {}


FORMS = (
    web.sessions(KEY),
    web.GET("/", count),
    web.GET("/pool", count, blocking=True),
    web.GET("/leave", leave),
    web.GET("/cookies", lambda req: dict(req.cookies.items())),
)


# ---- cookies ----


def test_a_cookie_is_kept_and_removed(serve: Serve) -> None:
    site = serve(
        web.GET(
            "/set", lambda req: web.Response.json({}).set_cookie("a", "1", max_age=60, secure=req.scheme == "https")
        ),
        web.GET("/below/set", lambda req: web.Response.json({}).set_cookie("b", "2", path="/below", secure=False)),
        web.GET("/clear", lambda req: web.Response.json({}).clear_cookie("a", secure=req.scheme == "https")),
        *FORMS,
        web.GET("/below/cookies", lambda req: dict(req.cookies.items())),
    )
    browser = Browser(site)
    browser.get("/set")
    browser.get("/below/set")
    assert browser.get("/cookies") == {"a": "1"}
    assert browser.get("/below/cookies") == {"a": "1", "b": "2"}
    assert {cookie.name: cookie.secure for cookie in browser.jar} == {"a": site.is_tls, "b": False}
    browser.get("/clear")
    assert browser.names() == {"b"}


def test_secure_cookies_are_sent_under_tls_alone(serve: Serve) -> None:
    site = serve(web.GET("/set", lambda req: web.Response.json({}).set_cookie("a", "1")), *FORMS)
    browser = Browser(site)
    browser.get("/set")
    assert browser.get("/cookies") == ({"a": "1"} if site.is_tls else {})


def test_several_fields_and_odd_bytes(serve: Serve) -> None:
    seen: list[list[tuple[str, str]]] = []

    def look(req: web.Request) -> str:
        seen.append(list(req.cookies.items()))
        return ""

    site = serve(web.GET("/", look))
    peer = site.connect()
    fields = b'Cookie: a=1; b="2;3"\r\ncookie: c=\xff; =x; d\r\nCookie:\r\nCookie: a=4\r\n'
    peer.send(request("/", fields="X: y\r\n")[:-2] + fields + b"\r\n" + request("/"))
    assert [peer.answer().status, peer.answer().status] == [200, 200]
    assert seen == [[("a", "1"), ("b", '"2'), ("c", "\ufffd"), ("a", "4")], []]


def test_cookies_of_a_request_that_is_kept(serve: Serve) -> None:
    """Read when the memory of its head has long been used for others."""
    kept: list[web.Request] = []

    def keep(req: web.Request) -> str:
        kept.append(req)
        return ""

    site = serve(web.GET("/", keep))
    peer = site.connect()
    for i in range(3):
        peer.ask(fields=f"Cookie: a={i}\r\n")
    peer.close()
    assert [req.cookies["a"] for req in kept] == ["0", "1", "2"]


# ---- sessions ----


@pytest.mark.parametrize("path", ["/", "/pool", "/async"])
def test_a_session_in_each_way_of_calling(serve: Serve, path: str) -> None:
    browser = Browser(serve(*FORMS, *([web.GET("/async", count_async)] if path == "/async" else [])))
    assert [browser.get(path)["n"] for _ in range(3)] == [1, 2, 3]
    browser.get("/leave")
    assert browser.names() == set()
    assert browser.get(path)["n"] == 1


def test_the_cookie_is_secure_as_its_connection_is(serve: Serve) -> None:
    site = serve(*FORMS)
    browser = Browser(site)
    browser.get()
    (cookie,) = browser.jar
    assert cookie.secure == site.is_tls
    assert cookie.has_nonstandard_attr("HttpOnly")
    browser.get("/leave")
    assert browser.names() == set()


def test_pipelined_requests_have_sessions_of_their_own(serve: Serve) -> None:
    peer = serve(*FORMS).connect()
    first = peer.ask()["Set-Cookie"]
    assert first is not None
    field = f"Cookie: {first.partition(';')[0]}\r\n"
    peer.send(request("/", fields=field) + request("/") + request("/cookies") + request("/", fields=field))
    answers = [peer.answer() for _ in range(4)]
    assert [answer.body for answer in answers if b"n" in answer.body] == [b'{"n":2}', b'{"n":1}', b'{"n":2}']
    assert (answers[2]["Set-Cookie"], answers[2]["Vary"]) == (None, None)


def test_a_file_that_is_gone_saves_the_session_with_its_404(serve: Serve, tmp_path: Path) -> None:
    def gone(req: web.Request) -> web.Response:
        count(req)
        return web.Response.file(tmp_path / "gone")

    answer = serve(*FORMS, web.GET("/gone", gone)).connect().ask("/gone")
    assert answer.status == 404
    assert (answer["Set-Cookie"] or "").startswith("session=")
    assert ("Vary", "Cookie") in answer.headers


def test_hooks_have_the_session_at_refusals(serve: Serve) -> None:
    def look(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        return resp.with_header("X-N", str(req.session.get("n")))

    site = serve(*FORMS, web.after(look), body=10)
    cookie = site.connect().ask()["Set-Cookie"]
    assert cookie is not None
    answer = site.connect().ask("/", "POST", f"Cookie: {cookie.partition(';')[0]}\r\n", b"x" * 11)
    assert (answer.status, answer["X-N"]) == (413, "1")
    assert ("Vary", "Cookie") in answer.headers


@needs_curl
def test_curl_keeps_a_session(serve: Serve, tmp_path: Path) -> None:
    site = serve(*FORMS)
    jar = tmp_path / "jar"

    def curl(path: str) -> Any:
        trust = [] if site.certificate is None else ["--cacert", site.certificate.cert]
        command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(HANG), *trust, "-b", str(jar), "-c", str(jar)]
        done = subprocess.run(
            [*command, site.server.url + path], capture_output=True, check=True, env=foreign_environment()
        )
        return json.loads(done.stdout)

    assert [curl("/")["n"] for _ in range(3)] == [1, 2, 3]
    fields = next(line for line in jar.read_text().splitlines() if "session" in line).split("\t")
    assert fields[0].startswith("#HttpOnly_")
    assert fields[3] == ("TRUE" if site.is_tls else "FALSE")
    curl("/leave")
    assert "session" not in jar.read_text()
    assert curl("/")["n"] == 1
