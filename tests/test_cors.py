"""web.cors: preflights, answers and Vary by the Fetch standard; nothing is granted that was not named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from tests.asking import ask

APP = "https://app.example"
PREFLIGHT = f"Origin: {APP}\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: x-own"


def broken(req: web.Request) -> str:
    raise web.HTTPError(418, "teapot")


def site(*forms: web.app.Form, **options: Any) -> web.App:
    options.setdefault("origins", [APP, "http://localhost:3000"])
    return web.App(web.cors(**options), *forms, web.GET("/", lambda req: "hello"), web.GET("/broken", broken))


def granted(resp: web.Response) -> dict[str, str]:
    """The fields of the protocol, and Vary."""
    return {
        name: value
        for name, value in resp.headers.items()
        if name.startswith("Access-Control-") or name in ("Vary", "Timing-Allow-Origin")
    }


@pytest.mark.parametrize("target", ["/", "/broken", "/nowhere"])
def test_answers_to_a_named_origin(target: str) -> None:
    for origin in (APP, "http://localhost:3000"):
        assert granted(ask(site(), target, fields=f"Origin: {origin}")) == {
            "Access-Control-Allow-Origin": origin,
            "Vary": "Origin" if target == "/" else "Accept, Origin",  # errors are written as the client likes them
        }


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "null", "https://app.example.evil.example", "https://app.example:8443", "http://app.example",
        "https://APP.example", "https://app.example/", "https://xapp.example", "*", "", "https://app.example, https://b",
    ],
)  # fmt: skip
def test_other_origins_get_nothing_but_vary(origin: str) -> None:
    assert granted(ask(site(), fields=f"Origin: {origin}")) == {"Vary": "Origin"}
    assert granted(ask(site(credentials=True), fields=f"Origin: {origin}")) == {"Vary": "Origin"}


def test_vary_stands_without_an_origin_too() -> None:
    assert granted(ask(site())) == {"Vary": "Origin"}


@pytest.mark.parametrize("fields", ["", "Origin: https://whoever.example", "Origin: null"])
def test_any_origin(fields: str) -> None:
    assert granted(ask(site(origins="*"), fields=fields)) == {"Access-Control-Allow-Origin": "*"}
    assert granted(ask(site(origins=["*"]), fields=fields)) == {"Access-Control-Allow-Origin": "*"}


def test_credentials_and_exposed_fields() -> None:
    app = site(credentials=True, expose=["X-Total", "Link"])
    assert granted(ask(app, fields=f"Origin: {APP}")) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-Total, Link",
        "Vary": "Origin",
    }


@pytest.mark.parametrize("target", ["/", "/nowhere", "/own", "/static/file"])
def test_a_preflight_is_answered_before_routes_and_hooks(target: str) -> None:
    def only_members(req: web.Request) -> web.Response:
        return web.Response.text("who are you?", status=401)

    app = web.App(
        web.before(only_members),
        web.OPTIONS("/own", lambda req: "mine"),
        web.cors([APP], methods=["PUT", "DELETE"], headers=["Content-Type", "X-Own"], credentials=True, max_age=5),
    )
    answer = ask(app, target, "OPTIONS", PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert granted(answer) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "PUT, DELETE",
        "Access-Control-Allow-Headers": "Content-Type, X-Own",
        "Access-Control-Max-Age": "5",
        "Vary": "Origin",
    }
    assert ask(app, target, "PUT", f"Origin: {APP}").status == 401


def test_a_preflight_from_elsewhere_is_answered_and_grants_nothing() -> None:
    answer = ask(site(), "/", "OPTIONS", PREFLIGHT.replace(APP, "https://evil.example"))
    assert (answer.status, granted(answer)) == (204, {"Vary": "Origin"})


def test_options_that_is_no_preflight_goes_to_the_routes() -> None:
    app = site(web.OPTIONS("/own", lambda req: "mine"))
    for fields in ("", f"Origin: {APP}", "Access-Control-Request-Method: PUT"):
        assert ask(app, "/own", "OPTIONS", fields).body == b"mine"
        assert ask(app, "/", "OPTIONS", fields).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert ask(app, "/", "GET", PREFLIGHT).body == b"hello"


def test_private_networks_are_not_granted() -> None:
    answer = ask(site(origins="*"), "/", "OPTIONS", PREFLIGHT + "\nAccess-Control-Request-Private-Network: true")
    assert answer.status == 204
    assert not [name for name in granted(answer) if "Network" in name]


def test_defaults() -> None:
    answer = ask(site(), "/", "OPTIONS", PREFLIGHT)
    assert granted(answer) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "Content-Type",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }
    bare = ask(site(methods=(), headers=()), "/", "OPTIONS", PREFLIGHT)
    assert granted(bare).keys() == {"Access-Control-Allow-Origin", "Access-Control-Max-Age", "Vary"}


def test_a_function_tells() -> None:
    asked = []

    def ours(origin: str) -> bool:
        asked.append(origin)
        return origin.endswith(".ours.example")

    app = site(origins=ours, credentials=True)
    assert granted(ask(app, fields="Origin: https://a.ours.example"))["Access-Control-Allow-Origin"] == asked[0]
    assert granted(ask(app, fields="Origin: https://evil.example")) == {"Vary": "Origin"}
    assert len(asked) == 2
    for origin in ("null", "https://evil.example/.ours.example", "HTTPS://a.ours.example", "https://x y.ours.example"):
        assert granted(ask(app, fields=f"Origin: {origin}")) == {"Vary": "Origin"}
    assert len(asked) == 2, "it is asked for well-formed origins only"


def test_a_function_that_gives_no_bool(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(site(origins=lambda origin: "yes"), fields=f"Origin: {APP}")
    assert (answer.status, "Access-Control-Allow-Origin" in answer.headers) == (500, False)
    assert "True or False is needed" in caplog.text


def test_an_answer_that_says_it_itself_is_left_alone() -> None:
    own = {"Access-Control-Allow-Origin": "*"}
    for origins in ([APP], "*"):
        app = site(web.GET("/open", lambda req: ("x", 200, own)), origins=origins, expose="X-Total")
        answer = ask(app, "/open", fields=f"Origin: {APP}")
        assert answer.headers.get_all("access-control-allow-origin") == ["*"]
        assert "Access-Control-Expose-Headers" not in answer.headers


def test_the_error_of_a_later_hook_can_be_read() -> None:
    def fails(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
        raise web.HTTPError(503)

    answer = ask(site(web.after(fails)), fields=f"Origin: {APP}")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (503, APP)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), min_size=1))
def test_no_origin_breaks_it(origin: str) -> None:
    answer = ask(site(credentials=True), fields=f"Origin: {origin}")
    assert answer.status == 200
    assert ("Access-Control-Allow-Origin" in answer.headers) == (origin in (APP, "http://localhost:3000"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"origins": "*", "credentials": True}, r"origins='\*' means nothing"),
        ({"origins": [APP], "credentials": True, "headers": "*"}, r"headers='\*'"),
        ({"origins": [APP], "credentials": True, "methods": ["GET", "*"]}, r"methods='\*'"),
        ({"origins": [APP], "credentials": True, "expose": "*"}, r"expose='\*'"),
        ({"origins": []}, "origins is empty"),
        ({"origins": ["*", APP]}, "is no origin"),
        ({"origins": ["null"]}, "sandboxed"),
        ({"origins": "https://app.example/"}, "is no origin"),
        ({"origins": "https://App.example"}, "is no origin"),
        ({"origins": "https://*.example"}, "is no origin"),
        ({"origins": "app.example"}, "is no origin"),
        ({"origins": "https://app.example:443"}, "write 'https://app.example' for"),
        ({"origins": "http://[::1]:80"}, "write 'http://\\[::1\\]' for"),
        ({"origins": [5]}, "5 is no origin"),
        ({"origins": APP, "methods": "put"}, "write 'PUT'"),
        ({"origins": APP, "methods": ["G T"]}, "is no name"),
        ({"origins": APP, "headers": ["X-A, X-B"]}, "is no name"),
        ({"origins": APP, "headers": ["X\r\nY"]}, "is no name"),
        ({"origins": APP, "expose": [""]}, "is no name"),
        ({"origins": APP, "max_age": -1}, "whole number from 0 to 86400"),
        ({"origins": APP, "max_age": True}, "whole number"),
        ({"origins": APP, "credentials": "no"}, "True or False"),
    ],
)
def test_start_up_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(web.RouteError, match=message):
        web.cors(**options)


def test_an_async_function_is_refused() -> None:
    async def later(origin: str) -> bool:
        return True

    with pytest.raises(web.RouteError, match="plain function"):
        web.cors(later)  # type: ignore[arg-type]
