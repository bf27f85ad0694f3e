"""Outgoing: a request as it goes out, made of what ``client.request(...)`` was given; and the one a redirect asks for.

It is a value: URL, method, header fields and body are fixed once it is made. A body is bytes, or an iterable of bytes
that is sent chunked. What cannot be sent is a ValueError or TypeError here, before anything is.
"""

from __future__ import annotations

import json as _json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict
from urllib.parse import urlencode

from web.testing.cookies import Cookies, check_pair
from web.testing.errors import ClientError
from web.testing.multipart import Files, encode_multipart, list_files
from web.testing.urls import Url

__all__ = ["Content", "Outgoing", "Pairs", "RequestOptions", "Values", "make_outgoing"]

Value: TypeAlias = str | int | float | bool | None
Values: TypeAlias = Mapping[str, Value | Sequence[Value]] | Iterable[tuple[str, Value]]
Pairs: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
Content: TypeAlias = bytes | str | Iterable[bytes]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OF_THE_CLIENT = {"content-length", "transfer-encoding"}
_SENT_EMPTY = {"POST", "PUT", "PATCH"}  # whose empty body is told (RFC 9110 8.6)


class RequestOptions(TypedDict, total=False):
    """What ``request``, ``get`` and so on take beside method and URL.

    ``params``: added to the URL's query. ``headers``: stand in for the client's of the same names. ``cookies``: go with
    this request beside those of the jar. ``content`` (bytes, text, or an iterable of bytes, which is sent chunked),
    ``data`` (a form, urlencoded), ``json`` or ``files`` (multipart/form-data, where ``data`` gives its other fields)
    are the body. ``follow_redirects``, ``timeout``: instead of the client's.
    """

    params: Values | None
    headers: Pairs | None
    cookies: Mapping[str, str] | None
    content: Content | None
    data: Values | None
    json: Any
    files: Files | None
    follow_redirects: bool | None
    timeout: float | None


@dataclass(frozen=True)
class Outgoing:
    """``headers``: without Host, Cookie and what frames the body; ``cookies``: those of this request alone."""

    method: str
    url: Url
    headers: tuple[tuple[str, str], ...]
    cookies: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""

    def pieces(self, jar: Cookies) -> Iterator[bytes]:
        """The bytes of it, with the cookies that go there."""
        lines = [f"{self.method} {self.url.target} HTTP/1.1"]
        if not self._has("host"):
            lines.append(f"Host: {self.url.netloc}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        cookies = dict(jar.pairs_for(self.url.scheme, self.url.host, self.url.path)) | dict(self.cookies)
        if cookies and not self._has("cookie"):
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in cookies.items()))
        if not isinstance(self.body, bytes):
            lines.append("Transfer-Encoding: chunked")
        elif self.body or self.method in _SENT_EMPTY:
            lines.append(f"Content-Length: {len(self.body)}")
        yield "\r\n".join([*lines, "", ""]).encode("latin-1")
        if isinstance(self.body, bytes):
            yield self.body
            return
        for chunk in self.body:
            if chunk:
                yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
        yield b"0\r\n\r\n"

    def redirected(self, status: int, location: str) -> Outgoing:
        """The request that follows a redirect (RFC 9110 15.4): a GET without body after 303, and after 301 and 302
        where it was a POST. What is for one origin alone does not go to another."""
        try:
            url = self.url.resolve(location.encode("latin-1").decode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise ClientError(f"{self}: {status} with a Location that leads nowhere: {error}") from None
        following = replace(self, url=url)
        if (status == 303 and self.method != "HEAD") or (status in (301, 302) and self.method == "POST"):
            following = replace(following, method="GET", body=b"").without("content-type")
        elif not isinstance(self.body, bytes):
            raise ClientError(f"{status} to {location}: the body was an iterable and is used up; give bytes")
        if url.origin != self.url.origin:
            following = replace(following.without("authorization", "cookie", "host"), cookies=())
        return following

    def without(self, *names: str) -> Outgoing:
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in names))

    def _has(self, name: str) -> bool:
        return any(pair[0].lower() == name for pair in self.headers)

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


def make_outgoing(method: str, url: Url, defaults: Pairs, options: RequestOptions) -> Outgoing:
    """``defaults``: the client's headers, for those names that the request does not give itself."""
    method = method.upper()
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"{method!r} is no method (RFC 9110 9.1)")
    if method == "CONNECT":
        raise ValueError("CONNECT is for proxies: this client does not ask it")
    kind, body = _make_body(options)
    own = list_pairs(options.get("headers"))
    if kind is not None and not any(name.lower() == "content-type" for name, _ in own):
        own.append(("Content-Type", kind))
    given = {name.lower() for name, _ in own}
    headers = [pair for pair in list_pairs(defaults) if pair[0].lower() not in given] + own
    for name, value in headers:
        check_field(name, value)
    cookies = tuple((options.get("cookies") or {}).items())
    for name, value in cookies:
        check_pair(name, value)
    return Outgoing(method, url.with_query(list_values(options.get("params"))), tuple(headers), cookies, body)


def check_field(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        raise ValueError(f"the header {name!r}: {value!r} cannot be sent (RFC 9110 5)")
    if name.lower() in _OF_THE_CLIENT:
        raise ValueError(f"{name}: the client writes it itself; give content=bytes, or an iterable for chunked")


def list_pairs(pairs: Pairs | None) -> list[tuple[str, str]]:
    if pairs is None:
        return []
    return list(pairs.items() if isinstance(pairs, Mapping) else pairs)


def list_values(values: Values | None) -> list[tuple[str, str]]:
    """Names and texts of what ``params=`` and ``data=`` take: several values below one name are several pairs, True and
    False are "true" and "false", None is empty."""
    pairs: list[tuple[str, str]] = []
    for name, value in () if values is None else values.items() if isinstance(values, Mapping) else values:
        several = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        pairs += [(name, _text_of(name, one)) for one in several]
    return pairs


def _text_of(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
    raise TypeError(
        f"{name!r}: {type(value).__name__} is no value of a query or form; give text, a number or a list of them"
    )


def _make_body(options: RequestOptions) -> tuple[str | None, bytes | Iterable[bytes]]:
    """(content type, body)."""
    given = [name for name in ("content", "data", "json", "files") if options.get(name) is not None]
    if "json" in options and "json" not in given:
        given.append("json")  # None is a value of JSON
    if len(given) > 1 and set(given) != {"data", "files"}:
        raise ValueError(f"{' and '.join(f'{name}=' for name in given)}: a request has one body; give one of them")
    if "json" in given:
        return "application/json", _json.dumps(
            options["json"], ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    if (files := options.get("files")) is not None:
        return encode_multipart(list_values(options.get("data")), list_files(files))
    if (data := options.get("data")) is not None:
        return "application/x-www-form-urlencoded", urlencode(list_values(data)).encode()
    content = options.get("content")
    if content is None:
        return None, b""
    if isinstance(content, str):
        return None, content.encode()
    return None, bytes(content) if isinstance(content, bytes | bytearray | memoryview) else content
