"""Dispatcher: before hooks -> route -> handler -> coercion -> after hooks, and what happens when one of them fails."""

import asyncio
import errno
import itertools
import logging
import sys
import warnings
from typing import Any

import pytest

import web
from web import GET, POST, App, HTTPError, Request, Response, after, before, route
from web.routing import Handler, Params


def request(method: str = "GET", target: str = "/") -> Request:
    return Request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def ask(app: App, method: str = "GET", target: str = "/", *, dev: bool = False) -> Response:
    return app._compile(dev=dev).respond(request(method, target))


def returns(value: Any) -> App:
    return App(GET("/", lambda req: value))


# ---- what a handler may return ----

TEXT = "text/plain; charset=utf-8"


class Str(str):
    __slots__ = ()


class Dict(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "status", "content_type", "body"),
    [
        ("ü", 200, TEXT, b"\xc3\xbc"),
        ("", 200, TEXT, b""),
        (Str("x"), 200, TEXT, b"x"),
        (b"\0", 200, "application/octet-stream", b"\0"),
        ({"a": "ü"}, 200, "application/json", b'{"a":"\xc3\xbc"}'),
        (Dict(a=1), 200, "application/json", b'{"a":1}'),
        ([], 200, "application/json", b"[]"),
        (Response.html("x"), 200, "text/html; charset=utf-8", b"x"),
        (("x", 201), 201, TEXT, b"x"),
        (({"a": 1}, 400), 400, "application/json", b'{"a":1}'),
        (("", 204), 204, TEXT, b""),
        (("x", 200, {"Content-Type": "text/css"}), 200, "text/css", b"x"),
        (("x", 200, [("X", "1")]), 200, TEXT, b"x"),
        (("x", 200, None), 200, TEXT, b"x"),
    ],
)
def test_coercion(value: Any, status: int, content_type: str, body: bytes) -> None:
    answer = ask(returns(value))
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (status, content_type, body)


def test_a_response_goes_through_as_it_is() -> None:
    kept = Response.text("x")
    assert ask(returns(kept)) is kept


def returned_none(req: Request) -> Any:
    return None


