"""Routes as values: ``GET("/users/:id", handler)`` is a frozen ``Route``; what is wrong with it is told at that line.

Patterns (matched on percent-decoded segments, first match in the order of registration):

- ``/users/new`` literal text, written decoded; ``/a`` and ``/a/`` differ
- ``/users/:id`` captures one segment, not an empty one, into ``params["id"]``
- ``/users/:id:int`` converts; a segment that does not convert does not match. ``int``: -?[0-9]+ that fits 64 bits,
  signed; ``uuid``: 8-4-4-4-12 hexadecimal digits (RFC 9562 4), as ``uuid.UUID``
- ``/files/*`` captures the rest, one segment or more, into ``params["*"]``; an encoded slash stays ``%2F`` there
- ``*`` alone matches every path, and the ``*`` of ``OPTIONS *``

A handler is ``handler(req)`` or ``handler(req, params)``: the number of parameters without default decides, once, here.
Handlers and hooks are plain or ``async def``. Options of a route (``RouteOptions``):

- ``blocking`` True: a plain handler that waits (a database, a file) runs in a thread of the pool; False: it runs on the
  event loop; by default the server's ``threads`` decides
- ``max_body``: bytes that a body may have for this route, in place of ``Limits.body``
- ``stream`` True: the handler is called when the head is here, and reads the body as it comes by ``req.stream()``; it
  is async, or has ``blocking=True``
- ``cancel_on_disconnect`` False: an async handler goes on when its client goes away; by default it is cancelled
- ``before``, ``after``: lists of hooks for this route alone; they run inside those of its groups and of the App
- ``name``: what ``url_for`` calls it by

A Route as it is written knows nothing of groups; ``placed()`` gives the one that stands in a group, with its whole
pattern and with all hooks around it compiled (``Chain``). The pattern "" is the prefix of the group itself.
"""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

from web._core import Chain, Endpoint, Hook, Request, Response, Router
from web.errors import RouteError

if TYPE_CHECKING:
    from _collections_abc import dict_keys, dict_values

T = TypeVar("T")

__all__ = [
    "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT",
    "After", "Answer", "Before", "Bundle", "Errors", "ErrorsHook", "Handler", "LifeHook", "OnStart", "OnStop", "Route",
    "RouteList", "RouteOptions",
    "after", "before", "errors", "make_router", "on_start", "on_stop", "route",
]  # fmt: skip


class TypedObject(Protocol):
    """What types know of a TypedDict, which is a dict when it is returned. Other mappings have other views."""

    def keys(self) -> "dict_keys[str, object]": ...
    def values(self) -> "dict_values[str, object]": ...


# What a handler may return, as the Dispatcher takes it (_body_response, _coerce). An open file is an Iterator to types;
# that it is none here is told when it is returned.
Stream: TypeAlias = Iterator[str | bytes] | AsyncIterator[str | bytes]
Body: TypeAlias = str | bytes | dict[Any, Any] | TypedObject | list[Any] | Stream
HeaderPairs: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
Answer: TypeAlias = Response | Body | tuple[Body, int] | tuple[Body, int, HeaderPairs]
Params: TypeAlias = dict[str, Any]
Later: TypeAlias = Coroutine[Any, Any, T]  # of an `async def`; nothing else that can be awaited is
Result: TypeAlias = Answer | Later[Answer]
Handler: TypeAlias = Callable[[Request], Result] | Callable[[Request, Params], Result]
BeforeResult: TypeAlias = Answer | Later[Answer | None] | None
BeforeHook: TypeAlias = Callable[[Request], BeforeResult] | Callable[[Request, Params], BeforeResult]
AfterHook: TypeAlias = Callable[[Request, Params, Response], Response | Later[Response]]
ErrorsHook: TypeAlias = Callable[[Request, int, str], Result]
LifeHook: TypeAlias = Callable[[], object] | Callable[[Any], object]

# The kinds of parts, as Endpoint takes them.
LITERAL, TEXT, INT, UUID, REST = 1, 2, 3, 4, 5
Part: TypeAlias = tuple[int, str]

