"""``SSE(pattern, handler)``: a stream of server-sent events (WHATWG HTML 9.2), for EventSource of browsers.

``ServerEvent`` is a value, checked when it is made; ``encode()`` writes it so that the algorithm of 9.2.6 gives back
what was said. The form is a Route for GET whose handler gives an iterator; its items are encoded as they are sent.

The first item is a comment of our own. The head goes out with it before the handler's generator takes its first step:
an EventSource is open though nothing has happened yet. What a handler does before it returns an iterator comes before
the head, so it may still refuse. Keep-alive and the end at a stop are the core's (_core_events.pxi).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeAlias, TypedDict

from web._core import Request, Response, event_stream
from web.hook_checks import check_seconds
from web.routing import AfterHook, BeforeHook, Later, Params, Route, describe, is_async, positional

__all__ = ["SSE", "EventsHandler", "SSEOptions", "ServerEvent"]

Item: TypeAlias = "ServerEvent | str | dict[Any, Any] | list[Any]"
Answer: TypeAlias = Iterator[Item] | AsyncIterator[Item] | Response
EventsHandler: TypeAlias = (
    Callable[[Request], Answer | Later[Answer]] | Callable[[Request, Params], Answer | Later[Answer]]
)
Dumps: TypeAlias = Callable[[Any], str | bytes]

_OPENING = b": \n\n"
_LINE_END = re.compile(r"\r\n|\n|\r")
_RETRY_MOST = 2**31 - 1  # milliseconds: what browsers keep
_SHOWN_MOST = 80  # characters of what a handler yielded, in a message
# No cache may answer with an old stream, nothing on the way may code it (and hold events back until a block is full),
# and nginx is not to buffer it.
_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event.

    ``data``: text of any lines, or a dict or list, which is sent as JSON; None: nothing is told to the page.
    ``event``: its type; None: "message". ``id``: what the browser will send as Last-Event-ID when it connects anew; ""
    takes it back. ``retry``: milliseconds until it does. ``comment``: text that browsers pass over.

    ValueError names the field: line ends in ``id`` and ``event``, NUL in ``id`` (9.2.6), ``event`` without data, what
    is no UTF-8, an event of nothing. TypeError: a field of another type.
    """

    data: str | dict[Any, Any] | list[Any] | None = None
    event: str | None = field(default=None, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    retry: int | None = field(default=None, kw_only=True)
    comment: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.data, (str, dict, list, type(None))):
            raise TypeError(f"ServerEvent(data={self.data!r}): give str, or a dict or list, which is sent as JSON")
        for name, text, forbidden in (
            ("data", self.data if isinstance(self.data, str) else None, ""),
            ("event", self.event, "\r\n"),
            ("id", self.id, "\r\n\0"),
            ("comment", self.comment, ""),
        ):
            _check_text(name, text, forbidden)
        if self.retry is not None and (type(self.retry) is not int or not 0 <= self.retry <= _RETRY_MOST):
            raise ValueError(f"ServerEvent(retry={self.retry!r}): give whole milliseconds, 0 to {_RETRY_MOST}")
        if self.event is not None and self.data is None:
            raise ValueError(f"ServerEvent(event={self.event!r}): browsers pass over an event without data; give data")
        if self.data is None and self.id is None and self.retry is None and self.comment is None:
            raise ValueError("ServerEvent(): it says nothing; give data, id, retry or comment")

    def encode(self) -> bytes:
        """The event as it is sent, with the empty line that ends it. JSON is written as Response.json() does it."""
        return _encoded(self, None)


def _encoded(event: ServerEvent, dumps: Dumps | None) -> bytes:
    """``dumps``: writes JSON; None: as Response.json() does it."""
    lines = []
    if event.comment is not None:
        lines += [f": {line}\n" for line in _LINE_END.split(event.comment)]
    if event.event is not None:
        lines.append(f"event: {event.event}\n")
    if event.id is not None:
        lines.append(f"id: {event.id}\n")
    if event.retry is not None:
        lines.append(f"retry: {event.retry}\n")
    if event.data is not None:
        lines += [f"data: {line}\n" for line in _LINE_END.split(_text_of(event.data, dumps))]
    lines.append("\n")
    return "".join(lines).encode()


def _check_text(name: str, text: object, forbidden: str) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise TypeError(f"ServerEvent({name}={text!r}): give text, not {type(text).__name__}")
    for character in forbidden:
        if character in text:
            raise ValueError(f"ServerEvent({name}={text!r}): {character!r} cannot stand in it (WHATWG HTML 9.2.6)")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"ServerEvent({name}={text!r}): it cannot be sent as UTF-8: {error.reason}") from None


