"""The decorators of an App and of a group: each makes the form of the same name, adds it, and returns what it
decorates as it is."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, TypeVar, Unpack

from web.routing import (
    After,
    AfterHook,
    Before,
    BeforeHook,
    Errors,
    ErrorsHook,
    Handler,
    LifeHook,
    OnStart,
    OnStop,
    Route,
    RouteOptions,
)
from web.sse import SSE, EventsHandler, SSEOptions
from web.static import StaticOptions, static

__all__ = ["Decorators"]

H = TypeVar("H", bound=Handler)
B = TypeVar("B", bound=BeforeHook)
A = TypeVar("A", bound=AfterHook)
E = TypeVar("E", bound=ErrorsHook)
L = TypeVar("L", bound=LifeHook)
S = TypeVar("S", bound=EventsHandler)


class Decorators:
    """What an App and a group have in common; ``add`` is theirs."""

    def add(self, *forms: Any) -> None:
        raise NotImplementedError

    def route(self, methods: str | Iterable[str], pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``route(methods, pattern, handler, **options)``."""
        names = (methods,) if isinstance(methods, str) else tuple(methods)

        def add(handler: H) -> H:
            self.add(Route(names, pattern, handler, **options))
            return handler

        return add

    def get(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``GET(pattern, handler, **options)``."""
        return self.route("GET", pattern, **options)

    def post(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``POST(pattern, handler, **options)``."""
        return self.route("POST", pattern, **options)

    def put(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``PUT(pattern, handler, **options)``."""
        return self.route("PUT", pattern, **options)

    def patch(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``PATCH(pattern, handler, **options)``."""
        return self.route("PATCH", pattern, **options)

    def delete(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``DELETE(pattern, handler, **options)``."""
        return self.route("DELETE", pattern, **options)

    def head(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``HEAD(pattern, handler, **options)``."""
        return self.route("HEAD", pattern, **options)

    def options(self, pattern: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Decorator for ``OPTIONS(pattern, handler, **options)``."""
        return self.route("OPTIONS", pattern, **options)

    def sse(self, pattern: str, **options: Unpack[SSEOptions]) -> Callable[[S], S]:
        """Decorator for ``SSE(pattern, handler, **options)``."""

        def add(handler: S) -> S:
            self.add(SSE(pattern, handler, **options))
            return handler

        return add

    def before(self, hook: B) -> B:
        """Decorator for ``before(hook)``, without parentheses."""
        self.add(Before(hook))
        return hook

    def after(self, hook: A) -> A:
        """Decorator for ``after(hook)``, without parentheses."""
        self.add(After(hook))
        return hook

    def errors(self, hook: E) -> E:
        """Decorator for ``errors(hook)``, without parentheses."""
        self.add(Errors(hook))
        return hook

    def on_start(self, hook: L) -> L:
        """Decorator for ``on_start(hook)``, without parentheses."""
        self.add(OnStart(hook))
        return hook

    def on_stop(self, hook: L) -> L:
        """Decorator for ``on_stop(hook)``, without parentheses."""
        self.add(OnStop(hook))
        return hook

    def static(self, folder: str | PathLike[str], at: str = "/", **options: Unpack[StaticOptions]) -> None:
        """Adds ``static(folder, at, ...)``."""
        self.add(static(folder, at, **options))
