"""``WS(pattern, handler)``: a WebSocket route (RFC 6455). Two styles, told apart by the handler:

- plain, ``handler(event, params, ws)``: called on the event loop for each event: Connect, Message, Binary, Close
- async, ``async def handler(ws)``: runs in a Task and iterates ``ws``; ``async def handler(event, params, ws)``: called
  for one event after the other

The form is a Route for GET whose handler answers the opening handshake: hooks run before it as for every route, and may
refuse. What happens after the 101 is the core's (_core_socket.pxi).
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeAlias

from web._core import Binary, Close, Connect, Message, Request, Response, SocketClosed, WebSocket, open_websocket
from web.errors import RouteError
from web.routing import AfterHook, BeforeHook, Route, describe, is_async, positional
from web.ws_extensions import Deflate
from web.ws_handshake import Accepted, Handshake, Origins

__all__ = ["WS", "Event", "SocketHandler"]

Event: TypeAlias = Connect | Message | Binary | Close
SocketHandler: TypeAlias = (
    Callable[[Event, dict[str, Any], WebSocket], None]
    | Callable[[Event, dict[str, Any], WebSocket], Awaitable[None]]
    | Callable[[WebSocket], Awaitable[None]]
)
Accept: TypeAlias = Callable[[Request], Response | None] | Callable[[Request], Awaitable[Response | None]]


def WS(
    pattern: str,
    handler: SocketHandler,
    *,
    protocols: str | Iterable[str] = (),
    origins: Origins = (),
    accept: Accept | None = None,
    deflate: bool | Deflate = False,
    slow: Literal["close", "drop"] = "close",
    before: Iterable[BeforeHook] = (),
    after: Iterable[AfterHook] = (),
    name: str | None = None,
) -> Route:
    """A WebSocket under a pattern.

    ``protocols``: subprotocols, the preferred first. ``origins``: pages of which other origins may connect; by default
    those of the own site, and whatever is no browser. ``accept(req)``: plain or async; a Response that it returns
    refuses. ``deflate``: permessage-deflate (RFC 7692). ``slow``: what becomes of messages for a peer that does not
    read, past Limits.out_buffer. RouteError: what cannot work.
    """
    label = describe(handler)
    what = f"WS({pattern!r}, {label})"
    if slow not in ("close", "drop"):
        raise RouteError(f"{what}: slow={slow!r}: give 'close' or 'drop'")
    if not isinstance(deflate, (bool, Deflate)):
        raise RouteError(f"{what}: deflate={deflate!r}: give True, False or web.Deflate(...)")
    options = Deflate() if deflate is True else deflate or None
    opening = _Opening(
        Handshake(protocols, origins, options), *_style(what, handler), options=options, drops=slow == "drop"
    )
    waits = accept is not None and is_async(accept)

    def open_socket(req: Request) -> Response:
        refusal = None if accept is None else accept(req)
        return opening.answer(req) if refusal is None else _checked(what, refusal)

    async def open_socket_later(req: Request) -> Response:
        refusal: Any = None if accept is None else accept(req)
        if waits:
            refusal = await refusal
        return opening.answer(req) if refusal is None else _checked(what, refusal)

    chosen: Any = open_socket_later if opening.in_task or waits else open_socket
    chosen.__module__, _, chosen.__qualname__ = label.partition(".")
    return Route(("GET",), pattern, chosen, before=tuple(before), after=tuple(after), name=name)


def _style(what: str, handler: Any) -> tuple[Any, bool]:
    """(what the core calls, whether that is in a Task)."""
    needed, optional = positional(what, handler)
    waits = is_async(handler)
    takes_events = len(needed) <= 3 <= len(needed) + len(optional)
    takes_socket = len(needed) == 1
    if takes_events and not takes_socket:
        return (_one_by_one(handler), True) if waits else (handler, False)
    if takes_socket and waits:
        return handler, True
    hint = "declare it with async def" if takes_socket else "write handler(event, params, ws) or async def handler(ws)"
    raise RouteError(f"{what} takes ({', '.join(needed)}): {hint}")


def _one_by_one(handler: Any) -> Callable[[WebSocket], Awaitable[None]]:
    """An async handler of events, as one that iterates."""

    async def iterate(ws: WebSocket) -> None:
        params = ws.request.params
        failure: BaseException | None = None
        try:
            await handler(Connect(), params, ws)
            async for message in ws:
                await handler(Message(message) if isinstance(message, str) else Binary(message), params, ws)
        except BaseException as error:  # noqa: BLE001 - it is raised below: Close is told first, as plain handlers are
            if not isinstance(error, SocketClosed) or ws.is_open:
                from asyncio import CancelledError

                failure = error
                ws.close(1001 if isinstance(error, CancelledError) else 1011)
        try:
            await handler(Close(ws.close_code or 1006, ws.close_reason), params, ws)
        finally:
            if failure is not None:
                raise failure

    return iterate


def _checked(what: str, refusal: object) -> Response:
    if not isinstance(refusal, Response):
        raise TypeError(f"{what}: accept returned {refusal!r}: return None to accept, or a Response that refuses")
    return refusal


class _Opening:
    """What answers the opening handshake of one route."""

    def __init__(
        self, handshake: Handshake, handler: Any, in_task: bool, *, options: Deflate | None, drops: bool
    ) -> None:
        self.handshake = handshake
        self.handler = handler
        self.in_task = in_task
        self.options = options
        self.drops = drops

    def answer(self, req: Request) -> Response:
        found = self.handshake.check(req)
        if isinstance(found, Response):
            return found
        return open_websocket(
            req, found.headers, self.handler, self.in_task,
            protocol=found.protocol, deflate=self._deflate(found), drops=self.drops,
        )  # fmt: skip

    def _deflate(self, accepted: Accepted) -> tuple[int, int, int, bool, int, bool] | None:
        agreed, options = accepted.deflate, self.options
        if agreed is None or options is None:
            return None
        return (
            agreed.server_max_window_bits, options.mem_level, options.level, not agreed.server_no_context_takeover,
            agreed.client_max_window_bits, not agreed.client_no_context_takeover,
        )  # fmt: skip
