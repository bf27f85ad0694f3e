"""The client's cookies, kept and sent back by the rules of browsers (RFC 6265 5, and what its successor adds to them:
name prefixes, Secure only over https, SameSite=None only with Secure).

One jar belongs to one client. A cookie is known by name, domain and path. What a server wanted to set and a browser
would not keep stands in ``Cookies.refused``, with the reason.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["Cookie", "Cookies"]

MAX_BYTES = 4096  # of name and value together
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DELIMITERS = re.compile(r"[\t\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")


class Refused(Exception):  # noqa: N818 - it says what became of a cookie, and never leaves this module
    """A browser would not keep this cookie; says why."""


@dataclass(frozen=True)
class Cookie:
    """``domain``: the host that it goes to, with all below it unless ``host_only``. ``expires``: in seconds since 1970;
    None: it lasts as long as the client."""

    name: str
    value: str
    domain: str
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None
    expires: float | None = None

    def goes_to(self, scheme: str, host: str, path: str) -> bool:
        """Whether it is sent with a request (RFC 6265 5.4)."""
        in_domain = host == self.domain if self.host_only else domain_matches(host, self.domain)
        return in_domain and path_matches(path, self.path) and (scheme == "https" or not self.secure)


class Cookies(MutableMapping[str, str]):
    """A mapping of names to values, with the attributes behind it (``find``).

    ``cookies[name] = value`` sets one for the client's ``host``; where a name is there several times, reading gives the
    one that is sent first. ``clock``: what time it is, in seconds since 1970.
    """

    def __init__(self, host: str, clock: Callable[[], float] = time.time) -> None:
        self.host = host
        self.clock = clock
        self.refused: list[str] = []
        self._kept: dict[tuple[str, str, str], Cookie] = {}

    def set(self, name: str, value: str, *, domain: str | None = None, path: str = "/") -> None:
        """Keeps a cookie. ``domain``: it goes there and to all below it; None: to the client's host alone."""
        check_pair(name, value)
        self._keep(Cookie(name, value, (domain or self.host).lstrip(".").lower(), path, host_only=domain is None))

    def find(self, name: str) -> Cookie | None:
        """A cookie with its attributes; None: there is none."""
        return next((cookie for cookie in self.jar if cookie.name == name), None)

    @property
    def jar(self) -> list[Cookie]:
        """All that have not expired, in the order in which they are sent: longer paths first, then older ones."""
        now = self.clock()
        live = [one for one in self._kept.values() if one.expires is None or one.expires > now]
        return sorted(live, key=lambda one: -len(one.path))

    def pairs_for(self, scheme: str, host: str, path: str) -> list[tuple[str, str]]:
        """Names and values that go with a request."""
        return [(one.name, one.value) for one in self.jar if one.goes_to(scheme, host, path)]

    def take(self, lines: list[str], scheme: str, host: str, path: str) -> dict[str, str]:
        """Keeps what the Set-Cookie fields of an answer say; the names and values that are kept of it."""
        taken = {}
        for line in lines:
            try:
                cookie = parse_cookie(line, scheme, host, path, self.clock())
            except Refused as why:
                self.refused.append(f"{line}: {why}")
                continue
            self._keep(cookie)
            if cookie.expires is None or cookie.expires > self.clock():
                taken[cookie.name] = cookie.value
        return taken

    def _keep(self, cookie: Cookie) -> None:
        """A cookie that is replaced keeps its place (5.3, step 11); one that has expired goes."""
        key = (cookie.name, cookie.domain, cookie.path)
        self._kept[key] = cookie
        if cookie.expires is not None and cookie.expires <= self.clock():
            del self._kept[key]

    def __getitem__(self, name: str) -> str:
        if (cookie := self.find(name)) is None:
            raise KeyError(name)
        return cookie.value

    def __setitem__(self, name: str, value: str) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        keys = [key for key in self._kept if key[0] == name]
        if not keys:
            raise KeyError(name)
        for key in keys:
            del self._kept[key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(cookie.name for cookie in self.jar))

    def __len__(self) -> int:
        return len({cookie.name for cookie in self.jar})

    def __repr__(self) -> str:
        return f"Cookies({dict(self)!r})"