_CONVERSIONS = {None: TEXT, "int": INT, "uuid": UUID}
_CAPTURE = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)(?::([^:]*))?")
_FOREIGN = re.compile(r"\{([A-Za-z_]\w*)[^}]*\}|<(?:\w+:)?([A-Za-z_]\w*)>")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")
_INT = re.compile(r"-?[0-9]{1,19}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PARTS_MAX = 32
_BODY_MAX = 2**53


# ---- patterns ----


def parse_pattern(pattern: str) -> tuple[Part, ...]:
    """The parts of a pattern, one for each segment; none for the bare ``*``. RouteError: what to write instead."""
    if pattern == "*":
        return ()
    _check_text(pattern)
    segments = pattern[1:].split("/")
    if len(segments) > _PARTS_MAX:
        raise RouteError(f"pattern {pattern!r} has {len(segments)} segments; at most {_PARTS_MAX} are possible")
    parts: list[Part] = []
    names: set[str] = set()
    for number, segment in enumerate(segments):
        kind, text = _parse_segment(pattern, segment, last=number == len(segments) - 1)
        if kind not in (LITERAL, REST):
            if text in names:
                raise RouteError(f"pattern {pattern!r} captures :{text} twice: give each capture its own name")
            names.add(text)
        parts.append((kind, text))
    return tuple(parts)


def _check_text(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise RouteError(f"pattern {pattern!r}: text is needed, not {type(pattern).__name__}")
    if foreign := _FOREIGN.search(pattern):
        raise RouteError(f"pattern {pattern!r}: write :{foreign[1] or foreign[2]} for {foreign[0]}")
    if not pattern.startswith("/"):
        raise RouteError(f"pattern {pattern!r} does not begin with '/': write {'/' + pattern!r}")
    if unusual := set(pattern) & set("{}<>?#"):
        raise RouteError(f"pattern {pattern!r}: {min(unusual)!r} cannot stand in a path; captures are written :name")
    if any(character < " " or character == "\x7f" for character in pattern):
        raise RouteError(f"pattern {pattern!r} holds a control character")
    if encoded := re.search(r"%[0-9A-Fa-f]{2}", pattern):
        raise RouteError(f"pattern {pattern!r}: patterns are written decoded; write the character for {encoded[0]}")


def _parse_segment(pattern: str, segment: str, *, last: bool) -> Part:
    if segment == "*":
        if last:
            return REST, "*"
        raise RouteError(f"pattern {pattern!r}: '*' takes all that remains and stands last; :name takes one segment")
    if "*" in segment:
        raise RouteError(f"pattern {pattern!r}: '*' is a whole segment, and the last; {segment!r} cannot be matched")
    if segment in (".", ".."):
        raise RouteError(f"pattern {pattern!r}: clients resolve {segment!r} before they ask, so it would never match")
    if segment == "" and not last:
        raise RouteError(f"pattern {pattern!r} has an empty segment: write one '/' only")
    if ":" not in segment:
        return LITERAL, segment
    capture = _CAPTURE.fullmatch(segment)
    if capture is None:
        raise RouteError(f"pattern {pattern!r}: a capture is a whole segment, ':name' or ':name:int', not {segment!r}")
    name, conversion = capture.groups()
    if conversion not in _CONVERSIONS:
        raise RouteError(
            f"pattern {pattern!r}: there is no conversion {conversion!r} (int and uuid are); "
            "two captures need a '/' between them"
        )
    return _CONVERSIONS[conversion], name


def _covers(earlier: tuple[Part, ...], later: tuple[Part, ...]) -> bool:
    """Whether every path that ``later`` matches is matched by ``earlier``."""
    if not earlier:
        return True
    if not later:
        return False
    if earlier[-1][0] == REST:
        if len(later) < len(earlier):
            return False
        earlier = earlier[:-1]
    elif len(earlier) != len(later):
        return False
    return all(_part_covers(a, b) for a, b in zip(earlier, later, strict=False))


def _part_covers(earlier: Part, later: Part) -> bool:
    kind, text = earlier
    if later[0] == REST:
        return False
    if later[0] != LITERAL:
        return kind in (TEXT, later[0])
    if kind == LITERAL:
        return text == later[1]
    if kind == TEXT:
        return later[1] != ""
    if kind == INT:
        return _INT.fullmatch(later[1]) is not None and -(2**63) <= int(later[1]) < 2**63
    return _UUID.fullmatch(later[1]) is not None


# ---- callables ----


def describe(call: object) -> str:
    """How messages name a handler or hook."""
    while isinstance(call, partial):
        call = call.func
    name = getattr(call, "__qualname__", None) or type(call).__qualname__
    module = getattr(call, "__module__", None) or type(call).__module__
    return f"{module}.{name}"


def is_async(call: Any) -> bool:
    """Whether calling it gives a coroutine, or an async generator."""
    while isinstance(call, partial):
        call = call.func
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in (call, type(call).__call__)
    )


def positional(what: str, call: Any, *, may_yield: bool = False) -> tuple[list[str], list[str]]:
    """The names of the positional parameters, (without default, with default), of what will be called."""
    if not callable(call):
        raise RouteError(f"{what}: {call!r} cannot be called; give a function")
    bare = call
    while isinstance(bare, partial):
        bare = bare.func
    codes = (bare, type(bare).__call__)
    if not may_yield and any(inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code) for code in codes):
        raise RouteError(f"{what}: it yields; a hook returns what it has to say, or Response.stream(...)")
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        raise RouteError(f"{what}: its parameters cannot be read; wrap it: lambda req: {describe(call)}(...)") from None
    needed: list[str] = []
    optional: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise RouteError(f"{what}: *{parameter.name} does not tell what it takes; name its parameters")
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise RouteError(f"{what}: nobody gives {parameter.name!r} its value; bind it with functools.partial")
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            (needed if parameter.default is parameter.empty else optional).append(parameter.name)
    return needed, optional


