"""Who is slow, and what that costs: handlers that do not take, peers that do not read, and what rooms do with them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

import web
from tests.wire.clients import Peer, eventually
from tests.wire.sites import Embed, Serve, Site
from tests.wire.websocket_peers import (
    BINARY,
    LONG,
    PING,
    Event,
    Notes,
    SocketPeer,
    closing,
    frame,
    in_thread,
    text,
    until_quiet,
)

FLOOD = 60_000  # bytes of one message of a flood


class Gate:
    """An async handler that takes nothing before the gate is opened, from any thread."""

    def __init__(self) -> None:
        self.taken: list[str | bytes] = []
        self.ws: web.WebSocket | None = None
        self.over = False
        self._open = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def handler(self, ws: web.WebSocket) -> None:
        self._loop = asyncio.get_running_loop()
        self.ws = ws
        await self._open.wait()
        async for message in ws:
            self.taken.append(message)
        self.over = True

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open.set)


def turns(site: Site) -> int:
    """How often the loop has turned."""
    return int(site.server.stats()["turns"]["count"])


# -- an application that does not take ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 30_000])
def test_a_handler_that_does_not_take_pauses_its_peer(serve: Serve, size: int) -> None:
    gate = Gate()
    site = serve(web.WS("/", gate.handler))
    peer = SocketPeer(site.connect())
    peer.peer.sock.settimeout(0.5)
    sent = 0
    wire = frame(BINARY, b"x" * size) * (1 if size > 1000 else 2000)
    with suppress(TimeoutError):
        for _ in range(2000):
            peer.peer.send(wire)
            sent += len(wire)
    received = site.counter("bytes_received")
    assert received < 1_500_000  # what one turn may read, and the opening; the rest waits with the kernels
    assert sent > received
    peer.peer.reset()
    gate.open()
    eventually(lambda: gate.over, "the handler ends")
    assert gate.taken


def test_what_was_paused_goes_on_and_nothing_is_lost(serve: Serve) -> None:
    gate = Gate()
    site = serve(web.WS("/", gate.handler))
    peer = SocketPeer(site.connect())
    count = 3000
    sender = threading.Thread(target=lambda: peer.send(*[text(f"{number} {'x' * 1000}") for number in range(count)]))
    sender.start()
    eventually(lambda: gate.ws is not None, "the handler runs")
    gate.open()
    eventually(lambda: len(gate.taken) == count, "all is taken")
    sender.join()
    assert [str(message).split()[0] for message in gate.taken] == [str(number) for number in range(count)]
    assert peer.close() == (1000, "")


@pytest.mark.parametrize("leaves", [Peer.close, Peer.reset])
def test_a_paused_peer_that_is_gone_is_no_spin(serve: Serve, leaves: Any) -> None:
    gate = Gate()
    site = serve(web.WS("/", gate.handler))
    peer = SocketPeer(site.connect())
    peer.send(*[text("x" * 2000)] * 200)
    eventually(lambda: site.counter("bytes_received") > 65_536, "it is paused")
    leaves(peer.peer)
    threading.Event().wait(0.1)
    before = turns(site)
    threading.Event().wait(0.3)
    assert turns(site) - before < 20
    gate.open()
    eventually(lambda: gate.over, "the handler ends")
    assert gate.taken


def test_close_of_one_that_is_paused(serve: Serve) -> None:
    """The peer's answer stands behind what nobody takes any more."""

    async def closes(ws: web.WebSocket) -> None:
        await asyncio.sleep(0.2)
        ws.close(4000)

    site = serve(web.WS("/", closes), linger_timeout=LONG)
    peer = SocketPeer(site.connect())
    peer.send(*[text("x" * 2000)] * 150)
    assert peer.closed() == (4000, "")
    peer.send(closing(4000))
    assert peer.peer.rest() == b""
    peer.peer.close()
    site.await_closed("done")


