"""The opening handshake of a WebSocket (RFC 6455 4.2), as a server checks it: from a Request to what is agreed, or to
the answer that refuses. It runs once for a connection, in plain Python.

``Handshake`` is what a route accepts, checked when it is made. ``Handshake.check`` looks in this order:

1. 405: another method than GET. 400: HTTP/1.0, or a request with a body.
2. 426: no ``Upgrade: websocket``; it was opened like a page. 400: no ``Connection: Upgrade``.
3. 426: another version than 13 (4.4), or none. A 426 has the fields Upgrade and Sec-WebSocket-Version.
4. 400: Sec-WebSocket-Key is not, once, the base64 of 16 bytes.
5. 403: a page of another site asks. Browsers let any page connect to any site, and send its cookies along.
6. 400: Sec-WebSocket-Protocol or Sec-WebSocket-Extensions breaks its grammar.

Of the subprotocols that the client names, that one is chosen which stands first in the server's own list: RFC 6455
leaves the choice to the server. None in common: the connection is accepted without one (4.2.2), and the client decides.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha1
from typing import TypeAlias

from web._core import Request, Response, upgrade_required
from web.csrf import names_host
from web.errors import RouteError
from web.hook_checks import ORIGIN, ask, check_function, check_names, check_origin, listed
from web.ws_extensions import Agreed, Deflate, negotiate, parse_offers

__all__ = ["Accepted", "Handshake", "accept_key"]

Origins: TypeAlias = str | Iterable[str] | Callable[[str], bool]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes: the last digit has four bits that are zero (RFC 4648 3.5)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WHAT = "WS(...)"
_FORBIDDEN = Response.text("403 Forbidden: pages of this origin may not connect", status=403)


def accept_key(key: str) -> str:
    """The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return b64encode(sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A handshake that may be answered with 101."""

    accept: str
    protocol: str | None
    deflate: Agreed | None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All fields of the 101 that are the handshake's."""
        said = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", self.accept)]
        if self.protocol is not None:
            said.append(("Sec-WebSocket-Protocol", self.protocol))
        if self.deflate is not None:
            said.append(("Sec-WebSocket-Extensions", self.deflate.header))
        return said


class Handshake:
    """What a route accepts.

    ``protocols``: subprotocols (tokens), the preferred first. ``origins``: pages of which other origins may connect,
    like ``["https://app.example"]``; ``"*"`` for any; or a plain function from an origin to bool, which then decides
    for this very origin, too. Those that send no Origin are no browsers, and may. ``deflate``: compression, or None.
    RouteError: a name that is no token or comes twice, or no origin.
    """

    __slots__ = ("_any_origin", "_ask", "_origins", "deflate", "protocols")

    def __init__(
        self, protocols: str | Iterable[str] = (), origins: Origins = (), deflate: Deflate | None = None
    ) -> None:
        self.protocols = check_names(_WHAT, "protocols", protocols)
        if len(set(self.protocols)) != len(self.protocols):
            raise RouteError(f"{_WHAT}: protocols={list(self.protocols)!r}: name each one once")
        self.deflate = deflate
        self._ask: Callable[..., object] | None = None
        self._origins: frozenset[str] = frozenset()
        self._any_origin = origins == "*" or (not callable(origins) and listed(origins) == ("*",))
        if self._any_origin:
            return
        if callable(origins):
            self._ask = check_function(_WHAT, "origins", origins)
        else:
            self._origins = frozenset(check_origin(_WHAT, origin) for origin in listed(origins))

    def check(self, req: Request) -> Accepted | Response:
        """What is agreed, or the answer that refuses. Raises what a function of ``origins`` does."""
        refusal = _refused_request(req) or self._refused_origin(req)
        if refusal is not None:
            return refusal
        named = _protocols(req.headers.get_all("sec-websocket-protocol"))
        if named is None:
            return _bad("Sec-WebSocket-Protocol must be a list of different tokens (RFC 6455 4.1)")
        offered = req.headers.get_all("sec-websocket-extensions")
        if parse_offers(offered) is None:
            return _bad("Sec-WebSocket-Extensions is malformed (RFC 6455 9.1)")
        return Accepted(
            accept_key(req.headers["sec-websocket-key"]),
            next((name for name in self.protocols if name in named), None),
            None if self.deflate is None else negotiate(offered, self.deflate),
        )

    def _refused_origin(self, req: Request) -> Response | None:
        given = req.headers.get_all("origin")
        if not given or self._any_origin:
            return None
        return None if len(given) == 1 and self._admits(given[0], req) else _FORBIDDEN

    def _admits(self, origin: str, req: Request) -> bool:
        if self._ask is not None:
            return ORIGIN.fullmatch(origin) is not None and ask(_WHAT, self._ask, origin)
        return origin in self._origins or names_host(origin, req.host, tls=req.scheme == "https")


def _refused_request(req: Request) -> Response | None:
    """What is wrong with it, whoever sent it."""
    if req.method != "GET":
        return Response.text(
            "405 Method Not Allowed: a WebSocket is opened with GET", status=405, headers={"Allow": "GET"}
        )
    if req.http_version == "1.0":
        return _bad("a WebSocket is opened with HTTP/1.1")
    if "transfer-encoding" in req.headers or req.headers.get("content-length", "0").strip("0"):
        return _bad("the request that opens a WebSocket has no body")
    if "websocket" not in _options(req, "upgrade"):
        return _upgrade("this is a WebSocket: connect to it with a ws:// or wss:// URL")
    if "upgrade" not in _options(req, "connection"):
        return _bad("Connection must name Upgrade (RFC 6455 4.2.1)")
    if req.headers.get_all("sec-websocket-version") != ["13"]:
        return _upgrade("version 13 of the WebSocket protocol is needed")
    keys = req.headers.get_all("sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return _bad("Sec-WebSocket-Key must be 16 bytes in base64, once (RFC 6455 4.2.1)")
    return None


def _options(req: Request, name: str) -> set[str]:
    """The elements of all fields of a name, in lower case."""
    return {one.strip(" \t").lower() for value in req.headers.get_all(name) for one in value.split(",")}


def _protocols(values: list[str]) -> set[str] | None:
    """The subprotocols that the client named; None: not the grammar, or one comes twice (RFC 6455 4.1)."""
    named = [name for value in values for one in value.split(",") if (name := one.strip(" \t"))]
    if len(set(named)) != len(named) or not all(map(_TOKEN.fullmatch, named)):
        return None
    return set(named)


def _upgrade(why: str) -> Response:
    return upgrade_required(f"426 Upgrade Required: {why}", [("Sec-WebSocket-Version", "13")])


def _bad(why: str) -> Response:
    return Response.text(f"400 Bad Request: {why}", status=400)