def _arity(what: str, call: Any, captures: Iterable[str] = (), *, may_yield: bool = False) -> int:
    """1 for f(req), 2 for f(req, params). A parameter with a default is left alone, except one that is named params."""
    needed, optional = positional(what, call, may_yield=may_yield)
    names = needed + optional
    for name in captures:
        if name in needed[1:] or (name in names[:1] and name not in ("req", "request")):
            raise RouteError(f'{what}: captures are not arguments; take (req, params) and read params["{name}"]')
    if not names or len(needed) > 2:
        takes = ", ".join(needed) or "nothing"
        raise RouteError(f"{what} takes ({takes}): it is called with (req) or (req, params)")
    return 2 if len(needed) == 2 or names[1:2] == ["params"] else 1


# ---- the values ----


@dataclass(frozen=True, slots=True)
class Route:
    """Methods, a pattern and the handler that answers them. RouteError when one of them cannot work."""

    methods: tuple[str, ...]
    pattern: str
    handler: Handler
    blocking: bool | None = None
    cancel_on_disconnect: bool = True
    max_body: int | None = None
    stream: bool = False
    before: Sequence[BeforeHook] = ()
    after: Sequence[AfterHook] = ()
    name: str | None = None
    scope: Endpoint | None = field(default=None, repr=False, compare=False)  # of the group that it was placed in
    parts: tuple[Part, ...] = field(init=False, repr=False, compare=False)
    endpoint: Endpoint = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        methods = _check_methods(self.methods, self.pattern)
        parts = parse_pattern(self.pattern) if self.pattern != "" else ()
        label = describe(self.handler)
        captures = [text for kind, text in parts if kind not in (LITERAL, REST)]
        what = f"handler {label} of {self.pattern}"
        arity = _arity(what, self.handler, captures, may_yield=True)
        waits = is_async(self.handler)
        for name, value, possible in (
            ("blocking", self.blocking, (None, True, False)),
            ("cancel_on_disconnect", self.cancel_on_disconnect, (True, False)),
            ("stream", self.stream, (True, False)),
        ):
            if not any(value is one for one in possible):
                raise RouteError(f"{what}: {name}={value!r}: give True or False")
        if self.blocking and waits:
            raise RouteError(f"{what}: it is async and runs on the event loop; blocking=True is for a plain handler")
        if not self.cancel_on_disconnect and not waits:
            raise RouteError(f"{what}: only an async handler can be cancelled; leave cancel_on_disconnect out")
        if self.stream and not waits and not self.blocking:
            raise RouteError(
                f"{what}: stream=True is for an async handler, or with blocking=True; a plain one would wait on the "
                "event loop for what the loop is to read"
            )
        if self.max_body is not None and (type(self.max_body) is not int or not 0 <= self.max_body <= _BODY_MAX):
            raise RouteError(f"{what}: max_body={self.max_body!r}: give a number of bytes, 0 to {_BODY_MAX}")
        called: Any = self.name
        if called is not None and (not isinstance(called, str) or not called):
            raise RouteError(f"{what}: name={self.name!r}: a name is text, and not empty")
        hooks = _own_hooks(what, self.before, self.after)
        endpoint = Endpoint(
            methods,
            self.pattern,
            parts,
            self.handler,
            arity == 2,
            label,
            is_async=waits,
            blocking=self.blocking,
            cancels=self.cancel_on_disconnect,
            max_body=self.max_body,
            streams=self.stream,
            chain=make_chain(self.scope, *hooks),
            scope=self.scope,
        )
        object.__setattr__(self, "before", tuple(self.before))
        object.__setattr__(self, "after", tuple(self.after))
        object.__setattr__(self, "methods", methods)
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "endpoint", endpoint)

    def placed(self, prefix: str, scope: Endpoint | None) -> "Route":
        """This route in a group: below its prefix, with the hooks of its scope (None: there are none) around it."""
        if self.pattern == "*" and prefix:
            raise RouteError(f"group({prefix!r}): its route '*' would match outside of it; write '/*'")
        return replace(self, pattern=prefix + self.pattern, scope=scope)


