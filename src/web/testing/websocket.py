"""SocketExchange: one WebSocket (RFC 6455) on a Link of its own, from the opening handshake to the end, on the client's
side; and the two sessions that tests hold, which run it by a driver.

It is generators (Waiting), as an Exchange is, and begins with one: after the 101 the Link carries frames. Frames go out
through one buffer, so that what a time-out cut short goes on with the next call; what comes is read to the last byte
whenever it is looked at, and waits here. Nothing is read before it was waited for: two Tasks may wait for one Link (one
sends, one receives), and both are woken by what comes.

    OPEN -> said (our close frame is queued; nothing more is sent) -> ended (the server has ended the connection)

``close_code``: what the server said, 1006 where the connection ended without that. Whoever opened it calls drop().
"""

from __future__ import annotations

import json as _json
import os
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

from web.headers import Headers
from web.hotpath import Deflater, FrameError, MessageReader, is_token, write_close, write_frame
from web.testing.drivers import Alone, Hosted, Inside
from web.testing.errors import ClientError, ReplyError, SocketEnded, SocketRefused
from web.testing.exchange import Exchange, Plan
from web.testing.link import Link, Waiting
from web.testing.outgoing import Outgoing, Pairs, list_pairs, make_outgoing
from web.testing.urls import Url
from web.ws_extensions import parse_offers
from web.ws_handshake import accept_key

__all__ = [
    "AsyncWebSocketSession",
    "SocketExchange",
    "SocketOptions",
    "WebSocketSession",
    "make_opening",
    "open_socket",
]

TEXT, BINARY, CLOSE, PONG = 1, 2, 8, 10  # opcodes (RFC 6455 5.2)
BROKEN = 1006  # the code that stands for a connection without a close frame (RFC 6455 7.4.1)
_ORDINARY = (1000, 1001, 1005)  # codes after which iteration just ends
_OFFER = "permessage-deflate; client_max_window_bits"

Message = str | bytes


class SocketOptions(TypedDict, total=False):
    """What ``websocket`` takes beside the path.

    ``protocols``: subprotocols that are offered, the preferred first. ``headers``: stand in for the client's and for
    those of the handshake. ``origin``: the page that connects, as a browser says it. ``deflate``: permessage-deflate is
    offered. ``timeout``: instead of the client's, for the handshake, each message and the end.
    """

    protocols: str | Iterable[str]
    headers: Pairs | None
    origin: str | None
    deflate: bool
    timeout: float | None


@dataclass(frozen=True)
class _Limits:
    """What a server may send here: it is the one that is tested, and its own limits are for what it receives."""

    frame: int = 1 << 32
    message: int = 1 << 32
    fragments: int = 1 << 32


def make_opening(url: Url, defaults: Pairs, options: SocketOptions) -> Outgoing:
    """The request of the opening handshake (RFC 6455 4.1). ValueError, TypeError: it cannot be sent so."""
    unknown = options.keys() - SocketOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"{', '.join(sorted(unknown))}: a WebSocket has {', '.join(SocketOptions.__annotations__)}")
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(os.urandom(16)).decode(),
    }
    if offered := _protocols(options.get("protocols") or ()):
        fields["Sec-WebSocket-Protocol"] = ", ".join(offered)
    if (origin := options.get("origin")) is not None:
        fields["Origin"] = origin
    if options.get("deflate"):
        fields["Sec-WebSocket-Extensions"] = _OFFER
    named = {name.lower() for name in fields}
    kept = [pair for pair in list_pairs(defaults) if pair[0].lower() not in named]
    return make_outgoing("GET", url, [*kept, *fields.items()], {"headers": options.get("headers")})


def _protocols(given: str | Iterable[str]) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    if len(set(names)) != len(names) or not all(name.isascii() and is_token(name.encode()) for name in names):
        raise ValueError(f"protocols={names!r}: give names without spaces or commas, each once (RFC 6455 4.1)")
    return names


def open_socket(plan: Plan, outgoing: Outgoing) -> Waiting[SocketExchange]:
    """Asks, and gives the WebSocket, which is to be dropped. SocketRefused: any answer but a 101. Whatever is raised
    closes the connection here."""
    exchange = Exchange(plan, outgoing, upgrades=True)
    try:
        yield from exchange.start()
        if exchange.head.status == 101:
            return SocketExchange(exchange)
        reply = yield from exchange.reply()
        exchange.raise_failure()
        raise SocketRefused(f"{outgoing.url}: no WebSocket, but {reply.status_code} {reply.reason_phrase}", reply)
    except BaseException:  # GeneratorExit, too: who waited has given up
        exchange.close()
        raise


