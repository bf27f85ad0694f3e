"""web.routing and Router: which route answers, what is captured, and what is refused at start-up.

The oracle is the definition: walk the routes in the order of registration, and the first whose pattern matches wins.
"""

import functools
import itertools
import re
import uuid
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web import (
    DELETE,
    GET,
    HEAD,
    OPTIONS,
    PATCH,
    POST,
    PUT,
    Response,
    RouteError,
    after,
    before,
    on_start,
    on_stop,
    route,
)
from web.routing import Route, RouteList, make_router

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NO_INTS = ["-", "+1", "1_0", "1.0", "%201", "1%20", "%D9%A1", "x", "0x1", "--1"]
NO_UUIDS = [ID[:-1], ID + "0", ID.replace("-", ""), "{" + ID[1:-1] + "}", "g" + ID[1:]]


def handler(req: object) -> str:
    return "x"


def match(pattern: str, path: str) -> dict[str, Any] | None:
    found = make_router(GET(pattern, handler)).match("GET", path)
    return None if found is None else found[1]


# ---- one pattern ----


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("/", "/", {}),
        ("/", "//", None),
        ("/a", "/a", {}),
        ("/a", "/a/", None),
        ("/a/", "/a", None),
        ("/a/", "/a/", {}),
        ("/a/b", "/a%2Fb", None),
        ("/a/b", "/a%2fb", None),
        ("/a", "/A", None),
        ("/a", "/%61", {}),
        ("/grüße", "/gr%C3%BC%c3%9fe", {}),
        ("/grüße", "/gr%FC%DFe", None),
        ("/a b", "/a%20b", {}),
        ("/100%", "/100%25", {}),
        ("/\ufffd", "/%ff", None),
        ("/:x", "/a", {"x": "a"}),
        ("/:x", "/", None),
        ("/:x", "/a/", None),
        ("/:x", "/a%2Fb", {"x": "a/b"}),
        ("/:x", "/a%252Fb", {"x": "a%2Fb"}),
        ("/:x", "/%ff", {"x": "\ufffd"}),
        ("/:x", "/..", {"x": ".."}),
        ("/:x", "/%2e%2e", {"x": ".."}),
        ("/a/:x/c/:y_2", "/a/1/c/2", {"x": "1", "y_2": "2"}),
        ("/a/:x/", "/a/1/", {"x": "1"}),
        ("/a/:x/", "/a/1", None),
        ("/:x:int", "/12", {"x": 12}),
        ("/:x:int", "/-7", {"x": -7}),
        ("/:x:int", "/007", {"x": 7}),
        ("/:x:int", "/%31", {"x": 1}),
        ("/:x:int", "/9223372036854775807", {"x": 2**63 - 1}),
        ("/:x:int", "/9223372036854775808", None),
        ("/:x:int", "/-9223372036854775808", {"x": -(2**63)}),
        ("/:x:int", "/-9223372036854775809", None),
        ("/:x:int", "/99999999999999999999", None),
        ("/:x:int", "/00000000000000000001", None),
        *(("/:x:int", f"/{text}", None) for text in NO_INTS),
        ("/:x:uuid", f"/{ID}", {"x": uuid.UUID(ID)}),
        ("/:x:uuid", f"/{ID.upper()}", {"x": uuid.UUID(ID)}),
        ("/:x:uuid", f"/%30{ID[1:]}", {"x": uuid.UUID(ID)}),
        *(("/:x:uuid", f"/{text}", None) for text in NO_UUIDS),
        ("/a/*", "/a", None),
        ("/a/*", "/a/", {"*": ""}),
        ("/a/*", "/a/b", {"*": "b"}),
        ("/a/*", "/a/b//c/", {"*": "b//c/"}),
        ("/a/*", "/a/b%2Fc%20d", {"*": "b%2Fc d"}),
        ("/:x/*", "/a/b/c", {"x": "a", "*": "b/c"}),
        ("/*", "/", {"*": ""}),
        ("*", "/a/b", {"*": "a/b"}),
        ("*", "*", {"*": "*"}),
        ("/*", "*", None),
        ("/:x", "*", None),
        ("*", "", {"*": ""}),
        ("/" + "/".join(f":p{n}" for n in range(32)), "/x" * 32, {f"p{n}": "x" for n in range(32)}),
        ("/" + "/".join(f":p{n}" for n in range(32)), "/x" * 33, None),
        ("/a/*", "/a" + "/x" * 3000, {"*": "x/" * 2999 + "x"}),
        ("/a/*", "/a" + "/%78" * 3000, {"*": "x/" * 2999 + "x"}),
        ("/a/:x", "/a/" + "%C3%BC" * 2000, {"x": "ü" * 2000}),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, params: dict[str, Any] | None) -> None:
    assert match(pattern, path) == params


