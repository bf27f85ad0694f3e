"""An application that uses every way of writing handlers and hooks, with all types named: mypy --strict (`make lint`)
accepts it as it is. tests/test_types.py runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypedDict, assert_type

import msgspec

import web


class Todo(msgspec.Struct):
    title: str


@dataclass
class Point:
    x: int


class Named(TypedDict):
    name: str


Count = Annotated[int, msgspec.Meta(ge=0)]


# ---- what handlers return ----


def text(req: web.Request) -> str:
    return "text"


def data(req: web.Request) -> bytes:
    return b"data"


def typed_dict(req: web.Request) -> Named:
    return {"name": "a"}


def listed(req: web.Request) -> list[Named]:
    return [{"name": "a"}]


def with_status(req: web.Request) -> tuple[dict[str, int], int]:
    return {"a": 1}, 201


def with_headers(req: web.Request) -> tuple[Named, int, dict[str, str]]:
    return {"name": "a"}, 201, {"X-Own": "a"}


def response(req: web.Request) -> web.Response:
    return web.Response.html("<p>hello")


def several(req: web.Request) -> str | web.Response | tuple[str, int]:
    return ("several", 202) if req.method == "GET" else "one"


def rows(req: web.Request) -> Iterator[str]:
    yield "a"
    yield "b"


def pieces(req: web.Request) -> Generator[bytes]:
    yield b"a"


async def later(req: web.Request) -> dict[str, Any]:
    return {"later": True}


async def later_rows(req: web.Request) -> AsyncIterator[str]:
    yield "a"


async def later_tuple(req: web.Request, params: dict[str, Any]) -> tuple[str, int]:
    return str(params["id"]), 202


# ---- what they are ----


def with_params(req: web.Request, params: dict[str, Any]) -> str:
    return str(params["id"])


def with_default(req: web.Request, greeting: str = "hello") -> str:
    return greeting


def bound(greeting: str, req: web.Request) -> str:
    return greeting


class Handlers:
    def method(self, req: web.Request) -> str:
        return "method"

    def __call__(self, req: web.Request, params: dict[str, Any]) -> str:
        return "call"


def traced(handler: Callable[[web.Request], str]) -> Callable[[web.Request], str]:
    """A decorator of the application's own."""
    return handler


# ---- req.json ----


def bodies(req: web.Request) -> dict[str, Any]:
    todo = req.json(type=Todo)
    assert_type(todo, Todo)
    return {"title": todo.title}


def more_bodies(req: web.Request) -> str:
    assert_type(req.json(), Any)
    assert_type(req.json(type=None), Any)
    assert_type(req.json(type=Point), Point)
    assert_type(req.json(type=Named), Named)
    assert_type(req.json(type=list[Todo]), list[Todo])
    assert_type(req.json(type=dict[str, Point]), dict[str, Point])
    union: Point | None = req.json(type=Point | None)  # to types an expression, whose value may be anything
    assert union is None
    assert_type(req.json(type=Literal["a", "b"]), Any)
    assert_type(req.json(type=Count), int)
    return "never called"


# ---- hooks ----


def look(req: web.Request) -> None:
    req.state.seen = True


def answer_early(req: web.Request, params: dict[str, Any]) -> web.Response | None:
    return web.Response.bad_request() if req.query.get("bad") else None


async def look_later(req: web.Request) -> str | None:
    return None


def stamp(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
    return resp.with_header("X-Stamp", "yes")


async def stamp_later(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
    return resp


def own_errors(req: web.Request, status: int, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason}


async def own_errors_later(req: web.Request, status: int, reason: str) -> tuple[str, int]:
    return reason, status


def begin() -> None: ...


async def begin_with(app: web.App) -> None: ...


# ---- all of it, as forms and as decorators ----

app = web.App(
    web.before(look), web.before(look_later), web.after(stamp), web.after(stamp_later), web.errors(own_errors),
    web.on_start(begin), web.on_start(begin_with), web.on_stop(begin),
    web.GET("/text", text), web.GET("/data", data, name="data", max_body=10), web.GET("/typed_dict", typed_dict),
    web.GET("/listed", listed, before=[look, answer_early], after=(stamp,)), web.GET("/with_status", with_status),
    web.PUT("/with_headers", with_headers), web.PATCH("/response", response), web.DELETE("/several", several),
    web.GET("/rows", rows), web.GET("/pieces", pieces, blocking=True), web.GET("/later_rows", later_rows),
    web.GET("/later", later, cancel_on_disconnect=False), web.GET("/later/:id:int", later_tuple, stream=True),
    web.GET("/with_params/:id", with_params), web.GET("/with_default", with_default),
    web.GET("/bound", partial(bound, "hello")), web.GET("/method", Handlers().method), web.GET("/call", Handlers()),
    web.GET("/lambda", lambda req: req.path), web.GET("/lambda/:id", lambda req, params: {"id": params["id"]}),
    web.GET("/limited", web.time_limit(60)(later)), web.GET("/traced", traced(text)),
    web.route(["GET", "POST"], "/both", text), web.POST("/more_bodies", more_bodies),
    web.group("/inner", web.errors(own_errors_later), web.before(answer_early), web.GET("/text", text)),
)  # fmt: skip


@app.post("/bodies", blocking=True)
def bodies_again(req: web.Request) -> dict[str, Any]:
    return bodies(req)


@app.get("/decorated", before=[look])
async def decorated(req: web.Request, params: dict[str, Any]) -> tuple[list[int], int]:
    return [1], 203


@app.before
def look_again(req: web.Request) -> None:
    return None


@app.after
async def stamp_again(req: web.Request, params: dict[str, Any], resp: web.Response) -> web.Response:
    return resp
