"""``csrf()``: refuses requests that a page of another site made a visitor's browser send (cross-site request forgery).

Stateless and without tokens: browsers say where a request comes from, and scripts cannot change it. In this order:

1. GET, HEAD, OPTIONS and TRACE are safe (RFC 9110 9.2.1), and pass: a handler must not let them change anything.
2. An Origin that is trusted passes.
3. Sec-Fetch-Site (Fetch Metadata 2.3): ``same-origin`` and ``none`` (typed, or a bookmark) pass, all else is refused,
   ``same-site`` too: a neighbouring subdomain may be somebody else's. Sent to https and localhost only.
4. Origin: it must be this very origin, by the Host field. On TLS its scheme is https; on plain HTTP it may be both,
   because a proxy may do TLS. ``null`` is refused.
5. Neither of the two: no browser of these years sends a POST without one of them, so it is a program, which carries
   nobody's cookies along unasked. It passes.
"""

from collections.abc import Iterable

from web._core import Request
from web.errors import HTTPError
from web.hook_checks import check_origin, listed
from web.routing import Before, Route, before, make_router

__all__ = ["csrf", "names_host"]

_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_PORTS = {"http://": ":80", "https://": ":443"}


def csrf(trusted_origins: str | Iterable[str] = (), *, exempt: str | Iterable[str] = ()) -> Before:
    """Answer unsafe requests from other sites with 403.

    ``trusted_origins``: others that may send them, like ``"https://app.example"``. ``exempt``: patterns of paths, like
    ``"/webhooks/*"``, that are not looked at; they are matched as routes are. RouteError: no origin, or no pattern.
    """
    trusted = frozenset(check_origin("csrf(...)", origin) for origin in listed(trusted_origins))
    patterns = make_router(*(Route(("POST",), pattern, _never) for pattern in listed(exempt)))

    def refuse_cross_site(req: Request) -> None:
        if req.method in _SAFE or is_own(req, trusted) or patterns.match("POST", req.raw_path) is not None:
            return
        raise HTTPError(403, "403 Forbidden: this request comes from another site")

    return before(refuse_cross_site)


def is_own(req: Request, trusted: frozenset[str]) -> bool:
    """Whether it comes from this origin, from a trusted one, or from no browser."""
    origin = req.header("origin")
    if origin in trusted:
        return True
    site = req.header("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or names_host(origin, req.host, tls=req.scheme == "https")


def names_host(origin: str, host: str, *, tls: bool) -> bool:
    """Whether an Origin is ``host``, a Host field, which may name the usual port of the scheme (RFC 9110 4.2.3)."""
    for scheme, port in _PORTS.items():
        if origin.startswith(scheme) and not (tls and scheme == "http://"):
            return origin[len(scheme) :] == host.lower().removesuffix(port) != ""
    return False


def _never(req: Request) -> str:
    """The handler of an exempt pattern: only the pattern is used."""
    raise AssertionError(req)