# ---- several ----


def winner(routes: list[Route], method: str, path: str) -> str | None:
    found = make_router(*routes).match(method, path)
    return None if found is None else found[0].pattern


def test_the_first_registered_wins() -> None:
    routes = [GET("/a/new", handler), GET("/a/:id:int", handler), GET("/a/:name", handler), GET("/:x/new", handler)]
    assert winner(routes, "GET", "/a/new") == "/a/new"
    assert winner(routes, "GET", "/a/5") == "/a/:id:int"
    assert winner(routes, "GET", "/a/x") == "/a/:name"
    assert winner(routes, "GET", "/b/new") == "/:x/new"
    assert winner(routes, "GET", "/b/old") is None
    assert winner([GET("/:x/b", handler), GET("/a/:y", handler)], "GET", "/a/b") == "/:x/b"
    assert winner([GET("/a/:y", handler), GET("/:x/b", handler)], "GET", "/a/b") == "/a/:y"


def test_methods_are_apart() -> None:
    routes = [POST("/:x", handler), GET("/a", handler), PUT("/a", handler), route(["PATCH", "BREW"], "/a", handler)]
    for method, pattern in {"GET": "/a", "POST": "/:x", "PATCH": "/a", "BREW": "/a"}.items():
        assert winner(routes, method, "/a") == pattern
    assert winner(routes, "DELETE", "/a") is None
    assert winner(routes, "get", "/a") is None
    assert winner(routes, "STIR", "/a") is None
    assert winner(routes, "", "/a") is None


def test_head_is_answered_by_get_unless_a_head_route_matches() -> None:
    assert winner([GET("/a", handler)], "HEAD", "/a") == "/a"
    assert winner([GET("/a", handler), HEAD("/:x", handler)], "HEAD", "/a") == "/:x"
    assert winner([GET("/a", handler), HEAD("/:x", handler)], "GET", "/a") == "/a"
    assert winner([POST("/a", handler)], "HEAD", "/a") is None


def test_repeat_finds_the_same() -> None:
    router = make_router(GET("/a/:x", handler), GET("/b", handler))
    assert router.repeat("GET", "/a/1", 10) is True
    assert router.repeat("GET", "/b", 10) is True
    assert router.repeat("GET", "/c", 10) is False
    assert router.repeat("POST", "/b", 10) is False


def test_an_empty_router_matches_nothing() -> None:
    assert make_router().match("GET", "/") is None
    assert make_router().match("GET", "") is None


def test_many_custom_methods() -> None:
    names = [f"M{n}" for n in range(48)]
    assert make_router(*(route(name, "/a", handler) for name in names)).match("M47", "/a") is not None
    with pytest.raises(ValueError, match="48 methods"):
        make_router(*(route(name, "/a", handler) for name in [*names, "M48"]))


# ---- the oracle ----

LITERALS = ["a", "b", "ab", "ü", "a b", "7", "", ID]
literal = st.sampled_from([text for text in LITERALS if text])
kind = st.sampled_from(["", ":int", ":uuid"])
TESTS: dict[str, Any] = {
    "": lambda text: text != "",
    ":int": lambda text: re.fullmatch("-?[0-9]{1,19}", text) is not None and -(2**63) <= int(text) < 2**63,
    ":uuid": lambda text: re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None,
}


@st.composite
def patterns(draw: st.DrawFn) -> str:
    segments = draw(st.lists(st.one_of(literal, kind.map(lambda text: f":?{text}")), max_size=3))
    segments = [text.replace("?", f"p{n}") for n, text in enumerate(segments)]
    segments += draw(st.sampled_from([[], [""], ["*"]]))
    if not segments:
        return draw(st.sampled_from(["*", "/"]))
    return "/" + "/".join(segments)


