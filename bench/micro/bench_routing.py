"""Router: from method and path to a route; Dispatcher: a whole answer, from a bound Request to a
Response. Both loop in C, IN_C times in one call.

    make bench ARGS="-k routing"
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from web import GET, App, Request, Response, after, before
from web.routing import Params, Route, make_router

IN_C = 1000


def handler(req: Request) -> str:
    return ""


def routes(count: int) -> list[Route]:
    """Half of them fixed, half with a capture; the last of each kind is asked for."""
    fixed = [GET(f"/fixed/{n}", handler) for n in range(count)]
    return fixed + [GET(f"/section{n}/:id:int/edit", handler) for n in range(count)]


@pytest.mark.benchmark(group="route: 1000 times in one call")
@pytest.mark.parametrize("count", [1, 10, 100, 1000])
@pytest.mark.parametrize("kind", ["fixed", "captures", "missing", "encoded"])
def test_match(benchmark: BenchmarkFixture, count: int, kind: str) -> None:
    router = make_router(*routes(count))
    last = count - 1
    paths = {"fixed": f"/fixed/{last}", "captures": f"/section{last}/42/edit", "encoded": f"/%66ixed/{last}"}
    path = paths.get(kind, "/section/none")
    assert router.repeat("GET", path, 1) is (kind != "missing")
    benchmark(router.repeat, "GET", path, IN_C)


@pytest.mark.benchmark(group="route: 1000 times in one call")
@pytest.mark.parametrize("count", [10, 100])
def test_match_in_order(benchmark: BenchmarkFixture, count: int) -> None:
    """The slowest case: routes that begin with a capture have to be walked."""
    router = make_router(*(GET(f"/:x/{n}", handler) for n in range(count)))
    assert router.repeat("GET", f"/a/{count - 1}", 1)
    benchmark(router.repeat, "GET", f"/a/{count - 1}", IN_C)


KEPT = Response.text("Hello")


def text(req: Request) -> Response:
    return Response.text("Hello")


def kept(req: Request) -> Response:
    return KEPT


def coerced(req: Request) -> str:
    return "Hello"


def capture(req: Request, params: Params) -> Response:
    return Response.text(params["name"])


def json(req: Request) -> Response:
    return Response.json({"hello": "world"})


@pytest.mark.benchmark(group="respond: 1000 times in one call")
@pytest.mark.parametrize("name", ["text", "kept", "coerced", "json", "capture", "404"])
def test_respond(benchmark: BenchmarkFixture, name: str) -> None:
    """bind, route, handler, coercion, unbind: what a request costs besides bytes."""
    app = App(GET("/users/:name", capture), *(GET(f"/{one.__name__}", one) for one in (text, kept, coerced, json)))
    path = "/users/me" if name == "capture" else f"/{name}"
    request = Request(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    benchmark(app._compile().repeat, request, IN_C)


@pytest.mark.benchmark(group="hooks: 1000 times in one call")
@pytest.mark.parametrize("count", [0, 1, 10])
@pytest.mark.parametrize("kind", ["before", "after"])
def test_hooks(benchmark: BenchmarkFixture, kind: str, count: int) -> None:
    def look(req: Request) -> None:
        return None

    def pass_on(req: Request, params: Params, resp: Response) -> Response:
        return resp

    hook = before(look) if kind == "before" else after(pass_on)
    app = App(GET("/", kept), *[hook] * count)
    benchmark(app._compile().repeat, Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), IN_C)
