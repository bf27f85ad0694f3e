"""web.errors: who makes the body of an error; and the built-in bodies: text, problem+json, the page for developers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web
from web import GET, POST, App, HTTPError, Request, Response, after, before, errors, group
from web.problems import kind_of_body, problem, traceback_page
from web.routing import Params


def request(target: str = "/", method: str = "GET", fields: str = "") -> Request:
    return Request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())


def ask(app: App, target: str = "/", method: str = "GET", *, fields: str = "", dev: bool = False) -> Response:
    return app._compile(dev=dev).respond(request(target, method, fields))


def told(req: Request, status: int, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "path": req.path}


def fails(req: Request) -> str:
    raise ZeroDivisionError("<secret>")


def refuses(req: Request) -> str:
    raise HTTPError(409, "already there", headers={"Retry-After": "7", "X-A": "b"})


def mark(req: Request, params: Params, resp: Response) -> Response:
    return resp.with_header("X-Status", str(resp.status))


# ---- the form ----


@pytest.mark.parametrize(
    ("target", "method", "status", "reason"),
    [
        ("/nothing", "GET", 404, "Not Found"),
        ("/fails", "POST", 405, "Method Not Allowed"),
        ("/fails", "BREW", 501, "the method BREW is not implemented"),
        ("/fails", "GET", 500, "Internal Server Error"),
        ("/refuses", "GET", 409, "already there"),
        ("/json", "POST", 400, "the body is empty where JSON is expected"),
    ],
)
def test_it_makes_the_bodies(target: str, method: str, status: int, reason: str) -> None:
    app = App(
        errors(told), after(mark), GET("/fails", fails), GET("/refuses", refuses), POST("/json", lambda req: req.json())
    )
    answer = ask(app, target, method)
    assert json.loads(answer.body) == {"status": status, "reason": reason, "path": target}
    assert (answer.status, answer.headers["X-Status"]) == (status, str(status))
    assert answer.headers["Content-Type"] == "application/json"


def test_fields_of_the_error_are_kept() -> None:
    app = App(errors(told), GET("/", refuses))
    assert ask(app, "/", "PUT").headers["Allow"] == "GET, HEAD, OPTIONS"
    headers = ask(app).headers
    assert (headers["Retry-After"], headers["X-A"]) == ("7", "b")
    own = App(errors(lambda req, status, reason: ("x", 503, {"retry-after": "1"})), GET("/", refuses))
    answer = ask(own)
    assert (answer.status, answer.headers.get_all("Retry-After"), answer.headers["X-A"]) == (503, ["1"], "b")


def test_several_fields_of_one_name_are_kept() -> None:
    def asks(req: Request) -> str:
        raise HTTPError(401, headers=[("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Bearer")])

    answer = ask(App(errors(told), GET("/", asks)))
    assert answer.headers.get_all("WWW-Authenticate") == ["Basic", "Bearer"]


@pytest.mark.parametrize(
    ("value", "status", "body"),
    [
        ("text", 404, b"text"),
        (b"bytes", 404, b"bytes"),
        (("made", 410), 410, b"made"),
        (Response.text("made", status=200), 200, b"made"),
    ],
)
def test_what_it_returns(value: Any, status: int, body: bytes) -> None:
    answer = ask(App(errors(lambda req, status, reason: value)))
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("value", [None, 5, ZeroDivisionError(), HTTPError(418)])
def test_one_that_fails_falls_back_and_is_logged(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(req: Request, status: int, reason: str) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    answer = ask(App(errors(broken), after(mark), GET("/", refuses)))
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (409, b"already there", "7")
    assert answer.headers["X-Status"] == "409"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "errors function tests.test_errors_form" in record.getMessage()
    assert "GET / with 409" in record.getMessage()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_goes_through(stop: type[BaseException]) -> None:
    def ends(req: Request, status: int, reason: str) -> str:
        raise stop

    with pytest.raises(stop):
        ask(App(errors(ends)))


def test_the_innermost_is_asked() -> None:
    app = App(
        errors(lambda req, status, reason: "app"),
        group(
            "/a", errors(lambda req, status, reason: "a"), GET("/x", fails),
            group("/b", before(lambda req: None), GET("/x", fails)),
            group("/c", errors(lambda req, status, reason: "c"), GET("/x", fails)),
        ),
        group("/d", GET("/x", fails)),
    )  # fmt: skip
    bodies = {"/x": b"app", "/a/x": b"a", "/a/b/x": b"a", "/a/c/x": b"c", "/d/x": b"app"}
    for path, body in bodies.items():
        assert (ask(app, path).body, ask(app, f"{path}/none").body) == (body, body)
        if path != "/x":
            assert ask(app, path, "PUT").body == body


def test_it_speaks_the_json_of_the_app() -> None:
    class Loud:
        dumps = staticmethod(lambda value: "loud")
        loads = staticmethod(json.loads)

    app = App(errors(told), json=Loud())
    assert ask(app).body == b"loud"
    assert app._compile().error(request(), 413, "too large").body == b"loud"


def test_errors_that_the_protocol_makes() -> None:
    dispatcher = App(errors(told), after(mark))._compile()
    answer = dispatcher.error(request("/x"), 413, "too large")
    assert json.loads(answer.body) == {"status": 413, "reason": "too large", "path": "/x"}
    assert answer.headers["X-Status"] == "413"
    assert dispatcher.error(None, 431, None).body == b"Request Header Fields Too Large"


def test_an_http_error_with_a_type_of_its_own_is_a_body() -> None:
    def page(req: Request) -> str:
        raise HTTPError(404, "<p>gone", headers={"Content-Type": "text/html"})

    answer = ask(App(errors(told), GET("/", page)), fields="Accept: application/json\r\n")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (404, "text/html", b"<p>gone")


def test_an_http_error_that_was_bent_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    def bent(req: Request) -> str:
        error = HTTPError(404)
        error.status = 200
        raise error

    assert ask(App(errors(told), GET("/", bent))).status == 500
    assert "400 to 599" in caplog.text


def test_mistakes() -> None:
    with pytest.raises(web.RouteError, match=r"errors function .* takes \(req\): it is called with"):
        errors(fails)  # type: ignore[arg-type]
    with pytest.raises(web.RouteError, match="already; remove one of them"):
        App(errors(told), errors(told))


# ---- problem+json ----

JSON = "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "json"),
        ("Application/Problem+JSON", "json"),
        ("application/json, text/plain, */*", "json"),
        ("text/html;q=0.5, application/json;q=0.6", "json"),
        ("application/json;q=0.5, text/html", "text"),
        ("application/json;q=0", "text"),
        ("application/json;q=x", "text"),
        ("application/json;q=2", "text"),
        ("*/*", "text"),
        ("application/*", "text"),
        ("application/jsonp", "text"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text"),
        ("", "text"),
        (";q", "text"),
    ],
)
def test_who_prefers_json(accept: str, kind: str) -> None:
    assert kind_of_body([accept]) == kind


def test_all_accept_fields_count() -> None:
    answer = ask(App(), fields="Accept: text/css\r\nAccept: application/json\r\n")
    assert answer.headers["Content-Type"] == JSON


@given(st.lists(st.text()), st.booleans())
def test_any_accept_is_survived(accept: list[str], html: bool) -> None:
    assert kind_of_body(accept, html=html) in ("json", "text", *(["html"] if html else []))


@given(st.sampled_from(["json", "problem+json"]), st.integers(1, 1000), st.integers(0, 1000))
def test_weights_decide(kind: str, json_weight: int, html_weight: int) -> None:
    accept = f"text/html;q={html_weight / 1000:.3f}, application/{kind}; q={json_weight / 1000:.3f}"
    assert kind_of_body([accept]) == ("json" if json_weight >= html_weight else "text")


def test_a_problem() -> None:
    app = App(GET("/", refuses), GET("/404", lambda req: Response.not_found()))
    answer = ask(app, fields="Accept: application/json\r\n")
    assert answer.headers["Content-Type"] == JSON
    assert (answer.headers["Vary"], answer.headers["Retry-After"]) == ("Accept", "7")
    assert json.loads(answer.body) == {
        "type": "about:blank", "title": "Conflict", "status": 409, "detail": "already there",
    }  # fmt: skip
    assert json.loads(ask(app, "/none", fields="Accept: application/json\r\n").body) == {
        "type": "about:blank", "title": "Not Found", "status": 404,
    }  # fmt: skip
    assert ask(app, "/404", fields="Accept: application/json\r\n").body == b"Not Found"  # the application's own
    text = ask(app)
    assert (text.headers["Content-Type"], text.headers["Vary"]) == ("text/plain; charset=utf-8", "Accept")


@given(st.text(st.characters()), st.integers(400, 599))
def test_any_detail_is_a_problem(detail: str, status: int) -> None:
    assert json.loads(problem(status, detail))["detail"] == detail


# ---- the page for developers ----


@pytest.mark.parametrize("handler", [fails])
def test_the_traceback_is_for_developers_alone(handler: Any) -> None:
    app = App(GET("/<b>"[:1], handler), errors(told))
    assert json.loads(ask(app).body)["status"] == 500
    shown = {
        kind: ask(app, dev=True, fields=f"Accept: {kind}\r\n") for kind in ("text/html", "*/*", "application/json")
    }
    assert [one.headers["Content-Type"] for one in shown.values()] == [
        "text/html; charset=utf-8", "text/plain; charset=utf-8", JSON,
    ]  # fmt: skip
    assert all(one.status == 500 and b"ZeroDivisionError" in one.body for one in shown.values())
    assert b"<secret>" not in shown["text/html"].body
    assert b"&lt;secret&gt;" in shown["text/html"].body
    assert b"<secret>" in shown["*/*"].body
    assert "<secret>" in json.loads(shown["application/json"].body)["detail"]
    assert ask(app, fields="Accept: text/html\r\n").headers["Content-Type"] == "application/json"


def test_errors_that_are_expected_are_no_tracebacks_in_dev() -> None:
    app = App(errors(told), GET("/", refuses))
    assert json.loads(ask(app, dev=True, fields="Accept: text/html\r\n").body)["reason"] == "already there"
    assert ask(App(), dev=True, fields="Accept: text/html\r\n").body == b"Not Found"


def test_developers_are_told_which_option_refused_it() -> None:
    app = App(web.hosts(["b"]), GET("/", refuses))
    told_to_all = b"Misdirected Request: this server does not answer for that host"
    assert ask(app).body == told_to_all
    assert (
        ask(app, dev=True).body
        == told_to_all + b" (for developers: web.hosts([...]), or web dev --allow-host, says for which)"
    )
    as_json = ask(app, dev=True, fields="Accept: application/json\r\n")
    assert json.loads(as_json.body)["detail"].endswith(
        "(for developers: web.hosts([...]), or web dev --allow-host, says for which)"
    )

    def too_much(req: Request) -> str:
        raise HTTPError(413, "no more than three")  # its own affair, and no option's

    assert ask(App(GET("/", too_much)), dev=True).body == b"no more than three"


def test_a_page_is_escaped_everywhere() -> None:
    page = traceback_page(ValueError("<x>&"), "<M>", "/<p>{0}")
    assert "<x>" not in page
    assert "<M>" not in page
    assert "&lt;p&gt;{0}" in page


def test_a_page_of_what_is_no_utf_8() -> None:
    def surrogate(req: Request) -> str:
        raise ValueError("\udcff")

    assert b"\\udcff" in ask(App(GET("/", surrogate)), dev=True, fields="Accept: text/html\r\n").body


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there is no text")


def noted() -> ValueError:
    error = ValueError("first\nsecond")
    error.add_note("a note")
    return error


@pytest.mark.parametrize(
    ("error", "heading"),
    [
        (noted(), "ValueError: first"),
        (ExceptionGroup("several", [ValueError("one")]), "ExceptionGroup: several (1 sub-exception)"),
        (ValueError(), "ValueError"),
        (Mute(), "Mute"),
    ],
)
def test_the_heading_of_the_page_is_the_exceptions_first_line(error: Exception, heading: str) -> None:
    assert f"<h1>{heading}</h1>" in traceback_page(error, "GET", "/")
