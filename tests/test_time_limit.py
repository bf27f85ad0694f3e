"""web.time_limit: an async handler is cancelled and answered with 503; a plain one is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import web
from web.routing import Params


def run(handler: Any, *args: Any) -> Any:
    return asyncio.run(handler(*args))


def test_a_handler_in_time() -> None:
    @web.time_limit(60)
    async def quick(req: str) -> str:
        await asyncio.sleep(0)
        return req

    assert run(quick, "as it is") == "as it is"


def test_a_handler_that_is_too_late_is_cancelled() -> None:
    seen = []

    @web.time_limit(0.01)
    async def slow(req: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return req

    with pytest.raises(web.HTTPError) as caught:
        run(slow, "x")
    assert (caught.value.status, caught.value.detail) == (503, "503 Service Unavailable: no answer within 0.01 s")
    assert seen == ["cancelled"]


def test_its_own_time_outs_are_its_own() -> None:
    @web.time_limit(60)
    async def slow(req: str) -> str:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
        return req

    with pytest.raises(TimeoutError):
        run(slow, "x")


def test_a_route_sees_the_handler_through_it() -> None:
    async def one(req: web.Request) -> str:
        return "one"

    async def two(req: web.Request, params: Params) -> dict[str, Any]:
        return params

    route = web.GET("/:x", web.time_limit(5)(two), cancel_on_disconnect=False)
    assert route.endpoint.label.endswith("two")
    assert route.endpoint.is_async
    assert web.GET("/:x", web.time_limit(5)(one)).endpoint.label.endswith("one")
    with pytest.raises(web.RouteError, match="captures are not arguments"):
        web.GET("/:name", web.time_limit(5)(wrong))  # type: ignore[arg-type]


async def wrong(req: web.Request, name: str) -> str:
    return name


def test_a_plain_handler_is_refused() -> None:
    def plain(req: web.Request) -> str:
        return ""

    with pytest.raises(web.RouteError, match=r"time_limit\(5\): .*plain is a plain handler, which nothing can end"):
        web.time_limit(5)(plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, "5", True, None, float("nan"), float("inf")])
def test_seconds(seconds: Any) -> None:
    with pytest.raises(web.RouteError, match="give a number of seconds"):
        web.time_limit(seconds)
