"""What the arguments of built-in hooks must be: checked where a hook is made, before anything is served.

Each check names the hook (``what``, as it was written), raises RouteError, and gives the value as the hook uses it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from web._core import Response
from web.errors import RouteError
from web.routing import is_async

__all__ = [
    "HOST", "ORIGIN", "ask", "check_field", "check_function", "check_host", "check_names", "check_origin",
    "check_seconds", "check_switch", "check_whole", "listed",
]  # fmt: skip

# What a browser writes into Origin (RFC 6454 6.2), but "null": lower case, no path.
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def listed(values: str | Iterable[Any]) -> tuple[Any, ...]:
    """One text or several, as several."""
    return (values,) if isinstance(values, str) else tuple(values)


def check_origin(what: str, origin: object) -> str:
    """An origin as browsers send it, ``scheme://host`` or ``scheme://host:port``; any other spelling never matches."""
    found = ORIGIN.fullmatch(origin) if isinstance(origin, str) else None
    if found is None or int(found[3] or 0) > 65535:
        hint = "; 'null' is every sandboxed page" if origin == "null" else ""
        raise RouteError(
            f"{what}: {origin!r} is no origin; write it as browsers send it, like 'https://app.example'{hint}"
        )
    if found[3] == _DEFAULT_PORTS.get(found[1], ""):
        raise RouteError(f"{what}: browsers leave the usual port out; write '{found[1]}://{found[2]}' for {origin!r}")
    return found[0]


def check_host(what: str, host: object) -> str:
    """A host as it stands in a URL, in lower case, without port."""
    lowered = host.lower() if isinstance(host, str) else ""
    if not HOST.fullmatch(lowered):
        raise RouteError(
            f"{what}: {host!r} is no host; write a name or an address without scheme and port, like 'example.org'"
        )
    return lowered


def check_names(what: str, kind: str, names: str | Iterable[Any]) -> tuple[str, ...]:
    """Methods or names of header fields: tokens (RFC 9110 5.6.2)."""
    given = listed(names)
    for name in given:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise RouteError(f"{what}: {kind}={name!r} is no name (RFC 9110 5.6.2)")
    return given


def check_field(what: str, name: str, value: object) -> str:
    """A header field that can be sent with this value."""
    if not isinstance(value, str) or not value:
        raise RouteError(f"{what}: {name} is {value!r}; give a text that is not empty, or None")
    try:
        Response.empty().with_header(name, value)
    except ValueError as error:
        raise RouteError(f"{what}: {error}") from None
    return value


def check_whole(what: str, name: str, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise RouteError(f"{what}: {name}={value!r}: give a whole number from {least} to {most}")
    return value


def check_seconds(what: str, name: str, value: object, most: float = 1e6) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.001 <= value <= most:
        raise RouteError(f"{what}: {name}={value!r}: give a number of seconds from 0.001 to {most:g}")
    return float(value)


def check_switch(what: str, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RouteError(f"{what}: {name}={value!r}: give True or False")
    return value


def check_function(what: str, name: str, function: object) -> Callable[..., object]:
    """A plain function that a hook asks during a request."""
    if not callable(function) or is_async(function):
        raise RouteError(f"{what}: {name}={function!r}: give a plain function; hooks do not wait for it")
    return function


def ask(what: str, function: Callable[..., object], value: object) -> bool:
    """What a function of ``check_function`` says. TypeError unless it is a bool: a coroutine would count as yes."""
    answer = function(value)
    if not isinstance(answer, bool):
        raise TypeError(f"{what}: the function gave {answer!r}, for {value!r}; True or False is needed")
    return answer