def naive(pattern: str, path: str) -> bool:
    if pattern == "*":
        return True
    wanted = pattern[1:].split("/")
    given = [unquote(segment) for segment in path[1:].split("/")]
    if wanted[-1] == "*":
        if len(given) < len(wanted):
            return False
        wanted.pop()
    elif len(given) != len(wanted):
        return False
    for want, text in zip(wanted, given, strict=False):
        if want.startswith(":"):
            if not TESTS["".join(re.findall(":(?:int|uuid)$", want))](text):
                return False
        elif want != text:
            return False
    return True


segment = st.sampled_from([*LITERALS, "-5", "99999999999999999999", "a/b", "x"])
paths = st.lists(st.tuples(segment, st.booleans()), min_size=1, max_size=4).map(
    lambda segments: "/" + "/".join(
        "".join(f"%{byte:02X}" for byte in text.encode()) if encoded else quote(text, safe="")
        for text, encoded in segments
    )
)  # fmt: skip
methods = st.sampled_from([("GET",), ("POST",), ("GET", "POST"), ("HEAD",), ("BREW",)])


def reachable(drawn: list[tuple[tuple[str, ...], str]]) -> list[Route]:
    """The routes that registration accepts, in order."""
    routes = RouteList()
    accepted = []
    for names, pattern in drawn:
        one = Route(names, pattern, handler)
        try:
            routes.add(one)
        except RouteError:
            continue
        accepted.append(one)
    return accepted


@settings(max_examples=400)
@given(st.lists(st.tuples(methods, patterns()), max_size=10), st.lists(paths, max_size=6))
def test_router_agrees_with_the_walk(drawn: list[tuple[tuple[str, ...], str]], given_paths: list[str]) -> None:
    routes = reachable(drawn)
    router = make_router(*routes)
    for path in given_paths:
        for method in ("GET", "POST", "BREW", "HEAD"):
            wanted = next((one for one in routes if method in one.methods and naive(one.pattern, path)), None)
            if wanted is None and method == "HEAD":
                wanted = next((one for one in routes if "GET" in one.methods and naive(one.pattern, path)), None)
            found = router.match(method, path)
            assert (found and found[0].pattern) == (wanted and wanted.pattern), (method, path)


@settings(max_examples=300)
@given(st.lists(patterns(), min_size=2, max_size=8), st.lists(paths, min_size=1, max_size=20))
def test_what_is_refused_is_unreachable(drawn: list[str], given_paths: list[str]) -> None:
    for earlier, later in itertools.combinations(drawn, 2):
        try:
            RouteList([GET(earlier, handler), GET(later, handler)])
        except RouteError:
            assert not [path for path in given_paths if naive(later, path) and not naive(earlier, path)]