def _text_of(data: str | dict[Any, Any] | list[Any], dumps: Dumps | None) -> str:
    if isinstance(data, str):
        return data
    text = Response.json(data).body if dumps is None else dumps(data)
    return text.decode() if isinstance(text, bytes) else text


# ---- the form ----


class SSEOptions(TypedDict, total=False):
    """The options of ``SSE``."""

    keep_alive: float | None
    blocking: bool | None
    before: Sequence[BeforeHook]
    after: Sequence[AfterHook]
    name: str | None


def SSE(
    pattern: str,
    handler: EventsHandler,
    *,
    keep_alive: float | None = 15.0,
    blocking: bool | None = None,
    before: Sequence[BeforeHook] = (),
    after: Sequence[AfterHook] = (),
    name: str | None = None,
) -> Route:
    """A stream of events under a pattern, answered to GET.

    ``handler(req)`` or ``handler(req, params)`` yields ServerEvent, str (its data), dict or list (data as JSON): an
    async generator, or a plain one, which runs in a thread with ``blocking=True`` and else must not wait. One that does
    not yield returns such a generator, or a Response, which is sent instead: 204 tells an EventSource to stop.

    ``keep_alive``: seconds without an event after which the server sends a comment; None: never. ``blocking``,
    ``before``, ``after``, ``name``: those of every route. RouteError: what cannot work.
    """
    label = describe(handler)
    what = f"SSE({pattern!r}, {label})"
    positional(what, handler, may_yield=True)  # what cannot be called cannot be wrapped either
    seconds = 0.0 if keep_alive is None else check_seconds(what, "keep_alive", keep_alive)
    opening = _Opening(f"handler {label} of route {pattern}", seconds)

    def open_stream(*arguments: Any) -> Response:
        call: Any = handler
        return opening.answer(arguments[0], call(*arguments), in_task=False)

    async def open_stream_later(*arguments: Any) -> Response:
        call: Any = handler
        result = call(*arguments)
        if not isinstance(result, AsyncIterator):
            result = await result
        return opening.answer(arguments[0], result, in_task=True)

    chosen: Any = wraps(handler)(open_stream_later if is_async(handler) else open_stream)  # its parameters are told
    chosen.__module__, _, chosen.__qualname__ = label.partition(".")
    return Route(("GET",), pattern, chosen, blocking=blocking, before=before, after=after, name=name)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What makes an answer of what the handler of one route gave."""

    what: str
    keep_alive: float

    def answer(self, req: Request, result: object, *, in_task: bool) -> Response:
        if isinstance(result, Response):
            return result
        json = None if req.app is None else req.app._json  # later, when items come, no context says it any more
        dumps = None if json is None else json.dumps
        if isinstance(result, AsyncIterator) and in_task:
            return event_stream(_LaterEvents(self, result, dumps), _HEADERS, self.keep_alive)
        if isinstance(result, Iterator):
            return event_stream(_Events(self, result, dumps), _HEADERS, self.keep_alive)
        advice = (
            "declare it with async def" if isinstance(result, AsyncIterator) else "write a generator, or return one"
        )
        raise TypeError(f"{self.what} returned {_shown(result)}: {advice}")

    def encode(self, item: object, dumps: Dumps | None) -> bytes:
        if isinstance(item, (str, dict, list)):
            return _encoded(ServerEvent(item), dumps)
        if isinstance(item, ServerEvent):
            return _encoded(item, dumps)
        raise TypeError(f"{self.what} yielded {_shown(item)}: yield ServerEvent(...), str, dict or list")


class _Events:
    """The items of a plain iterator, encoded, behind a comment."""

    def __init__(self, opening: _Opening, items: Iterator[object], dumps: Dumps | None) -> None:
        self._opening = opening
        self._items = items
        self._dumps = dumps
        self._begun = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._begun:
            self._begun = True
            return _OPENING
        return self._opening.encode(next(self._items), self._dumps)

    def close(self) -> None:
        if (close := getattr(self._items, "close", None)) is not None:
            close()


class _LaterEvents:
    """The same of an async one."""

    def __init__(self, opening: _Opening, items: AsyncIterator[object], dumps: Dumps | None) -> None:
        self._opening = opening
        self._items = items
        self._dumps = dumps
        self._begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._begun:
            self._begun = True
            return _OPENING
        return self._opening.encode(await anext(self._items), self._dumps)

    async def aclose(self) -> None:
        if (close := getattr(self._items, "aclose", None)) is not None:
            await close()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MOST else text[:_SHOWN_MOST] + "..."