class SocketExchange:
    """A WebSocket whose 101 is there. ReplyError: it does not agree with what was asked for."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.headers = exchange.head.headers
        self.close_code: int | None = None
        self.close_reason = ""
        self._link = exchange.link
        self._link.what = f"WebSocket {exchange.outgoing.url}"
        self._asked = {name.lower(): value for name, value in exchange.outgoing.headers}
        self.protocol = self._agreed_protocol()
        self._deflater: Deflater | None = None
        self._reader = self._make_codec()
        self._out = bytearray()  # frames that are to go
        self._arrived: deque[Message] = deque()
        self._fault: ReplyError | None = None
        self._said = False
        self._ended = False
        self._is_receiving = False
        self._take(exchange.rest())
        self._pull()

    @property
    def link(self) -> Link:
        """For drivers."""
        return self._link

    def send(self, data: object) -> Waiting[None]:
        """Sends a message; the end is there once all of it went."""
        opcode, payload = _payload(data)
        if self._said or self.close_code is not None:
            raise self._end_error()
        link = self._link.until(self.exchange.plan.timeout)
        if self._deflater is None:
            self._put(opcode, payload)
        else:
            self._put(opcode, self._deflater.message(payload), packed=True)
        self._push()
        while self._out:
            yield from self._wait(link)

    def receive(self, timeout: float | None) -> Waiting[Message]:
        """The next message. At the end, once all are taken: what the application raised, or SocketEnded."""
        if self._is_receiving:
            raise ClientError(f"{self._link.what}: another Task awaits its messages")
        self._is_receiving = True
        try:
            link = self._link.until(self.exchange.plan.timeout if timeout is None else timeout)
            while not self._arrived:
                if self.close_code is not None:
                    self.raise_failure()
                    raise self._end_error()
                yield from self._wait(link)
            return self._arrived.popleft()
        finally:
            self._is_receiving = False

    def close(self, code: int, reason: str) -> Waiting[None]:
        """The closing handshake (RFC 6455 7.1.2), up to the end of the connection, which the server ends first."""
        payload = write_close(code, reason)[2:]
        link = self._link.until(self.exchange.plan.timeout)
        self._say_close(payload)
        self._push()
        while not self._ended:
            yield from self._wait(link)
        self._link.close()

    def raise_failure(self) -> None:
        """Raises what the application raised, if that is wanted, and each of it once; or what the server did wrong."""
        try:
            self.exchange.raise_failure()
        finally:
            self.exchange.expect_failures()
        if self._fault is not None:
            raise self._fault

    def drop(self) -> None:
        """Leaves, without a closing handshake where there was none. Twice is allowed."""
        self._said = True
        self._end(BROKEN, "")
        self.exchange.close()

    # -- the handshake ---------------------------------------------------------------------------------------------

    def _agreed_protocol(self) -> str | None:
        """RFC 6455 4.1: what a client checks in the answer."""
        said = [", ".join(self.headers.get_all(name)).lower() for name in ("upgrade", "connection")]
        if said != ["websocket", "upgrade"]:
            raise ReplyError("a 101 must have Upgrade: websocket and Connection: Upgrade (RFC 6455 4.1)")
        if self.headers.get("sec-websocket-accept") != accept_key(self._asked["sec-websocket-key"]):
            raise ReplyError("the Sec-WebSocket-Accept of the 101 does not answer the key (RFC 6455 4.1)")
        protocol = self.headers.get("sec-websocket-protocol")
        if protocol is not None and protocol not in self._asked.get("sec-websocket-protocol", "").split(", "):
            raise ReplyError(f"the subprotocol {protocol!r} was not offered (RFC 6455 4.1)")
        return protocol

    def _make_codec(self) -> MessageReader:
        """What reads messages; and the Deflater, where compression was agreed on (RFC 7692 7.1)."""
        agreed = parse_offers(self.headers.get_all("sec-websocket-extensions"))
        if agreed == []:
            return MessageReader(_Limits(), masked=False)
        if agreed is None or len(agreed) > 1 or agreed[0][0] not in self._asked.get("sec-websocket-extensions", ""):
            raise ReplyError(f"Sec-WebSocket-Extensions: {self.headers.get('sec-websocket-extensions')}: not offered")
        terms = dict(agreed[0][1])
        bits = int(terms.get("client_max_window_bits") or 15)
        self._deflater = Deflater(bits, takeover="client_no_context_takeover" not in terms)
        server_bits = int(terms.get("server_max_window_bits") or 15)
        return MessageReader(_Limits(), masked=False, deflate=(server_bits, "server_no_context_takeover" not in terms))

    # -- frames ----------------------------------------------------------------------------------------------------

    def _put(self, opcode: int, payload: bytes, *, packed: bool = False) -> None:
        self._out += write_frame(opcode, payload, rsv1=packed, mask=os.urandom(4))

    def _say_close(self, payload: bytes) -> None:
        """The last frame (RFC 6455 5.5.1), once."""
        if not self._said:
            self._said = True
            self._put(CLOSE, payload)

    def _wait(self, link: Link) -> Waiting[None]:
        link.wants_write = bool(self._out)
        yield link
        self._pull()
        self._push()

    def _push(self) -> None:
        """Sends what waits, as far as there is room."""
        while self._out:
            with memoryview(self._out) as data:
                sent = self._link.send(data)
            if sent == 0:
                return
            del self._out[:sent]  # all of it, where the other end takes no more: what it said is still to be read

    def _pull(self) -> None:
        """Reads all that has come."""
        while not self._ended and (data := self._link.receive()) is not None:
            if data:
                self._take(data)
            else:
                self._end(BROKEN, "")

    def _take(self, data: bytes) -> None:
        try:
            found = self._reader.feed(data)
        except FrameError as error:
            found = list(error.events)
            self._fault = ReplyError(f"{self._link.what}: what the server sent is no WebSocket: {error}")
            self._say_close(write_close(error.code)[2:])
        for item in found:
            self._take_item(item)
        if self._fault is not None:
            self._push()
            self._end(BROKEN, "")

    def _take_item(self, item: str | bytes | tuple[Any, ...]) -> None:
        match item:
            case ("ping", payload) if not self._said:
                self._put(PONG, payload)
            case ("close", code, reason):
                self._note_close(code, reason)
                self._say_close(write_close(code)[2:])
            case str() | bytes():
                self._arrived.append(item)

    def _note_close(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason

    def _end(self, code: int, reason: str) -> None:
        self._note_close(code, reason)
        self._ended = True

    def _end_error(self) -> ClientError:
        if self.close_code is None:
            return ClientError(f"{self._link.what}: this end is closing it: nothing more can be sent")
        return SocketEnded(f"{self._link.what}: it has ended", self.close_code, self.close_reason)


def _payload(data: object) -> tuple[int, bytes]:
    match data:
        case str():
            return TEXT, data.encode()
        case bytes() | bytearray() | memoryview():
            return BINARY, bytes(data)
    raise TypeError(f"a message is str or bytes, not {type(data).__name__}; send_json() takes values of JSON")


def _json_text(value: object) -> str:
    return _json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class _Session:
    """What both sessions show."""

    def __init__(self, exchange: SocketExchange) -> None:
        self._exchange = exchange

    @property
    def headers(self) -> Headers:
        """Of the 101."""
        return self._exchange.headers

    @property
    def protocol(self) -> str | None:
        """The subprotocol that was agreed on."""
        return self._exchange.protocol

    @property
    def close_code(self) -> int | None:
        """What the server's close frame says; 1005: it has none; 1006: there was no frame; None: it is open."""
        return self._exchange.close_code

    @property
    def close_reason(self) -> str:
        """What the server's close frame says."""
        return self._exchange.close_reason


