"""Cookies as text (RFC 6265, and the draft that replaces it, RFC 6265bis): Cookie fields into pairs, and one cookie
into the value of a Set-Cookie field. Two functions without state; ``Request.cookies``, ``Response.set_cookie`` and
``Response.clear_cookie`` call them.

Reading never fails, since the client, its user and every site of the same domain choose what comes:

- A pair ends at ";", whatever its value holds; so a quote opens nothing that could swallow the cookies behind it.
- Quotes are kept: for browsers they are part of the value (6265bis 5.6), and what was set comes back the same.
- Only spaces and tabs are cut off, as browsers do. Cutting off other white space would let another name pass for one
  that begins with ``__Host-``.
- Pairs without "=" or without a name are left out: browsers send both for cookies without a name, whose value the
  setter could choose to look like any name.

Writing is strict (the grammar for servers, RFC 6265 4.1.1): a browser drops what it does not like without a word, so
that is told here, as ValueError.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal, TypeAlias

from web.headers import MultiValues

__all__ = ["SIZE_MAX", "SameSite", "cookie_line", "expired_line", "parse_cookies"]

SameSite: TypeAlias = Literal["Strict", "Lax", "None"]

SIZE_MAX = 4096  # bytes of name and value together; browsers ignore a larger cookie (6265bis 5.6)
_ATTRIBUTE_MAX = 1024  # bytes of an attribute's value; browsers ignore a longer attribute (6265bis 5.6)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_YEAR = 1601  # browsers ignore an earlier date (RFC 6265 5.1.1)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OCTETS = re.compile(r'[!#-+\--:<-\[\]-~]*|"[!#-+\--:<-\[\]-~]*"')
_PATH = re.compile(r"/[ -:<-~]*")
_LABEL = r"[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


# ---- reading ----


def parse_cookies(values: Iterable[str]) -> MultiValues:
    """The cookies of the values of all Cookie fields, which were decoded as ISO-8859-1, in their order.

    Names and values are UTF-8; what is not becomes U+FFFD. Nothing is unquoted or percent-decoded. Never raises.
    """
    pairs = []
    for value in values:
        for part in value.split(";"):
            name, equals, content = part.partition("=")
            name = name.strip(" \t")
            if equals and name:
                pairs.append((_utf8(name), _utf8(content.strip(" \t"))))
    return MultiValues(pairs)


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


# ---- writing ----


def cookie_line(
    name: str,
    value: str,
    *,
    max_age: int | timedelta | None = None,
    expires: datetime | None = None,
    path: str = "/",
    domain: str | None = None,
    secure: bool = True,
    http_only: bool = True,
    same_site: SameSite = "Lax",
    partitioned: bool = False,
) -> str:
    """The value of a Set-Cookie field; the arguments are those of ``Response.set_cookie``, as are the errors."""
    what = _check_pair(name, value)
    parts = [f"{name}={value}"]
    if max_age is not None:
        parts.append(f"Max-Age={_seconds(what, max_age)}")
    if expires is not None:
        parts.append(f"Expires={_date(what, expires)}")
    return "; ".join(parts + _scope(what, name, path, domain, secure, http_only, same_site, partitioned))


def expired_line(
    name: str,
    *,
    path: str = "/",
    domain: str | None = None,
    secure: bool = True,
    same_site: SameSite = "Lax",
    partitioned: bool = False,
) -> str:
    """The value of a Set-Cookie field that removes a cookie (RFC 6265 3.1); arguments of ``Response.clear_cookie``.

    Max-Age is for clients whose clock is wrong, Expires for those that know nothing else.
    """
    what = _check_pair(name, "")
    parts = [f"{name}=", "Max-Age=0", f"Expires={_date(what, _EPOCH)}"]
    return "; ".join(parts + _scope(what, name, path, domain, secure, True, same_site, partitioned))


def _check_pair(name: str, value: str) -> str:
    """How messages call the cookie, once its name and value are found good."""
    what = f"cookie {name!r}"
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{what}: a name is made of letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 4.1.1)")
    if not _OCTETS.fullmatch(value):
        raise ValueError(
            f"{what}: a value is ASCII without spaces, quotes, commas, semicolons, backslashes and control characters "
            "(RFC 6265 4.1.1); encode it, as urllib.parse.quote(value) does"
        )
    if (size := len(name) + len(value)) > SIZE_MAX:
        raise ValueError(
            f"{what}: name and value are {size} bytes, and browsers ignore a cookie of more than {SIZE_MAX}; "
            "store the data elsewhere, and its key in the cookie"
        )
    return what


def _scope(
    what: str,
    name: str,
    path: str,
    domain: str | None,
    secure: bool,
    http_only: bool,
    same_site: str,
    partitioned: bool,
) -> list[str]:
    """The attributes that say where the cookie is sent to, and who may read it."""
    if not _PATH.fullmatch(path) or len(path) > _ATTRIBUTE_MAX:
        raise ValueError(
            f"{what}: path={path!r} does not begin with '/', holds a semicolon, a control character or other than "
            f"ASCII, or is longer than {_ATTRIBUTE_MAX}; write it percent-encoded, as it stands in URLs"
        )
    if domain is not None and (not _DOMAIN.fullmatch(domain) or len(domain) > 253):
        raise ValueError(
            f"{what}: domain={domain!r} is no host name; write it like 'example.com', without a dot in front and "
            "with letters beyond ASCII in Punycode"
        )
    if same_site not in ("Strict", "Lax", "None"):
        raise ValueError(f"{what}: same_site={same_site!r}: give 'Strict', 'Lax' or 'None' (as text)")
    _check_secure(what, name, path, domain, secure, same_site, partitioned)
    parts = [f"Path={path}"]
    if domain is not None:
        parts.append(f"Domain={domain}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    parts.append(f"SameSite={same_site}")
    if partitioned:
        parts.append("Partitioned")
    return parts


def _check_secure(
    what: str, name: str, path: str, domain: str | None, secure: bool, same_site: str, partitioned: bool
) -> None:
    """What browsers refuse. They compare the prefixes without case (6265bis 4.1.3, 5.4), so it is done here, too."""
    prefix = name.lower()
    if prefix.startswith("__host-") and (domain is not None or path != "/"):
        raise ValueError(f"{what}: a name that begins with __Host- stands for this host and path='/' alone: "
                         "leave domain and path out, or take another name")  # fmt: skip
    if secure:
        return
    if prefix.startswith(("__host-", "__secure-")):
        raise ValueError(f"{what}: a name that begins with __Host- or __Secure- needs secure=True")
    if same_site == "None":
        raise ValueError(f"{what}: same_site='None' needs secure=True; browsers ignore it otherwise")
    if partitioned:
        raise ValueError(f"{what}: partitioned=True needs secure=True; browsers ignore it otherwise")


def _seconds(what: str, max_age: int | timedelta) -> int:
    if isinstance(max_age, timedelta):
        max_age = max_age // timedelta(seconds=1)
    if type(max_age) is not int:
        raise TypeError(f"{what}: max_age={max_age!r}: give whole seconds or a timedelta")
    if max_age < 1:
        raise ValueError(
            f"{what}: max_age is {max_age} seconds, and a cookie lives for 1 or more; clear_cookie removes"
        )
    return max_age


def _date(what: str, expires: datetime) -> str:
    """As RFC 6265 4.1.1 has it: an IMF-fixdate of RFC 9110 5.6.7."""
    if not isinstance(expires, datetime):
        raise TypeError(f"{what}: expires={expires!r}: give a datetime with a time zone")
    if expires.tzinfo is None:
        raise ValueError(f"{what}: expires={expires} has no time zone; write datetime.now(UTC) + timedelta(...)")
    moment: datetime | None = None
    with suppress(OverflowError):
        moment = expires.astimezone(UTC)
    if moment is None or moment.year < _FIRST_YEAR:
        raise ValueError(f"{what}: expires={expires} is no date of the years {_FIRST_YEAR} to 9999 in UTC")
    return format_datetime(moment, usegmt=True)
