"""``time_limit(seconds)``: a decorator for async handlers that ends them after that time, with a 503.

No hook: a hook runs before or after a handler, not around it. It is ``asyncio.timeout``: the handler is cancelled where
it awaits, may clean up, and may (it should not) go on. A plain handler cannot be ended from outside, on the event loop
or in a thread, so that one is refused at start-up. The limit is that of one handler: hooks are not in it.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from web.errors import HTTPError, RouteError
from web.hook_checks import check_seconds
from web.routing import describe, is_async

__all__ = ["time_limit"]

P = ParamSpec("P")
T = TypeVar("T")


def time_limit(
    seconds: float,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """``GET("/", time_limit(5)(handler))``, or ``@time_limit(5)`` below ``@app.get("/")``: 503 after 5 seconds.

    RouteError: a handler that is not async, or seconds that cannot be.
    """
    limit = check_seconds("time_limit(...)", "seconds", seconds)

    def around(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        if not is_async(handler):
            raise RouteError(f"time_limit({seconds!r}): {describe(handler)} is a plain handler, which nothing can end; "
                             "make it async, or give what it waits for a time-out of its own")  # fmt: skip
        from asyncio import timeout  # a server of plain handlers never imports asyncio

        @wraps(handler)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            running = timeout(limit)
            try:
                async with running:
                    return await handler(*args, **kwargs)
            except TimeoutError:
                if not running.expired():
                    raise  # one of the handler's own
                raise HTTPError(503, f"503 Service Unavailable: no answer within {seconds:g} s") from None

        return limited

    return around