def check_pair(name: str, value: str) -> None:
    """ValueError for what a Cookie field cannot hold."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(
            f"the cookie {name!r}, {value!r} cannot be sent as it is: encode it, with urllib.parse.quote say"
        )


def domain_matches(host: str, domain: str) -> bool:
    """RFC 6265 5.1.3: the same, or below it; addresses have nothing below them."""
    return host == domain or (host.endswith(f".{domain}") and not is_address(host))


def path_matches(path: str, cookie_path: str) -> bool:
    """RFC 6265 5.1.4."""
    if not path.startswith(cookie_path):
        return False
    return len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"


def default_path(path: str) -> str:
    """RFC 6265 5.1.4: the folder of the request's path."""
    return path[: path.rfind("/")] or "/" if path.startswith("/") else "/"


def is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host.strip("[]"))
        return True
    return False


def parse_cookie(line: str, scheme: str, host: str, path: str, now: float) -> Cookie:
    """The cookie of a Set-Cookie field that came from there (RFC 6265 5.2, 5.3); Refused: no browser would keep it."""
    if _CONTROL.search(line):
        raise Refused("it has a control character")
    pair, *rest = line.split(";")
    name, equals, value = (part.strip(" \t") for part in pair.partition("="))
    if not equals or not name:
        raise Refused("it has no name=")
    if len((name + value).encode("latin-1", "replace")) > MAX_BYTES:
        raise Refused(f"name and value are longer than {MAX_BYTES} bytes")
    attributes: dict[str, str] = {}
    for one in rest:
        key, _, text = one.partition("=")
        attributes[key.strip(" \t").lower()] = text.strip(" \t")  # the last one counts
    given_path = attributes.get("path", "")
    domain, host_only = choose_domain(attributes.get("domain", ""), host)
    cookie = Cookie(
        name,
        value,
        domain,
        given_path if given_path.startswith("/") else default_path(path),
        host_only,
        secure="secure" in attributes,
        http_only="httponly" in attributes,
        same_site=attributes.get("samesite"),
        expires=end_of(attributes, now),
    )
    check_security(cookie, scheme, given_path, "domain" in attributes)
    return cookie


def choose_domain(given: str, host: str) -> tuple[str, bool]:
    """(domain, whether it is for that host alone) of a Domain attribute (5.3, steps 4 to 6)."""
    domain = given.removeprefix(".").lower()
    if domain in ("", host):
        return host, not domain or is_address(host) or "." not in host
    if "." not in domain:
        raise Refused(f"Domain={given} is no domain of one owner")
    if not domain_matches(host, domain):
        raise Refused(f"Domain={given} does not hold the host {host}")
    return domain, False


def check_security(cookie: Cookie, scheme: str, given_path: str, has_domain: bool) -> None:
    if cookie.secure and scheme != "https":
        raise Refused("it is Secure, and this is no https (make the client with scheme='https')")
    prefix = cookie.name.lower()
    if prefix.startswith(("__secure-", "__host-")) and not cookie.secure:
        raise Refused("by its name it must be Secure")
    if prefix.startswith("__host-") and (given_path != "/" or has_domain):
        raise Refused("by its name it must have Path=/ and no Domain")
    if (cookie.same_site or "").lower() == "none" and not cookie.secure:
        raise Refused("SameSite=None needs Secure")


def end_of(attributes: dict[str, str], now: float) -> float | None:
    """When it expires: Max-Age goes before Expires, and what cannot be read counts for nothing (5.2.1, 5.2.2)."""
    age = attributes.get("max-age", "")
    if re.fullmatch(r"-?[0-9]+", age, re.ASCII):
        return now + min(int(age[:20]), 1 << 40) if int(age[:20]) > 0 else 0.0
    return cookie_date(attributes["expires"]) if "expires" in attributes else None


def cookie_date(text: str) -> float | None:
    """Seconds since 1970 of a cookie-date, which is read with much patience (RFC 6265 5.1.1); None: it is none."""
    clock: tuple[int, int, int] | None = None
    day = month = year = None
    for token in _DELIMITERS.split(text):
        if clock is None and (found := re.match(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)", token, re.ASCII)):
            clock = int(found[1]), int(found[2]), int(found[3])
        elif day is None and (found := re.match(r"(\d{1,2})(?!\d)", token, re.ASCII)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := re.match(r"(\d{2,4})(?!\d)", token, re.ASCII)):
            year = int(found[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    if year < 1601:
        return None
    try:
        return datetime(year, month, day, *clock, tzinfo=UTC).timestamp()
    except ValueError:
        return None
