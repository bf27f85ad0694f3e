"""web.security_headers: on every answer, never in the place of what a handler set, HSTS on TLS only."""

from __future__ import annotations

from typing import Any

import pytest

import web
from tests.asking import ask

DEFAULTS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


def added(*forms: web.app.Form, target: str = "/", **options: Any) -> dict[str, str]:
    answer = ask(web.App(web.security_headers(**options), web.GET("/", lambda req: ""), *forms), target)
    return {name: value for name, value in answer.headers.items() if name != "Content-Type"}


def test_defaults_on_plain_http() -> None:
    assert added() == DEFAULTS
    assert added(target="/nowhere") == DEFAULTS | {"Vary": "Accept"}


def test_each_can_be_left_out() -> None:
    assert added(frame=None, content_type_options=False, referrer_policy=None) == {}


def test_each_can_be_set() -> None:
    assert added(
        frame="SAMEORIGIN", referrer_policy="no-referrer, same-origin", csp="default-src 'self'",
        permissions_policy="camera=()", opener_policy="same-origin", resource_policy="same-site",
    ) == {
        "X-Frame-Options": "SAMEORIGIN",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer, same-origin",
        "Content-Security-Policy": "default-src 'self'",
        "Permissions-Policy": "camera=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-site",
    }  # fmt: skip


def test_what_a_handler_set_stays() -> None:
    own = [("x-frame-options", "SAMEORIGIN"), ("Referrer-Policy", "origin"), ("X-CONTENT-TYPE-OPTIONS", "")]
    app = web.App(web.security_headers(csp="default-src 'none'"), web.GET("/", lambda req: ("", 200, own)))
    assert [*ask(app).headers.items()][1:] == [*own, ("Content-Security-Policy", "default-src 'none'")]


def test_answers_of_failed_hooks_have_them() -> None:
    def fails(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        raise web.HTTPError(503)

    assert added(web.after(fails)) == DEFAULTS | {"Vary": "Accept"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": "deny"}, "give 'DENY', 'SAMEORIGIN' or None"),
        ({"frame": "ALLOW-FROM https://a.example"}, "give 'DENY'"),
        ({"referrer_policy": "strict"}, "give one of no-referrer, "),
        ({"referrer_policy": ""}, "give one of"),
        ({"csp": ""}, "not empty, or None"),
        ({"csp": "default-src\n'self'"}, "control character"),
        ({"csp": 5}, "give a text"),
        ({"permissions_policy": "ü→"}, "beyond ISO-8859-1"),
        ({"hsts": -1}, "hsts=-1: give a whole number"),
        ({"hsts": "1"}, "whole number"),
        ({"hsts_preload": True}, "needs hsts_subdomains=True"),
        ({"hsts_preload": True, "hsts_subdomains": True, "hsts": 300}, "at least 31536000"),
        ({"hsts_preload": True, "hsts_subdomains": True, "hsts": None}, "at least 31536000"),
        ({"hsts_subdomains": 1}, "True or False"),
        ({"content_type_options": "nosniff"}, "True or False"),
    ],
)
def test_start_up_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.security_headers(**options)