# ---- start-up errors ----


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("a/b", "write '/a/b'"),
        ("/users/{id}", "write :id for {id}"),
        ("/users/{id:int}", "write :id for {id:int}"),
        ("/users/<id>", "write :id for <id>"),
        ("/users/<int:id>", "write :id for <int:id>"),
        ("/a}b", "cannot stand in a path"),
        ("/a?b=c", "cannot stand in a path"),
        ("/a#b", "cannot stand in a path"),
        ("/a%20b", "written decoded"),
        ("/a\nb", "control character"),
        ("/a//b", "empty segment"),
        ("/a/./b", "clients resolve '.'"),
        ("/..", "clients resolve '..'"),
        ("/*/a", "stands last"),
        ("/a*", "'*' is a whole segment"),
        ("/**", "'*' is a whole segment"),
        ("**", "does not begin with '/'"),
        ("/:a/:a", "captures :a twice"),
        ("/:", "a whole segment"),
        ("/:1a", "a whole segment"),
        ("/:a-:b", "a whole segment"),
        ("/x:a", "a whole segment"),
        ("/:ä", "a whole segment"),
        ("/:a:b", "two captures need a '/' between"),
        ("/:a:float", "int and uuid are"),
        ("/:a:", "int and uuid are"),
        ("/a" * 33, "at most 32"),
        (5, "text is needed"),
    ],
)
def test_bad_patterns(pattern: Any, says: str) -> None:
    with pytest.raises(RouteError, match=re.escape(says)) as caught:
        GET(pattern, handler)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("earlier", "later", "says"),
    [
        ("/a", "/a", "duplicate"),
        ("/:x", "/:y", "duplicate"),
        ("/a/:x:int", "/a/:y:int", "duplicate"),
        ("/a/*", "/a/*", "duplicate"),
        ("*", "*", "duplicate"),
        ("/:x", "/a", "register /a first"),
        ("/:x:int", "/5", "register /5 first"),
        ("/:x:uuid", f"/{ID}", "register"),
        ("/:x", "/:y:int", "register"),
        ("/:x/b", "/a/b", "register"),
        ("/a/*", "/a/b", "register"),
        ("/a/*", "/a/", "register"),
        ("/a/*", "/a/:x/*", "register"),
        ("/*", "/", "register"),
        ("/:x/*", "/a/*", "register"),
        ("*", "/*", "register"),
        ("*", "/a", "register"),
    ],
)
def test_unreachable_routes(earlier: str, later: str, says: str) -> None:
    with pytest.raises(RouteError, match=says) as caught:
        RouteList([GET(earlier, handler), GET(later, handler)])
    assert "\n" not in str(caught.value)
    RouteList([GET(earlier, handler), POST(later, handler)])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("/a", "/:x"),
        ("/a", "/a/"),
        ("/:x", "/"),
        ("/:x:int", "/x"),
        ("/:x:int", "/99999999999999999999"),
        ("/:x:int", "/9223372036854775808"),
        ("/:x:int", "/-9223372036854775809"),
        ("/a/:x", "/a/*"),
        ("/:x:int", "/:y:uuid"),
        ("/:x:uuid", "/:y"),
        ("/a/*", "/a"),
        ("/a/*", "/*"),
        ("/*", "*"),
        ("/:x", "/:x/:y"),
        ("/:x/b", "/a/:y"),
    ],
)
def test_routes_that_overlap_are_fine(earlier: str, later: str) -> None:
    RouteList([GET(earlier, handler), GET(later, handler)])


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ([], "no methods"),
        ("get", "write 'GET'"),
        (["GET", "post"], "write 'POST'"),
        (["GET", "GET"], "twice"),
        ("G T", "not a method"),
        ("", "not a method"),
        ([5], "not a method"),
        ("CONNECT", "tunnel"),
    ],
)
def test_bad_methods(methods: Any, says: str) -> None:
    with pytest.raises(RouteError, match=says):
        route(methods, "/", handler)


# ---- handlers ----


class Callable1:
    def __call__(self, req: object) -> str:
        return "1"

    def one(self, req: object) -> str:
        return "1"

    def two(self, req: object, params: object) -> str:
        return "2"

    @staticmethod
    def static_two(req: object, params: object) -> str:
        return "2"

    @classmethod
    def class_one(cls, req: object) -> str:
        return "1"


def two(req: object, params: object) -> str:
    return "2"


def optional(req: object, params: object = None) -> str:
    return "2"


def bound_default(req: object, db: object = 5) -> str:
    return "1"


def three(db: object, req: object, params: object) -> str:
    return "2"


@pytest.mark.parametrize(
    ("call", "arity"),
    [
        (handler, 1), (two, 2), (lambda req: "", 1), (lambda req, params: "", 2), (optional, 2), (bound_default, 1),
        (Callable1(), 1), (Callable1().one, 1), (Callable1().two, 2), (Callable1.static_two, 2),
        (Callable1.class_one, 1), (functools.partial(three, 5), 2), (functools.partial(two, params=5), 1),
        (functools.partial(handler), 1), (repr, 1),
        (lambda req, /, *, key=5: "", 1), (lambda req, **rest: "", 1),
    ],
)  # fmt: skip
def test_arity_is_decided_at_registration(call: Any, arity: int) -> None:
    seen = []
    endpoint = GET("/:id", call).endpoint
    assert endpoint.handler is call

    @functools.wraps(call)
    def spy(*args: object) -> str:
        seen.append(len(args))
        return "x"

    if not isinstance(call, functools.partial | Callable1):
        from web import App, Request

        App(GET("/:id", spy))._compile().respond(Request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert seen == [arity]


async def async_handler(req: object) -> str:
    return ""


async def async_generator(req: object) -> Any:
    yield ""


def generator(req: object) -> Any:
    yield ""


class AsyncCallable:
    async def __call__(self, req: object) -> str:
        return ""


class NoCall:
    pass


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *args: "", r"\*args"),
        (lambda req, *rest: "", r"\*rest"),
        (lambda: "", r"takes \(nothing\)"),
        (three, r"takes \(db, req, params\)"),
        (lambda req, *, key: "", "'key'"),
        (lambda req, id: "", r'read params\["id"\]'),  # noqa: A006
        (lambda id: "", r'read params\["id"\]'),  # noqa: A006
        (NoCall(), "cannot be called"),
        ("text", "cannot be called"),
        (None, "cannot be called"),
        (type, "cannot be read|takes"),
        (max, "cannot be read|args"),
    ],
)
def test_handlers_that_cannot_work(call: Any, says: str) -> None:
    with pytest.raises(RouteError, match=says) as caught:
        GET("/:id", call)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hook", [async_generator, generator])