def test_receiving_is_cancelled_and_goes_on(serve: Serve) -> None:
    seen: list[Any] = []

    async def handler(ws: web.WebSocket) -> None:
        for _ in range(3):
            with suppress(TimeoutError):
                await asyncio.wait_for(ws.receive(), 0.02)
        first = asyncio.ensure_future(ws.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another Task"):
            await ws.receive()
        ws.send("ready")
        seen.append(await first)
        seen.extend([message async for message in ws])
        with pytest.raises(web.SocketClosed):
            await ws.receive()
        seen.append("over")

    peer = SocketPeer(serve(web.WS("/", handler)).connect())
    assert peer.text() == "ready"
    peer.say("a", "b")
    assert peer.close() == (1000, "")
    eventually(lambda: seen[-1:] == ["over"], "the handler ends")
    assert seen == ["a", "b", "over"]


# -- a peer that does not read -----------------------------------------------------------------------------------------


def test_awaiting_send_waits_for_a_peer_that_does_not_read(serve: Serve) -> None:
    sent = 0
    count = 400

    async def handler(ws: web.WebSocket) -> None:
        nonlocal sent
        for number in range(count):
            await ws.send(number.to_bytes(2, "big") * (FLOOD // 2))
            sent += 1

    site = serve(web.WS("/", handler), response_grace=LONG)
    peer = SocketPeer(site.connect(receive_buffer=4096))
    last = -1
    while last != sent or not sent:
        last = sent
        threading.Event().wait(0.1)
    assert sent < count
    for number in range(count):
        assert peer.frame() == (BINARY, number.to_bytes(2, "big") * (FLOOD // 2))
    assert peer.let_close() == (1000, "")
    assert sent == count


def test_who_awaits_is_never_past_the_limit(serve: Serve) -> None:
    """... however small it is."""
    count = 3000

    async def handler(ws: web.WebSocket) -> None:
        for number in range(count):
            await ws.send(number.to_bytes(2, "big") * 5000)

    peer = SocketPeer(serve(web.WS("/", handler), out_buffer=16 * 1024).connect(receive_buffer=4096))
    threading.Event().wait(0.1)
    for number in range(count):
        assert peer.frame() == (BINARY, number.to_bytes(2, "big") * 5000)
    assert peer.let_close() == (1000, "")


def test_what_was_sent_before_a_close_has_the_time_that_it_needs(serve: Serve) -> None:
    """The deadline of the closing handshake begins when the close frame is sent."""

    def does(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Message):
            ws.send(b"x" * 12_000_000).close(4000)

    site = serve(web.WS("/", Notes(does).plain), response_grace=LONG, linger_timeout=0.2)
    peer = SocketPeer(site.connect(receive_buffer=4096))
    peer.say("go")
    threading.Event().wait(0.6)
    assert peer.frame() == (BINARY, b"x" * 12_000_000)
    assert peer.closed() == (4000, "")
    with suppress(ConnectionError):
        peer.peer.rest()
    site.await_closed("linger_timeout")


@pytest.mark.parametrize("leaves", [Peer.close, Peer.reset])
def test_who_awaits_room_hears_that_the_peer_is_gone(serve: Serve, leaves: Any) -> None:
    ended: list[web.SocketClosed] = []
    sent = 0

    async def handler(ws: web.WebSocket) -> None:
        nonlocal sent
        try:
            while True:
                await ws.send(b"x" * FLOOD)
                sent += 1
        except web.SocketClosed as error:
            ended.append(error)

    site = serve(web.WS("/", handler), response_grace=LONG)
    peer = SocketPeer(site.connect(receive_buffer=4096))
    last = -1
    while last != sent or not sent:
        last = sent
        threading.Event().wait(0.05)
    leaves(peer.peer)
    eventually(lambda: ended, "the handler ends")
    assert ended[0].code == 1006


def flooding(slow: Any, notes: Notes, embed: Embed) -> Any:
    return embed(web.WS("/", notes.plain, slow=slow), out_buffer=1 << 17, response_grace=LONG)


def test_slow_close(embed: Embed) -> None:
    notes = Notes()
    site = flooding("close", notes, embed)
    with site.connect() as raw:
        SocketPeer(raw)

        def flood() -> None:
            for _ in range(200):
                notes.ws.send(b"x" * FLOOD)
                site.server.run_once(0)

        with pytest.raises(web.SocketClosed, match="does not read"):
            flood()
        until_quiet(site)
        assert notes.until_closed() == [web.Connect(), web.Close(1006, "")]
        assert site.closed("response_slow") == 1
        assert site.server.connections == 0


def test_slow_drop(embed: Embed) -> None:
    notes = Notes()
    site = flooding("drop", notes, embed)
    with site.connect() as raw:
        peer = SocketPeer(raw)
        for number in range(200):
            notes.ws.send(number.to_bytes(2, "big") * (FLOOD // 2))
            site.server.run_once(0)
            assert notes.ws.buffered <= (1 << 17) + 2 * FLOOD
        dropped = notes.ws.dropped
        assert 0 < dropped < 200
        notes.ws.close(4000)
        came = []
        while True:
            opcode, payload = peer.frame()
            if opcode != BINARY:
                break
            assert payload == payload[:2] * (FLOOD // 2)
            came.append(int.from_bytes(payload[:2], "big"))
        assert came == sorted(came)
        assert len(came) == 200 - dropped


def test_one_message_that_is_larger_than_all_that_may_wait(serve: Serve) -> None:
    notes = Notes(lambda event, ws: ws.send(b"x" * 1_000_000) if isinstance(event, web.Message) else None)
    peer = SocketPeer(serve(web.WS("/", notes.plain), out_buffer=1 << 17).connect())
    for _ in range(3):
        peer.say("go")
        assert peer.frame() == (BINARY, b"x" * 1_000_000)


def test_the_minimum_rate_is_that_at_which_the_peer_takes(serve: Serve) -> None:
    """A peer that only talks does not keep it."""
    notes = Notes(lambda event, ws: ws.send(b"x" * 8_000_000) if event == web.Message("go") else None)
    site = serve(web.WS("/", notes.plain), response_grace=0.5, out_buffer=1 << 25)
    peer = SocketPeer(site.connect(receive_buffer=4096))
    peer.say("go")

    def is_over() -> bool:
        with suppress(OSError):
            peer.say("x" * 4000)
        return site.closed("response_slow") == 1

    eventually(is_over, "it is ended")
    assert notes.until_closed()[-1] == web.Close(1006, "")


def test_pings_of_a_peer_that_does_not_read_cost_little(embed: Embed) -> None:
    notes = Notes()
    site = embed(web.WS("/", notes.plain), out_buffer=1 << 17, response_grace=LONG)
    with site.connect() as raw:
        peer = SocketPeer(raw)
        until_quiet(site)
        wire = frame(PING, bytes(125)) * 1000
        for _ in range(60):
            peer.send(wire)
            until_quiet(site)
        assert notes.ws.buffered <= (1 << 17) + 200


# -- rooms -------------------------------------------------------------------------------------------------------------


def test_a_room(serve: Serve) -> None:
    def does(event: Event, ws: web.WebSocket) -> None:
        if isinstance(event, web.Connect):
            ws.subscribe(ws.params["room"])
            ws.subscribe("all")
        elif event == web.Message("leave"):
            ws.unsubscribe("all")
            ws.unsubscribe("nothing of that name")
            ws.send("left")
        elif isinstance(event, web.Message):
            site.server.publish(ws.params["room"], event.text)

    notes = Notes(does)
    site = serve(web.WS("/:room", notes.plain))
    one, two, three = (SocketPeer(site.connect(), target) for target in ("/a", "/a", "/b"))
    one.say("to a")
    assert [one.text(), two.text()] == ["to a", "to a"]
    in_thread(lambda: site.server.publish("all", b"to all"))
    assert [peer.frame() for peer in (one, two, three)] == [(BINARY, b"to all")] * 3
    two.say("leave")
    assert two.text() == "left"
    one.close()
    site.server.publish("all", "again")
    site.server.publish("nobody", "again")
    assert three.text() == "again"
    two.say("still in a")
    assert two.text() == "still in a"


@pytest.mark.parametrize("slow", ["close", "drop"])
def test_a_room_with_a_member_that_does_not_read(serve: Serve, slow: Any) -> None:
    notes = Notes(lambda event, ws: ws.subscribe("all") if isinstance(event, web.Connect) else None)
    site = serve(web.WS("/", notes.plain, slow=slow), out_buffer=1 << 17, response_grace=LONG)
    idle = SocketPeer(site.connect(receive_buffer=4096))
    reads = SocketPeer(site.connect())
    eventually(lambda: len(notes.of) == 2, "both are open")
    for number in range(150):
        site.server.publish("all", bytes([number]) * FLOOD)
        assert reads.frame() == (BINARY, bytes([number]) * FLOOD)
    first = notes.sockets[0]
    if slow == "drop":
        assert first.dropped > 0
        assert first.is_open
    else:
        eventually(lambda: notes.of[first][-1] == web.Close(1006, ""), "the one that does not read is ended")
        assert first.dropped == 0
    assert notes.sockets[1].dropped == 0
    idle.peer.close()


# -- permessage-deflate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takeover", [True, False])
def test_deflate(serve: Serve, takeover: bool) -> None:
    import zlib

    notes = Notes()
    options = web.Deflate(server_no_context_takeover=not takeover, client_no_context_takeover=not takeover)
    site = serve(web.WS("/", notes.plain, deflate=options), websocket_message=100_000)
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    peer = SocketPeer(site.connect(), "/", offer)
    agreed = peer.answer["Sec-WebSocket-Extensions"] or ""
    assert ("server_no_context_takeover" in agreed) is (not takeover)
    bits = 12
    packer, unpacker = zlib.compressobj(wbits=-bits), zlib.decompressobj(-15)

    def packed(data: bytes) -> bytes:
        return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]

    lengths = []
    message = b"".join(b"%d," % (number * number) for number in range(400))
    for _ in range(3):
        if not takeover:
            packer, unpacker = zlib.compressobj(wbits=-bits), zlib.decompressobj(-15)
        peer.send(frame(BINARY, packed(message), rsv1=True))
        opcode, payload, rsv1 = peer.any_frame()
        assert (opcode, rsv1) == (BINARY, True)
        assert unpacker.decompress(payload + b"\x00\x00\xff\xff") == message
        lengths.append(len(payload))
    assert (lengths[1] < lengths[0] // 4) is takeover
    assert peer.ask("small ones are sent as they are") == "small ones are sent as they are"
    if not takeover:
        packer = zlib.compressobj(wbits=-bits)
    peer.send(frame(BINARY, packed(bytes(100_001)), rsv1=True))
    code, reason = peer.closed()
    assert (code, "big" in reason) == (1009, True)
    assert notes.until_closed()[-1] == web.Close(1009, reason)
