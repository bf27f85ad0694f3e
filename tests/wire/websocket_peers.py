"""A WebSocket client of raw frames, and handlers in each style that note what they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import web
from tests.wire.clients import Answer, Peer, eventually, request
from tests.wire.sites import Embedded, Site
from web.hotpath import write_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3, with the answer to it
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"
OPENS = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
LONG = 1000.0
Event = web.Connect | web.Message | web.Binary | web.Close


def opening(target: str = "/", fields: str = "") -> bytes:
    return request(target, fields=OPENS + fields)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    """As a client sends it."""
    return write_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


def text(message: str) -> bytes:
    return frame(TEXT, message.encode())


def closing(code: int | None = 1000, reason: str = "") -> bytes:
    """A client's close frame; None: without a code."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())


class SocketPeer:
    """A client behind its opening handshake."""

    def __init__(self, peer: Peer, target: str = "/", fields: str = "", behind: bytes = b"") -> None:
        self.peer = peer
        peer.send(opening(target, fields) + behind)
        self.answer: Answer = peer.answer()
        assert (self.answer.status, self.answer["Sec-WebSocket-Accept"]) == (101, ACCEPT), self.answer

    def send(self, *frames: bytes) -> None:
        self.peer.send(b"".join(frames))

    def say(self, *messages: str) -> None:
        self.send(*map(text, messages))

    def frame(self) -> tuple[int, bytes]:
        """The next frame, which is whole and has no bits of extensions: (opcode, payload)."""
        opcode, payload, rsv1 = self.any_frame()
        assert not rsv1
        return opcode, payload

    def any_frame(self) -> tuple[int, bytes, bool]:
        """(opcode, payload, RSV1)."""
        first, second = self.peer.exactly(2)
        assert first & 0x80
        assert not first & 0x30
        assert not second & 0x80, "a server masks nothing"
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(self.peer.exactly(2 if length == 126 else 8), "big")
        return first & 15, self.peer.exactly(length), bool(first & 0x40)

    def text(self) -> str:
        """The next message, a text."""
        opcode, payload = self.frame()
        assert opcode == TEXT, (opcode, payload[:100])
        return payload.decode()

    def ask(self, message: str) -> str:
        self.say(message)
        return self.text()

    def closed(self) -> tuple[int | None, str]:
        """(code, reason) of the close frame that comes next."""
        opcode, payload = self.frame()
        assert opcode == CLOSE, (opcode, payload[:100])
        return (int.from_bytes(payload[:2], "big") if payload else None), payload[2:].decode()

    def ended(self) -> tuple[int | None, str]:
        """The same, and then the connection's end."""
        said = self.closed()
        assert self.peer.rest() == b""
        assert self.peer.clean_end
        return said

    def let_close(self) -> tuple[int | None, str]:
        """The server closes first, and is answered: (code, reason) that it said."""
        said = self.closed()
        self.send(closing(said[0]))
        assert self.peer.rest() == b""
        return said

    def close(self, code: int | None = 1000, reason: str = "") -> tuple[int | None, str]:
        self.send(closing(code, reason))
        return self.ended()


class Notes:
    """What handlers of one route were told, each connection for itself; an echo, unless ``does`` says otherwise."""

    def __init__(self, does: Callable[[Event, web.WebSocket], Any] | None = None) -> None:
        self.of: dict[web.WebSocket, list[Event]] = {}
        self.does = does or echo

    def note(self, event: Event, ws: web.WebSocket) -> None:
        self.of.setdefault(ws, []).append(event)
        self.does(event, ws)

    @property
    def sockets(self) -> list[web.WebSocket]:
        return list(self.of)

    @property
    def ws(self) -> web.WebSocket:
        """The only one."""
        eventually(lambda: self.of, "a handler was called")
        (ws,) = self.of
        return ws

    @property
    def events(self) -> list[Event]:
        """Of the only one."""
        return self.of[self.ws]

    def until_closed(self) -> list[Event]:
        """Of the only one, when it is over: Connect comes first, Close last, and both once."""
        eventually(lambda: self.of and isinstance(self.events[-1], web.Close), "Close is told")
        return check_order(self.events)

    def plain(self, event: Event, params: dict[str, Any], ws: web.WebSocket) -> None:
        self.note(event, ws)

    async def one_by_one(self, event: Event, params: dict[str, Any], ws: web.WebSocket) -> None:
        self.note(event, ws)

    async def iterates(self, ws: web.WebSocket) -> None:
        try:
            self.note(web.Connect(), ws)
            async for message in ws:
                self.note(web.Message(message) if isinstance(message, str) else web.Binary(message), ws)
        finally:
            if not ws.is_open:
                self.note(web.Close(ws.close_code or 0, ws.close_reason), ws)


def check_order(events: list[Event]) -> list[Event]:
    assert events[0] == web.Connect()
    assert isinstance(events[-1], web.Close)
    assert not any(isinstance(event, (web.Connect, web.Close)) for event in events[1:-1])
    return events


def echo(event: Event, ws: web.WebSocket) -> None:
    if isinstance(event, web.Message):
        ws.send(event.text)
    elif isinstance(event, web.Binary):
        ws.send_bytes(event.data)


STYLES = ["plain", "one_by_one", "iterates"]


def open_all(site: Site, count: int, target: str = "/") -> Iterator[SocketPeer]:
    for _ in range(count):
        yield SocketPeer(site.connect(), target)


def until_quiet(embedded: Embedded) -> None:
    """Turns until there is nothing to do: a server that spins never comes to that."""
    for _ in range(1000):
        if not embedded.has_work():
            return
        embedded.server.run_once(0)
    raise AssertionError("the server spins")


def in_thread(work: Callable[[], Any]) -> Any:
    """Runs it in a thread of its own, and gives what it gives, or raises what it raises."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised by whoever asked
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def leave(peer: Peer) -> None:
    with suppress(OSError):
        peer.close()
