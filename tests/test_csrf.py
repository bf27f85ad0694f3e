"""web.csrf: unsafe requests that a browser sends for another site are refused, all else passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.asking import ask

UNSAFE = ["POST", "PUT", "PATCH", "DELETE", "BREW"]
SAFE = ["GET", "HEAD", "OPTIONS", "TRACE"]


def site(*args: Any, **options: Any) -> web.App:
    return web.App(web.csrf(*args, **options), web.route([*UNSAFE, *SAFE], "*", lambda req: "done"))


def status(fields: str, method: str = "POST", target: str = "/", host: str = "a.example", **options: Any) -> int:
    return ask(site(**options), target, method, fields, host=host).status


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize("fields", [
    "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: whatever", "Sec-Fetch-Site:",
    "Sec-Fetch-Site: cross-site\nOrigin: http://a.example", "Sec-Fetch-Site: none, same-origin",
    "Origin: https://evil.example", "Origin: null", "Origin:", "Origin: http://a.example.evil.example",
    "Origin: http://a.example:8000", "Origin: ftp://a.example", "Origin: a.example", "Origin: http://a.example/",
    "Origin: http://xa.example",
])  # fmt: skip
def test_from_elsewhere(method: str, fields: str) -> None:
    answer = ask(site(), "/", method, fields, host="a.example")
    assert (answer.status, answer.body) == (403, b"403 Forbidden: this request comes from another site")


@pytest.mark.parametrize("method", SAFE)
@pytest.mark.parametrize("fields", ["Sec-Fetch-Site: cross-site", "Origin: https://evil.example"])
def test_safe_methods_pass(method: str, fields: str) -> None:
    assert status(fields, method) == 200


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        ("", "a.example"),
        ("Sec-Fetch-Site: same-origin", "a.example"),
        ("Sec-Fetch-Site: none", "a.example"),
        ("Sec-Fetch-Site: same-origin\nOrigin: http://other-behind-a-proxy.example", "a.example"),
        ("Origin: http://a.example", "a.example"),
        ("Origin: https://a.example", "a.example"),
        ("Origin: http://a.example", "A.Example:80"),
        ("Origin: https://a.example", "a.example:443"),
        ("Origin: http://a.example:8000", "a.example:8000"),
        ("Origin: http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_from_here_or_from_no_browser(fields: str, host: str) -> None:
    assert status(fields, host=host) == 200


def test_a_port_of_the_other_scheme_is_another_origin() -> None:
    assert status("Origin: http://a.example", host="a.example:443") == 403
    assert status("Origin: https://a.example", host="a.example:80") == 403


def test_trusted_origins() -> None:
    trusted: dict[str, Any] = {"trusted_origins": ["https://app.example", "https://b.example:8443"]}
    for fields in ("Origin: https://app.example", "Origin: https://app.example\nSec-Fetch-Site: cross-site",
                   "Origin: https://b.example:8443\nSec-Fetch-Site: same-site"):  # fmt: skip
        assert (status(fields, **trusted), status(fields)) == (200, 403)
    for origin in ("https://app.example:8443", "http://app.example", "null", "https://app.example.evil.example"):
        assert status(f"Origin: {origin}", **trusted) == 403
    assert status("Sec-Fetch-Site: cross-site", **trusted) == 403


def test_exempt_paths_are_matched_as_routes_are() -> None:
    exempt: dict[str, Any] = {"exempt": ["/webhooks/*", "/pay/:id:int", "/grüße"]}
    for target in ("/webhooks/x", "/webhooks/x/y?z", "/%77ebhooks/x", "/pay/7", "/gr%C3%BC%C3%9Fe"):
        assert (status("Sec-Fetch-Site: cross-site", target=target, **exempt), target) == (200, target)
    for target in ("/webhooks", "/webhooks%2Fx", "/", "/pay/x", "/a/webhooks/x", "/?/webhooks/x"):
        assert (status("Sec-Fetch-Site: cross-site", target=target, **exempt), target) == (403, target)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), min_size=1))
def test_no_origin_passes_by_accident(origin: str) -> None:
    assert status(f"Origin: {origin}", host="a") == (200 if origin in ("http://a", "https://a") else 403)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trusted_origins": ["app.example"]}, "is no origin"),
        ({"trusted_origins": "null"}, "is no origin"),
        ({"exempt": "webhooks"}, "does not begin with '/'"),
        ({"exempt": ["/a", "/a"]}, "duplicate"),
    ],
)
def test_start_up_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.csrf(**options)
