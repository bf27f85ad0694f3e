"""``App``: an ordered collection of forms (routes, hooks, static folders), and the decorators that make the same forms.

    app = App(GET("/", home), before(check), static("public"))

    @app.get("/users/:id:int")
    def user(req, params): ...

An App is checked as it grows and compiled when a server starts; what is added later counts for the next start.
"""

from collections.abc import Callable
from os import PathLike
from types import SimpleNamespace
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, Unpack

from web._core import Dispatcher, Endpoint, Hook, Request, answer_conditions
from web.brokers import Broker
from web.decorators import Decorators
from web.errors import RouteError
from web.groups import Group
from web.hosts import HostsForm
from web.limits import Limits
from web.proxies import Proxies
from web.rooms import Rooms
from web.routing import (
    After,
    Before,
    Bundle,
    Errors,
    OnStart,
    OnStop,
    Route,
    RouteList,
)
from web.sessions import Sessions
from web.static import Static
from web.urls import build_url
from web.worker_options import Workers

__all__ = ["App", "Form", "Json"]

Form: TypeAlias = (
    Route | Before | After | Errors | Static | Group | HostsForm | OnStart | OnStop | Workers | Sessions | Bundle
)
OnFailure: TypeAlias = Callable[[Request, BaseException], object]


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
    watch_certificates: float
    proxies: Proxies | None
    proxy_protocol: bool


class App(Decorators):
    """``App(*forms, json=None, broker=None)``. RouteError: what is wrong with a form, alone or beside the earlier ones.

    ``json``: an object with ``dumps(value) -> str or bytes`` and ``loads(bytes)``, used for returned dicts and lists,
    for ``Response.json`` and ``req.json()``; by default the standard library's, with ``allow_nan=False`` and
    ``ensure_ascii=False``. ``broker``: what ``publish`` goes through to other processes, such as a RedisBroker; by
    default it stays in this one. ``app.state`` is free for what the application shares, such as a pool of connections.
    """

    def __init__(self, *forms: Form, json: Json | None = None, broker: Broker | None = None) -> None:
        for name in ("dumps", "loads"):
            if json is not None and not callable(getattr(json, name, None)):
                raise TypeError(f"App(json={json!r}): it has no {name}(); give an object with dumps and loads")
        self._json = json
        self._rooms = Rooms(broker)
        self._routes = RouteList()
        self._before: list[Before] = []
        self._after: list[After] = []
        self._folders: list[Static] = []
        self._scopes: list[Endpoint] = []  # of groups with a prefix
        self.state = SimpleNamespace()
        self._on_start: list[OnStart] = []
        self._on_stop: list[OnStop] = []
        self._once: dict[type, Any] = {}  # what an App has at most one of, by its kind
        # What is simply kept, in its order, by its kind.
        self._lists: dict[type, list[Any]] = {
            Before: self._before,
            After: self._after,
            Static: self._folders,
            OnStart: self._on_start,
            OnStop: self._on_stop,
            Endpoint: self._scopes,
        }
        self.add(*forms)

    def add(self, *forms: Form | Endpoint) -> None:
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
                case Group():
                    self.add(*form.unfold())
                case Workers() | Errors() | HostsForm() | Sessions():
                    if (earlier := self._once.get(type(form))) is not None:
                        raise RouteError(f"{form!r}: the App has {earlier!r} already; remove one of them")
                    self._once[type(form)] = form
                case _:
                    raise RouteError(
                        f"App(...): {form!r} is no form; write GET(pattern, handler), before(hook) and so on"
                    )

    @property
    def _workers(self) -> Workers | None:
        return self._once.get(Workers)

    def url_for(self, to: object, /, **params: Any) -> str:
        """The path of a route, percent-encoded: by its name, or by its handler where that has one route only.

        LookupError: there is no such route, or more than one; TypeError: a capture is missing, one is unknown, or of
        another type; ValueError: a value that the route would not match.
        """
        return build_url(self._routes, to, params)

    def publish(self, topic: str, message: str | bytes | bytearray | memoryview) -> None:
        """Sends a message, str as text and bytes-like as binary, to all WebSockets that have subscribed to a topic:
        those of this App's servers that run in this process, and those that its broker reaches.

        From any thread, and from handlers; it does not wait. Where no server runs nobody hears it. TypeError: no topic
        or no message; UnicodeEncodeError: text with half a surrogate.
        """
        self._rooms.publish(topic, message)

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

    def _compile(
        self,
        *,
        dev: bool = False,
        threads: bool = False,
        on_failure: OnFailure | None = None,
        proxies: Proxies | None = None,
    ) -> Dispatcher:
        """The form in which a server answers with it, as it is now."""
        json = self._json
        errors: Errors | None = self._once.get(Errors)
        hosts: HostsForm | None = self._once.get(HostsForm)
        sessions: Sessions | None = self._once.get(Sessions)
        before = [form for form in self._before if form.outer] + [form for form in self._before if not form.outer]
        final = [form.compiled() for form in self._after[::-1] if form.final]
        after = [form.compiled() for form in self._after if not form.outer and not form.final]
        if sessions is not None:  # behind those that may change the session
            after.append(Hook(sessions.save, 3, "web.sessions"))
        after += [form.compiled() for form in self._after[::-1] if form.outer and not form.final]
        if final:  # else the server does it when it writes the answer
            after += [Hook(answer_conditions, 3, "web.conditional"), *final]
        return Dispatcher(
            self._routes.router(),
            app=self,
            before=tuple(form.compiled() for form in before),
            after=tuple(after),
            errors=None if errors is None else errors.compiled(),
            folders=tuple(self._folders),
            owners=tuple(form.scope for form in self._folders),
            scopes=tuple(self._scopes),
            hosts=None if hosts is None else hosts.compiled(),
            dumps=None if json is None else json.dumps,
            loads=None if json is None else json.loads,
            sessions=sessions,
            proxies=proxies,
            dev=dev,
            threads=threads,
            on_failure=on_failure,
        )
