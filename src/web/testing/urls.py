"""Url: an http or https URL as a request needs it: whom to ask, by which name, for what (RFC 3986, RFC 9110 4.2).

Text beyond ASCII and what else a target cannot hold is percent-encoded; what is encoded already stays as it is. A
fragment is left out: it is never sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode, urljoin, urlsplit

__all__ = ["Url"]

_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:@!$&'()*+,;=~?"
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WHOLE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Url:
    """``netloc``: as the Host field says it, without the scheme's own port; ``host``: without port, in small letters;
    ``target``: path and query."""

    scheme: str
    netloc: str
    host: str
    path: str
    target: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """ValueError: it is no URL, or none that this client can ask for."""
        if _CONTROL.search(text):
            raise ValueError(f"{text!r} is no URL: it has a control character")
        try:
            parts = urlsplit(text)
            port = parts.port
            host = parts.hostname or ""
            name = f"[{host}]" if ":" in host else host.encode("ascii" if host.isascii() else "idna").decode()
        except ValueError as error:  # UnicodeError is one
            raise ValueError(f"{text!r} is no URL: {error}") from None
        if parts.scheme not in _PORTS or not re.fullmatch(r"[\w.~!$&'()*+,;=%:\[\]-]+", name, re.ASCII):
            raise ValueError(f"{text!r}: give a URL with http:// or https:// and a host, or a path below base_url")
        if "@" in parts.netloc:
            raise ValueError(f"{text!r}: no user in a URL; give headers={{'Authorization': ...}}")
        path, query = _encoded(parts.path) or "/", _encoded(parts.query)
        netloc = name if port in (None, _PORTS[parts.scheme]) else f"{name}:{port}"
        return cls(parts.scheme, netloc, name.strip("[]"), path, f"{path}?{query}" if query else path)

    @property
    def origin(self) -> tuple[str, str]:
        return self.scheme, self.netloc

    def below(self, text: str) -> Url:
        """What a client's ``url`` means, where this is its base: a whole URL, or what is appended to this path."""
        if _WHOLE.match(text):
            return Url.parse(text)
        if text[:1] in ("", "?"):
            return Url.parse(f"{self.scheme}://{self.netloc}{self.path}{text}")
        return Url.parse(f"{self.scheme}://{self.netloc}{self.path.rstrip('/')}/{text.removeprefix('/')}")

    def resolve(self, reference: str) -> Url:
        """What a Location field means in an answer from here (RFC 9110 10.2.2)."""
        return Url.parse(urljoin(str(self), reference))

    def with_query(self, pairs: list[tuple[str, str]]) -> Url:
        """This one with fields behind those that its query has."""
        mark = "&" if "?" in self.target else "?"
        return replace(self, target=f"{self.target}{mark}{urlencode(pairs)}") if pairs else self

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def _encoded(text: str) -> str:
    return _LONE_PERCENT.sub("%25", quote(text, safe=_SAFE, errors="surrogateescape"))