def _own_hooks(what: str, before: Any, after: Any) -> tuple[list["Before"], list["After"]]:
    for name, hooks in (("before", before), ("after", after)):
        if not isinstance(hooks, (list, tuple)):
            raise RouteError(f"{what}: {name}={hooks!r}: give a list of hooks")
    return [Before(hook) for hook in before], [After(hook) for hook in after]


def make_chain(
    outer: Endpoint | None, before: Iterable["Before"], after: Iterable["After"], errors: "Errors | None" = None
) -> Chain | None:
    """The hooks of a group or route inside those of the group around it; None: there are none."""
    around = None if outer is None else outer.chain
    inner = tuple(one.compiled() for one in before), tuple(one.compiled() for one in after)
    if inner == ((), ()) and errors is None:
        return around
    if around is None:
        return Chain(*inner, None if errors is None else errors.compiled())
    chosen = around.errors if errors is None else errors.compiled()
    return Chain(around.before + inner[0], inner[1] + around.after, chosen)


def _check_methods(methods: str | Iterable[object], pattern: str) -> tuple[str, ...]:
    given: list[str] = []
    named = (methods,) if isinstance(methods, str) else tuple(methods)
    if not named:
        raise RouteError(f"route {pattern!r} has no methods: name at least one")
    for method in named:
        if not isinstance(method, str) or not _TOKEN.fullmatch(method):
            hint = f"; write {method.upper()!r}" if isinstance(method, str) and _TOKEN.fullmatch(method.upper()) else ""
            raise RouteError(f"route {pattern!r}: {method!r} is not a method in capitals (RFC 9110 9.1){hint}")
        if method == "CONNECT":
            raise RouteError(f"route {pattern!r}: CONNECT asks for a tunnel and has no path to route (RFC 9110 9.3.6)")
        if method in given:
            raise RouteError(f"route {pattern!r} names {method} twice")
        given.append(method)
    return tuple(given)


