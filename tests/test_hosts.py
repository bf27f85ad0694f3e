"""web.hosts: requests for other hosts are misdirected, and nothing of the application sees them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import GET, App, Request, Response, RouteError, group, hosts
from web.routing import Params

SEEN: list[str] = []


def look(req: Request) -> None:
    SEEN.append(req.host)


def mark(req: Request, params: Params, resp: Response) -> Response:
    SEEN.append("after")
    return resp


def told(req: Request, status: int, reason: str) -> str:
    SEEN.append("errors")
    return reason


FORM = hosts(["Example.org", "*.example.net", "192.0.2.1", "[2001:DB8::1]"])


def status(host: str, *forms: Any) -> int:
    app = App(FORM, *forms, web.before(look), web.after(mark), web.errors(told), GET("/", lambda req: "ok"))
    return app._compile().respond(Request(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())).status


@pytest.mark.parametrize(
    "host",
    ["example.org", "EXAMPLE.ORG", "example.org:8443", "example.org.", "example.org.:80", "a.example.net",
     "b.a.example.net:1", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:443"],
)  # fmt: skip
def test_ours(host: str) -> None:
    assert status(host) == 200


@pytest.mark.parametrize(
    "host",
    ["example.com", "www.example.org", "example.net", "badexample.net", "example.org.evil.example", "192.0.2.2",
     "[2001:db8::2]", "localhost", "example.orgx", ".example.net"],
)  # fmt: skip
def test_others_are_seen_by_nobody(host: str) -> None:
    SEEN.clear()
    assert status(host, group("", web.before(look), GET("/g", lambda req: ""))) == 421
    assert SEEN == []


def test_a_request_without_host_is_misdirected() -> None:
    answer = App(FORM)._compile().respond(Request(b"GET / HTTP/1.0\r\n\r\n"))
    assert (answer.status, answer.body) == (
        421,
        b"Misdirected Request: this server does not answer for that host",
    )


def test_without_the_form_all_are_ours() -> None:
    answer = App(GET("/", lambda req: "ok"))._compile().respond(Request(b"GET / HTTP/1.1\r\nHost: any\r\n\r\n"))
    assert answer.status == 200


def test_one_name_may_be_text() -> None:
    assert hosts("example.org") == hosts(["example.org"])
    assert repr(hosts("a")) == "hosts(['a'])"


@pytest.mark.parametrize("wrong", ["", "https://a", "a:80", "*", "a.*", "*.*.a", "a b", "ä.example", 5, "[::1", "a."])
def test_mistakes(wrong: Any) -> None:
    with pytest.raises(RouteError, match=re.escape(f"hosts: {wrong!r} is no host")):
        hosts([wrong])


def test_other_mistakes() -> None:
    with pytest.raises(RouteError, match="name at least one"):
        hosts([])
    with pytest.raises(RouteError, match="already; remove one of them"):
        App(hosts("a"), hosts("b"))
    with pytest.raises(RouteError, match="cannot stand in a group"):
        group("/a", hosts("a"))


@given(st.text())
def test_any_authority_is_survived(authority: str) -> None:
    assert FORM.compiled().admits(authority) in (True, False)
