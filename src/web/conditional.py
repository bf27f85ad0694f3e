"""Preconditions (RFC 9110 13) and what is selected of a representation (14): decided here, carried out by the core.

Pure: fields and validators in, a Decision out. A field that is malformed is ignored where that is safe, and fails its
condition where it protects a change: If-Match with no valid entity tag matches nothing.
"""

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from web.dates import parse_http_date
from web.ranges import Span, select

__all__ = ["GO_ON", "Decision", "decide", "entity_tags", "is_entity_tag", "precondition", "tag_as_known"]

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"(?:[ \t,]*({_TAG})[ \t]*(?=,|$))")
_STRONG_AFTER = 2  # seconds after which a date is a strong validator: the coarsest clock of file systems (8.8.2.2)

Fields = Callable[[str], list[str]]


class Decision(NamedTuple):
    """What becomes of an answer with 200. ``status``: 200 as it is, 206 ``spans`` of it, 304, 412, 416; ``reason`` for
    the client, of 412 and 416."""

    status: int
    spans: tuple[Span, ...] = ()
    reason: str = ""


GO_ON = Decision(200)


def is_entity_tag(text: str) -> bool:
    """``"..."`` or ``W/"..."`` (8.8.3)."""
    return re.fullmatch(_TAG, text) is not None


def entity_tags(values: list[str]) -> list[str]:
    """The entity tags of a list (If-Match, If-None-Match); up to the first member that is none."""
    found: list[str] = []
    text = ",".join(values)
    at = 0
    while (one := _TAGS.match(text, at)) is not None:
        found.append(one[1])
        at = one.end()
    return found


def tag_as_known(values: list[str], etag: str) -> str:
    """The tag that a 304 says. ``values``: of If-None-Match. Who has only the weak form of a strong tag, since the file
    was young or the body coded, gets that one: a cache updates nothing by a strong tag that it has not stored (RFC 9111
    4.3.4)."""
    known = entity_tags(values)
    return f"W/{etag}" if etag not in known and f"W/{etag}" in known else etag


def precondition(method: str, fields: Fields, etag: str | None, modified: int | None) -> Decision:
    """The conditions in the order of 13.2.2. ``fields``: name -> its values; ``etag``, ``modified`` (seconds since
    1970): the validators of what there is now, None: unknown; both None: there is nothing."""
    exists = etag is not None or modified is not None
    is_read = method in ("GET", "HEAD")
    if wanted := fields("if-match"):  # 13.1.1: compared strongly
        if not (exists if _is_any(wanted) else etag in entity_tags(wanted) and not _is_weak(etag)):
            return Decision(412, reason="If-Match names no state that this is in")
    elif wanted := fields("if-unmodified-since"):  # 13.1.4
        since = parse_http_date(wanted[0]) if len(wanted) == 1 else None
        if since is not None and modified is not None and modified > since:
            return Decision(412, reason="it was modified after If-Unmodified-Since")
    if wanted := fields("if-none-match"):  # 13.1.2: compared weakly
        same = exists if _is_any(wanted) else etag is not None and _opaque(etag) in map(_opaque, entity_tags(wanted))
        if same:
            return Decision(304) if is_read else Decision(412, reason="If-None-Match names the state that this is in")
    elif is_read and (wanted := fields("if-modified-since")):  # 13.1.3
        since = parse_http_date(wanted[0]) if len(wanted) == 1 else None
        if since is not None and modified is not None and modified <= since:
            return Decision(304)
    return GO_ON


def decide(method: str, fields: Fields, etag: str | None, last_modified: str | None, size: int | None) -> Decision:
    """What becomes of an answer to GET or HEAD that would be 200. ``etag``, ``last_modified``: its fields; ``size``:
    the bytes of its body, None: not known, or not to be divided."""
    if etag is not None and not is_entity_tag(etag):
        etag = None
    modified = None if last_modified is None else parse_http_date(last_modified)
    if etag is None and modified is None:
        return GO_ON
    decision = precondition(method, fields, etag, modified)
    if decision is not GO_ON or method != "GET" or size is None:  # 14.2: ranges are defined for GET alone
        return decision
    ranges = fields("range")
    if len(ranges) != 1 or not _same_state(fields("if-range"), etag, last_modified, modified):
        return GO_ON
    chosen = select(ranges[0], size)
    if chosen is None:
        return GO_ON
    return Decision(416, reason=chosen) if isinstance(chosen, str) else Decision(206, tuple(chosen))


def _same_state(wanted: list[str], etag: str | None, last_modified: str | None, modified: int | None) -> bool:
    """If-Range (13.1.5): whether a part of what there is now fits to what the client has. Strong validators only."""
    if not wanted:
        return True
    if len(wanted) > 1:
        return False
    if is_entity_tag(wanted[0]):
        return wanted[0] == etag and not _is_weak(wanted[0])
    return modified is not None and wanted[0] == last_modified and time.time() - modified >= _STRONG_AFTER


def _is_any(values: list[str]) -> bool:
    return len(values) == 1 and values[0] == "*"


def _is_weak(tag: str | None) -> bool:
    return tag is not None and tag.startswith("W/")


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")
