"""Mistakes that mypy finds, one a function. `make lint` fails where it finds one no more: the mark would be unused.

What each function gives is refused at run time, too, as tests/test_types.py shows: where it is made, or as a 500 to a
GET of "/". Those at the end are the exceptions: nothing looks at annotations at run time, and a file is
not to be told from other iterators by its type.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from decimal import Decimal
from io import StringIO
from typing import Any, TextIO

import msgspec

import web


class Todo(msgspec.Struct):
    title: str


def good(req: web.Request) -> str:
    return "good"


# ---- what handlers take ----


def handler_without_parameters() -> object:
    def handler() -> str:
        return ""

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_with_three_parameters() -> object:
    def handler(req: web.Request, params: dict[str, Any], more: int) -> str:
        return ""

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_with_captures_as_arguments() -> object:
    def handler(req: web.Request, id: int) -> str:  # noqa: A002 - the usual mistake
        return ""

    return web.GET("/:id:int", handler)  # type: ignore[arg-type]


def async_handler_with_three_parameters() -> object:
    async def handler(req: web.Request, params: dict[str, Any], more: int) -> str:
        return ""

    return web.POST("/", handler)  # type: ignore[arg-type]


def decorated_handler_without_parameters() -> object:
    app = web.App()

    @app.get("/")  # type: ignore[type-var]
    def handler() -> str:
        return ""

    return app


def decorated_async_handler_with_three_parameters() -> object:
    group = web.group("/")

    @group.post("/")  # type: ignore[type-var]
    async def handler(req: web.Request, params: dict[str, Any], more: int) -> str:
        return ""

    return group


def handler_that_is_called_already() -> object:
    return web.GET("/", good(web.Request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")))  # type: ignore[arg-type]


# ---- what handlers return ----


def handler_returns_int() -> object:
    def handler(req: web.Request) -> int:
        return 5

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_none() -> object:
    def handler(req: web.Request) -> None:
        return None

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_may_return_none() -> object:
    def handler(req: web.Request) -> str | None:
        return req.query.get("name")

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_other_number() -> object:
    def handler(req: web.Request, params: dict[str, Any]) -> Decimal:
        return Decimal(5)

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_a_set() -> object:
    def handler(req: web.Request) -> set[str]:
        return {"a"}

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_a_mapping_that_is_no_dict() -> object:
    def handler(req: web.Request) -> Mapping[str, str]:
        return req.query

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_a_struct() -> object:
    def handler(req: web.Request) -> Todo:
        return Todo("a")

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_its_parts_in_another_order() -> object:
    def handler(req: web.Request) -> tuple[int, str]:
        return 200, "a"

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_a_status_as_text() -> object:
    def handler(req: web.Request) -> tuple[str, str]:
        return "a", "200"

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_returns_a_response_in_a_tuple() -> object:
    def handler(req: web.Request) -> tuple[web.Response, int]:
        return web.Response.text("a"), 201

    return web.GET("/", handler)  # type: ignore[arg-type]


def handler_yields_numbers() -> object:
    def handler(req: web.Request) -> Iterator[int]:
        yield 5

    return web.GET("/", handler)  # type: ignore[arg-type]


def async_handler_returns_int() -> object:
    async def handler(req: web.Request) -> int:
        return 5

    return web.GET("/", handler)  # type: ignore[arg-type]


def async_handler_returns_none() -> object:
    async def handler(req: web.Request, params: dict[str, Any]) -> None:
        return None

    return web.GET("/", handler)  # type: ignore[arg-type]


def decorated_handler_returns_int() -> object:
    app = web.App()

    @app.get("/")  # type: ignore[type-var]
    def handler(req: web.Request) -> int:
        return 5

    return app


def decorated_async_handler_returns_none() -> object:
    app = web.App()

    @app.route(["GET"], "/")  # type: ignore[type-var]
    async def handler(req: web.Request) -> None:
        return None

    return app


class Later:
    """Can be awaited, and is no coroutine."""

    def __await__(self) -> Generator[None, None, str]:
        yield
        return ""


def handler_returns_what_nobody_awaits() -> object:
    def handler(req: web.Request) -> Later:
        return Later()

    return web.GET("/", handler)  # type: ignore[arg-type]


# ---- options ----


def option_that_is_none() -> object:
    return web.GET("/", good, blockng=True)  # type: ignore[call-arg]


def option_of_another_type() -> object:
    return web.GET("/", good, max_body="1 MiB")  # type: ignore[arg-type]


def option_with_a_hook_in_place_of_a_list() -> object:
    def hook(req: web.Request) -> None: ...

    return web.GET("/", good, before=hook)  # type: ignore[arg-type]


def option_with_a_wrong_hook() -> object:
    def hook(req: web.Request, params: dict[str, Any]) -> web.Response:
        return web.Response.empty()

    return web.GET("/", good, after=[hook])  # type: ignore[list-item]


def decorator_option_that_is_none() -> object:
    return web.App().get("/", blockng=True)(good)  # type: ignore[call-arg]


# ---- hooks ----


def before_hook_with_the_parameters_of_another() -> object:
    def hook(req: web.Request, params: dict[str, Any], resp: web.Response) -> None: ...

    return web.before(hook)  # type: ignore[arg-type]


def before_hook_returns_bool() -> object:
    def hook(req: web.Request) -> bool:
        return True

    return web.before(hook)  # type: ignore[arg-type]


def async_before_hook_returns_bool() -> object:
    async def hook(req: web.Request) -> bool:
        return True

    return web.before(hook)  # type: ignore[arg-type]


def decorated_before_hook_without_parameters() -> object:
    app = web.App()

    @app.before  # type: ignore[type-var]
    def hook() -> None: ...

    return app


def after_hook_without_response() -> object:
    def hook(req: web.Request, params: dict[str, Any]) -> web.Response:
        return web.Response.empty()

    return web.after(hook)  # type: ignore[arg-type]


def after_hook_returns_none() -> object:
    def hook(req: web.Request, params: dict[str, Any], resp: web.Response) -> None:
        resp.with_header("X-Lost", "yes")

    return web.after(hook)  # type: ignore[arg-type]


def decorated_async_after_hook_returns_text() -> object:
    app = web.App(web.GET("/", good))

    @app.after  # type: ignore[type-var]
    async def hook(req: web.Request, params: dict[str, Any], resp: web.Response) -> str:
        return "text"

    return app


def errors_without_reason() -> object:
    def hook(req: web.Request, status: int) -> str:
        return ""

    return web.errors(hook)  # type: ignore[arg-type]


def decorated_errors_without_reason() -> object:
    app = web.App()

    @app.errors  # type: ignore[type-var]
    def hook(req: web.Request, status: int) -> str:
        return ""

    return app


def start_hook_with_two_parameters() -> object:
    def hook(app: web.App, more: int) -> None: ...

    return web.on_start(hook)  # type: ignore[arg-type]


def decorated_stop_hook_with_two_parameters() -> object:
    app = web.App()

    @app.on_stop  # type: ignore[type-var]
    def hook(app: web.App, more: int) -> None: ...

    return app


def form_that_is_a_handler() -> object:
    return web.App(good)  # type: ignore[arg-type]


# ---- req.json(type=...) ----

BODY = b'{"title": "a"}'


def field_that_the_type_has_not() -> object:
    def handler(req: web.Request) -> str:
        todo = req.json(type=Todo)
        return todo.name  # type: ignore[attr-defined, no-any-return]

    return web.GET("/", handler)


def field_used_as_another_type() -> object:
    def handler(req: web.Request) -> str:
        return req.json(type=Todo).title + 1  # type: ignore[operator, no-any-return]

    return web.GET("/", handler)


def value_returned_as_it_is() -> object:
    def handler(req: web.Request) -> dict[str, Any]:
        return req.json(type=Todo)  # type: ignore[arg-type]

    return web.GET("/", handler)


def list_used_as_one() -> object:
    def handler(req: web.Request) -> str:
        return req.json(type=dict[str, str]).title  # type: ignore[attr-defined, no-any-return]

    return web.GET("/", handler)


def type_that_is_none() -> object:
    def handler(req: web.Request) -> dict[str, Any]:
        return {"got": req.json(type=5)}  # type: ignore[call-overload]

    return web.GET("/", handler)


def type_without_its_name() -> object:
    def handler(req: web.Request) -> dict[str, Any]:
        return {"got": req.json(Todo)}  # type: ignore[call-overload]

    return web.GET("/", handler)


# ---- what is told by types alone ----


def unchecked_params_that_are_no_dict() -> object:
    def handler(req: web.Request, params: list[str]) -> str:
        return params[0]

    return web.GET("/:id", handler)  # type: ignore[arg-type]


def unchecked_params_with_numbers_as_keys() -> object:
    def handler(req: web.Request, params: dict[int, str]) -> str:
        return params[0]

    return web.GET("/:id", handler)  # type: ignore[arg-type]


def unchecked_request_that_is_another() -> object:
    def handler(request: web.Response) -> str:
        return str(request.status)

    return web.GET("/", handler)  # type: ignore[arg-type]


def unchecked_decorated_params() -> object:
    app = web.App()

    @app.get("/:id")  # type: ignore[type-var]
    async def handler(req: web.Request, params: list[str]) -> str:
        return params[0]

    return app


def unchecked_hook_params() -> object:
    def hook(req: web.Request, params: list[str]) -> None: ...

    return web.before(hook)  # type: ignore[arg-type]


def unchecked_error_status() -> object:
    def hook(req: web.Request, status: str, reason: str) -> str:
        return status + reason

    return web.errors(hook)  # type: ignore[arg-type]


# ---- what types cannot tell ----


def unseen_open_file() -> object:
    def handler(req: web.Request) -> TextIO:  # an iterator of text, as far as types go
        return StringIO("text")

    return web.GET("/", handler)