def test_hooks_do_not_yield(hook: Any) -> None:
    with pytest.raises(RouteError, match="it yields; a hook returns what it has to say"):
        before(hook)


@pytest.mark.parametrize("call", [async_handler, async_generator, functools.partial(async_handler), AsyncCallable()])
def test_async_handlers_are_told_from_plain_ones(call: Any) -> None:
    assert GET("/", call).endpoint.is_async
    assert not GET("/", lambda req: "").endpoint.is_async


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blocking": 1}, "blocking=1: give True or False"),
        ({"cancel_on_disconnect": None}, "cancel_on_disconnect=None: give True or False"),
        ({"cancel_on_disconnect": False}, "only an async handler can be cancelled"),
    ],
)
def test_bad_options_of_a_route(options: Any, says: str) -> None:
    with pytest.raises(RouteError, match=says):
        GET("/", lambda req: "", **options)


def test_an_async_handler_is_not_for_the_pool() -> None:
    with pytest.raises(RouteError, match="blocking=True is for a plain handler"):
        GET("/", async_handler, blocking=True)
    assert not GET("/", async_handler, cancel_on_disconnect=False).endpoint.cancels


@pytest.mark.parametrize("call", [lambda a, b: None, lambda *a: None, 5])
def test_bad_life_hooks(call: Any) -> None:
    for form in (on_start, on_stop):
        with pytest.raises(RouteError, match="hook "):
            form(call)


def test_a_handler_with_a_readable_name_is_named() -> None:
    with pytest.raises(RouteError, match=r"handler .*test_routing\.three of /x"):
        GET("/x", three)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [lambda: None, lambda a, b, c: None, async_generator, lambda *a: None, 5])
def test_bad_before_hooks(call: Any) -> None:
    with pytest.raises(RouteError, match="before hook"):
        before(call)


@pytest.mark.parametrize(
    "call", [lambda r: r, lambda r, p: p, lambda a, b, c, d: a, async_generator, lambda *a: a[2], 5]
)
def test_bad_after_hooks(call: Any) -> None:
    with pytest.raises(RouteError, match="after hook"):
        after(call)


# ---- values ----


def hook(req: object, params: object, resp: Response) -> Response:
    return resp


def test_forms_are_frozen_values() -> None:
    assert GET("/a", handler) == route("GET", "/a", handler) == Route(("GET",), "/a", handler)
    assert hash(GET("/a", handler)) == hash(route(["GET"], "/a", handler))
    made = [form("/a", handler).methods for form in (GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS)]
    assert made == [("GET",), ("POST",), ("PUT",), ("PATCH",), ("DELETE",), ("HEAD",), ("OPTIONS",)]
    forms: list[Any] = [GET("/a", handler), before(handler), after(functools.partial(hook))]
    for form, field in zip(forms, ("pattern", "hook", "label"), strict=True):
        with pytest.raises(AttributeError):
            setattr(form, field, "x")
    assert before(handler) == before(handler) != before(optional)


def test_a_router_never_changes() -> None:
    router = make_router(GET("/a", handler))
    with pytest.raises(TypeError, match="never changes"):
        router.__init__([])
    assert router.match("GET", "/a") is not None