async def coroutine() -> str:
    return "x"


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: None, "returned None: return a Response; for an answer without a body, Response.empty()"),
        (lambda: 5, "returned int (5): return a Response, str, bytes, dict or list; Response.json(value)"),
        (lambda: {1}, "returned set"),
        (lambda: True, "returned bool"),
        (lambda: bytearray(b"x"), "Response.bytes(value)"),
        (lambda: open(__file__, "rb"), "Response.file(path)"),  # noqa: SIM115
        (coroutine, "declare the handler with async def, so that it is awaited"),
        (lambda: (), "a tuple is (body, status)"),
        (lambda: ("x",), "a tuple is (body, status)"),
        (lambda: ("x", "201"), "a tuple is (body, status)"),
        (lambda: ("x", True), "a tuple is (body, status)"),
        (lambda: (5, 200), "a tuple is (body, status)"),
        (lambda: (None, 204), "a tuple is (body, status)"),
        (lambda: ("x", 200, {}, 1), "a tuple is (body, status)"),
        (lambda: (Response.text("x"), 201), "for a Response use with_status()"),
        (Unprintable, "returned Unprintable (?)"),
        (lambda: object, "returned type"),
        (lambda: ["x"] * 100 and tuple("x" * 100), "..."),
    ],
)
def test_anything_else_is_a_500_that_names_handler_and_route(
    make: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = make()

    def wrong(req: Request) -> Any:
        return value

    answer = ask(App(GET("/:x/y", wrong)), target="/1/y")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    if hasattr(value, "close"):
        value.close()
    assert says in caplog.text
    assert "wrong of route /:x/y returned" in caplog.text
    assert "TypeError" in caplog.text


@pytest.mark.parametrize(
    "value", [{"a": float("nan")}, {"a": {1}}, "\ud800", ("x", 999), ("x", 204), ("x", 200, {"X": "\n"})]
)
def test_bodies_that_cannot_be_sent_are_a_500(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(returns(value)).status == 500
    assert len(caplog.records) == 1


def test_handlers_get_what_they_ask_for() -> None:
    app = App()

    @app.get("/a/:x")
    def one(req: Request) -> dict[str, Any]:
        return {"one": req.params}

    @app.get("/b/:x:int/*")
    def two(req: Request, params: Params) -> dict[str, Any]:
        assert params is req.params
        return {"two": params}

    assert ask(app, target="/a/%C3%BC").body == '{"one":{"x":"ü"}}'.encode()
    assert ask(app, target="/b/5/c/d").body == b'{"two":{"x":5,"*":"c/d"}}'


# ---- paths and methods without a route ----


def paths() -> App:
    app = App()
    for methods, pattern in [
        ("GET", "/g"),
        ("POST", "/p"),
        (["PUT", "BREW"], "/u/:x"),
        ("OPTIONS", "/o"),
        ("GET", "/o"),
    ]:
        app.route(methods, pattern)(lambda req: "body")
    return app


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/g", 200, None),
        ("HEAD", "/g", 200, None),
        ("GET", "/no", 404, None),
        ("OPTIONS", "/no", 404, None),
        ("BREW", "/no", 404, None),
        ("GET", "/p", 405, "POST, OPTIONS"),
        ("HEAD", "/p", 405, "POST, OPTIONS"),
        ("POST", "/g", 405, "GET, HEAD, OPTIONS"),
        ("BREW", "/g", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/u/1", 405, "PUT, OPTIONS, BREW"),
        ("BREW", "/u/1", 200, None),
        ("OPTIONS", "/g", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/u/1", 204, "PUT, OPTIONS, BREW"),
        ("OPTIONS", "/o", 200, None),
        ("OPTIONS", "*", 204, "GET, HEAD, POST, PUT, OPTIONS, BREW"),
        ("STIR", "/g", 501, None),
        ("TRACE", "/g", 501, None),
        ("get", "/g", 501, None),
        ("POST", "/%67", 405, "GET, HEAD, OPTIONS"),
    ],
)
def test_methods(method: str, target: str, status: int, allow: str | None) -> None:
    answer = ask(paths(), method, target)
    assert (answer.status, answer.headers.get("Allow")) == (status, allow)


def test_asterisk_form_reaches_an_options_route_for_everything() -> None:
    app = App(route("OPTIONS", "*", lambda req, params: params["*"]))
    assert ask(app, "OPTIONS", "*").body == b"*"


def test_asterisk_form_of_an_empty_app() -> None:
    assert ask(App(), "OPTIONS", "*").headers["Allow"] == "OPTIONS"


def test_connect_has_no_path() -> None:
    connect = Request(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    assert paths()._compile().respond(connect).status == 404
    assert connect.path == ""


# ---- hooks ----


def test_hooks_run_in_order_around_the_handler() -> None:
    seen: list[str] = []

    def first(req: Request) -> None:
        seen.append("first")

    def second(req: Request, params: Params) -> None:
        seen.append("second")
        params["user"] = req.state.user = "me"

    def handler(req: Request, params: Params) -> dict[str, Any]:
        seen.append("handler")
        return params | vars(req.state)

    def third(req: Request, params: Params, resp: Response) -> Response:
        seen.append(f"third {params['user']}")
        return resp.with_header("X-Seen", "third")

    def fourth(req: Request, params: Params, resp: Response) -> Response:
        seen.append("fourth")
        return resp.add_header("X-Seen", "fourth")

    app = App(after(third), before(first), GET("/:id", handler), after(fourth), before(second))
    answer = ask(app, target="/7")
    assert answer.body == b'{"user":"me","id":"7"}'
    assert answer.headers.get_all("X-Seen") == ["third", "fourth"]
    assert seen == ["first", "second", "handler", "third me", "fourth"]


def test_a_capture_wins_over_a_hooks_entry() -> None:
    def annotate(req: Request, params: Params) -> None:
        params["id"] = "hook"

    assert ask(App(before(annotate), GET("/:id", lambda req, params: params["id"])), target="/7").body == b"7"


@pytest.mark.parametrize("early", [Response.text("no", status=401), ("no", 401)])
def test_a_before_hook_may_answer(early: Any) -> None:
    def never(req: Request) -> str:
        raise AssertionError

    answer = ask(App(before(lambda req: early), before(never), GET("/", never), after(marked)))
    assert (answer.status, answer.body, answer.headers["X-After"]) == (401, b"no", "yes")


def test_a_before_hook_also_sees_paths_without_a_route() -> None:
    assert ask(App(before(lambda req: "early")), target="/nowhere").body == b"early"


def marked(req: Request, params: Params, resp: Response) -> Response:
    return resp.with_header("X-After", "yes")


def raising(exc: BaseException) -> Handler:
    def handler(req: Request) -> str:
        raise exc

    return handler


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/none", 404), ("POST", "/a", 405), ("GET", "/raise", 500), ("GET", "/gone", 410), ("OPTIONS", "/a", 204)],
)
def test_after_hooks_see_the_frameworks_own_answers(method: str, target: str, status: int) -> None:
    app = App(
        after(marked), GET("/a", lambda req: ""), GET("/raise", raising(ZeroDivisionError())),
        GET("/gone", raising(HTTPError(410))),
    )  # fmt: skip
    answer = ask(app, method, target)
    assert (answer.status, answer.headers["X-After"]) == (status, "yes")


@pytest.mark.parametrize("wrong", [None, "text", 5])
def test_an_after_hook_that_returns_something_else_is_named(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    def forgetful(req: Request, params: Params, resp: Response) -> Any:
        return wrong

    answer = ask(App(GET("/", lambda req: ""), after(forgetful), after(marked)))
    assert (answer.status, answer.headers["X-After"]) == (500, "yes")
    assert "forgetful returned" in caplog.text


def test_a_hook_that_raises_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    def broken_before(req: Request) -> None:
        raise ZeroDivisionError

    def broken_after(req: Request, params: Params, resp: Response) -> Response:
        raise ZeroDivisionError

    def refuses(req: Request, params: Params, resp: Response) -> Response:
        raise HTTPError(418, "teapot")

    assert ask(App(GET("/", lambda req: ""), before(broken_before))).status == 500
    assert ask(App(GET("/", lambda req: ""), after(broken_after))).status == 500
    assert ask(App(GET("/", lambda req: ""), after(refuses))).body == b"teapot"
    assert len(caplog.records) == 2


# ---- failures ----


def test_an_exception_is_a_500_with_a_record(caplog: pytest.LogCaptureFixture) -> None:
    def broken(req: Request) -> str:
        raise ZeroDivisionError("secret")

    answer = ask(App(GET("/a/:x", broken)), target="/a/b%0Ac")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("web", logging.ERROR)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    message = record.getMessage()
    assert "GET /a/b%0Ac" in message
    assert "broken" in message
    assert "/a/:x" in message
    assert "\n" not in message


def test_dev_mode_shows_the_traceback() -> None:
    answer = ask(App(GET("/", raising(ZeroDivisionError("shown \udcff")))), dev=True)
    assert (answer.status, answer.headers["Content-Type"]) == (500, TEXT)
    assert b"Traceback (most recent call last)" in answer.body
    assert b"ZeroDivisionError: shown \\udcff" in answer.body


@pytest.mark.parametrize("exc", [KeyboardInterrupt(), SystemExit()])
def test_what_ends_the_program_goes_through(exc: BaseException) -> None:
    with pytest.raises(type(exc)):
        ask(App(GET("/", raising(exc)), after(marked)))


@pytest.mark.parametrize("exc", [GeneratorExit(), asyncio.CancelledError()])
def test_what_is_no_exception_and_ends_no_program_is_a_500(exc: BaseException) -> None:
    answer = ask(App(GET("/", raising(exc)), after(marked)))
    assert (answer.status, answer.headers["X-After"]) == (500, "yes")


def test_a_log_that_fails_does_not_decide_whether_a_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(errno.ENOSPC, "no space left on device")

    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    full = Full()
    logging.getLogger("web").addHandler(full)
    try:
        assert ask(App(GET("/", raising(ZeroDivisionError())))).status == 500
    finally:
        logging.getLogger("web").removeHandler(full)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (HTTPError(404), 404, b"Not Found"),
        (HTTPError(413), 413, b"Content Too Large"),
        (HTTPError(418, "short and stout"), 418, b"short and stout"),
        (HTTPError(599), 599, b"Error"),
        (HTTPError(400, "\udcff"), 400, b"?"),
    ],
)
def test_http_errors_are_answered(error: HTTPError, status: int, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(App(GET("/", raising(error))))
    assert (answer.status, answer.body) == (status, body)
    assert not caplog.records


def test_http_error_headers() -> None:
    answer = ask(App(GET("/", raising(HTTPError(401, headers={"WWW-Authenticate": "Basic"})))))
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Basic")
    assert ask(App(GET("/", raising(HTTPError(401, headers={"X": "\n"}))))).status == 500


@pytest.mark.parametrize(
    ("arguments", "error"), [((200,), ValueError), ((600,), ValueError), (("404",), TypeError), ((404, 5), TypeError)]
)
def test_bad_http_errors(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="HTTPError"):
        HTTPError(*arguments)
    assert str(HTTPError(404, "no user")) == "404 no user"


def test_the_frameworks_own_errors() -> None:
    dispatcher = App(after(marked))._compile()
    asked = request()
    answer = dispatcher.error(asked, 400, "two Host fields")
    assert (answer.status, answer.body, answer.headers["X-After"]) == (400, b"Bad Request: two Host fields", "yes")
    assert asked.app is not None
    unparsed = dispatcher.error(None, 431, None)
    assert (unparsed.status, unparsed.body) == (431, b"Request Header Fields Too Large")
    assert "X-After" not in unparsed.headers
    assert "X-After" not in dispatcher.error(Request.__new__(Request), 400, None).headers


def test_an_unbound_request_is_refused() -> None:
    dispatcher = App()._compile()
    for wrong in (Request.__new__(Request), None):
        with pytest.raises(RuntimeError, match="holds no request"):
            dispatcher.respond(wrong)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        dispatcher.repeat(Request.__new__(Request), 1)


def test_a_coroutine_that_was_returned_is_closed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(App(GET("/", lambda req: coroutine()))).status == 500


def test_repeat_gives_the_last_answer() -> None:
    counter = itertools.count(1)
    app = App(POST("/", lambda req: str(next(counter))))
    last = app._compile().repeat(request("POST"), 5)
    assert last is not None
    assert last.body == b"5"
    assert app._compile().repeat(request("POST"), 0) is None


def test_the_package_offers_it() -> None:
    assert web.HTTPError is HTTPError
