"""web.App: forms and decorators are the same thing, and what is wrong is told when it is added."""

import json
from pathlib import Path
from typing import Any

import pytest

import web
from web import App, Request, Response, RouteError
from web.routing import After, Before, Bundle, Params


def ask(app: App, method: str, target: str, body: bytes = b"") -> Response:
    return app._compile().respond(Request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), body))


def test_decorators_build_the_same_values(tmp_path: Path) -> None:
    def handler(req: Request) -> str:
        return "x"

    def look(req: Request) -> None:
        return None

    def mark(req: Request, params: Params, resp: Response) -> Response:
        return resp

    by_forms = App(
        web.GET("/a", handler), web.POST("/a", handler), web.PUT("/a", handler), web.PATCH("/a", handler),
        web.DELETE("/a", handler), web.HEAD("/a", handler), web.OPTIONS("/a", handler),
        web.route(["BREW", "STIR"], "/a", handler), web.before(look), web.after(mark), web.static(tmp_path, at="/s"),
    )  # fmt: skip
    by_decorators = App()
    for decorator in ("get", "post", "put", "patch", "delete", "head", "options"):
        assert getattr(by_decorators, decorator)("/a")(handler) is handler
    assert by_decorators.route(["BREW", "STIR"], "/a")(handler) is handler
    assert by_decorators.before(look) is look
    assert by_decorators.after(mark) is mark
    by_decorators.static(tmp_path, at="/s")
    for part in ("_before", "_after", "_folders"):
        assert getattr(by_forms, part) == getattr(by_decorators, part)
    assert by_forms._routes._routes == by_decorators._routes._routes


def test_route_takes_one_method_as_text() -> None:
    app = App()

    @app.route("BREW", "/pot")
    def brew(req: Request) -> str:
        return "tea"

    assert ask(app, "BREW", "/pot").body == b"tea"


@pytest.mark.parametrize("form", [5, None, "GET /", lambda req: "x", ("GET", "/", lambda req: "x"), Response.text("x")])
def test_what_is_no_form_is_told(form: Any) -> None:
    with pytest.raises(RouteError, match="is no form"):
        App(form)


def test_an_app_is_checked_as_it_grows() -> None:
    app = App(web.GET("/:x", lambda req: ""))
    with pytest.raises(RouteError, match="register /a first"):
        app.get("/a")(lambda req: "")
    assert ask(app, "GET", "/a").status == 200
    app.post("/a")(lambda req: "posted")
    assert ask(app, "POST", "/a").body == b"posted"


def test_a_compiled_app_does_not_change() -> None:
    app = App(web.GET("/a", lambda req: "a"))
    compiled = app._compile()
    app.get("/b")(lambda req: "b")
    asked = Request(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert compiled.respond(asked).status == 404
    assert app._compile().respond(asked).status == 200


def test_outer_hooks_lie_around_the_others() -> None:
    seen = []

    def look(name: str, *, outer: bool = False) -> Before:
        def hook(req: Request) -> None:
            seen.append(name)

        return Before(hook, outer)

    def mark(name: str, *, outer: bool = False) -> After:
        def hook(req: Request, params: Params, resp: Response) -> Response:
            seen.append(name)
            return resp

        return After(hook, outer)

    app = App(look("b1"), mark("a1"), look("B1", outer=True), mark("A1", outer=True))
    app.add(Bundle((look("B2", outer=True), mark("A2", outer=True))), look("b2"), mark("a2"))
    ask(app, "GET", "/")
    assert seen == ["B1", "B2", "b1", "b2", "a1", "a2", "A2", "A1"]


class Loud:
    """JSON that can be recognised."""

    def __init__(self, binary: bool) -> None:
        self.binary = binary

    def dumps(self, value: Any) -> str | bytes:
        text = json.dumps(["loud", value])
        return text.encode() if self.binary else text

    def loads(self, data: bytes) -> Any:
        if data == b"bad":
            raise json.JSONDecodeError("bad", "bad", 0)
        return ["loud", data.decode()]


@pytest.mark.parametrize("binary", [False, True])
def test_json_of_the_app_is_used_everywhere(binary: bool) -> None:
    app = App(json=Loud(binary))
    app.get("/returned")(lambda req: {"a": 1})
    app.get("/made")(lambda req: Response.json({"a": 1}))
    app.post("/read")(lambda req: str(req.json()))
    assert ask(app, "GET", "/returned").body == b'["loud", {"a": 1}]'
    assert ask(app, "GET", "/made").body == b'["loud", {"a": 1}]'
    assert ask(app, "POST", "/read", b"x").body == b"['loud', 'x']"
    assert ask(app, "POST", "/read", b"bad").status == 400
    assert Response.json({"a": 1}).body == b'{"a":1}'


def test_json_of_one_app_does_not_reach_another() -> None:
    def fail(req: Request) -> str:
        raise KeyboardInterrupt

    loud = App(web.GET("/", lambda req: Response.json(1)), web.GET("/fail", fail), json=Loud(False))
    quiet = App(web.GET("/", lambda req: Response.json(1)))
    assert ask(loud, "GET", "/").body == b'["loud", 1]'
    with pytest.raises(KeyboardInterrupt):
        ask(loud, "GET", "/fail")
    assert ask(quiet, "GET", "/").body == b"1"


def test_modules_serve_as_json() -> None:
    assert ask(App(web.GET("/", lambda req: {"a": "ü"}), json=json), "GET", "/").body == b'{"a": "\\u00fc"}'


def test_json_that_returns_something_else_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong:
        def dumps(self, value: Any) -> Any:
            return 5

        loads = staticmethod(json.loads)

    assert ask(App(web.GET("/", lambda req: {}), json=Wrong()), "GET", "/").status == 500
    assert "must return str or bytes, not int" in caplog.text


def test_an_object_without_dumps_is_refused() -> None:
    with pytest.raises(TypeError, match="no dumps"):
        App(json=5)  # type: ignore[arg-type]


def test_the_request_knows_its_app() -> None:
    app = App()

    @app.get("/")
    def handler(req: Request) -> str:
        assert req.app is app
        return "it does"

    assert ask(app, "GET", "/").body == b"it does"


def test_a_bundle_is_the_forms_that_it_holds() -> None:
    seen: list[str] = []

    def look(req: web.Request) -> None:
        seen.append("before")

    def pass_on(req: web.Request, params: object, resp: web.Response) -> web.Response:
        seen.append("after")
        return resp

    app = web.App(Bundle((web.before(look), Bundle((web.after(pass_on),)))), web.GET("/", lambda req: "ok"))
    assert ask(app, "GET", "/").body == b"ok"
    assert seen == ["before", "after"]
