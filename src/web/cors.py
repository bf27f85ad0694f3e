"""``cors(origins)``: which pages of other origins may read the answers (the Fetch standard, "CORS protocol").

Stateless. A preflight (OPTIONS with Origin and Access-Control-Request-Method) is answered by the before hook and never
reaches a route; its answer says all that is permitted, whatever was asked, and the browser compares. The after hook
writes Access-Control-Allow-Origin on every answer, errors and preflights included. Both are outer: a preflight carries
no credentials, so no hook that asks for them may come before, and a browser shows no error of a later hook that lacks
these fields.

Invariants: ``*`` never goes with credentials. Where the answer depends on Origin it says so in Vary, for requests
without Origin, too: a cache would give them to others ("CORS protocol and HTTP caches"). Nothing is granted to the
origin ``null`` by name or by a function, and Access-Control-Allow-Private-Network is never sent.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from web._core import Request, Response
from web.errors import RouteError
from web.hook_checks import ORIGIN, ask, check_function, check_names, check_origin, check_switch, check_whole, listed
from web.routing import After, Before, Bundle
from web.vary import add_vary

__all__ = ["cors"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ALLOW_ORIGIN = "Access-Control-Allow-Origin"
_MAX_AGE_MOST = 86_400  # no browser keeps a preflight longer than a day
_ANY = ("*",)


def cors(
    origins: str | Iterable[str] | Callable[[str], bool],
    *,
    methods: str | Iterable[str] = _METHODS,
    headers: str | Iterable[str] = ("Content-Type",),
    credentials: bool = False,
    expose: str | Iterable[str] = (),
    max_age: int = 600,
) -> Bundle:
    """Let pages of other origins read the answers.

    ``origins``: like ``["https://app.example"]``, ``"*"`` for any, or a plain function from an origin to bool, which is
    asked for well-formed origins only. ``methods``: beside GET, HEAD and POST, which need no permission. ``headers``:
    what requests may carry beyond the few that need no permission. ``credentials``: whether cookies and HTTP
    authentication go along. ``expose``: fields of answers that scripts may read. ``max_age``: seconds for which a
    browser may keep the answer to a preflight, 0 to 86400.

    An answer that says Access-Control-Allow-Origin itself is left as it is. RouteError: ``"*"`` with credentials, or
    what no browser would ever send.
    """
    what = "cors(...)"
    policy = _Policy(
        _check_origins(what, origins),
        _check_methods(what, methods),
        check_names(what, "headers", headers),
        check_switch(what, "credentials", credentials),
        check_names(what, "expose", expose),
        check_whole(what, "max_age", max_age, 0, _MAX_AGE_MOST),
    )
    for name in ("origins", "methods", "headers", "expose") if credentials else ():
        names = getattr(policy, name)
        if isinstance(names, tuple) and "*" in names:
            raise RouteError(f"{what}: {name}='*' means nothing with credentials=True; name each one")
    return Bundle((Before(policy.preflight, outer=True), After(policy.permit, outer=True)))


def _check_origins(what: str, origins: Any) -> tuple[str, ...] | frozenset[str] | Callable[..., object]:
    if callable(origins):
        return check_function(what, "origins", origins)
    given = listed(origins)
    if given == _ANY:
        return _ANY
    if not given:
        raise RouteError(f"{what}: origins is empty; name one like 'https://app.example', or leave cors out")
    return frozenset(check_origin(what, origin) for origin in given)


def _check_methods(what: str, methods: str | Iterable[str]) -> tuple[str, ...]:
    given = check_names(what, "methods", methods)
    for method in given:
        if method != method.upper():
            raise RouteError(
                f"{what}: methods={method!r}: methods have a case (RFC 9110 9.1); write {method.upper()!r}"
            )
    return given


@dataclass(frozen=True, slots=True)
class _Policy:
    origins: tuple[str, ...] | frozenset[str] | Callable[..., object]  # _ANY, those, or what tells
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    credentials: bool
    expose: tuple[str, ...]
    max_age: int

    def preflight(self, req: Request) -> Response | None:
        if not is_preflight(req):
            return None
        if not self.is_allowed(req.header("origin")):
            return Response.empty()
        fields = {"Access-Control-Max-Age": str(self.max_age)}
        if self.methods:
            fields["Access-Control-Allow-Methods"] = ", ".join(self.methods)
        if self.headers:
            fields["Access-Control-Allow-Headers"] = ", ".join(self.headers)
        return Response.empty(headers=fields)

    def permit(self, req: Request, params: dict[str, Any], resp: Response) -> Response:
        there = resp.headers
        if self.origins == _ANY:
            return resp if _ALLOW_ORIGIN in there else self._granted(resp, "*")
        resp = add_vary(resp, "Origin") if "vary" in there else resp.add_header("Vary", "Origin")
        origin = req.header("origin")
        if origin is None or _ALLOW_ORIGIN in there or not self.is_allowed(origin):
            return resp
        return self._granted(resp, origin)

    def _granted(self, resp: Response, origin: str) -> Response:
        resp = resp.add_header(_ALLOW_ORIGIN, origin)
        if self.credentials:
            resp = resp.add_header("Access-Control-Allow-Credentials", "true")
        if self.expose:
            resp = resp.add_header("Access-Control-Expose-Headers", ", ".join(self.expose))
        return resp

    def is_allowed(self, origin: str | None) -> bool:
        if self.origins == _ANY:
            return True
        if origin is None or not ORIGIN.fullmatch(origin):
            return False
        if isinstance(self.origins, (frozenset, tuple)):
            return origin in self.origins
        return ask("cors(...)", self.origins, origin)


def is_preflight(req: Request) -> bool:
    return (
        req.method == "OPTIONS"
        and req.header("access-control-request-method") is not None
        and req.header("origin") is not None
    )