@dataclass(frozen=True, slots=True)
class Before:
    """A hook that runs before routing, ``hook(req)`` or ``hook(req, params)``; what it returns, but None, answers.

    ``outer``: it runs before all that are not, wherever it was added.
    """

    hook: BeforeHook
    outer: bool = False
    label: str = field(init=False, repr=False, compare=False)
    arity: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", describe(self.hook))
        object.__setattr__(self, "arity", _arity(f"before hook {self.label}", self.hook))

    def compiled(self) -> Hook:
        return Hook(self.hook, self.arity, self.label, is_async(self.hook))


@dataclass(frozen=True, slots=True)
class After:
    """A hook that sees every answer: ``hook(req, params, resp)`` returns that Response or another.

    ``outer``: it runs after all that are not, and the first one that was added runs last: outer hooks lie around the
    application like the layers of an onion, so that they see, or complete, what is really sent. ``final``: it runs
    after all others, when conditions and ranges are answered (RFC 9110 13, 14): what it is given is what is sent.
    ``left``: called with the request, in its place, where nothing is sent: the client went away while an async handler
    or hook ran, which was cancelled, or before a thread was free. It must not wait; in which thread, is not said.
    """

    hook: AfterHook
    outer: bool = False
    final: bool = False
    left: Callable[[Request], object] | None = None
    label: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        label = describe(self.hook)
        needed, optional = positional(f"after hook {label}", self.hook)
        if len(needed) > 3 or len(needed) + len(optional) < 3:
            raise RouteError(f"after hook {label} takes ({', '.join(needed)}): it is called with (req, params, resp)")
        object.__setattr__(self, "label", label)

    def compiled(self) -> Hook:
        return Hook(self.hook, 3, self.label, is_async(self.hook), self.left)


@dataclass(frozen=True, slots=True)
class Errors:
    """Makes the bodies of errors: ``hook(req, status, reason)`` returns what a handler may return."""

    hook: ErrorsHook
    label: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        label = describe(self.hook)
        needed, optional = positional(f"errors function {label}", self.hook)
        if len(needed) > 3 or len(needed) + len(optional) < 3:
            takes = ", ".join(needed) or "nothing"
            raise RouteError(f"errors function {label} takes ({takes}): it is called with (req, status, reason)")
        object.__setattr__(self, "label", label)

    def compiled(self) -> Hook:
        return Hook(self.hook, 3, self.label, is_async(self.hook))


@dataclass(frozen=True, slots=True)
class _LifeForm:
    """A hook of a server's life, ``hook()`` or ``hook(app)``, plain or async."""

    hook: LifeHook
    label: str = field(init=False, repr=False, compare=False)
    with_app: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        label = describe(self.hook)
        needed, optional = positional(f"{type(self).__name__} hook {label}", self.hook)
        if len(needed) > 1:
            raise RouteError(f"hook {label} takes ({', '.join(needed)}): it is called with () or (app)")
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "with_app", bool(needed) or optional[:1] == ["app"])


class OnStart(_LifeForm):
    """Runs when a server starts, in each worker, before the first request. What it raises ends the start."""

    __slots__ = ()


class OnStop(_LifeForm):
    """Runs when a server has stopped, after the last request."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Several forms as one: what a built-in hook is made of that looks at requests and at answers."""

    forms: tuple[Any, ...]


class RouteOptions(TypedDict, total=False):
    """The options of a route; see the top of this module."""

    blocking: bool | None
    cancel_on_disconnect: bool
    before: Sequence[BeforeHook]
    after: Sequence[AfterHook]
    name: str | None
    max_body: int | None
    stream: bool


