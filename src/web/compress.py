"""``compress()``: bodies made smaller for clients that take it (Accept-Encoding, RFC 9110 12.5.3).

The hook is outer: hooks of the application see bodies as handlers wrote them, and what is coded is what is sent. It
keeps nothing between requests. A whole body is coded where the hook runs; a stream gets an Encoder, which its Producer
drives (``Response._encode_stream``).

Invariants: an answer that could have been coded says ``Vary: Accept-Encoding``, whether it was or not, so that a cache
gives nobody what he cannot read. A coded one names its coding, has no strong ETag (the bytes are not those that the
handler named) and no Accept-Ranges (ranges of coded bytes are not served). GET and HEAD say the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from web._core import Request, Response
from web.conditional import tag_as_known
from web.content_codings import LEVELS, Coding, make_coding
from web.errors import RouteError
from web.headers import Headers
from web.hook_checks import check_whole, listed
from web.negotiation import IDENTITY, accepted
from web.routing import After
from web.vary import add_vary

__all__ = ["TYPES", "compress"]

TYPES = (
    "text/*", "application/json", "application/javascript", "application/xml", "application/wasm", "application/yaml",
    "application/x-ndjson", "application/jsonl", "image/bmp", "font/otf", "font/ttf", "application/vnd.ms-fontobject",
    "+json", "+xml", "+yaml",
)  # fmt: skip

_MINIMUM_MOST = 1 << 30
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)|\+[a-z0-9!#$&^_.-]+")
_EVENT_STREAM = "text/event-stream"  # text/* does not cover it: whoever streams events says that he wants them coded
_BODILESS_OR_PART = (204, 205, 206)
# Already coded; or their value is about the very bytes (RFC 1864, RFC 3230, RFC 9530).
_UNTOUCHED = ("content-encoding", "content-md5", "digest", "content-digest", "repr-digest")


def compress(
    codings: str | Iterable[str] = ("gzip",),
    *,
    minimum: int = 1024,
    types: str | Iterable[str] = TYPES,
    level: Mapping[str, int] | None = None,
) -> After:
    """Code the bodies of answers for clients that take it: whole ones, and streams, where each item is flushed.

    ``codings``: of "zstd", "br" and "gzip", the favourite first; the first two need ``weblatch[compress]`` (zstd from
    Python 3.14 on is the standard library's). ``minimum``: bytes below which a whole body is sent as it is. ``types``:
    media types in lower case, "text/*" for a family (without text/event-stream, which must be named), "+json" for a
    suffix. ``level``: of each coding, like {"gzip": 6}; by default 3 for zstd, 4 for br, 5 for gzip.

    Never coded are: files, answers that have Content-Encoding, a digest or ``Cache-Control: no-transform`` (RFC 9110
    7.7), 204, 205, 206 and 304, answers to requests with Range, and what would not become smaller.

    An answer over TLS that holds both a secret and text that an attacker can choose tells its secret by its length when
    it is compressed (the attack BREACH). Give such answers ``Cache-Control: no-transform``, or add the hook to groups
    without them only.

    RouteError: arguments that cannot be. WebError: a coding whose library is not installed.
    """
    what = "compress(...)"
    names = _check_codings(what, codings)
    levels = _check_levels(what, names, level)
    policy = _Policy(
        {name: make_coding(what, name, levels[name]) for name in names},
        names,
        check_whole(what, "minimum", minimum, 0, _MINIMUM_MOST),
        _check_types(what, types),
    )
    return After(policy.code, outer=True)


def _check_codings(what: str, codings: str | Iterable[str]) -> tuple[str, ...]:
    names = listed(codings)
    for name in names:
        if not isinstance(name, str) or name not in LEVELS:
            raise RouteError(f"{what}: codings={name!r}: give some of {', '.join(map(repr, LEVELS))}")
    if not names or len(set(names)) < len(names):
        raise RouteError(f"{what}: codings={names!r}: name at least one, and each once")
    return names


def _check_levels(what: str, names: tuple[str, ...], given: object) -> dict[str, int]:
    levels = {name: LEVELS[name][2] for name in names}
    if given is None:
        return levels
    if not isinstance(given, Mapping) or not set(given) <= set(names):
        raise RouteError(f"{what}: level={given!r}: give levels of {', '.join(names)}, like {{{names[0]!r}: 3}}")
    for name, value in given.items():
        levels[name] = check_whole(what, f"level[{name!r}]", value, *LEVELS[name][:2])
    return levels


def _check_types(what: str, types: str | Iterable[str]) -> frozenset[str]:
    given = listed(types)
    for one in given:
        if not isinstance(one, str) or not _TYPE.fullmatch(one):
            raise RouteError(f"{what}: types={one!r}: write it like 'text/*', 'application/json' or '+json'")
    return frozenset(given)


@dataclass(frozen=True, slots=True)
class _Policy:
    codings: dict[str, Coding]
    names: tuple[str, ...]  # of codings, the favourite first
    minimum: int
    types: frozenset[str]

    def code(self, req: Request, params: dict[str, Any], resp: Response) -> Response:
        if resp.status == 304:
            return _revalidated(req, resp)
        if not resp.is_streamed and len(resp.body) < self.minimum:
            return resp
        there = resp.headers
        if not self._could_be(resp, there):
            return resp
        resp = add_vary(resp, "Accept-Encoding")
        fields = req.headers
        name = accepted(_joined(fields, "accept-encoding"), self.names)[0]
        if name == IDENTITY or "range" in fields:
            return resp
        coded = _coded(resp, self.codings[name])
        return resp if coded is None else _labelled(coded, there, name)

    def _could_be(self, resp: Response, there: Headers) -> bool:
        """Whether another client might get this answer coded."""
        return (
            resp.path is None
            and resp.status not in _BODILESS_OR_PART
            and self._fits(there.get("content-type", ""))
            and not any(name in there for name in _UNTOUCHED)
            and not _forbids(there)
        )

    def _fits(self, content_type: str) -> bool:
        media = content_type.partition(";")[0].strip().lower()
        family, slash, kind = media.partition("/")
        if not slash or media in self.types or media == _EVENT_STREAM:
            return bool(slash) and media in self.types
        return f"{family}/*" in self.types or ("+" in kind and f"+{kind.rpartition('+')[2]}" in self.types)


def _coded(resp: Response, coding: Coding) -> Response | None:
    """The answer with its body coded; None: that would not be smaller."""
    if resp.is_streamed:
        return resp._encode_stream(coding.stream())
    body = coding.compress(resp.body)
    return resp._with_body(body) if len(body) < len(resp.body) else None


def _labelled(resp: Response, there: Headers, name: str) -> Response:
    resp = resp.add_header("Content-Encoding", name)
    if "accept-ranges" in there:
        resp = resp._without_header("Accept-Ranges")
    tag = there.get("etag")
    return resp if tag is None or tag.startswith("W/") else resp.with_header("ETag", f"W/{tag}")


def _revalidated(req: Request, resp: Response) -> Response:
    """A 304 by a strong ETag for a client that has the coded answer: it gets the tag that it knows, and the Vary of its
    200."""
    tag = resp.headers.get("etag")
    known = None if tag is None else tag_as_known(req.headers.get_all("if-none-match"), tag)
    return resp if known is None or known == tag else add_vary(resp.with_header("ETag", known), "Accept-Encoding")


def _joined(fields: Headers, name: str) -> str | None:
    """All values of a list field as one (RFC 9110 5.3)."""
    return ", ".join(fields.get_all(name)) if name in fields else None


def _forbids(there: Headers) -> bool:
    """Whether Cache-Control says no-transform."""
    directives = (_joined(there, "cache-control") or "").lower().split(",")
    return any(directive.partition("=")[0].strip() == "no-transform" for directive in directives)
