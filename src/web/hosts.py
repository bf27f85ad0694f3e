"""``hosts(["example.org", "*.example.org"])``: the hosts that an App answers for (RFC 9110 7.2, 15.5.20).

A request for another one is answered with 421 before any hook sees it, so that nothing that is made of ``req.host``,
a link or a redirect, can be somebody else's. The form is checked here; ``web._core.Hosts`` compares.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from web._core import Hosts
from web.errors import RouteError

__all__ = ["HostsForm", "hosts"]

_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class HostsForm:
    """Names, addresses, and ``*.name`` for all names below one."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise RouteError("hosts([]): no request could be answered; name at least one, or leave it out")
        name: Any
        for name in self.names:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise RouteError(
                    f"hosts: {name!r} is no host; write 'example.org', '*.example.org', '192.0.2.1' or "
                    "'[2001:db8::1]', without scheme and port (any port counts), other alphabets as 'xn--...'"
                )

    def __repr__(self) -> str:
        return f"hosts({list(self.names)!r})"

    def compiled(self) -> Hosts:
        lower = [name.lower() for name in self.names]
        return Hosts([one for one in lower if one[0] != "*"], [one[1:] for one in lower if one[0] == "*"])


def hosts(names: Iterable[str]) -> HostsForm:
    """Answer for these hosts only; 421 for others. ``*.example.org`` is every name below it, and not itself."""
    return HostsForm((names,) if isinstance(names, str) else tuple(names))
