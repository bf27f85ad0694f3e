"""``app.url_for("user", id=7)``: the path that leads to a route, from its pattern and the values of its captures.

What comes out is matched by the route again, with the same values: a value that the route would not match, or that a
client would change on the way ("." and ".."), is an error.
"""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from web.routing import INT, LITERAL, REST, TEXT, Part, Route, RouteList, describe

__all__ = ["build_url"]

_SAFE = "!$&'()*+,;=:@"  # what may stand in a segment as it is (RFC 3986 3.3)
_BITS = 63


def build_url(routes: RouteList, to: object, params: dict[str, Any]) -> str:
    """See ``App.url_for``."""
    route = _find(routes, to)
    parts: tuple[Part, ...] = route.parts or ((REST, "*"),)  # the bare * is what /* is
    what = f"url_for({to if isinstance(to, str) else describe(to)!r}), {route.pattern}"
    names = [text for kind, text in parts if kind != LITERAL]
    if missing := [name for name in names if name not in params]:
        raise TypeError(f"{what}: no value for {', '.join(missing)}; it takes {_listed(names)}")
    if extra := [name for name in params if name not in names]:
        raise TypeError(f"{what}: {', '.join(extra)} is no capture of it; it takes {_listed(names)}")
    return "".join(f"/{_segment(what, kind, text, params)}" for kind, text in parts)


def _find(routes: RouteList, to: object) -> Route:
    if isinstance(to, str):
        named = routes.by_name.get(to)
        if named is None:
            known = ", ".join(sorted(routes.by_name)) or "none"
            raise LookupError(f"url_for({to!r}): no route has that name; give one name={to!r} (there are: {known})")
        return named
    found = routes.by_handler(to)
    if not found:
        raise LookupError(f"url_for({describe(to)}): it is the handler of no route of this App")
    if any(one.pattern != found[0].pattern for one in found):
        patterns = ", ".join(one.pattern for one in found)
        raise LookupError(f"url_for({describe(to)}): it answers {patterns}; give the route a name, and say that")
    return found[0]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _segment(what: str, kind: int, text: str, params: dict[str, Any]) -> str:
    """One segment, or the segments of ``*``."""
    if kind == LITERAL:
        return quote(text, safe=_SAFE)
    value = params[text]
    where = f"{what}: {text}={value!r}"
    if kind == REST:
        if not isinstance(value, str):
            raise TypeError(f"{where}: text is needed, with '/' between the segments")
        return "/".join(_quoted(where, segment) for segment in value.split("/"))
    if kind == TEXT:
        return _text(where, value)
    if kind == INT:
        return _int(where, value)
    if not isinstance(value, UUID):
        raise TypeError(f"{where}: a uuid.UUID is needed")
    return str(value)


def _int(where: str, value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{where}: an int is needed")
    if not -(2**_BITS) <= value < 2**_BITS:
        raise ValueError(f"{where}: it does not fit 64 bits, so the route would not match")
    return str(int(value))


def _text(where: str, value: object) -> str:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise TypeError(f"{where}: text or an int is needed")
    if value == "":
        raise ValueError(f"{where}: a capture is not empty")
    return _quoted(where, str(value))


def _quoted(where: str, segment: str) -> str:
    if segment in (".", ".."):
        raise ValueError(f"{where}: clients resolve {segment!r} before they ask")
    try:
        return quote(segment, safe=_SAFE)
    except UnicodeEncodeError:
        raise ValueError(f"{where}: it holds half of a surrogate pair, which is no character") from None
