"""``App``: an ordered collection of forms (routes, hooks, static folders), and the decorators that make the same forms.

    app = App(GET("/", home), before(check), static("public"))

    @app.get("/users/:id:int")
    def user(req, params): ...

An App is checked as it grows and compiled when a server starts; what is added later counts for the next start.
"""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

from web._core import Dispatcher, Hook, Request
from web.errors import RouteError
from web.limits import Limits
from web.routing import (
    After,
    AfterHook,
    Before,
    BeforeHook,
    Bundle,
    Handler,
    LifeHook,
    OnStart,
    OnStop,
    Route,
    RouteList,
    RouteOptions,
    is_async,
)
from web.static import Static
from web.worker_options import Workers

__all__ = ["App", "Form", "Json"]

Form: TypeAlias = Route | Before | After | Static | OnStart | OnStop | Workers | Bundle
OnFailure: TypeAlias = Callable[[Request, BaseException], object]
H = TypeVar("H", bound=Handler)
B = TypeVar("B", bound=BeforeHook)
A = TypeVar("A", bound=AfterHook)
L = TypeVar("L", bound=LifeHook)


class Json(Protocol):
    """What ``App(json=...)`` takes, such as the modules ``json``, ``orjson`` or ``ujson``."""

    @property
    def dumps(self) -> Callable[[Any], str | bytes]: ...

    @property
    def loads(self) -> Callable[[bytes], Any]: ...


class ServeOptions(TypedDict, total=False):
    """The options of ``Server`` that ``serve`` and ``serve_tls`` pass on."""

    limits: Limits
    dev: bool
    dual_stack: bool
    server_header: bool
    threads: int
    loop: Literal["asyncio", "uvloop"]
    workers: int | Literal["auto"] | Workers | None
    user: str | int | None
    group: str | int | None
    slow_handler: float


class App:
    """``App(*forms, json=None)``. RouteError tells what is wrong with a form, alone or beside the earlier ones.

    ``json``: an object with ``dumps(value) -> str or bytes`` and ``loads(bytes)``, used for returned dicts and lists,
    for ``Response.json`` and ``req.json()``; by default the standard library's, with ``allow_nan=False`` and
    ``ensure_ascii=False``.
    """

    def __init__(self, *forms: Form, json: Json | None = None) -> None:
        for name in ("dumps", "loads"):
            if json is not None and not callable(getattr(json, name, None)):
                raise TypeError(f"App(json={json!r}): it has no {name}(); give an object with dumps and loads")
        self._json = json
        self._routes = RouteList()
        self._before: list[Before] = []
        self._after: list[After] = []
        self._folders: list[Static] = []
        self._on_start: list[OnStart] = []
        self._on_stop: list[OnStop] = []
        self._workers: Workers | None = None
        # What is simply kept, in its order, by its kind.
        self._lists: dict[type, list[Any]] = {
            Before: self._before,
            After: self._after,
            Static: self._folders,
            OnStart: self._on_start,
            OnStop: self._on_stop,
        }
        self.add(*forms)

    def add(self, *forms: Form) -> None:
        """Add forms, in order. Hooks and folders keep their own order; folders are tried after all routes."""
        for form in forms:
            if (kept := self._lists.get(type(form))) is not None:
                kept.append(form)
                continue
            match form:
                case Route():
                    self._routes.add(form)
                case Bundle():
                    self.add(*form.forms)
                case Workers():
                    if self._workers is not None:
                        raise RouteError(f"{form!r}: the App has {self._workers!r} already; remove one of them")
                    self._workers = form
                case _:
                    raise RouteError(
                        f"App(...): {form!r} is no form; write GET(pattern, handler), before(hook) and so on"
                    )

    # ---- decorators: each adds the form of the same name, and returns what it decorates as it is ----

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

    def before(self, hook: B) -> B:
        """Decorator for ``before(hook)``, without parentheses."""
        self.add(Before(hook))
        return hook

    def after(self, hook: A) -> A:
        """Decorator for ``after(hook)``, without parentheses."""
        self.add(After(hook))
        return hook

    def on_start(self, hook: L) -> L:
        """Decorator for ``on_start(hook)``, without parentheses."""
        self.add(OnStart(hook))
        return hook

    def on_stop(self, hook: L) -> L:
        """Decorator for ``on_stop(hook)``, without parentheses."""
        self.add(OnStop(hook))
        return hook

    def static(self, folder: str | PathLike[str], at: str = "/") -> None:
        """Adds ``static(folder, at)``."""
        self.add(Static(str(folder), at))

    # ---- serving ----

    def serve(self, host: str, port: int, **options: Unpack[ServeOptions]) -> None:
        """``Server(self, host, port, **options).run()``: serves HTTP until SIGINT or SIGTERM."""
        from web.server import Server

        Server(self, host, port, **options).run()

    def serve_tls(
        self,
        host: str,
        port: int,
        cert_file: str | PathLike[str],
        key_file: str | PathLike[str],
        **options: Unpack[ServeOptions],
    ) -> None:
        """``Server(self, host, port, tls=TlsContext(...), **options).run()``: HTTPS until SIGINT or SIGTERM."""
        from web._core import TlsContext
        from web.server import Server

        Server(self, host, port, tls=TlsContext(cert_file, key_file), **options).run()

    def _compile(self, *, dev: bool = False, threads: bool = False, on_failure: OnFailure | None = None) -> Dispatcher:
        """The form in which a server answers with it, as it is now."""
        json = self._json
        return Dispatcher(
            self._routes.router(),
            app=self,
            before=tuple(Hook(form.hook, form.arity, form.label, is_async(form.hook)) for form in self._before),
            after=tuple(Hook(form.hook, 3, form.label, is_async(form.hook)) for form in self._after),
            folders=tuple(self._folders),
            dumps=None if json is None else json.dumps,
            loads=None if json is None else json.loads,
            dev=dev,
            threads=threads,
            on_failure=on_failure,
        )