def route(methods: str | Iterable[str], pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer one or several methods (capitals) of a pattern. RouteError tells what is wrong."""
    return Route((methods,) if isinstance(methods, str) else tuple(methods), pattern, handler, **options)


def GET(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer GET, and HEAD where no HEAD route matches (RFC 9110 9.3.1, 9.3.2)."""
    return Route(("GET",), pattern, handler, **options)


def POST(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer POST (RFC 9110 9.3.3)."""
    return Route(("POST",), pattern, handler, **options)


def PUT(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer PUT (RFC 9110 9.3.4)."""
    return Route(("PUT",), pattern, handler, **options)


def PATCH(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer PATCH (RFC 5789)."""
    return Route(("PATCH",), pattern, handler, **options)


def DELETE(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer DELETE (RFC 9110 9.3.5)."""
    return Route(("DELETE",), pattern, handler, **options)


def HEAD(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer HEAD by a handler of its own (RFC 9110 9.3.2); the body is counted and not sent."""
    return Route(("HEAD",), pattern, handler, **options)


def OPTIONS(pattern: str, handler: Handler, **options: Unpack[RouteOptions]) -> Route:
    """Answer OPTIONS by a handler of its own (RFC 9110 9.3.7); without one it is 204 with Allow."""
    return Route(("OPTIONS",), pattern, handler, **options)


def before(hook: BeforeHook) -> Before:
    """Run a hook before routing, in the order of registration."""
    return Before(hook)


def after(hook: AfterHook) -> After:
    """Run a hook on every answer, in the order of registration."""
    return After(hook)


def errors(hook: ErrorsHook) -> Errors:
    """Make the bodies of errors: ``hook(req, status, reason)``, in an App or a group; the innermost one is asked.

    A body without a status gets the error's; Allow, Retry-After and other fields of the error are kept.
    """
    return Errors(hook)


def on_start(hook: LifeHook) -> OnStart:
    """Run a hook when a server starts, in the order of registration; in each worker."""
    return OnStart(hook)


def on_stop(hook: LifeHook) -> OnStop:
    """Run a hook when a server has stopped, in the opposite order of registration; in each worker."""
    return OnStop(hook)


# ---- the list ----


class RouteList:
    """Routes in their order. A new one is checked against the earlier: duplicates and unreachable routes are errors.

    That nothing is unreachable is also what lets Router look fixed paths up first (see _core_routing.pxi).
    """

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._routes: list[Route] = []
        # (method, first literal segment, or None for a capture or *) -> routes: only these can cover one another
        self._by_first: dict[tuple[str, str | None], list[Route]] = {}
        self.by_name: dict[str, Route] = {}
        for one in routes:
            self.add(one)

    def add(self, new: Route) -> None:
        if new.pattern == "":
            raise RouteError("pattern '' is the prefix of a group, and here is none: write '/'")
        if new.name is not None and (named := self.by_name.get(new.name)) is not None:
            raise RouteError(f"{new.pattern}: the name {new.name!r} is that of {named.pattern} already; choose another")
        first = new.parts[0][1] if new.parts and new.parts[0][0] == LITERAL else None
        for method in new.methods:
            keys = {(method, first), (method, None)}
            for earlier in (one for key in keys for one in self._by_first.get(key, ())):
                if _covers(earlier.parts, new.parts):
                    raise RouteError(_unreachable(method, earlier, new))
        self._routes.append(new)
        if new.name is not None:
            self.by_name[new.name] = new
        for method in new.methods:
            self._by_first.setdefault((method, first), []).append(new)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def by_handler(self, handler: object) -> list[Route]:
        return [one for one in self._routes if one.handler == handler]

    def router(self) -> Router:
        """The compiled form of the routes as they are now."""
        return Router([one.endpoint for one in self._routes])


def _unreachable(method: str, earlier: Route, new: Route) -> str:
    if _covers(new.parts, earlier.parts):
        label = earlier.endpoint.label
        return f"{method} {new.pattern} is a duplicate of {earlier.pattern} (handler {label}): remove one of them"
    return (
        f"{method} {new.pattern} can never be reached: {earlier.pattern}, registered before it, matches all its paths; "
        f"register {new.pattern} first"
    )


def make_router(*routes: Route) -> Router:
    """A Router from routes, checked as an App checks them; for tests and measuring."""
    return RouteList(routes).router()
