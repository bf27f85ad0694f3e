"""web.group and hooks of routes: what runs for what, and in which order; what is wrong is told where it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import web
from web import GET, POST, App, HTTPError, Request, Response, RouteError, after, before, errors, group, static
from web.groups import Group
from web.routing import Bundle, Params

LOG: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


def enters(name: str, answer: Any = None) -> Callable[[Request], Any]:
    def look(req: Request) -> Any:
        LOG.append(name)
        return answer

    return look


def leaves(name: str) -> Callable[[Request, Params, Response], Response]:
    def mark(req: Request, params: Params, resp: Response) -> Response:
        LOG.append(f"/{name}")
        return resp

    return mark


def around(name: str) -> Bundle:
    """A before and an after hook."""
    return Bundle((before(enters(name)), after(leaves(name))))


def handler(req: Request) -> str:
    LOG.append("handler")
    return req.path


def ask(app: App, target: str, method: str = "GET") -> Response:
    LOG.clear()
    return app._compile().respond(Request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()))


def ran(app: App, target: str, method: str = "GET") -> str:
    ask(app, target, method)
    return " ".join(LOG)


def nested() -> App:
    inner = group(
        "/inner", around("inner"), GET("/own", handler, before=[enters("r1"), enters("r2")], after=[leaves("r1")])
    )
    return App(around("app"), GET("/", handler), group("/api", GET("/a", handler), around("api"), inner))


# ---- what runs ----


def test_hooks_run_from_outside_in_and_back() -> None:
    app = nested()
    assert ran(app, "/") == "app handler /app"
    assert ran(app, "/api/a") == "app api handler /api /app"
    assert ran(app, "/api/inner/own") == "app api inner r1 r2 handler /r1 /inner /api /app"


def test_hooks_of_one_group_keep_their_order() -> None:
    app = App(group("/g", around("1"), GET("/", handler), around("2")))
    assert ran(app, "/g/") == "1 2 handler /1 /2"


@pytest.mark.parametrize(
    ("target", "method", "status", "hooks"),
    [
        ("/nothing", "GET", 404, "app /app"),
        ("/apix", "GET", 404, "app /app"),
        ("/api", "GET", 404, "app api /api /app"),
        ("/api/nothing", "GET", 404, "app api /api /app"),
        ("/api/inner", "GET", 404, "app api inner /inner /api /app"),
        ("/api/inner/nothing", "DELETE", 404, "app api inner /inner /api /app"),
        ("/%61pi/nothing", "GET", 404, "app api /api /app"),
        ("/", "POST", 405, "app /app"),
        ("/api/a", "POST", 405, "app api /api /app"),
        ("/api/inner/own", "POST", 405, "app api inner /inner /api /app"),
        ("/api/inner/own", "OPTIONS", 204, "app api inner /inner /api /app"),
        ("*", "OPTIONS", 204, "app /app"),
    ],
)
def test_what_has_no_route_is_its_groups(target: str, method: str, status: int, hooks: str) -> None:
    app = nested()
    assert ask(app, target, method).status == status
    assert " ".join(LOG) == hooks


def test_a_path_of_a_route_belongs_to_its_group_before_prefixes_do() -> None:
    app = App(group("/a", around("1"), GET("/x", handler)), group("/a", around("2"), GET("/y", handler)))
    assert ran(app, "/a/y", "POST") == "2 /2"
    assert ran(app, "/a/nothing") == "1 /1"
    public = App(group("", around("g"), GET("/x", handler)), GET("/y", handler))
    assert ran(public, "/x", "POST") == "g /g"
    assert ran(public, "/y", "POST") == ""
    assert ran(public, "/nothing") == ""


def test_a_group_without_hooks_has_its_404_for_itself() -> None:
    app = App(group("/a", around("a")), group("/a/b", GET("/x", handler)))
    assert ran(app, "/a/b/nothing") == ""
    assert ran(app, "/a/nothing") == "a /a"


def test_an_answer_of_a_before_hook_goes_through_all_after_hooks() -> None:
    def of_app(req: Request) -> str | None:
        return "no" if req.path.endswith("stop") else None

    app = App(
        before(of_app), after(leaves("app")),
        group("/:n:int", around("g"), after(leaves("h")), GET("/stop", handler),
              GET("/late", handler, before=[enters("r", "late")], after=[leaves("r")])),
    )  # fmt: skip
    assert (ask(app, "/5/stop").body, LOG) == (b"no", ["/g", "/h", "/app"])
    assert (ask(app, "/5/late").body, LOG) == (b"late", ["g", "r", "/r", "/g", "/h", "/app"])


def test_captures_of_the_prefix_are_there_for_its_hooks() -> None:
    seen: list[Any] = []

    def look(req: Request, params: Params) -> None:
        seen.append(dict(params))
        params["added"] = 1

    def mark(req: Request, params: Params, resp: Response) -> Response:
        seen.append(dict(params))
        return resp

    app = App(
        before(lambda req: "no" if req.header("x-stop") else None),
        group("/:n:int", before(look), after(mark), GET("/:id", lambda req: dict(req.params))),
    )
    assert ask(app, "/7/x").body == b'{"n":7,"id":"x","added":1}'
    assert seen == [{"n": 7, "id": "x"}, {"n": 7, "id": "x", "added": 1}]
    seen.clear()
    assert ask(app, "/7/x/y/z").status == 404
    assert seen == [{"n": 7}, {"n": 7, "added": 1}]
    seen.clear()
    stopped = app._compile().respond(Request(b"GET /7/x HTTP/1.1\r\nHost: a\r\nX-Stop: 1\r\n\r\n"))
    assert (stopped.body, seen) == (b"no", [{"n": 7, "id": "x"}])


def test_hooks_of_the_app_see_no_captures() -> None:
    seen: list[Any] = []
    look = before(lambda req: seen.append(dict(req.params)))
    assert ask(App(look, group("/:n", around("g"), GET("/", handler))), "/7/").status == 200
    assert seen == [{}]


def test_a_hook_that_fails_is_a_500_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    def broken(req: Request, params: Params, resp: Response) -> Response:
        raise ZeroDivisionError

    app = App(after(leaves("app")), group("/g", after(broken), after(leaves("g")), GET("/", handler)))
    assert ask(app, "/g/").status == 500
    assert LOG == ["handler", "/g", "/app"]
    assert "after hook tests.test_groups" in caplog.text
    assert "route /g/" in caplog.text


def test_a_scope_is_no_route_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken(req: Request) -> None:
        raise ZeroDivisionError

    assert ask(App(group("/g", before(broken))), "/g/nothing").status == 500
    assert "(no route)" in caplog.text


def test_an_http_error_of_a_hook_answers() -> None:
    def refuse(req: Request) -> None:
        raise HTTPError(403, "not you")

    app = App(group("/g", before(refuse), after(leaves("g")), GET("/", handler)))
    assert (ask(app, "/g/").status, LOG) == (403, ["/g"])


# ---- patterns ----


def test_prefixes_and_patterns_are_joined() -> None:
    app = App(group("/a", GET("", lambda req: "bare"), GET("/", lambda req: "slash"), GET("/*", lambda req: "rest")))
    assert [ask(app, path).body for path in ("/a", "/a/", "/a/x/y")] == [b"bare", b"slash", b"rest"]
    deep = App(group("/a", group("", group("/b", GET("", handler), POST("/:x", handler)))))
    assert ask(deep, "/a/b").body == b"/a/b"
    assert ask(deep, "/a/b/c", "POST").body == b"/a/b/c"


def test_the_order_of_registration_counts_across_groups() -> None:
    app = App(group("/a", GET("/:x", lambda req: "first")), group("/:y", GET("/b", lambda req: "second")))
    assert [ask(app, path).body for path in ("/a/b", "/c/b")] == [b"first", b"second"]


def test_a_form_may_stand_in_several_groups() -> None:
    route = GET("/x", handler)
    app = App(group("/a", around("a"), route), group("/b", around("b"), route), route)
    assert ran(app, "/a/x") == "a handler /a"
    assert ran(app, "/b/x") == "b handler /b"
    assert ran(app, "/x") == "handler"
    versions = group("/v", around("v"), GET("/x", handler))
    twice = App(group("/1", versions), group("/2", versions))
    assert [ran(twice, f"/{n}/v/x") for n in (1, 2)] == ["v handler /v"] * 2


def test_decorators() -> None:
    api = group("/api")

    @api.get("/x", before=[enters("r")])
    def x(req: Request) -> str:
        return "x"

    assert api.before(enters("g")) is not None

    @api.after
    def mark(req: Request, params: Params, resp: Response) -> Response:
        return resp.with_header("X-Mark", "1")

    @api.errors
    def told(req: Request, status: int, reason: str) -> str:
        return "told"

    app = App(api)
    answer = ask(app, "/api/x")
    assert (answer.body, answer.headers["X-Mark"], LOG) == (b"x", "1", ["g", "r"])
    assert ask(app, "/api/y").body == b"told"
    with pytest.raises(RouteError, match="add to it before"):
        api.get("/late")(x)


def test_start_and_stop_hooks() -> None:
    ran_too: list[str] = []
    inner = group("/b", web.on_start(lambda: ran_too.append("start")), web.on_stop(lambda: ran_too.append("stop")))
    app = App(group("/a", inner))
    with web.Server(app, "127.0.0.1", 0).running():
        assert ran_too == ["start"]
    assert ran_too == ["start", "stop"]


# ---- static folders ----


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("public", "private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    return tmp_path


def test_hooks_of_its_group_run_for_a_file(folders: Path) -> None:
    app = App(around("app"), group("/f", around("f"), static(folders / "private")), static(folders / "public"))
    assert ask(app, "/f/private.txt").path == str(folders / "private/private.txt")
    assert LOG == ["app", "f", "/f", "/app"]
    assert ran(app, "/f/private.txt", "POST") == "app f /f /app"
    assert ask(app, "/f/private.txt", "POST").headers["Allow"] == "GET, HEAD, OPTIONS"
    assert ask(app, "/public.txt").status == 200
    assert LOG == ["app", "/app"]


@pytest.mark.parametrize("prefix", ["/f", ""])
def test_a_guard_stands_before_the_files_of_its_own_group(folders: Path, prefix: str) -> None:
    """Though another group with the same prefix, and without a guard, comes first."""
    guard = before(enters("guard", ("no", 403)))
    at = "/" if prefix else "/f"
    app = App(
        group(prefix, around("open"), static(folders / "public", at)),
        group(prefix, guard, static(folders / "private", at)),
    )
    assert (ask(app, "/f/public.txt").status, LOG) == (200, ["open", "/open"])
    assert (ask(app, "/f/private.txt").status, LOG) == (403, ["guard"])


def test_a_file_that_comes_in_between_is_not_served_past_its_guard() -> None:
    """Who answers is found before any hook runs. What is there only afterwards belongs to nobody's hooks."""
    found: list[bool] = []

    class Late:
        def __call__(self, req: Request) -> Response | None:
            found.append(len(found) > 0)
            return Response.text("secret") if found[-1] else None

    guarded = group("/f", before(enters("guard", ("no", 403)))).unfold()
    scope = next(iter(guarded))
    assert isinstance(scope, web._core.Endpoint)
    late: Any = Late()
    dispatcher = web._core.Dispatcher(web.routing.make_router(), folders=(late,), owners=(scope,))
    assert dispatcher.respond(Request(b"GET /f/x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 404
    assert len(found) == 1


def test_a_folder_that_fails_fails_behind_its_guard() -> None:
    class Broken:
        def __call__(self, req: Request) -> Response | None:
            raise OSError

    scope = next(iter(group("/f", before(enters("guard"))).unfold()))
    assert isinstance(scope, web._core.Endpoint)
    broken: Any = Broken()
    dispatcher = web._core.Dispatcher(web.routing.make_router(), folders=(broken,), owners=(scope,))
    assert dispatcher.respond(Request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 500
    assert LOG == ["guard"]
    with pytest.raises(ValueError, match="one for each folder"):
        web._core.Dispatcher(web.routing.make_router(), folders=(broken,), owners=())


# ---- mistakes ----


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: group("api"), "pattern 'api' does not begin with '/'"),
        (lambda: group("/api/"), "group('/api/'): a prefix does not end with '/': write '/api'"),
        (lambda: group("/"), "group('/'): a prefix does not end with '/': write ''"),
        (lambda: group("/a/*"), "'*' takes all that remains"),
        (lambda: group("*"), "'*' takes all that remains"),
        (lambda: group(5), "pattern 5: text is needed"),  # type: ignore[arg-type]
        (lambda: group("/a", GET("/x", handler), GET("/x", handler)), "GET /a/x is a duplicate of /a/x"),
        (lambda: group("/a", group("/b", GET("/x", handler)), GET("/b/x", handler)), "GET /a/b/x is a duplicate"),
        (lambda: group("/:x", GET("/:x", handler)), "pattern '/:x/:x' captures :x twice"),
        (lambda: group("/a", GET("*", handler)), "group('/a'): its route '*' would match outside of it; write '/*'"),
        (lambda: group("/a", handler), "cannot stand in a group"),
        (lambda: group("/a", web.workers(2)), "cannot stand in a group"),
        (lambda: group("/a", errors(told), errors(told)), "group('/a') has errors(tests.test_groups.told) already"),
        (lambda: App(GET("", handler)), "pattern '' is the prefix of a group, and here is none: write '/'"),
        (lambda: App(group("", GET("", handler))), "pattern '' is the prefix of a group"),
        (lambda: App(GET("/a/x", handler), group("/a", GET("/:y", handler), GET("/x", handler))), "never be reached"),
        (lambda: GET("/", handler, before=handler), "before=<function handler"),  # type: ignore[arg-type]
        (lambda: GET("/", handler, after=handler), "give a list of hooks"),  # type: ignore[arg-type]
        (lambda: GET("/", handler, before=[leaves("x")]), "before hook tests.test_groups.leaves"),  # type: ignore[list-item]
        (lambda: GET("/", handler, after=[handler]), "after hook tests.test_groups.handler takes (req)"),  # type: ignore[list-item]
    ],
)
def test_mistakes_are_told(make: Callable[[], object], says: str) -> None:
    with pytest.raises(RouteError, match=re.escape(says)):
        make()


def test_a_static_folder_needs_a_plain_prefix(tmp_path: Path) -> None:
    with pytest.raises(RouteError, match="at is plain text"):
        group("/:x", static(tmp_path))


def test_it_says_what_it_is() -> None:
    assert repr(group("/a")) == "group('/a')"
    assert isinstance(group("/a"), Group)


def told(req: Request, status: int, reason: str) -> str:
    return reason


def test_health_routes_in_a_group() -> None:
    app = App(group("/internal", before(enters("g", "no")), web.livez()))
    with web.Server(app, "127.0.0.1", 0).running() as server:
        from tests.serving import fetch

        assert fetch(server.port, "/internal/livez") == "200 OK\n"
    assert LOG == []