class WebSocketSession(_Session):
    """A WebSocket, as ``with client.websocket(path) as ws`` gives it. Iterated, it gives messages up to an ordinary end
    (1000, 1001, or no code)."""

    def __init__(self, exchange: SocketExchange, driver: Alone | Hosted) -> None:
        super().__init__(exchange)
        self._driver = driver

    def send(self, data: Message | bytearray | memoryview) -> None:
        """str as a text message, bytes as a binary one. SocketEnded: the server has closed it."""
        self._driver.drive(self._exchange.send(data))

    def send_json(self, value: Any) -> None:
        """A text message."""
        self.send(_json_text(value))

    def receive(self, timeout: float | None = None) -> Message:
        """The next message; pings are answered meanwhile. At the end: what the handler raised, or SocketEnded.
        ReplyTimeout: none in time; it may be called again."""
        return self._driver.drive(self._exchange.receive(timeout))

    def receive_json(self, timeout: float | None = None) -> Any:
        """The next message as JSON; ValueError where it is none."""
        return _json.loads(self.receive(timeout))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes it, and waits for the server's close frame and the end. Raises what the handler raised. Twice is
        allowed. ValueError: a code or reason that cannot be sent (RFC 6455 7.4)."""
        self._driver.drive(self._exchange.close(code, reason))
        self._driver.settle(self._exchange.link.connection)
        self._exchange.raise_failure()

    def __iter__(self) -> Iterator[Message]:
        try:
            while True:
                yield self.receive()
        except SocketEnded as end:
            if end.code not in _ORDINARY:
                raise


class AsyncWebSocketSession(_Session):
    """WebSocketSession for ``async with``. One Task may send while another receives."""

    def __init__(self, exchange: SocketExchange, driver: Inside) -> None:
        super().__init__(exchange)
        self._driver = driver

    async def send(self, data: Message | bytearray | memoryview) -> None:
        """``WebSocketSession.send``, to be awaited."""
        await self._driver.drive(self._exchange.send(data))

    async def send_json(self, value: Any) -> None:
        """A text message."""
        await self.send(_json_text(value))

    async def receive(self, timeout: float | None = None) -> Message:  # noqa: ASYNC109 - as the requests have it
        """``WebSocketSession.receive``, to be awaited."""
        return await self._driver.drive(self._exchange.receive(timeout))

    async def receive_json(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - likewise
        """The next message as JSON; ValueError where it is none."""
        return _json.loads(await self.receive(timeout))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """``WebSocketSession.close``, to be awaited."""
        await self._driver.drive(self._exchange.close(code, reason))
        await self._driver.settle(self._exchange.link.connection)
        self._exchange.raise_failure()

    async def __aiter__(self) -> AsyncIterator[Message]:
        try:
            while True:
                yield await self.receive()
        except SocketEnded as end:
            if end.code not in _ORDINARY:
                raise
